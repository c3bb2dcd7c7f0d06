"""Gaussian processes in float32 against closed forms in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gamma, kv

from jaxreward.rewards import sets

SCALE, LENGTHSCALE, LENGTH = 0.7, 1.0, 40


def matern_by_bessel(r: np.ndarray, nu: float = 2.5) -> np.ndarray:
    a = np.sqrt(2 * nu) * r
    return 2 ** (1 - nu) / gamma(nu) * a**nu * kv(nu, a)


def gram(kernel: sets.Kernel, items: np.ndarray) -> jax.Array:
    def covariances(params, items):
        xs = jax.vmap(partial(kernel.features, params))(items)
        return jax.vmap(lambda x: jax.vmap(lambda y: kernel.covariance(params, x, y))(xs))(xs)

    return jax.jit(covariances)(kernel.init(jax.random.key(0)), jnp.asarray(items, kernel.item.dtype))


def matern(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    a = np.sqrt(5) * np.linalg.norm(x[:, None] - y[None], axis=-1) / LENGTHSCALE
    return SCALE * (1 + a + a**2 / 3) * np.exp(-a)


def test_matern_is_the_one_with_bessel_functions():
    x = np.random.default_rng(0).normal(size=(6, 3))
    lengthscale = np.array([0.5, 1.0, 2.0])
    r = np.linalg.norm((x[:, None] - x[None]) / lengthscale, axis=-1)
    expected = 1.5 * np.where(r > 0, matern_by_bessel(np.where(r > 0, r, 1)), 1)
    np.testing.assert_allclose(gram(sets.matern52(lengthscale, 1.5, dimension=3), x), expected, rtol=1e-5)


def test_a_posterior_is_what_conditioning_leaves():
    x, points = np.random.default_rng(1).random((8, 2)) * 3, np.random.default_rng(2).random((5, 2)) * 3
    noisy = matern(points, points) + 1e-3 * np.eye(5)
    expected = matern(x, x) - matern(x, points) @ np.linalg.solve(noisy, matern(points, x))
    kernel = sets.posterior(sets.matern52(LENGTHSCALE, SCALE), points, 1e-3)
    np.testing.assert_allclose(gram(kernel, x), expected, atol=1e-5)
    twice = sets.posterior(sets.posterior(sets.matern52(LENGTHSCALE, SCALE), points[:2], 1e-3), points[2:], 1e-3)
    np.testing.assert_allclose(gram(twice, x), expected, atol=1e-5)


def test_a_table_is_its_entries():
    table = np.array([[2.0, 0.5], [0.5, 1.0]])
    np.testing.assert_array_equal(gram(sets.table(table), np.array([1, 0])), table[::-1, ::-1])


def walks(batch: int) -> np.ndarray:
    """Random walks on a fine grid, of which many steps go nowhere, and one walk that never leaves its place."""
    moves = np.array([[0, 0], [0, 1], [1, 0], [0, -1], [-1, 0]])
    steps = moves[np.random.default_rng(3).integers(0, 5, (batch, LENGTH))]
    steps[0] = 0
    return 1 + 0.1 * np.clip(steps.cumsum(1), -3, 3)


def one_by_one(function: sets.SetFunction, params, items: jax.Array) -> jax.Array:
    return jax.lax.scan(partial(function.add, params), function.empty(params), items)[1]


@pytest.mark.parametrize("noise", [1e-6, 1e-4, 1e-2])
@pytest.mark.parametrize("at_once", [True, False])
def test_repeated_and_adjacent_places_in_float32(noise, at_once):
    function, x = sets.information_gain(sets.matern52(LENGTHSCALE, SCALE), LENGTH, noise), walks(50)
    gains_of = function.sequence if at_once else partial(one_by_one, function)
    params = function.init(jax.random.key(0))
    gains = np.asarray(jax.jit(jax.vmap(gains_of, (None, 0)))(params, jnp.asarray(x, jnp.float32)), np.float64)
    grams = np.stack([matern(walk, walk) for walk in x]) + noise * np.eye(LENGTH)
    expected = np.log(np.diagonal(np.linalg.cholesky(grams), axis1=1, axis2=2) / np.sqrt(noise))
    np.testing.assert_allclose(gains, expected, rtol=1e-5, atol=2 * np.finfo(np.float32).eps * SCALE / noise)
    assert (gains >= 0).all()


def test_gains_where_a_factorisation_fails():
    function = sets.information_gain(sets.matern52(1.0, 100.0), LENGTH, 1e-6)
    params, x = function.init(jax.random.key(0)), jnp.asarray(walks(3), jnp.float32)
    singular = 100.0 * jnp.ones((LENGTH, LENGTH)) + 1e-6 * jnp.eye(LENGTH)
    assert np.isnan(jnp.linalg.cholesky(singular)).any()
    gains = jax.jit(jax.vmap(function.sequence, (None, 0)))(params, x)
    np.testing.assert_allclose(gains[0], jax.jit(partial(one_by_one, function))(params, x[0]), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(gains[:, 0], 0.5 * np.log(1 + 1e8), rtol=1e-6)
    assert np.isfinite(gains).all()
    assert (gains >= 0).all()


@pytest.mark.parametrize("at_once", [True, False])
def test_gradients_of_information(at_once):
    x, points = np.random.default_rng(4).random((4, 2)) * 3, np.array([[0.5, 0.5], [2.0, 1.0]])
    function = sets.information_gain(sets.posterior(sets.matern52(LENGTHSCALE, SCALE), points, 0.1), 6, 0.2)
    gains_of = function.sequence if at_once else partial(one_by_one, function)
    params = function.init(jax.random.key(0))
    gradient = jax.jit(jax.grad(lambda p: gains_of(p, jnp.asarray(x, jnp.float32)).sum()))(params)

    def brute(scale: float, points: np.ndarray, noise: float) -> float:
        k = lambda a, b: scale / SCALE * matern(a, b)  # noqa: E731
        left = k(x, x) - k(x, points) @ np.linalg.solve(k(points, points) + 0.1 * np.eye(2), k(points, x))
        return 0.5 * np.linalg.slogdet(np.eye(4) + left / noise)[1]

    h, along = 1e-5, np.array([[1.0, 0.0], [0.0, 0.0]])
    by_scale = (brute(SCALE + h, points, 0.2) - brute(SCALE - h, points, 0.2)) / (2 * h)
    by_point = (brute(SCALE, points + h * along, 0.2) - brute(SCALE, points - h * along, 0.2)) / (2 * h)
    by_noise = (brute(SCALE, points, 0.2 + h) - brute(SCALE, points, 0.2 - h)) / (2 * h)
    np.testing.assert_allclose(gradient["kernel"]["kernel"]["scale"], by_scale, rtol=1e-4)
    np.testing.assert_allclose(gradient["kernel"]["points"][0, 0], by_point, rtol=1e-4)
    np.testing.assert_allclose(gradient["noise"], by_noise, rtol=1e-4)


def test_no_more_than_the_capacity():
    information = sets.information_gain(sets.table(np.eye(5)), 3, 0.5)
    mutual = sets.mutual_information(np.eye(9) + 0.5, 3, 0.5)
    places = jnp.arange(5, dtype=jnp.int32)
    for function in (information, mutual):
        gains = one_by_one(function, function.init(jax.random.key(0)), places)
        assert (gains[:3] > 0).all()
        np.testing.assert_array_equal(gains[3:], 0)
    with pytest.raises(ValueError, match="capacity=3 measurements; got 5"):
        information.sequence(information.init(jax.random.key(0)), places)


def test_all_places_together_tell_nothing_about_others():
    covariances = matern(*[np.random.default_rng(5).random((6, 2))] * 2)
    function = sets.mutual_information(covariances, 6, 0.1)
    params = function.init(jax.random.key(0))
    gains = one_by_one(function, params, jnp.array([3, 1, 4, 0, 5, 2], jnp.int32))
    assert gains[0] > 0.1 > -0.1 > gains[-1]
    np.testing.assert_allclose(gains.sum(), 0, atol=1e-5)
    halves = [one_by_one(function, params, jnp.array(part, jnp.int32)).sum() for part in ([3, 1], [4, 0, 5, 2])]
    np.testing.assert_allclose(*halves, rtol=1e-5)


def test_bad_arguments_are_refused():
    kernel = sets.matern52()
    with pytest.raises(ValueError, match="got capacity=0, noise=1"):
        sets.information_gain(kernel, 0, 1.0)
    with pytest.raises(ValueError, match="positive noise; got capacity=3, noise=0"):
        sets.information_gain(kernel, 3, 0.0)
    with pytest.raises(ValueError, match=r"n items of shape \[2\] of the kernel, got shape \[4, 3\]"):
        sets.posterior(kernel, np.zeros((4, 3)), 0.1)
    with pytest.raises(ValueError, match=r"square matrix; got shape \[2, 3\]"):
        sets.table(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="symmetric; these differ by up to 1"):
        sets.table(np.array([[1.0, 1.0], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="got capacity=2, noise=-1"):
        sets.mutual_information(np.eye(2), 2, -1.0)
    with pytest.raises(ValueError, match="the smallest of these is -1"):
        sets.mutual_information(np.array([[0.0, 1.0], [1.0, 0.0]]), 2, 0.0)
