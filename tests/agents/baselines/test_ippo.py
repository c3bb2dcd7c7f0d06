"""Independent PPO: what each agent's value comes to, what games of one step are played to, and PPO in a game of one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agent import vmap
from jaxreward.agents.baselines.ippo import _BY_LEARNER, IPPO, Config, Hyperparams, ippo
from jaxreward.agents.baselines.ppo import ppo
from jaxreward.environment import with_reward
from jaxreward.envs import make
from jaxreward.reward import markov
from tests.matrix_game import MatrixGame, MatrixParams, OfOne
from tests.probes import Probe, ProbeParams

SIZES = {"num_envs": 8, "num_steps": 8, "num_epochs": 2, "num_minibatches": 2, "layers": (8,)}
SEEDS, ITERATIONS, DISCOUNT = 8, 150, 0.5
SAME, DIFFERENT = np.eye(2), 1 - np.eye(2)
OWN = np.stack([np.broadcast_to([[0], [1]], (2, 2)), 3 * np.broadcast_to([1, 0], (2, 2))], -1)
DILEMMA = np.stack([[[3, 0], [5, 1]], [[3, 5], [0, 1]]], -1) / 5
GAMES = {
    "same": MatrixParams(jnp.asarray(np.stack([SAME, SAME], -1))),
    "different": MatrixParams(jnp.asarray(np.stack([DIFFERENT, DIFFERENT], -1))),
    "own": MatrixParams(jnp.asarray(OWN, float)),
    "own, cut": MatrixParams(jnp.asarray(OWN, float), terminates=False),
    "own, two steps": MatrixParams(jnp.asarray(OWN, float), length=2),
    "dilemma": MatrixParams(jnp.asarray(DILEMMA)),
}
"""What each agent is paid: 1 if both choose the same, or not; 1 for 1 and 3 for 0, whatever the other does; ..."""


@functools.cache
def played(shared=False):
    """Each game learned with 8 seeds, in one program: the states, and metrics `[iterations, games, seeds]`."""
    env = MatrixGame()
    single = ippo(env, env.default_params, Config(**SIZES, shared=shared))
    agent = vmap(vmap(single), population=True)
    stacked = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *GAMES.values())
    numbers = Hyperparams(learning_rate=0.02, discount=DISCOUNT, entropy_coefficient=0.001)
    hyperparams = jax.tree.map(lambda leaf: jnp.full(len(GAMES), leaf), numbers).replace(env_params=stacked)
    keys = jax.random.split(jax.random.key(0), (len(GAMES), SEEDS))

    @jax.jit
    def run(keys, hyperparams):
        last, metrics = jax.lax.scan(
            lambda state, _: agent.step(state), agent.init(keys, hyperparams), None, ITERATIONS
        )
        values = jax.vmap(jax.vmap(lambda state: value(single, state, shared)))(last)
        return values, metrics

    return jax.device_get(run(keys, hyperparams))


def value(agent, state, shared):
    """What each agent's critic says of the one state there is, `[2]`."""
    algorithm = agent.step.__self__
    seen = algorithm.by_learner(algorithm.seen(jnp.ones((1, 2, 1)), 1), 0)
    forward = jax.vmap(lambda params, x: algorithm.learner.forward(params, (), x)[2])
    return algorithm.by_agent(forward(state.params, seen), 0)[0]


def returns(game, shared=False, agent=None):
    """Over the last ten iterations, of each seed."""
    name = "episode/return" + ("" if agent is None else f"/{agent}")
    return played(shared)[1][name][-10:, list(GAMES).index(game)].mean(0)


@pytest.mark.parametrize("shared", [False, True], ids=["own networks", "shared"])
@pytest.mark.parametrize("game", ["same", "different"])
def test_they_come_to_choose_the_same_or_not_as_it_pays(game, shared):
    """By chance it pays a half; a shared network tells agents apart by their number."""
    assert (returns(game, shared) > 0.95).all()


def test_each_does_what_pays_itself_and_the_return_is_the_mean_over_agents():
    assert (returns("own", agent=0) > 0.95).all()
    assert (returns("own", agent=1) > 2.85).all()
    np.testing.assert_allclose(returns("own"), (returns("own", agent=0) + returns("own", agent=1)) / 2, rtol=1e-5)
    assert (returns("dilemma", agent=0) < 0.3).all()  # both defect, which pays 0.2 each, though 0.6 are to be had


@pytest.mark.parametrize("shared", [False, True], ids=["own networks", "shared"])
def test_each_values_what_it_is_paid_and_looks_beyond_a_cut_but_not_an_end(shared):
    """It sees no time, so over two steps the value is the mean of 1.5 and 1 times what a step pays."""
    for game, steps in {"own": 1.0, "own, cut": 1 / (1 - DISCOUNT), "own, two steps": 1.25}.items():
        found = np.median(played(shared)[0][list(GAMES).index(game)], 0)
        # Actions are still sampled, the wrong one in up to 5 % of steps, and values follow with a delay.
        np.testing.assert_allclose(found, [steps, 3 * steps], rtol=0.1)


def test_in_a_game_of_one_agent_it_is_ppo():
    """The same params, noise, environments and minibatches: to rounding, as a batched matrix product rounds its way."""
    env, params, config = Probe(), ProbeParams(length=3, cue=1.0, match=1.0), {**SIZES, "memory": 3}
    config = {**config, "normalise_observations": True}
    one, many = ppo(env, params, Config(**config)), ippo(OfOne(env), params, Config(**config, one_hot=False))

    @jax.jit
    def start(key):
        alone = one.init(key, Hyperparams())
        axis = lambda tree: jax.tree.map(lambda leaf: leaf[None], tree)  # noqa: E731
        parts = {name: axis(part) for name, part in alone._asdict().items() if getattr(_BY_LEARNER, name) == 0}
        return alone, alone._replace(**parts, envs=many.init(key, Hyperparams()).envs)

    alone, together = start(jax.random.key(1))
    step, step_together = jax.jit(one.step), jax.jit(many.step)
    for _ in range(2):
        (alone, metrics), (together, others) = step(alone), step_together(together)
    close = lambda x, y: np.testing.assert_allclose(x, y[0], rtol=1e-4, atol=1e-6)  # noqa: E731
    jax.tree.map(close, alone.params, together.params)
    for name, number in metrics.items():
        np.testing.assert_allclose(number, others[name], rtol=1e-3, atol=1e-5, err_msg=name)


def test_columns_go_to_the_learner_of_their_agent_and_back():
    leaf = np.arange(3 * 4 * 2 * 5).reshape(3, 4, 2, 5)
    for shared in (False, True):
        algorithm = IPPO(None, Config(shared=shared), 2)
        split = algorithm.by_learner(leaf, 1)
        expected = leaf.reshape(1, 3, 8, 5) if shared else np.stack([leaf[:, :, 0], leaf[:, :, 1]])
        np.testing.assert_array_equal(split, expected)
        np.testing.assert_array_equal(algorithm.by_agent(split, 1), leaf)


def test_what_does_not_fit_is_refused():
    game, params = make("games/gems?size=3")
    with pytest.raises(ValueError, match=r"games/gems is a game of 2 agents.*use ippo"):
        ppo(game, params)
    with pytest.raises(ValueError, match=r"CartPole-v1 has one agent, and this agent takes games.*use ppo"):
        ippo(*make("CartPole-v1"))
    three = with_reward(game, markov(lambda t: jnp.ones(3)))
    with pytest.raises(ValueError, match=r"2 agents, and the reward the shape \(3,\); expected \(2,\).*or \(\)"):
        ippo(three, three.default_params)


def test_a_reward_that_all_share_or_that_each_has_is_taken():
    game = make("games/gems?size=3")[0]
    team = with_reward(game, markov(lambda t: t.reward.sum()))
    envious = with_reward(game, markov(lambda t: t.reward - t.reward[::-1]))
    shapes = {}
    for name, env in (("team", team), ("envious", envious)):
        agent = ippo(env, env.default_params, Config(**SIZES))
        state = jax.eval_shape(agent.init, jax.random.key(0), Hyperparams())
        shapes[name] = jax.eval_shape(agent.step, state)[1]
    assert "episode/return/1" in shapes["envious"]
    assert "episode/return/1" not in shapes["team"]
    assert {"episode/return", "episode/env_return", "episode/env_return/1"} <= set(shapes["team"])
