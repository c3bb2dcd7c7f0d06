"""Games that can be listed: what may happen in a step against steps, and what one agent meets while others play."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs import make
from jaxreward.envs.games.markov_game import MarkovGame, induced, random_game
from jaxreward.envs.games.mini_gems import CANDIDATES, MOVES, SHAPE, MiniGems, MiniGemsParams
from jaxreward.mdp.tabular import validate

COPIES, DRAWS = 64, 256
PARAMS = MiniGemsParams(own_reward=(1.0, 2.0), purple_reward=(6.0, 5.0))


@pytest.fixture(scope="module")
def listed():
    """Some states of mini gems, many of them with gems about to be taken: outcomes listed, and drawn many times."""
    env, draw = MiniGems(), np.random.default_rng(0)
    parts = np.array([draw.integers(0, size, COPIES) for size in SHAPE]).T
    parts[::2, :2] = CANDIDATES[[0, 1], parts[::2, 2:4]]  # each on its own gem
    parts[::4, :2] = CANDIDATES[2, parts[::4, 4]][:, None]  # both on the purple one
    numbers = np.ravel_multi_index(parts.T, SHAPE)
    actions = draw.integers(0, 5, (COPIES, 2))
    actions[::2] = 4

    @jax.jit
    def run(numbers, actions, key):
        states = jax.tree.map(lambda leaf: leaf[numbers], env.states)
        outcomes = jax.vmap(env.step_outcomes, (0, 0, None))(states, actions, PARAMS)
        step = lambda key, *now: env.step_env(key, *now, PARAMS)[1:4]  # noqa: E731
        keys = jax.random.split(key, DRAWS)
        drawn = jax.vmap(lambda *now: jax.vmap(lambda key: step(key, *now))(keys))(states, actions)
        number = jax.vmap(jax.vmap(env.number))
        reset = jax.vmap(lambda key: env.number(env.reset_env(key, PARAMS)[1]))(jax.random.split(key, 4096))
        return states, outcomes, number(outcomes.state), number(drawn[0]), drawn[1], reset, jax.vmap(env.number)(states)

    return parts, numbers, actions, jax.device_get(run(jnp.asarray(numbers), jnp.asarray(actions), jax.random.key(1)))


def test_states_have_numbers_and_start_anywhere(listed):
    parts, numbers, _, (states, *_, starts, again) = listed
    np.testing.assert_array_equal(np.concatenate([states.agents, states.gems], -1), parts)
    np.testing.assert_array_equal(again, numbers)
    assert MiniGems().num_states == 40_000
    for axis, values in enumerate(np.unravel_index(starts, SHAPE)):
        share = np.bincount(values, minlength=SHAPE[axis]) / len(starts)
        np.testing.assert_allclose(share, 1 / SHAPE[axis], atol=5 / np.sqrt(len(starts) * SHAPE[axis]))


def test_what_is_listed_is_what_happens(listed):
    """Rewards by hand; what is drawn is among what is listed, and about as often."""
    parts, _, actions, (_, outcomes, followers, drawn, rewards, *_) = listed
    np.testing.assert_allclose(outcomes.probability.sum(-1), 1, rtol=1e-6)
    taken_in_all = np.zeros(3)
    for t in range(COPIES):
        cells, gems = parts[t, :2], CANDIDATES[np.arange(3), parts[t, 2:]]
        places = np.stack(np.divmod(cells, 5), -1) + np.array(MOVES)[actions[t]]
        moved = np.clip(places, 0, 4) @ [5, 1]
        purple = all(gems[2] in (cells[k], moved[k]) for k in range(2))
        taken = np.array([moved[0] == gems[0], moved[1] == gems[1], purple])
        taken_in_all += taken
        paid = taken[:2] * [1, 2] + purple * np.array([6, 5])
        np.testing.assert_array_equal(outcomes.reward[t], np.tile(paid, (64, 1)))
        np.testing.assert_array_equal(rewards[t], np.tile(paid, (DRAWS, 1)))
        expected = dict.fromkeys(
            np.ravel_multi_index(
                [*moved, *part], SHAPE
            ) for part in itertools.product(*(range(4) if taken[k] else [parts[t, 2 + k]] for k in range(3)))
        )  # fmt: skip
        probability = {n: p for n, p in zip(followers[t], outcomes.probability[t], strict=True) if p}
        assert probability.keys() == expected.keys()
        np.testing.assert_allclose(list(probability.values()), 1 / len(expected), rtol=1e-6)
        assert set(drawn[t]) <= expected.keys()
        assert len(set(drawn[t])) > 0.6 * min(len(expected), DRAWS)
    assert (taken_in_all > 10).all()


def test_an_mdp_of_one_agent_is_the_mean_over_what_the_others_do():
    game = random_game(jax.random.key(0), num_states=4, num_actions=2, num_agents=3, branching=2)
    policy = np.random.default_rng(0).dirichlet(np.ones(2), (3, 4)).astype(np.float32)
    for agent in range(3):
        mdp = validate(induced(game, jnp.asarray(policy), agent))
        transition, reward = np.zeros((4, 2, 4)), np.zeros((4, 2))
        for state, *actions in itertools.product(range(4), *[range(2)] * 3):
            chance = np.prod([policy[k, state, actions[k]] for k in range(3) if k != agent])
            transition[state, actions[agent]] += chance * np.asarray(game.transition[(state, *actions)])
            reward[state, actions[agent]] += chance * np.asarray(game.reward[(state, *actions, agent)])
        np.testing.assert_allclose(mdp.transition, transition, atol=1e-6)
        np.testing.assert_allclose(mdp.reward, np.tile(reward[..., None], 4), atol=1e-6)


def test_a_random_game_is_what_its_tables_say():
    env, params = make("games/random_game?num_states=5&num_agents=2&seed=3")
    game: MarkovGame = params.game
    assert (game.num_states, game.num_actions, game.num_agents) == (5, 3, 2)
    assert ((np.asarray(game.transition) > 0).sum(-1) == 3).all()
    np.testing.assert_allclose(np.asarray(game.transition).sum(-1), 1, rtol=1e-6)
    other = make("games/random_game?num_states=5&seed=4")[1].game
    assert not np.allclose(game.reward, other.reward)
    state, action = env.reset_env(jax.random.key(0), params)[1], jnp.array([2, 1])

    @jax.jit
    def run(keys):
        shown, after, reward, *_ = jax.vmap(env.step_env, (0, None, None, None))(keys, state, action, params)
        return shown, after.place, reward

    shown, place, reward = jax.device_get(run(jax.random.split(jax.random.key(1), 4096)))
    np.testing.assert_array_equal(shown, np.tile(np.eye(5)[place][:, None], (1, 2, 1)))
    row, paid = game.transition[int(state.place), 2, 1], game.reward[int(state.place), 2, 1]
    np.testing.assert_allclose(reward, np.tile(paid, (4096, 1)))
    np.testing.assert_allclose(np.bincount(place, minlength=5) / 4096, row, atol=5 * 0.5 / 64)
    with pytest.raises(ValueError, match="a game has 2 or more"):
        make("games/random_game?num_agents=1")
