"""Squashed Gaussians against the distribution function that they have, and boxes at their corners."""

import math
from functools import cache, partial

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces

from jaxreward.learning.squashed import LOG_STD_RANGE, squashed_sample, unit_box
from tests.as_users import AS_USERS

MEAN, LOG_STD = np.array([0.3, -1.2]), np.array([-0.5, 0.4])
LOW, HIGH = np.array([[-1.0, 0.0, -5.0]]), np.array([[3.0, 0.5, -4.0]])  # unequal, and one without 0
UNIT = np.array([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.5, -0.5, 1.0]])


@cache
def computed():
    """All that is computed with JAX here, in one program."""
    box = unit_box(spaces.Box(LOW, HIGH, (1, 3)), "test")

    @partial(jax.jit, compiler_options=AS_USERS)
    def program(outputs, noise, far, unit):
        own, log_prob = squashed_sample(outputs, noise)
        mean, log_std = jnp.split(outputs, 2, -1)
        normal = distrax.Normal(mean, jnp.exp(log_std))
        theirs = distrax.Independent(distrax.Transformed(normal, distrax.Block(distrax.Tanh(), 0)), 1).log_prob(own)
        tails = squashed_sample(jnp.zeros((*far.shape[:-1], 2)), far)
        slopes = jax.grad(lambda x: squashed_sample(x, noise)[1].sum())(outputs)
        extreme = jax.grad(lambda x: jnp.stack(squashed_sample(x, far)[1:]).sum())(jnp.full((len(far), 2), 30.0))
        to_env = box.to_env(unit)
        return own, log_prob, theirs, tails, slopes, extreme, to_env, box.from_env(to_env)

    noise = np.random.default_rng(0).normal(size=(16, 2))
    outputs = np.broadcast_to(np.concatenate([MEAN, LOG_STD]), (16, 4))
    far = np.array([[-30.0], [-12.0], [12.0], [30.0]])
    return noise, jax.tree.map(np.asarray, program(*(jnp.asarray(x, jnp.float32) for x in (outputs, noise, far, UNIT))))


def distribution(action, mean, log_std):
    """P(tanh(u) <= action), in double precision."""
    return 0.5 * (1 + math.erf((math.atanh(action) - mean) / (math.exp(log_std) * math.sqrt(2))))


def test_the_density_is_the_slope_of_the_distribution_function():
    noise, (action, log_prob, *_) = computed()
    before = MEAN + np.exp(LOG_STD) * noise
    np.testing.assert_allclose(action, np.tanh(before), atol=1e-6)
    near = np.abs(before).max(1) < 2.5  # of others, atanh and the difference below have few digits left
    assert near.sum() > 8
    exact = np.tanh(before)
    step = 1e-6 * (1 - exact**2)
    for row in np.flatnonzero(near):
        density = 1.0
        for a, h, mean, log_std in zip(exact[row], step[row], MEAN, LOG_STD, strict=True):
            density *= (distribution(a + h, mean, log_std) - distribution(a - h, mean, log_std)) / (2 * h)
        # Central differences in double precision: relative errors of 1e-10 for rounding, 1e-12 for curvature.
        np.testing.assert_allclose(log_prob[row], math.log(density), rtol=1e-5, atol=1e-5)


def test_the_density_is_that_of_another_implementation():
    noise, (_, log_prob, theirs, *_) = computed()
    near = np.abs(MEAN + np.exp(LOG_STD) * noise).max(1) < 2.5  # theirs inverts tanh in single precision
    np.testing.assert_allclose(log_prob[near], theirs[near], rtol=1e-3, atol=1e-3)


def test_the_density_integrates_to_one():
    """Over u, where da = (1 - tanh(u)^2) du; in numpy, from the formula that is tested above."""
    u = np.linspace(-12, 12, 20_001)
    normal = -((u - 0.3) ** 2) / (2 * np.exp(-1.0)) + 0.5 - 0.5 * np.log(2 * np.pi)
    log_prob = normal - 2 * (np.log(2) - u - np.logaddexp(0, -2 * u))
    np.testing.assert_allclose(np.trapezoid(np.exp(log_prob) * (1 - np.tanh(u) ** 2), u), 1, atol=1e-6)


def test_tails_keep_their_digits():
    """Where tanh rounds to 1, log(1 - tanh(u)^2) is log 4 - 2 |u|, up to exp(-2 |u|)."""
    _, (*_, tails, _, extreme, _, _) = computed()
    action, log_prob = tails
    far = np.array([-30.0, -12.0, 12.0, 30.0])
    expected = -(far**2) / 2 - 0.5 * math.log(2 * math.pi) - (math.log(4) - 2 * np.abs(far))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-6)
    np.testing.assert_array_equal(action[:, 0], np.sign(far))
    assert np.isfinite(extreme).all()
    assert (extreme[:, 1] == 0).all()  # beyond the range of log standard deviations nothing pushes further
    assert LOG_STD_RANGE[1] < 30


def test_slopes_are_those_of_finite_differences():
    noise, (*_, slopes, _, _, _) = computed()

    def total(outputs):
        mean, log_std = np.split(outputs, 2, -1)
        u = mean + np.exp(log_std) * noise
        return (-(noise**2) / 2 - log_std - 2 * (np.log(2) - u - np.logaddexp(0, -2 * u))).sum(-1)

    base = np.broadcast_to(np.concatenate([MEAN, LOG_STD]), (16, 4))
    for i in range(4):
        step = 1e-6 * np.eye(4)[i]
        difference = (total(base + step) - total(base - step)) / 2e-6
        np.testing.assert_allclose(slopes[:, i], difference, rtol=1e-4, atol=1e-4)


def test_a_box_goes_from_bound_to_bound_on_each_side():
    _, (*_, to_env, back) = computed()
    assert to_env.shape == (4, 1, 3)
    np.testing.assert_array_equal(to_env[0], LOW)
    np.testing.assert_array_equal(to_env[1], HIGH)
    np.testing.assert_allclose(to_env[2], [[1.0, 0.25, -4.5]])
    np.testing.assert_allclose(to_env[3], [[2.0, 0.125, -4.0]])
    np.testing.assert_allclose(back, UNIT, atol=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        ([-1.0, -np.inf], [1.0, 1.0], r"who.* side \(1,\) .* from -inf to 1; expected finite bounds"),
        ([-1.0, 0.0], [np.inf, 1.0], r"side \(0,\) .* from -1 to inf"),
        ([-1.0, 2.0], [1.0, 2.0], r"side \(1,\) .* from 2 to 2; .* lower one below"),
    ],
)
def test_sides_that_nothing_can_be_scaled_to_are_refused(low, high, said):
    with pytest.raises(ValueError, match=said):
        unit_box(spaces.Box(np.array(low), np.array(high), (2,)), "who")


def test_other_spaces_are_refused():
    with pytest.raises(TypeError, match="td3 needs continuous actions; expected a Box, got Discrete"):
        unit_box(spaces.Discrete(3), "td3")
