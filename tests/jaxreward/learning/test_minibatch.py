"""Shuffling without sorting is still shuffling: a permutation, uniform by index, and nearly so by pairs."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxreward.learning.minibatch import check_minibatches, epochs, shuffles

SIZES = [1, 2, 7, 12, 16, 20, 64, 97, 100, 4096]
LEVEL = 1e-4  # of each test: fixed keys, and about one chance in a thousand that a right shuffle fails anything here


DRAWS = {64: 20_000, 4096: 2_000}


@cache
def drawn(size):
    """Many permutations of `size`, drawn once for all tests."""
    return np.asarray(draw(jax.random.key(size), DRAWS.get(size, 4_000), size))


draw = jax.jit(shuffles, static_argnums=(1, 2))


@pytest.mark.parametrize("size", SIZES)
def test_is_a_permutation_whatever_the_size(size):
    permutations = drawn(size)
    assert np.issubdtype(permutations.dtype, np.integer)
    np.testing.assert_array_equal(np.sort(permutations, 1), np.broadcast_to(np.arange(size), permutations.shape))


@pytest.mark.parametrize("size", [12, 64])
def test_is_the_same_alone_and_under_vmap(size):
    keys = jax.random.split(jax.random.key(0), 3)
    batched = jax.jit(jax.vmap(lambda key: shuffles(key, 2, size)))(keys)
    np.testing.assert_array_equal(np.stack([draw(key, 2, size) for key in keys]), batched)


def test_shuffles_of_a_draw_and_of_other_keys_differ():
    assert len(np.unique(drawn(64)[:50], axis=0)) == 50
    assert (draw(jax.random.key(0), 2, 64) != draw(jax.random.key(1), 2, 64)).any()


def uniformity(counts):
    """The p-value of Pearson's chi-square test that every cell is equally likely."""
    return stats.chisquare(counts.ravel()).pvalue


@pytest.mark.parametrize("size", [12, 16, 20, 64])
@pytest.mark.parametrize("place", [0, 1, 6, 11])
def test_each_index_is_equally_likely_at_each_place(size, place):
    assert uniformity(np.bincount(drawn(size)[:, place], minlength=size)) > LEVEL


def test_the_uniformity_test_sees_a_shuffle_that_is_not_uniform():
    """Negative control: turning the whole range by an offset from half of it."""
    offsets = np.random.default_rng(0).integers(0, 32, 25600)
    assert uniformity(np.bincount(offsets, minlength=64)) < LEVEL


def share_of_pairs_together(permutations, first, second, minibatches=4):
    """How often two entries are in the same minibatch; minibatches are consecutive places."""
    places = np.argsort(permutations, 1)
    part = places // (permutations.shape[1] // minibatches)
    return (part[:, first] == part[:, second]).mean()


# Neighbours are in one row of the grid, and indices a row length apart in one column: what each turn moves together.
@pytest.mark.parametrize(("size", "columns"), [(64, 8), (4096, 64)])
@pytest.mark.parametrize("apart", ["neighbours", "same column", "same column, far"])
def test_pairs_meet_in_a_minibatch_as_often_as_they_should(size, columns, apart):
    draws = DRAWS[size]
    step = {"neighbours": 1, "same column": columns, "same column, far": 3 * columns}[apart]
    together = share_of_pairs_together(drawn(size), 5, 5 + step)
    expected = (size / 4 - 1) / (size - 1)
    assert stats.binomtest(round(together * draws), draws, expected).pvalue > LEVEL


def test_the_pair_test_sees_a_shuffle_that_keeps_neighbours_together():
    """Negative control: turning the range by a uniform offset is uniform by index, and not at all by pairs."""
    offsets = np.random.default_rng(0).integers(0, 64, 20_000)
    turned = (np.arange(64) + offsets[:, None]) % 64
    assert uniformity(np.bincount(turned[:, 0], minlength=64)) > LEVEL
    together = share_of_pairs_together(turned, 5, 6)
    assert stats.binomtest(round(together * 20_000), 20_000, 15 / 63).pvalue < LEVEL


def test_minibatches_of_an_epoch_part_the_batch():
    parts = drawn(64)[0].reshape(4, 16)
    assert set.union(*map(set, parts.tolist())) == set(range(64))


def test_a_pass_shows_each_part_of_a_batch_once():
    """Along either axis; each minibatch is told apart by its number, and metrics are means."""
    batch = {"x": np.arange(12).reshape(6, 2), "y": 10 * np.arange(12).reshape(6, 2)}

    def step(carry, minibatch):
        assert minibatch["x"].shape in ((2, 2), (6, 1))
        seen = carry["seen"].at[minibatch["x"].ravel()].add(1)
        return {"seen": seen, "steps": carry["steps"] + 1}, minibatch["y"].sum() - 10 * minibatch["x"].sum()

    start = {"seen": jnp.zeros(12, jnp.int32), "steps": jnp.zeros((), jnp.int32)}
    for axis, parts in ((0, 3), (1, 2)):
        carry, metric = jax.jit(lambda key: epochs(step, start, batch, key, 4, parts, axis))(jax.random.key(0))
        np.testing.assert_array_equal(carry["seen"], np.full(12, 4))
        assert carry["steps"] == 4 * parts
        assert metric == 0


def test_parts_that_do_not_divide_are_refused():
    check_minibatches(4, 12, "num_envs")
    with pytest.raises(ValueError, match="num_minibatches=5 does not divide num_envs=12; the nearest that does is 4"):
        check_minibatches(5, 12, "num_envs")
