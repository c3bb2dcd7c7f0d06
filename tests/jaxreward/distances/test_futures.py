"""Fitted values, and futures that end early or late, against the exact ones of a tabular MDP."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.distances import futures
from jaxreward.distances.futures import Place, random_values, steps_of, worths
from jaxreward.distances.sampled import pair_of
from jaxreward.mdp import TabularEnv, TabularState, tabular_mdp

S, A, GAMMA, DRAWS = 4, 2, 0.8, 4_000
RNG = np.random.default_rng(0)
END = np.arange(S) == S - 1
MDP = tabular_mdp(RNG.dirichlet(np.ones(S), (S, A)), RNG.normal(size=(S, A, S)), terminal=END)
ENV = TabularEnv(MDP)
WORLD = pair_of(ENV, ENV.default_params, ENV, ENV.default_params).world


def at(index):
    index = jnp.asarray(index, jnp.int32)
    return Place(jax.nn.one_hot(index, S, dtype=jnp.float32), TabularState(index=index, time=jnp.zeros_like(index)))


@pytest.fixture(scope="module")
def exact():
    """Values of the uniform policy `[S]` and of actions `[S, A]`."""
    chance, paid = np.asarray(MDP.transition, float), np.asarray(MDP.reward, float)
    expected = (chance * paid).sum(-1) * ~END[:, None]
    going = chance * ~END[:, None, None]
    value = np.linalg.solve(np.eye(S) - GAMMA * going.mean(1), expected.mean(1))
    return value, expected + GAMMA * going @ value


@pytest.fixture(scope="module")
def found():
    """Draws of what both actions are worth in the third state `[N, A]`, by where futures end."""
    value = random_values(WORLD, at(jnp.arange(S - 1)), GAMMA, jax.random.key(0))

    def draws(*end):
        draw = lambda key: worths(WORLD, at(2), jnp.arange(A), GAMMA, key, *end)[:, 0]  # noqa: E731
        return np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(1), DRAWS)), float)

    return {"late": draws(), "at once": draws(value, 1), "after three": draws(value, 3), "for nothing": draws(None, 1)}


def test_values_of_acting_at_random_are_those_of_the_solver(exact, monkeypatch):
    monkeypatch.setattr(futures, "STARTS", 32_768)
    monkeypatch.setattr(futures, "UNITS", 8)
    fit = jax.jit(lambda key: jax.vmap(random_values(WORLD, at(jnp.arange(S - 1)), GAMMA, key))(at(jnp.arange(S))))
    value = fit(jax.random.key(3))
    np.testing.assert_allclose(value[:-1, 0], exact[0][:-1], atol=0.03)
    np.testing.assert_array_equal(value[:, 0], value[:, 1])  # both rewards are the same
    assert np.ptp(exact[0][:-1]) > 0.3


@pytest.mark.parametrize("end", ["late", "at once", "after three"])
def test_futures_come_to_what_actions_are_worth(end, found, exact):
    """Within four standard errors, and those of the fitted value."""
    draws, true = found[end], exact[1][2]
    assert (abs(draws.mean(0) - true) < 4 * draws.std(0) / np.sqrt(DRAWS) + 0.05).all()
    apart = draws[:, 1] - draws[:, 0]
    assert abs(apart.mean() - (true[1] - true[0])) < 4 * apart.std() / np.sqrt(DRAWS) + 0.02
    assert apart.mean() < -0.2


def test_the_later_a_future_ends_the_more_noise_it_has_and_without_a_value_its_rest_is_missing(found, exact):
    assert found["at once"].std() < found["after three"].std() < found["late"].std()
    assert found["for nothing"].mean() < exact[1][2].mean() - 0.5


@pytest.mark.parametrize(("discount", "steps"), [(0.0, 1), (0.1, 2), (0.99, 459)])
def test_futures_end_where_a_hundredth_is_left(discount, steps):
    assert steps_of(discount) == steps
