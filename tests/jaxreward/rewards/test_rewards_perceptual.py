"""Steps found in demonstrations: cuts against all there are, and a classifier against scipy's densities."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from jaxreward.reward import Transition
from jaxreward.rewards import perceptual_steps
from jaxreward.rewards.perceptual import segment

RNG = np.random.default_rng(0)


def spread(x, bounds):
    return sum(np.square(x[a:b] - x[a:b].mean(0)).sum() for a, b in itertools.pairwise(bounds))


@pytest.mark.parametrize("number", [1, 2, 4, 9])
def test_cuts_are_the_best_of_all(number):
    x = RNG.normal(size=(9, 2)) + 100
    every = [(0, *cuts, 9) for cuts in itertools.combinations(range(1, 9), number - 1)]
    np.testing.assert_array_equal(segment(x, number), min(every, key=lambda bounds: spread(x, bounds)))


PLANTED = (0, 12, 30, 37)


def demonstration(shift=0):
    """Three steps: the first feature tells them apart, the second is noise, the third never changes."""
    lengths = np.diff(PLANTED) + shift
    levels = np.repeat([0.0, 5.0, 10.0], lengths)
    noise = RNG.normal(size=(2, len(levels)))
    return np.stack([levels + noise[0], 0.5 * noise[1], np.ones(len(levels))], -1)


def test_planted_steps_are_found_and_later_ones_pay_more():
    shown = [demonstration(shift) for shift in (0, 4, 0)]
    np.testing.assert_array_equal(segment(shown[0], 3), PLANTED)
    reward = perceptual_steps(shown, 3, num_features=1)
    points = np.array([[0.0, 1, 1], [5.0, 1, 1], [10.0, 1, 1], [5.0, -4, 1]])

    def paid(x):
        return reward.step(reward.init(None), (), Transition(x, (), (), x, (), ()))[1]

    values = np.asarray(jax.jit(jax.vmap(paid))(jnp.asarray(points, float)))
    assert values[0] < values[1] < values[2]
    frames = np.concatenate(shown)[:, :2]
    labels = np.concatenate([np.repeat(range(3), np.diff(PLANTED) + shift) for shift in (0, 4, 0)])
    expected = np.zeros(4)
    for k in range(3):
        mine, others = frames[labels == k], frames[labels != k]
        best = np.argmax(np.abs(mine.mean(0) - others.mean(0)) / (mine.std(0) + others.std(0)))
        for part, sign in ((mine[:, best], 1), (others[:, best], -1)):
            expected += k * sign * norm.logpdf(points[:, best], part.mean(), part.std())
    np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-3)
    every = perceptual_steps(shown, 3)
    step = jax.jit(lambda x: every.step(every.init(None), (), Transition(x, (), (), x, (), ()))[1])
    # The third feature never varied, and tells nothing when it does.
    np.testing.assert_allclose(step(jnp.array([5.0, 0, 7])), step(jnp.array([5.0, 0, 1])), rtol=1e-4)


def test_what_is_refused():
    with pytest.raises(ValueError, match="3 frames are cut into 1 to 3 pieces; got number=4"):
        perceptual_steps([np.zeros((3, 1))], 4)
    with pytest.raises(ValueError, match="steps are 2 or more, of demonstrations with equal features"):
        perceptual_steps([np.zeros((3, 1)), np.zeros((3, 2))], 2)
    with pytest.raises(ValueError, match="got number=1"):
        perceptual_steps([np.zeros((3, 1))], 1)
