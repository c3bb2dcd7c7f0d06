"""The correlation of the reward that is learned from with the true one, against NumPy's, and where it is told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.learning.proxies import CORRELATION, correlation, told_together, with_true

RNG = np.random.default_rng(0)


def test_it_is_numpys_over_what_counts():
    first, other = RNG.normal(size=(2, 40))
    second = 0.3 * first - other + 5
    weight = RNG.random(40) < 0.6
    found = jax.jit(correlation)(jnp.where(weight, first, jnp.nan), jnp.where(weight, second, jnp.inf), weight)
    np.testing.assert_allclose(found, np.corrcoef(first[weight], second[weight])[0, 1], rtol=1e-5)
    shifted = jax.jit(correlation)(first, -3 * first + 2, np.ones(40))
    np.testing.assert_allclose(shifted, -1, rtol=1e-5)
    assert jax.jit(correlation)(first, np.full(40, 0.1), np.ones(40)) == 0  # not what rounding leaves of a constant
    assert jnp.isnan(jax.jit(correlation)(first, np.where(weight, np.nan, second), np.ones(40)))


def test_the_true_reward_is_what_stands_beside_or_the_environments_own():
    one = jnp.ones(())
    assert with_true(one, {}) == ()
    assert with_true(one, {"env_reward": 2 * one})[1] == 2
    assert with_true(one, {"env_reward": 2 * one, "reward/true": 3 * one})[1] == 3
    assert with_true(jnp.ones(2), {"env_reward": one}) == ()
    assert told_together(()) == {}


@pytest.mark.parametrize("agents", [(), (3,)])
def test_steps_behind_an_end_do_not_count(agents):
    pair = RNG.normal(size=(2, 5, 4, *agents))
    valid = RNG.random((5, 4)) < 0.7
    found = told_together(tuple(jnp.asarray(x, jnp.float32) for x in pair), jnp.asarray(valid))[CORRELATION]
    expected = np.corrcoef(*(x[valid].ravel() for x in pair))[0, 1]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
