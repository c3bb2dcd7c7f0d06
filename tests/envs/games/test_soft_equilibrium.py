"""Soft equilibria: of a game in closed form, against a solver for one agent, and as no one's gain to leave."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from jaxreward.envs import make
from jaxreward.envs.games.markov_game import MarkovGame, induced, random_game
from jaxreward.envs.games.soft_equilibrium import soft_equilibrium, tabular_policy
from jaxreward.mdp.soft import soft_policy_value, soft_value_iteration
from jaxreward.results.demonstrate import one_after_the_other, recorded

DISCOUNT, TEMPERATURES = 0.9, jnp.array([0.5, 1.0, 2.0])


def one_shot(first, second):
    """Two agents with two actions each that play once and again, each time for the same."""
    payoff = jnp.stack([jnp.asarray(first, float), jnp.asarray(second, float)], -1)
    return MarkovGame(jnp.ones((1, 2, 2, 1)), payoff[None], jnp.ones(1))


def test_matching_pennies_in_closed_form():
    """With both on heads paid 4: each one's share of heads is the logistic of what heads have over tails, by a root."""
    first, second = [[4.0, -1.0], [-1.0, 1.0]], [[-1.0, 1.0], [1.0, -1.0]]
    logistic = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    heads = lambda q: logistic((4 * q - (1 - q)) - (-q + (1 - q)))  # noqa: E731
    others = lambda p: logistic((-p + (1 - p)) - (p - (1 - p)))  # noqa: E731
    q = brentq(lambda q: others(heads(q)) - q, 0, 1)
    found = jax.jit(lambda: soft_equilibrium(one_shot(first, second), 0.0, 1.0))()
    assert found.residual < 1e-5
    np.testing.assert_allclose(found.policy[:, 0, 0], [heads(q), q], atol=1e-5)


@pytest.fixture(scope="module")
def solved():
    """Three games at three temperatures, in double precision."""
    with jax.enable_x64(True):
        games = jax.vmap(lambda seed: random_game(jax.random.key(seed)))(jnp.arange(3))
        solve = jax.vmap(jax.vmap(soft_equilibrium, (None, None, 0)), (0, None, None))
        yield games, jax.jit(solve)(games, DISCOUNT, jnp.asarray(TEMPERATURES, float))


def test_no_one_gains_by_leaving(solved):
    """Each agent's policy is the best soft one of the MDP that the others make, and its values are of that policy."""
    games, found = solved
    with jax.enable_x64(True):
        assert (found.residual[:, 1:] < 1e-11).all()
        game = jax.tree.map(lambda leaf: leaf[1], games)
        policy = found.policy[1, 1]
        for agent in range(2):
            mdp = induced(game, policy, agent)
            alone = soft_value_iteration(mdp, DISCOUNT, 1.0)
            np.testing.assert_allclose(policy[agent], alone.policy, atol=1e-9)
            np.testing.assert_allclose(found.action_value[1, 1, agent], alone.action_value, atol=1e-9)
            worth = soft_policy_value(mdp, policy[agent], DISCOUNT, 1.0)
            np.testing.assert_allclose(found.value[1, 1, agent], worth, atol=1e-9)


def test_cooler_players_are_paid_more_of_what_they_could_be(solved):
    entropy = -(solved[1].policy * np.log(solved[1].policy)).sum(-1).mean((-2, -1))
    assert (np.diff(entropy, axis=1) > 0).all()


def test_an_iteration_that_was_cut_tells():
    cut = soft_equilibrium(random_game(jax.random.key(0)), DISCOUNT, 1.0, max_iterations=3)
    assert cut.residual > 0.1


def test_what_is_recorded_of_a_table_is_drawn_from_it(solved):
    env, params = make("games/random_game")
    table = jnp.asarray(solved[1].policy[0, 1], jnp.float32)
    run = jax.jit(lambda key: recorded(env, params, tabular_policy(table), 8_000, key))
    stream = one_after_the_other(run(jax.random.key(0))[0])
    state = stream.observation[:, 0].argmax(-1)
    for agent in range(2):
        counts = np.zeros(table.shape[1:])
        np.add.at(counts, (state, stream.action[:, agent]), 1)
        visits = counts.sum(-1, keepdims=True)
        deviation = np.sqrt(np.asarray(table[agent] * (1 - table[agent])) / np.maximum(visits, 1))
        assert (np.abs(counts / np.maximum(visits, 1) - table[agent]) < 5 * deviation + 1e-6)[visits[:, 0] > 50].all()
    mode = tabular_policy(table).mode((), jnp.asarray(stream.observation[0]), jax.random.key(0))[1]
    assert mode.tolist() == table[:, state[0]].argmax(-1).tolist()
