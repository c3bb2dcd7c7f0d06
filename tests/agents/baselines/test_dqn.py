"""DQN: its targets by hand, its fixed point against exact solutions, and what it learns of probes."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agent import vmap
from jaxreward.agents.baselines.dqn import DQN, Config, Hyperparams, Learner, dqn
from jaxreward.envs import make
from jaxreward.learning.action_values import ActionValues
from jaxreward.learning.centring import no_average
from jaxreward.learning.n_step import Batch
from jaxreward.learning.reading import Convolution
from jaxreward.mdp import average_policy_iteration, tabular_mdp, two_state, value_iteration
from tests.probes import Probe, ProbeParams

DISCOUNT = 0.6
SEEDS = 8  # all of them succeed: with 95 % confidence at least 68 % of all seeds would, as 0.68**8 = 0.05
PROBES = {
    "constant": (ProbeParams(constant=1.0), 1.0),
    "observation": (ProbeParams(cue=1.0), 1.0),
    "delayed": (ProbeParams(length=2, pays_last=True, shows_time=True, cue_steps=0, constant=1.0), DISCOUNT),
    "truncated": (ProbeParams(length=2, terminates=False, cue_steps=0, constant=1.0), 1 / (1 - DISCOUNT)),
    "terminated": (ProbeParams(length=2, shows_time=True, cue_steps=0, constant=1.0), 1 + DISCOUNT),
    "match": (ProbeParams(match=1.0), 1.0),
}
LEARNER = Config(num_envs=8, num_updates=2, batch_size=64, capacity=512, warm_up=64, layers=(16,))
HYPERPARAMS = Hyperparams(
    learning_rate=0.01, discount=DISCOUNT, epsilon_steps=2_000.0, target_step=0.2, epsilon_end=0.5
)


@cache
def trained_on_probes():
    """The values of both actions where an episode starts with a cue of 1, `[probe, seed, action]`."""
    agent = vmap(vmap(dqn(Probe(), ProbeParams(), LEARNER)), population=True)
    told = [HYPERPARAMS.replace(env_params=params) for params, _ in PROBES.values()]
    hyperparams = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *told)

    @jax.jit
    def train(keys):
        state = agent.init(keys, hyperparams)
        state, metrics = jax.lax.scan(lambda state, _: agent.step(state), state, length=400)
        network, seen = ActionValues(2, (16,)), jnp.array([1.0, 0.0])
        shown = jnp.stack([seen * (params.cue_steps > 0) for params, _ in PROBES.values()])
        values = jax.vmap(lambda p, x: jax.vmap(lambda p: network.apply(p, x))(p))(state.learner.params, shown)
        return values, metrics

    return jax.tree.map(np.asarray, train(jax.random.split(jax.random.key(0), (len(PROBES), SEEDS))))


@pytest.mark.parametrize("probe", PROBES)
def test_what_a_probe_is_worth_is_learned(probe):
    """A discount too much or too little is 0.24 or more off, as is an end that is taken for another."""
    values = trained_on_probes()[0][list(PROBES).index(probe)]
    exact = PROBES[probe][1]
    actions = [-exact, exact] if probe == "match" else [exact, exact]
    np.testing.assert_allclose(values, np.tile(actions, (SEEDS, 1)), atol=0.05)


def test_the_reward_it_gets_is_what_half_of_the_actions_earn_at_random():
    """In the end every second action is random, and half of those are right: a return of 0.5."""
    returns = trained_on_probes()[1]["episode/return"][-100:, list(PROBES).index("match")].mean(0)
    np.testing.assert_allclose(returns, 0.5, atol=5 * np.sqrt(0.75 / 800))  # 800 episodes, 5 standard errors


# one update by hand

SIZE = 7


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    normal = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    discount = np.where(np.arange(SIZE) % 3 == 0, 0.0, 0.7).astype(np.float32)
    action = rng.integers(0, 3, SIZE).astype(np.int32)
    return Batch(normal(SIZE, 2), action, 3 * normal(SIZE), normal(SIZE, 2), discount, np.ones(SIZE, np.float32))


def algorithm(**options):
    config = dataclasses.replace(LEARNER, layers=(3,), **options)
    return DQN(config, ActionValues(3, (3,), duelling=config.duelling))


def drawn(seed, outputs):
    """Params of a network of two inputs and three hidden units, made without compiling."""
    normal = lambda *shape: np.random.default_rng(seed).normal(size=shape).astype(np.float32)  # noqa: E731
    hidden = {"Torso_0": {"Dense_0": {"kernel": normal(2, 3), "bias": normal(3)}}}
    return {"params": {**hidden, "Dense_0": {"kernel": normal(3, outputs), "bias": normal(outputs)}}}


def values_by_hand(params, x, duelling):
    weights = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])
    hidden, out = weights["Torso_0"]["Dense_0"], weights["Dense_0"]
    outputs = np.maximum(x @ hidden["kernel"] + hidden["bias"], 0) @ out["kernel"] + out["bias"]
    if not duelling:
        return outputs
    value, advantage = outputs[:, :1], outputs[:, 1:]
    return value + advantage - advantage.mean(1, keepdims=True)


@pytest.mark.parametrize(("double", "duelling"), [(True, False), (False, False), (True, True)])
def test_a_target_is_what_was_paid_and_the_target_networks_value_of_the_chosen_action(batch, double, duelling):
    made, outputs = algorithm(double=double, duelling=duelling), 3 + duelling
    learner = Learner(drawn(0, outputs), drawn(2, outputs), (), None, jnp.zeros((), jnp.int32))

    @jax.jit
    def once(learner):
        goal = made.goal(learner, batch)
        return goal, made.loss(learner.params, batch, goal, HYPERPARAMS.replace(huber_delta=2.0))

    goal, (loss, value) = once(learner)
    of_target, of_params = (
        values_by_hand(params, batch.next_observation, duelling) for params in (learner.target, learner.params)
    )
    chosen = (of_params if double else of_target).argmax(1)
    exact = batch.reward + batch.discount * of_target[np.arange(SIZE), chosen]
    np.testing.assert_allclose(goal, exact, rtol=1e-5, atol=1e-5)
    own = values_by_hand(learner.params, batch.observation, duelling)[np.arange(SIZE), batch.action]
    np.testing.assert_allclose(value, own, rtol=1e-5, atol=1e-5)
    error = np.abs(exact - own)
    assert 0 < (error > 2).sum() < SIZE
    np.testing.assert_allclose(loss, np.where(error > 2, 2 * (error - 1), error**2 / 2).mean(), rtol=1e-5)
    assert (of_params.argmax(1) != of_target.argmax(1)).any()


def test_an_update_is_a_step_of_adam_and_moves_the_target_when_it_is_due(batch):
    made = algorithm()
    hyperparams = HYPERPARAMS.replace(target_period=2.0, target_step=1.0, learning_rate=1e-3)

    @jax.jit
    def twice(params, key):
        zero = jnp.zeros((), jnp.int32)
        first = Learner(params, params, made.optimiser(hyperparams).init(params), None, zero)
        gradient = jax.grad(lambda params: made.loss(params, batch, made.goal(first, batch), hyperparams)[0])
        second, _ = made.update(first, hyperparams, batch, key)
        return first, second, made.update(second, hyperparams, batch, key)[0], gradient(first.params)

    first, second, third, gradient = twice(drawn(0, 3), jax.random.key(2))
    # The first step of Adam is the sign of the gradient times the learning rate, but for its epsilon of 1e-8.
    exact = jax.tree.map(lambda leaf, slope: leaf - 1e-3 * slope / (np.abs(slope) + 1e-8), first.params, gradient)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), second.params, exact)
    equal = lambda x, y: all(jax.tree.leaves(jax.tree.map(np.array_equal, x, y)))  # noqa: E731
    assert equal(second.target, first.params)
    assert equal(third.target, third.params)
    assert not equal(third.params, first.params)


# its fixed point against exact solutions


def all_transitions(mdp, copies):
    """Every transition of every state and action, as often in `copies` as it is probable."""
    states = range(mdp.num_states)
    found = [
        (state, action, following)
        for state in states
        for action in range(mdp.num_actions)
        for following in states
        for _ in range(round(copies * float(mdp.transition[state, action, following])))
        if not mdp.terminal[state]
    ]
    state, action, following = np.array(found).T
    one_hot, weight = np.eye(mdp.num_states, dtype=np.float32), np.ones(len(found), np.float32)
    reward = np.asarray(mdp.reward)[state, action, following]
    going_on = np.where(np.asarray(mdp.terminal)[following], 0.0, DISCOUNT).astype(np.float32)
    return Batch(one_hot[state], action.astype(np.int32), reward, one_hot[following], going_on, weight)


def fitted(mdp, batch, centring):
    """The values after many updates on all transitions at once, and the last metrics."""
    made = DQN(dataclasses.replace(LEARNER, centring=centring), ActionValues(2, ()))
    hyperparams = HYPERPARAMS.replace(rate_step=0.02)

    @jax.jit
    def fit(params, key):
        rate = no_average() if centring else None
        optimiser = made.optimiser(hyperparams).init(params)
        learner = Learner(params, params, optimiser, rate, jnp.zeros((), jnp.int32))
        update = lambda learner, _: made.update(learner, hyperparams, batch, key)  # noqa: E731
        learner, metrics = jax.lax.scan(update, learner, length=3_000)
        return made.values(learner.params, jnp.eye(mdp.num_states)), jax.tree.map(lambda x: x[-1], metrics)

    zeros = {"kernel": np.zeros((mdp.num_states, 2), np.float32), "bias": np.zeros(2, np.float32)}
    return fit({"params": {"Dense_0": zeros}}, jax.random.key(3))


def test_its_fixed_point_is_the_optimal_value():
    """Three states, one of them the end; actions are slippery."""
    transition = np.zeros((3, 2, 3))
    transition[0] = [[0.25, 0.75, 0.0], [0.5, 0.25, 0.25]]
    transition[1] = [[0.0, 0.5, 0.5], [0.75, 0.25, 0.0]]
    transition[2, :, 2] = 1
    reward = np.random.default_rng(1).normal(size=(3, 2, 3))
    mdp = tabular_mdp(transition.astype(np.float32), reward.astype(np.float32), terminal=[False, False, True])
    values, _ = fitted(mdp, all_transitions(mdp, 4), centring=False)
    exact = jax.jit(value_iteration)(mdp, DISCOUNT)
    np.testing.assert_allclose(values[:2], exact.action_value[:2], atol=1e-3)
    np.testing.assert_array_equal(values[:2].argmax(1), exact.policy[:2].argmax(1))


def test_with_centring_and_no_discount_the_rate_is_the_gain():
    """Waiting in state 1 pays 0.4, and going there and back at once 0.3 a step; values differ by the bias."""
    mdp = two_state([[0.0, 1.0], [0.0, 1.0]], [[0.0, -0.4], [0.4, 1.0]])
    batch = all_transitions(mdp, 1)
    values, metrics = fitted(mdp, batch._replace(discount=np.ones(4, np.float32)), centring=True)
    exact = jax.jit(average_policy_iteration)(mdp)
    np.testing.assert_allclose(metrics["rate"], exact.gain[0], atol=1e-3)
    np.testing.assert_allclose(np.ptp(values.max(1)), np.ptp(exact.bias), atol=1e-3)
    np.testing.assert_array_equal(values.argmax(1), exact.policy.argmax(1))


def test_numbers_that_are_not_finite_are_looked_for_in_what_is_learned():
    state = jax.eval_shape(lambda: dqn(Probe(), ProbeParams(), LEARNER).init(jax.random.key(0), HYPERPARAMS))
    assert state.params is state.learner.params


# pictures


def test_a_convolution_is_the_sum_over_each_window():
    rng = np.random.default_rng(0)
    picture, kernel = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 5, 4, 3), (27, 6)))
    params = {"params": {"Dense_0": {"kernel": kernel, "bias": np.ones(6, np.float32)}}}
    found = jax.jit(Convolution(6).apply)(params, picture)
    windows = np.lib.stride_tricks.sliding_window_view(picture, (3, 3), axis=(1, 2))
    exact = np.einsum("bhwcij,ijcf->bhwf", windows.astype(float), kernel.reshape(3, 3, 3, 6).astype(float))
    np.testing.assert_allclose(found, exact + 1, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("conv", [(), (16,)])
def test_pictures_are_kept_as_bits(conv):
    env, env_params = make("Breakout-MinAtar")
    agent = dqn(env, env_params, dataclasses.replace(LEARNER, conv=conv))
    state = jax.eval_shape(lambda: agent.init(jax.random.key(0), Hyperparams()))
    assert jax.eval_shape(agent.step, state)[0].replay.steps.observation.shape == (64, 8, 10, 10, 4)
    assert state.replay.steps.next_observation.dtype == bool  # though they are shown as floats


@pytest.mark.parametrize(
    ("env", "given", "error", "message"),
    [
        ("Pendulum-v1", {}, TypeError, r"dqn has a value for each of some actions; .* has Box\. See ppo or sac"),
        ("CartPole-v1", {"conv": (4,)}, ValueError, r"conv=\(4,\) is for pictures .* shows \[\(4,\)\]"),
        ("Breakout-MinAtar", {"conv": (4,) * 5}, ValueError, "5 convolutions take 10 rows .*: give 4 at the most"),
        ("CartPole-v1", {"activation": "rleu"}, ValueError, "did you mean 'relu'"),
        ("CartPole-v1", {"centring": True}, ValueError, "centring=True needs an environment that never ends"),
    ],
)
def test_what_does_not_fit_is_refused(env, given, error, message):
    with pytest.raises(error, match=message):
        dqn(*make(env), dataclasses.replace(LEARNER, **given))
