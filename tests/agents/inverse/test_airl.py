"""AIRL: its discriminator, the reward that it recovers in exact expectation, and demonstrators that it does as."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxreward.agent import vmap
from jaxreward.agents.inverse.airl import Config, Hyperparams, Shaped, airl, airl_judge
from jaxreward.agents.inverse.parts.discriminator import cross_entropy
from jaxreward.agents.inverse.parts.judge import Pairs
from jaxreward.environment import with_reward
from jaxreward.mdp import TabularEnv, discounted_occupancy, reward_table, soft_value_iteration, tabular_mdp
from jaxreward.reward import Transition
from tests.matrix_game import MatrixGame, MatrixParams
from tests.probes import Probe, ProbeParams

SIZES = {"num_envs": 8, "num_steps": 8, "num_epochs": 2, "num_minibatches": 2, "layers": (8,)}
JUDGED = {"discriminator_layers": (), "discriminator_updates": 4, "discriminator_batch": 32}
DISCOUNT, STATES, ACTIONS = 0.9, 4, 2
NEXT = np.array([[1, 2], [2, 0], [3, 1], [0, 3]])
"""Where an action leads, for certain; from any state to any other by detours of both parities."""
PAID = np.array([1.0, -0.5, 0.3, 0.8])


def ring(terminal=None):
    return tabular_mdp(np.eye(STATES)[NEXT], PAID, terminal=terminal)


def test_the_discriminator_is_exp_f_over_exp_f_and_the_policy():
    """And `f` has nothing behind the end of an episode."""
    keys = jax.random.split(jax.random.key(0), 4)
    pairs = Pairs(
        jax.random.normal(keys[0], (6, 3)),
        jax.nn.one_hot(jnp.arange(6) % 2, 2),
        jax.random.normal(keys[1], (6, 3)),
        jnp.arange(6) >= 4,
        -jax.random.uniform(keys[2], (6,)),
    )
    for state_only in (True, False):
        model = airl_judge(Config(discriminator_layers=(5,), state_only=state_only)).model
        params = model.init(keys[3], pairs)
        value = lambda params, x: model.network.apply(params, x)[..., 0]  # noqa: E731
        read = pairs.seen if state_only else jnp.concatenate([pairs.seen, pairs.action], -1)
        beyond = np.where(pairs.terminated, 0, value(params.potential, pairs.following))
        f = value(params.reward, read) + DISCOUNT * beyond - value(params.potential, pairs.seen)
        said = jax.nn.sigmoid(model.logit(params, pairs, Hyperparams(discount=DISCOUNT)))
        expected = np.exp(f) / (np.exp(f) + np.exp(pairs.log_prob))
        np.testing.assert_allclose(said, expected, rtol=1e-5)
        paid = model.reward(params, pairs, Hyperparams(discount=DISCOUNT))
        np.testing.assert_allclose(paid, np.log(said) - np.log(1 - said), rtol=1e-3, atol=1e-5)
        own = Shaped(model.network, state_only, "recovered").reward(params, pairs, Hyperparams(discount=DISCOUNT))
        np.testing.assert_allclose(own, value(params.reward, read), rtol=1e-6)


@pytest.mark.parametrize("where", ["going on", "with an end"])
def test_in_expectation_it_recovers_a_reward_of_the_state_up_to_a_constant(where):
    """Of a soft policy of a deterministic MDP, each pair as often as the occupancy says, the policy being the expert's.

    Where an episode ends what is behind it is worth nothing, and then not even a constant is left open.
    """
    with jax.enable_x64(True):
        ends = where == "with an end"
        mdp = ring(terminal=[False, False, False, True] if ends else None)
        solved = soft_value_iteration(mdp, DISCOUNT, 1.0)
        often = discounted_occupancy(mdp, solved.policy, DISCOUNT).ravel()
        state, action = np.indices((STATES, ACTIONS)).reshape(2, -1)
        following, eye = NEXT[state, action], jnp.eye(STATES)
        log_prob = jnp.log(solved.policy).ravel()
        terminated = mdp.terminal[following]
        pairs = Pairs(eye[state], jnp.eye(ACTIONS)[action], eye[following], terminated, log_prob)
        model = airl_judge(Config(discriminator_layers=())).model
        weights = often / often.sum()

        found = minimised(model, model.init(jax.random.key(1), pairs), pairs, weights)
        seen = np.asarray(weights) > 0
        advantage = model.advantage(found, pairs, DISCOUNT)
        np.testing.assert_allclose(advantage[seen], log_prob[seen], atol=1e-5)
        recovered = np.asarray(model.recovered(found.reward, pairs))[seen]
        off = recovered - PAID[state][seen]
        np.testing.assert_allclose(off, 0 if ends else off[0], atol=1e-4)
        assert np.ptp(recovered) > 1


@partial(jax.jit, static_argnums=0)
def minimised(model, params, pairs, weights):
    """The expected cross-entropy, where policy and expert do alike, by L-BFGS."""

    def loss(params):
        logit = model.logit(params, pairs, Hyperparams(discount=DISCOUNT))
        return weights @ jax.vmap(cross_entropy)(logit, logit)

    optimiser, told = optax.lbfgs(), optax.value_and_grad_from_state(loss)

    def step(carry, _):
        params, state = carry
        value, grad = told(params, state=state)
        updates, state = optimiser.update(grad, state, params, value=value, grad=grad, value_fn=loss)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, optimiser.init(params)), None, 300)[0][0]


def walked(path, episodes=64, length=8):
    """Episodes of a soft policy in a ring, cut; and its env."""
    env = TabularEnv(ring(), max_steps_in_episode=length)
    policy = np.asarray(soft_value_iteration(ring(), DISCOUNT, 1.0).policy)
    rng, rows = np.random.default_rng(0), []
    for _ in range(episodes):
        state = rng.integers(STATES)
        for time in range(length):
            action = rng.choice(ACTIONS, p=policy[state])
            rows.append((state, action, time == length - 1))
            state = NEXT[state, action]
    state, action, cut = map(np.array, zip(*rows, strict=True))
    np.savez(path, observation=np.eye(STATES)[state], action=action, terminated=0 * cut, truncated=cut)
    return env, str(path), policy


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What four seeds learn from a soft policy in a ring: states, metrics and that policy."""
    env, path, policy = walked(tmp_path_factory.mktemp("airl") / "walked.npz")
    sizes = {**SIZES, "num_envs": 16, "num_steps": 16, "discriminator_batch": 128}
    config = Config(demonstrations=path, **{**JUDGED, **sizes, "layers": ()})
    single = airl(env, env.default_params, config)
    agent = vmap(single)
    numbers = Hyperparams(
        learning_rate=0.02, discount=DISCOUNT, entropy_coefficient=0.0, discriminator_learning_rate=0.02
    )

    @jax.jit
    def run(keys):
        return jax.lax.scan(lambda state, _: agent.step(state), agent.init(keys, numbers), None, 250)

    return env, single, *run(jax.random.split(jax.random.key(0), 4)), policy


def test_the_policy_comes_to_that_of_the_demonstrator(trained):
    """A soft one, which the entropy within `f - log pi` keeps from being greedy."""
    _, agent, states, metrics, policy = trained
    outputs = lambda state: agent.init.__self__.outputs(state, jnp.eye(STATES))  # noqa: E731
    learned = jax.nn.softmax(jax.vmap(outputs)(states))
    np.testing.assert_allclose(np.mean(learned, 0), policy, atol=0.12)
    assert (metrics["discriminator/accuracy"][-10:].mean(0) < 0.6).all()


def test_the_reward_that_is_recovered_is_one_that_is_trained_on(trained):
    """As a `Reward` it pays what the discriminator says of a state, in any environment that shows the same."""
    env, agent, states, _, _ = trained
    one = jax.tree.map(lambda leaf: leaf[0], states)
    reward = agent.reward(one)
    rewarded = with_reward(env, reward)
    table = np.asarray(reward_table(rewarded, rewarded.default_params))
    network = one.judge.params.reward["params"]["Dense_0"]
    told = np.asarray(network["kernel"][:, 0] + network["bias"][0])
    np.testing.assert_allclose(table, np.broadcast_to(told[:, None, None], table.shape), rtol=1e-5)
    correlation = [np.corrcoef(value(state), PAID)[0, 1] for state in unstacked(states)]
    assert np.mean(correlation) > 0.9


def value(state):
    network = state.judge.params.reward["params"]["Dense_0"]
    return np.asarray(network["kernel"][:, 0] + network["bias"][0])


def unstacked(states):
    return [jax.tree.map(lambda leaf, seed=seed: leaf[seed], states) for seed in range(4)]


def test_a_reward_of_a_game_is_what_each_agent_is_paid(tmp_path):
    game, ends = MatrixGame(), np.ones(4, bool)
    path = tmp_path / "game.npz"
    np.savez(path, observation=np.ones((4, 2, 1)), action=np.tile([0, 1], (4, 1)), terminated=ends, truncated=~ends)
    shape = {"decentralised": (2,), "decentralised_all": (2,), "centralised": ()}
    for discriminators, expected in shape.items():
        config = Config(
            demonstrations=str(path), **{**SIZES, **JUDGED}, discriminators=discriminators, state_only=False
        )
        agent = airl(game, game.default_params, config)
        state = jax.eval_shape(agent.init, jax.random.key(0), Hyperparams())
        reward = agent.reward(state)
        step = Transition(jnp.ones((2, 1)), jnp.zeros(2, jnp.int32), jnp.zeros(2), jnp.ones((2, 1)), False, False)
        assert jax.eval_shape(reward.step, state.judge.params.reward, (), step)[1].shape == expected


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({}, {}, "say neither `terminated` nor `truncated`"),
        ({"truncated": np.ones(3, bool)}, {}, "each is the last before a cut"),
        ({"terminated": np.ones(3, bool)}, {"memory": 4}, "memory=4: airl asks how likely"),
        ({"terminated": np.ones(3, bool)}, {"reward": "logits"}, "logits.*logit"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, arrays, options, message):
    path = tmp_path / "shown.npz"
    np.savez(path, observation=np.zeros((3, 2)), action=np.zeros(3, int), **arrays)
    with pytest.raises(ValueError, match=message):
        airl(Probe(), ProbeParams(), Config(demonstrations=str(path), **SIZES, **options))


def test_agents_of_a_game_come_to_the_shares_that_were_shown_of_each(tmp_path):
    """Three quarters of one and a quarter of the other; what the game pays would have both do 1 always."""
    shares, ends = np.array([0.75, 0.25]), np.ones(256, bool)
    action = (np.arange(256)[:, None] % 4 >= 4 * shares).astype(int)
    path = tmp_path / "game.npz"
    np.savez(path, observation=np.ones((256, 2, 1)), action=action, terminated=ends, truncated=~ends)
    paid = np.stack([np.add.outer([0.0, 1.0], [0.0, 1.0])] * 2, -1)
    config = Config(demonstrations=str(path), **{**SIZES, **JUDGED, "layers": ()}, state_only=False, one_hot=False)
    single = airl(MatrixGame(), MatrixParams(jnp.asarray(paid, float)), config)
    agent = vmap(single)
    numbers = Hyperparams(learning_rate=0.02, entropy_coefficient=0.0, discriminator_learning_rate=0.02)
    keys = jax.random.split(jax.random.key(0), 4)
    run = lambda keys: jax.lax.scan(lambda s, _: agent.step(s), agent.init(keys, numbers), None, 250)[0]  # noqa: E731
    states = jax.jit(run)(keys)
    outputs = lambda state: single.init.__self__.outputs(state, jnp.ones((1, 2, 1)))[0]  # noqa: E731
    learned = jax.nn.softmax(jax.vmap(outputs)(states))
    np.testing.assert_allclose(np.mean(learned[..., 0], 0), shares, atol=0.12)
