"""Signatures against their algebra and, for numbers, iisignature 0.24; in float64, to 1e-12."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.quality_diversity.signatures import (
    chen,
    exponential,
    extended,
    log_signature,
    logarithm,
    lyndon_words,
    signature,
)

CLOSE = dict(rtol=1e-12, atol=1e-12)
SHAPES = [(1, 3), (2, 2), (2, 5), (3, 4)]  # dimensions and depth


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def path_of(dimensions, steps=9, seed=0):
    return np.random.default_rng(seed).normal(size=(steps, dimensions))


exponential = functools.partial(jax.jit, static_argnums=1)(exponential)
chen, extended, logarithm = map(jax.jit, (chen, extended, logarithm))


@functools.partial(jax.jit, static_argnums=1)
def levels_of(path, depth):
    return split(signature(path, depth), path.shape[1], depth)


def split(flat, dimensions, depth):
    sizes = [dimensions**n for n in range(1, depth + 1)]
    assert flat.shape == (sum(sizes),)
    return tuple(jnp.split(flat, np.cumsum(sizes)[:-1]))


def assert_close(ours, expected):
    for a, b in zip(jax.device_get(ours), jax.device_get(expected), strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


@pytest.mark.parametrize(("dimensions", "depth"), SHAPES)
def test_that_of_a_segment_is_the_tensor_exponential(dimensions, depth):
    start, end = path_of(dimensions, 2)
    power, expected = np.ones(()), []
    for n in range(1, depth + 1):
        power = np.multiply.outer(power, end - start)
        expected.append(power.ravel() / math.factorial(n))
    assert_close(levels_of(np.stack([start, end]), depth), expected)
    assert_close(exponential(jnp.asarray(end - start), depth), expected)


@pytest.mark.parametrize(("dimensions", "depth"), SHAPES)
def test_that_of_two_paths_in_turn_is_the_product_of_theirs(dimensions, depth):
    path = path_of(dimensions)
    first, second = levels_of(path[:4], depth), levels_of(path[3:], depth)
    assert_close(levels_of(path, depth), chen(first, second))
    step = jnp.asarray(path[1] - path[0])
    assert_close(extended(second, step), chen(second, exponential(step, depth)))
    backwards = chen(levels_of(path, depth), levels_of(path[::-1], depth))
    assert_close(backwards, [np.zeros(dimensions**n) for n in range(1, depth + 1)])


def shuffles(u, v):
    """All words made of the letters of both, those of each in their order, as often as they can be made."""
    for places in itertools.combinations(range(len(u) + len(v)), len(u)):
        letters, others = iter(u), iter(v)
        yield tuple(next(letters) if i in places else next(others) for i in range(len(u) + len(v)))


@pytest.mark.parametrize(("dimensions", "depth"), SHAPES)
def test_a_product_of_coefficients_is_the_sum_over_shuffles(dimensions, depth):
    levels = levels_of(path_of(dimensions), depth)
    tensors = [np.reshape(level, (dimensions,) * n) for n, level in enumerate(levels, 1)]
    at = lambda word: tensors[len(word) - 1][word]  # noqa: E731
    for m, n in itertools.product(range(1, depth), repeat=2):
        if m + n > depth:
            continue
        for u, v in itertools.product(itertools.product(range(dimensions), repeat=m), np.ndindex(*(dimensions,) * n)):
            np.testing.assert_allclose(at(u) * at(v), sum(at(w) for w in shuffles(u, v)), **CLOSE)


@pytest.mark.parametrize(("dimensions", "depth"), SHAPES)
def test_speed_makes_no_difference_unless_time_is_added(dimensions, depth):
    path = path_of(dimensions)
    slower = np.concatenate([path[:3], np.linspace(path[2], path[3], 5)[1:], path[3:], path[-1:]])
    faster = np.concatenate([path, np.repeat(path[-1:], len(slower) - len(path), axis=0)])
    assert_close(signature(slower, depth), signature(path, depth))
    assert_close(log_signature(slower, depth), log_signature(path, depth))
    timed = [np.asarray(signature(path, depth, time=True)) for path in (slower, faster)]
    assert np.abs(timed[0] - timed[1]).max() > 0.01


@pytest.mark.parametrize("time", [False, True])
@pytest.mark.parametrize("describe", [signature, log_signature])
def test_points_that_do_not_exist_make_no_difference(describe, time):
    """Under `vmap` over trajectories of different lengths, with NaN in what comes after the end."""
    path, lengths = path_of(2), np.array([1, 2, 5, 9])
    mask = np.arange(9)[None] < lengths[:, None]
    padded = np.where(mask[..., None], path[None], np.nan)
    ours = jax.jit(jax.vmap(lambda p, m: describe(p, 3, mask=m, time=time)))(padded, mask)
    for length, found in zip(lengths, np.asarray(ours), strict=True):
        clock = np.linspace(0, 1, 9)[:length, None]
        timed = np.concatenate([path[:length], clock], axis=1)
        np.testing.assert_allclose(found, describe(timed if time else path[:length], 3), **CLOSE)
    np.testing.assert_array_equal(ours[0], 0.0)


def test_the_antisymmetric_part_of_level_two_is_the_levy_area():
    square = np.array([[0.0, 0], [2, 0], [2, 2], [0, 2], [0, 0]])
    assert log_signature(square, 2).tolist() == [0.0, 0.0, 4.0]  # counter-clockwise
    assert log_signature(square[::-1], 2).tolist() == [0.0, 0.0, -4.0]
    path = path_of(2)
    second = levels_of(path, 2)[1].reshape(2, 2)
    x, y = (path - path[0]).T  # the polygon closed by the chord has the area that the shoelace formula tells
    area = 0.5 * np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])
    np.testing.assert_allclose(0.5 * (second - second.T), area * np.array([[0, 1], [-1, 0]]), **CLOSE)
    np.testing.assert_allclose(0.5 * (second + second.T), 0.5 * np.outer(path[-1] - path[0], path[-1] - path[0]))
    np.testing.assert_allclose(log_signature(path, 2), [*(path[-1] - path[0]), area], **CLOSE)


@pytest.mark.parametrize(("dimensions", "depth"), SHAPES)
def test_the_logarithm_of_a_segment_is_its_increment(dimensions, depth):
    path = path_of(dimensions, 2)
    increment = path[1] - path[0]
    log = log_signature(path, depth)
    np.testing.assert_allclose(log, np.pad(increment, (0, log.size - dimensions)), **CLOSE)
    full = logarithm(exponential(jnp.asarray(increment), depth))
    assert_close(full, [increment, *(np.zeros(dimensions**n) for n in range(2, depth + 1))])


def mobius(n):
    primes = [p for p in range(2, n + 1) if n % p == 0 and all(p % q for q in range(2, p))]
    return 0 if any(n % p**2 == 0 for p in primes) else (-1) ** len(primes)


@pytest.mark.parametrize(("dimensions", "depth"), [(1, 3), (2, 7), (3, 5), (5, 3)])
def test_there_are_as_many_coordinates_as_witt_counts(dimensions, depth):
    def witt(n):
        return sum(mobius(r) * dimensions ** (n // r) for r in range(1, n + 1) if n % r == 0) // n

    words = lyndon_words(dimensions, depth)
    assert [sum(len(w) == n for w in words) for n in range(1, depth + 1)] == [witt(n) for n in range(1, depth + 1)]
    assert all(w < w[i:] + w[:i] for w in words for i in range(1, len(w)))
    assert all((len(a), a) < (len(b), b) for a, b in itertools.pairwise(words))
    assert log_signature(path_of(dimensions, 3), depth).shape == (len(words),)


def test_numbers_are_those_of_iisignature():
    path = np.array([[0, 0, 0], [1, 2, 0], [3, -1, 1], [2, 0, 2], [0, 1, -1]], float)
    # iisignature 0.24: sig(path[:, :2], 3) and logsig(path, prepare(3, 3)), in 24ths
    of_plane = [0, 24, 0, -36, 36, 12, 0, -56, 112, -8, -56, -20, 28, 4]
    logarithm_of_space = [0, 24, -24, -36, 36, -24, -56, 80, 10, -10, 52, -62, 20, 36]
    np.testing.assert_allclose(signature(path[:, :2], 3) * 24, of_plane, **CLOSE)
    np.testing.assert_allclose(log_signature(path, 3) * 24, logarithm_of_space, **CLOSE)


@pytest.mark.parametrize("describe", [signature, log_signature])
def test_derivatives_are_those_of_finite_differences(describe):
    path, direction = path_of(2, 5), path_of(2, 5, seed=1)
    weights = np.random.default_rng(2).normal(size=describe(path, 3).shape)
    value = jax.jit(lambda p: jnp.vdot(weights, describe(p, 3)))
    slope = np.vdot(jax.jit(jax.grad(value))(path), direction)
    step = 1e-5  # the central difference's error is of the order of its square
    difference = (value(path + step * direction) - value(path - step * direction)) / (2 * step)
    np.testing.assert_allclose(slope, difference, rtol=1e-7)


@pytest.mark.parametrize("describe", [signature, log_signature])
def test_types_follow_the_path(describe):
    short = jnp.asarray(path_of(2), jnp.float32)
    for time in (False, True):
        result = jax.eval_shape(lambda p, time=time: describe(p, 4, time=time), short)
        assert (result.dtype, result.weak_type) == (jnp.float32, False)


def test_what_is_no_path_is_refused():
    with pytest.raises(ValueError, match=r"got \[4\] and 2"):
        signature(np.zeros(4), 2)
    with pytest.raises(ValueError, match=r"got \[4, 2\] and 0"):
        log_signature(np.zeros((4, 2)), 0)
