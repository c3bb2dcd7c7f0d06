"""TD3: its targets and losses in numpy, what is delayed, and values that are known."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces
from gymnax.environments.classic_control.cartpole import CartPole

from jaxreward import vmap
from jaxreward.agents.baselines.parts.critics import MLP, Twins
from jaxreward.agents.baselines.td3 import TD3, Config, Hyperparams, td3
from jaxreward.learning.n_step import Batch
from jaxreward.learning.networks import ACTIVATIONS
from jaxreward.learning.squashed import unit_box
from tests.probes import ProbeParams, Regulator, TargetProbe

LOW, HIGH = np.array([-1.0, 0.0]), np.array([3.0, 0.5])
SIZE, FEATURES, UPDATES = 6, 3, 6
# Smoothing is clipped often, and some actions are; the second member's policy is updated every third time.
MEMBERS = [
    Hyperparams(smoothing=0.8, smoothing_clip=0.5, policy_delay=2, target_step=0.2, exploration=0.4),
    Hyperparams(smoothing=0.8, smoothing_clip=0.5, policy_delay=3, target_step=0.2, exploration=0.4),
]


def stack(*trees):
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *trees)


def random_batch():
    rng = np.random.default_rng(1)
    see = lambda: rng.normal(size=(SIZE, FEATURES))  # noqa: E731
    discount = np.where(np.arange(SIZE) == 1, 0, 0.9)  # the second transition is a termination
    batch = Batch(see(), rng.uniform(LOW, HIGH, (SIZE, 2)), rng.normal(size=SIZE), see(), discount, np.ones(SIZE))
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), batch)


@cache
def computed():
    """Some updates of both members and all that the first is made of, in one program; float64 arrays."""
    activation = ACTIVATIONS["tanh"]
    box = unit_box(spaces.Box(LOW, HIGH, (2,)), "td3")
    algorithm = TD3(box, MLP(2, (4,), activation), Twins(MLP(1, (4,), activation)))
    batch = random_batch()

    @jax.jit
    @jax.vmap
    def program(hyperparams):
        key = jax.random.key(3)
        learner = algorithm.start(key, batch.observation, hyperparams)
        further = lambda x: x + 0.4 * jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)  # noqa: E731
        learner = learner._replace(params=jax.tree.map(further, learner.params))
        noise = algorithm.noise(key, (SIZE,))
        target = algorithm.bootstrap(learner.target, hyperparams, batch, noise)
        slope, metrics = jax.grad(algorithm.critic_loss, has_aux=True)(learner.params.critics, batch, target)
        policy = jax.value_and_grad(algorithm.policy_loss)(*learner.params, batch.observation)
        acted = algorithm.act(learner, hyperparams, 0.0, batch.observation, noise)

        def update(learner, key):
            after, _ = algorithm.update(learner, hyperparams, batch, key)
            return after, after

        after = jax.lax.scan(update, learner, jax.random.split(key, UPDATES))[1]
        return learner, noise, target, slope, metrics, policy, acted, after

    doubled = lambda x: np.asarray(x, np.float64) if jnp.issubdtype(x.dtype, jnp.floating) else np.asarray(x)  # noqa: E731
    return jax.tree.map(doubled, program(stack(*MEMBERS)))


def of(member, tree):
    return jax.tree.map(lambda x: x[member], tree)


def mlp(params, x):
    layers = params["params"]
    for hidden in layers["Torso_0"].values():
        x = np.tanh(x @ hidden["kernel"] + hidden["bias"])
    return x @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"]


def worth(critics, features, action):
    """The two critics, `[2, B]`."""
    read = np.concatenate([features, action], -1)
    return np.stack([mlp(of(k, critics), read)[:, 0] for k in range(2)])


def test_targets_are_those_of_the_smaller_critic_near_the_target_policy():
    learner, noise, target, *_ = of(0, computed())
    batch = jax.tree.map(lambda x: np.asarray(x, np.float64), random_batch())
    off = np.clip(0.8 * noise, -0.5, 0.5)
    before = np.tanh(mlp(learner.target.policy, batch.next_observation)) + off
    assert 0 < (np.abs(0.8 * noise) > 0.5).mean() < 1  # some are clipped
    values = worth(learner.target.critics, batch.next_observation, np.clip(before, -1, 1))
    assert 0 < (values[0] < values[1]).mean() < 1  # neither critic is always the smaller one
    expected = batch.reward + np.where(np.arange(SIZE) == 1, 0, 0.9) * values.min(0)
    np.testing.assert_allclose(target, expected, rtol=1e-5, atol=1e-5)


def test_losses_and_their_slopes_are_those_in_numpy():
    learner, _, target, slope, metrics, (policy_loss, policy_slope), *_ = of(0, computed())
    batch = jax.tree.map(lambda x: np.asarray(x, np.float64), random_batch())
    unit = 2 * (batch.action - LOW) / (HIGH - LOW) - 1

    def critic_loss(critics):
        return 0.5 * np.square(worth(critics, batch.observation, unit) - target).mean(1).sum()

    def minus_value(policy):
        return -worth(learner.params.critics, batch.observation, np.tanh(mlp(policy, batch.observation)))[0].mean()

    np.testing.assert_allclose(metrics["loss/critics"], critic_loss(learner.params.critics), rtol=1e-5)
    np.testing.assert_allclose(policy_loss, minus_value(learner.params.policy), rtol=1e-5)
    for loss, params, found in (
        (critic_loss, learner.params.critics, slope),
        (minus_value, learner.params.policy, policy_slope),
    ):
        found = found["params"]["Dense_0"]["bias"]
        for where in np.ndindex(found.shape):
            sides = []
            for step in (1e-6, -1e-6):
                moved = jax.tree.map(np.array, params)
                moved["params"]["Dense_0"]["bias"][where] += step
                sides.append(loss(moved))
            np.testing.assert_allclose(found[where], (sides[0] - sides[1]) / 2e-6, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("member", "delay"), [(0, 2), (1, 3)])
def test_policy_and_targets_wait_for_the_critics(member, delay):
    learner, *_, after = of(member, computed())
    states = [learner, *(of(t, after) for t in range(UPDATES))]
    differ = lambda x, y: any((a != b).any() for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True))  # noqa: E731
    for t in range(1, UPDATES + 1):
        old, new, due = states[t - 1], states[t], t % delay == 0
        assert new.updates == t
        assert differ(old.params.critics, new.params.critics)
        assert differ(old.params.policy, new.params.policy) == due
        assert differ(old.policy_optimiser, new.policy_optimiser) == due
        follow = jax.tree.map(lambda x, y: x + 0.2 * due * (y - x), old.target, new.params)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), new.target, follow)


def test_actions_are_the_policys_with_noise_within_the_box():
    learner, noise, *_, acted, _ = of(0, computed())
    batch = jax.tree.map(lambda x: np.asarray(x, np.float64), random_batch())
    unit = np.clip(np.tanh(mlp(learner.params.policy, batch.observation)) + 0.4 * noise, -1, 1)
    np.testing.assert_allclose(acted, (HIGH + LOW) / 2 + (HIGH - LOW) / 2 * unit, rtol=1e-5, atol=1e-5)


# what is learned is known

SEEDS, GAMMA = 8, 0.8  # all seeds succeed: with 95 % confidence at least 69 % of all would
SMALL = Config(
    num_envs=8,
    num_steps=4,
    num_updates=8,
    batch_size=32,
    capacity=4_096,
    warm_up=256,
    layers=(32, 32),
    activation="tanh",
)


@cache
def regulators():
    """What policies do at some places of the regulator, and the first critic's values of that, `[seed, place]`.

    Nothing is smoothed, so values are those of the policy itself.
    """
    env = Regulator()
    agent = vmap(td3(env, env.default_params, SMALL))
    rates = {"learning_rate": 3e-3, "critic_learning_rate": 5e-3, "target_step": 0.05}
    hyperparams = Hyperparams(**rates, discount=GAMMA, smoothing=0.0, exploration=0.2)

    @jax.jit
    def run(keys):
        state, _ = jax.lax.scan(lambda s, _: agent.step(s), agent.init(keys, hyperparams), length=350)
        return state.learner.params

    params = run(jax.random.split(jax.random.key(0), SEEDS))
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    actions, values = [], []
    for seed in range(SEEDS):
        policy, critics = of(seed, params)
        unit = np.tanh(mlp(policy, PLACES[:, None]))
        actions.append(0.25 + 1.25 * unit[:, 0])
        values.append(worth(critics, PLACES[:, None], unit)[0])
    return np.stack(actions), np.stack(values)


PLACES = np.linspace(-1, 1, 9)


def test_the_policy_is_the_best_regulator():
    """What is 0.1 off costs a hundredth of the 1 that a step pays, and twice that later."""
    actions, _ = regulators()
    gain = Regulator.solved(GAMMA)[1]
    np.testing.assert_allclose(actions, np.broadcast_to(-gain * PLACES, actions.shape), atol=0.1)
    np.testing.assert_allclose(actions @ PLACES / (PLACES @ PLACES), np.full(SEEDS, -gain), atol=0.05)


def test_values_go_on_where_an_episode_is_cut():
    """They are 5 at 0; taking the cut after four steps for an end, they would be 3 at the most."""
    _, values = regulators()
    exact = 1 / (1 - GAMMA) - Regulator.solved(GAMMA)[0] * PLACES**2
    np.testing.assert_allclose(values, np.broadcast_to(exact, values.shape), atol=0.25)
    print(np.abs(values - exact).max(1))


# what a user can get wrong


def test_discrete_actions_are_refused():
    with pytest.raises(TypeError, match="td3 needs continuous actions; expected a Box, got Discrete"):
        td3(CartPole(), CartPole().default_params)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="no activation 'rely'; did you mean 'relu'"):
        td3(TargetProbe(), ProbeParams(), Config(activation="rely"))
