"""Running moments against numpy over everything seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.learning.normaliser import Moments, merge, moments, normalise

RNG = np.random.default_rng(0)
# Float32 sums of a few hundred numbers of size 1: rounding of a few parts in a million.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def test_moments_of_a_batch_are_its_population_moments():
    x = RNG.normal(3, 2, (4, 5, 3)).astype(np.float32)
    seen = jax.jit(moments)(x)
    assert seen.samples == 20
    np.testing.assert_allclose(seen.mean, x.reshape(-1, 3).mean(0), **CLOSE)
    np.testing.assert_allclose(seen.variance, x.reshape(-1, 3).var(0), **CLOSE)


@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_merging_batches_of_any_sizes_equals_the_moments_of_all(shift):
    parts = [RNG.normal(shift + i, 1 + i, (n, 2)).astype(np.float32) for i, n in enumerate([1, 7, 64, 3])]
    seen = moments(parts[0])
    for part in parts[1:]:
        seen = jax.jit(merge)(seen, moments(part))
    everything = np.concatenate(parts).astype(np.float64)
    assert seen.samples == len(everything)
    np.testing.assert_allclose(seen.mean, everything.mean(0), rtol=1e-5, atol=1e-5)
    # Numbers near 100 carry a rounding of 100 * 2**-24, and deviations of size 1 to 4 are squared.
    np.testing.assert_allclose(seen.variance, everything.var(0), rtol=1e-4)


def test_merging_commutes():
    a, b = (moments(RNG.normal(i, 1 + i, (5 + i, 3)).astype(np.float32)) for i in range(2))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **CLOSE), merge(a, b), merge(b, a))


def test_normalised_data_have_mean_zero_and_variance_one_under_vmap_too():
    x = RNG.normal(-3, 5, (6, 200, 2)).astype(np.float32)
    y = np.asarray(jax.vmap(lambda x: normalise(x, moments(x)))(x))
    np.testing.assert_allclose(y.mean(1), np.zeros((6, 2)), atol=1e-5)
    np.testing.assert_allclose(y.var(1), np.ones((6, 2)), rtol=1e-4)


def test_what_is_far_out_is_clipped_on_both_sides():
    seen = Moments(jnp.asarray(10.0), jnp.asarray([1.0]), jnp.asarray([4.0]))
    y = normalise(jnp.asarray([[1.0], [3.0], [100.0], [-100.0]]), seen, limit=5.0)
    np.testing.assert_allclose(y[:, 0], [0.0, 1.0, 5.0, -5.0], atol=1e-6)


def test_a_feature_that_never_varied_does_not_divide_by_zero():
    x = jnp.full((8, 1), 7.0)
    np.testing.assert_array_equal(normalise(x, moments(x)), jnp.zeros((8, 1)))


def test_what_has_no_scale_yet_is_only_centred():
    """One observation, or several of one start: their deviation is 0, or rounding, and no unit to measure by."""
    for seen in (jnp.array([[0.3, 7.0]]), jnp.tile(jnp.array([[0.1, 1e4]]), (7, 1))):
        y = normalise(seen[:1] + jnp.array([[0.25, -2.0]]), moments(seen))
        np.testing.assert_allclose(y, [[0.25, -2.0]], rtol=1e-2)


def test_statistics_are_constants_to_a_gradient():
    x = jnp.asarray([[1.0], [2.0], [4.0]])
    gradient = jax.grad(lambda x: normalise(x, moments(x)).sum())(x)
    # Were the mean differentiated too, the sum of what is centred would have no gradient.
    np.testing.assert_allclose(gradient, jnp.full((3, 1), 1 / np.std([1.0, 2.0, 4.0])), rtol=1e-5)
