"""What is particular to single set functions: bit masks, gradients, capacities, errors."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.rewards import sets
from jaxreward.rewards.sets.bits import contains, insert, no_bits


@pytest.mark.parametrize("size", [1, 31, 32, 33, 900])
def test_bits_are_a_set(size):
    rng, expected, bits = np.random.default_rng(size), set(), no_bits(size)
    for count in (1, 3, 3):
        ids = rng.integers(0, size, count)
        expected |= set(ids.tolist())
        bits = jax.jit(insert)(bits, jnp.asarray(ids, jnp.int32))
        held = np.flatnonzero(jax.jit(contains)(bits, jnp.arange(size, dtype=jnp.int32)))
        assert set(held.tolist()) == expected


def test_numbers_without_a_word_are_left_out():
    assert not insert(no_bits(32), jnp.array([32, 64, 1000], jnp.int32)).any()


def test_the_gradient_of_coverage_is_what_was_covered():
    cells = np.array([[0, 1], [1, 2], [3, 9]])
    function = sets.coverage(cells, np.array([1.0, 2.0, 4.0, 8.0, 16.0]))
    params = function.init(jax.random.key(0))
    value, gradient = jax.value_and_grad(lambda w: function.sequence(w, jnp.array([0, 2, 0, 1], jnp.int32)).sum())(
        params
    )
    assert value == 15
    np.testing.assert_array_equal(gradient, [1, 1, 1, 1, 0])


def test_weights_can_be_drawn():
    function = sets.coverage(np.array([[0], [1]]), lambda key: jax.random.uniform(key, (2,)))
    key = jax.random.key(3)
    np.testing.assert_array_equal(function.init(key), jax.random.uniform(key, (2,)))
    assert function.single(function.init(key), jnp.int32(1)) == jax.random.uniform(key, (2,))[1]


def test_coverage_over_a_batch_of_weights():
    function, places = sets.coverage(np.array([[0, 1], [1, 2]]), np.ones(3)), jnp.array([0, 1], jnp.int32)
    gains = jax.vmap(function.sequence, (0, None))(jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), places)
    np.testing.assert_array_equal(gains, [[3, 3], [9, 6]])


def test_params_of_a_mixture_are_its_weights():
    covered, found = sets.coverage(np.array([[0], [1]]), [1.0, 2.0]), sets.items(np.array([0, 0]), np.array([1]))
    function = sets.mixture(covered=covered, found=(found, 0.5))
    params = function.init(jax.random.key(0))
    params["weights"]["covered"] = jnp.float32(10.0)
    gains = function.sequence(params, jnp.array([1, 0, 1], jnp.int32))
    np.testing.assert_array_equal(gains, [20.5, 10, 0])


def test_a_list_of_structured_items_up_to_its_capacity():
    item = {"at": jnp.zeros(2), "kind": jnp.int32(0)}
    function = sets.from_function(lambda _, items, mask: (items["at"].sum(1) * items["kind"] * mask).sum(), 2, item)
    items = {"at": jnp.array([[1.0, 2], [3, 4], [5, 6]]), "kind": jnp.array([1, 2, 3], jnp.int32)}
    np.testing.assert_array_equal(jax.jit(partial(function.sequence, ()))(items), [3, 14, 0])


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"one number a cell, \[C\]; got shape \[2, 2\]"):
        sets.coverage(np.array([[0]]), np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"filled up with 3; got int64\[2\]"):
        sets.coverage(np.array([0, 1]), np.ones(3))
    with pytest.raises(ValueError, match="filled up with 3; got -1"):
        sets.coverage(np.array([[0, -1]]), np.ones(3))
    with pytest.raises(ValueError, match="0 to 1 as 2 are required; got kinds from 0 to 2"):
        sets.items(np.array([0, 2]), np.array([1, 1]))
    with pytest.raises(ValueError, match=r"\[S, clients\]; got shape \[3\]"):
        sets.facility_location([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"pairs of places, \[S, S\]; got shape \[3\]"):
        sets.pairwise(np.ones(3))
    with pytest.raises(ValueError, match=r"got shapes \[2, 3\] and \[2\]"):
        sets.probabilistic_coverage(np.ones((2, 3)), np.ones(2))
    with pytest.raises(ValueError, match="got capacity=0"):
        sets.from_function(lambda *_: 0.0, 0, jnp.int32(0))
    with pytest.raises(ValueError, match="at least one named set function"):
        sets.mixture()
    with pytest.raises(ValueError, match="covered is a set function or a pair"):
        sets.mixture(covered=3.0)
    with pytest.raises(ValueError, match=r"got \[2, 2, 1, 2\] entries"):
        sets.patches((0, 0), (1, 1), (4,), (2, 2))
    with pytest.raises(ValueError, match="a region ends after it begins"):
        sets.patches((0, 0), (1, 0), (4, 4), (2, 2))
    with pytest.raises(ValueError, match="at least one cell"):
        sets.patches((0, 0), (1, 1), (4, 4), (2, 0))
