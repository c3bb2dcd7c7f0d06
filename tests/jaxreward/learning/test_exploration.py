"""Schedules, random actions and targets, against numbers by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces

from jaxreward.learning.exploration import check_explorable, epsilon_greedy, linear, random_actions


def test_a_schedule_is_a_line_and_then_stays():
    found = jax.jit(jax.vmap(lambda taken: linear(1.0, 0.2, 100.0, taken)))(np.array([0.0, 25.0, 100.0, 1e6]))
    np.testing.assert_allclose(found, [1.0, 0.8, 0.2, 0.2], rtol=1e-6)


def test_it_explores_as_often_as_it_should_and_evenly():
    """The noise is a grid over [0, 1), so that frequencies are exact."""
    noise = (np.arange(1_000) + 0.5) / 1_000
    values = np.broadcast_to(np.array([0.0, 2.0, 1.0], np.float32), (1_000, 3))
    choose = jax.jit(epsilon_greedy)
    for epsilon, counts in ((0.0, [0, 1_000, 0]), (0.3, [100, 800, 100]), (1.0, [333, 334, 333])):
        np.testing.assert_allclose(np.bincount(choose(values, noise, epsilon), minlength=3), counts, atol=1)


def test_random_actions_are_within_unequal_bounds_and_even():
    """Means and variances of 4,000 draws; 5 standard errors off once in a million."""
    low, high = np.array([-1.0, 2.0], np.float32), np.array([3.0, 2.5], np.float32)
    box = spaces.Box(low, high, (2,))
    drawn = np.asarray(jax.jit(lambda key: random_actions(box, key, (4_000,)))(jax.random.key(0)))
    assert drawn.shape == (4_000, 2)
    assert ((low <= drawn) & (drawn <= high)).all()
    width = high - low
    np.testing.assert_array_less(np.abs(drawn.mean(0) - (low + high) / 2), 5 * width / np.sqrt(12 * 4_000))
    # The standard error of a uniform's variance is width^2 sqrt(1 / 180 n).
    np.testing.assert_array_less(np.abs(drawn.var(0) - width**2 / 12), 5 * width**2 / np.sqrt(180 * 4_000))
    discrete = jax.jit(lambda key: random_actions(spaces.Discrete(3), key, (40, 100)))(jax.random.key(0))
    assert np.abs(np.bincount(discrete.ravel(), minlength=3) - 4_000 / 3).max() < 5 * np.sqrt(4_000 * 2 / 9)


def test_what_can_t_be_drawn_from_is_refused():
    with pytest.raises(TypeError, match="dqn draws actions of a Discrete or a Box"):
        check_explorable(spaces.Dict({"a": spaces.Discrete(2)}), "dqn")
    with pytest.raises(TypeError, match=r"sac draws actions evenly at first; this Box is from -1\.0 to inf"):
        check_explorable(spaces.Box(-1.0, jnp.inf, (2,)), "sac")
