"""The narrowest types: known ones, and that nothing is lost by any."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs.registry import make
from jaxreward.learning.narrow import narrowest, types_of_observations
from tests.probes import Counter, CounterParams

X = jnp.array([-2.5, 0.0, 300.0])
GAMES = ("Asterix-MinAtar", "Breakout-MinAtar", "Freeway-MinAtar", "SpaceInvaders-MinAtar")


def drawn(x):
    """As a game draws: places of whole numbers set to one, of which the last is not shown."""
    grid = jnp.zeros((3, 2), jnp.int32).at[0].set(1).at[1, 0].set(x[0] > 0)
    return grid[:, :1].astype(float)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x, "float32"),
        (lambda x: (x > 0).astype(float), "bool"),
        (lambda x: x.astype(jnp.uint8).astype(float), "uint8"),
        (lambda x: (x > 0).astype(jnp.int32).astype(float)[None].T, "bool"),
        (lambda x: jnp.where(x > 1, (x > 0).astype(float), (x < 0).astype(float)), "bool"),
        (jax.jit(lambda x: jax.jit(lambda y: y.astype(float))(x > 0)), "bool"),
        (lambda x: jax.lax.stop_gradient(jnp.concatenate([x > 0, x < 0]).astype(float)), "bool"),
        (drawn, "bool"),
        (lambda x: jnp.zeros(3, jnp.int32).at[0].set(7).astype(float), "uint8"),
        (lambda x: jnp.zeros(3, jnp.int32).at[0].set(-7).astype(float), "int8"),
        (lambda x: jnp.zeros(3, jnp.int32).at[0].set(300).astype(float), "uint16"),
        (lambda x: jnp.zeros(3, jnp.int32).at[0].add(1).astype(float), "float32"),  # twice is more than once
        (lambda x: (jnp.zeros(3, jnp.int32) + 0).at[0].apply(lambda y: y - 300).astype(float), "float32"),
        (lambda x: (x > 0).astype(jnp.int32).at[2].apply(lambda y: 7 * y).astype(float), "float32"),
        (lambda x: (x > 0).astype(jnp.int32).at[2].max(9).astype(float), "float32"),
        (lambda x: jax.lax.cond(x[0] > 0, lambda: x > 0, lambda: x < 0).astype(float), "bool"),
        (lambda x: jnp.where(x > 0, (x > 1).astype(float), -2.5), "float32"),
        (jax.checkpoint(lambda x: (x > 0).astype(float)), "float32"),
        (jax.vmap(lambda y: (y > 0).astype(float)), "bool"),
        (lambda x: (x > 0).astype(float) + 1, "float32"),
        (lambda x: x.astype(bool).astype(float), "bool"),
        (lambda x: x.astype(jnp.int32).astype(float), "float32"),  # not every whole number is such a float
        (lambda x: x.astype(jnp.int8).astype(jnp.uint8).astype(float), "uint8"),  # -2 is 254 by then
        (lambda x: jnp.where(x > 0, (x > 0).astype(float), 0.5), "float32"),
        (lambda x: jnp.where(x > 0, 300, 1).astype(jnp.uint8).astype(float), "uint8"),  # 300 is 44 by then
    ],
)
def test_it_is_known_and_loses_nothing(function, expected):
    given, narrow = function(X), narrowest(function, X)
    assert narrow == np.dtype(expected)
    np.testing.assert_array_equal(given.astype(narrow).astype(given.dtype), given)


@pytest.mark.parametrize("name", GAMES)
def test_pictures_of_games_are_booleans(name):
    env, params = make(name)

    def seen(key):
        first, state = env.reset_env(key, params)
        return first, env.step_env(key, state, jnp.int32(1), params)[0]

    pictures = jax.jit(seen)(jax.random.key(0))
    assert types_of_observations(env, params, pictures[0]) == np.dtype(bool)
    assert pictures[0].dtype == jnp.float32
    assert all(set(np.unique(picture)) == {0.0, 1.0} for picture in pictures)


class Late(Counter):
    """A `Counter` whose resets show booleans, as floats, and whose steps show the count."""

    def reset_env(self, key, params):
        observation, state = super().reset_env(key, params)
        return (observation > 0).astype(float), state


def test_a_step_may_need_more_than_a_reset():
    shown = jnp.zeros(1)
    assert narrowest(lambda key: Late().reset_env(key, CounterParams())[0], jax.random.key(0)) == np.dtype(bool)
    assert types_of_observations(Late(), CounterParams(), shown) == shown.dtype
    assert types_of_observations(Counter(), CounterParams(), shown) == shown.dtype


def test_what_is_no_number_is_left_alone():
    assert narrowest(lambda key: jax.random.split(key), jax.random.key(0)) == jax.random.key(0).dtype
