"""Nearest neighbours against brute force in float64, to the roundings that float32 has to make."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.quality_diversity.novelty import DIRECT, nearest, novelty

# One program for a call, where each would be some fifty small ones.
nearest = jax.jit(nearest, static_argnames=("k", "block_size"))
novelty = jax.jit(novelty, static_argnames=("k", "block_size", "drop_nearest"))
ROUNDING = 2.0**-24
BLOCKS = dict(block_size=16)


def brute_force(queries, reference, mask, own):
    """All distances in float64, `[Q, R]` sorted, infinite where not allowed."""
    queries, reference = np.asarray(queries, np.float64), np.asarray(reference, np.float64)
    distances = np.sqrt(((queries[:, None] - reference[None]) ** 2).sum(-1))
    distances[:, ~mask] = np.inf
    rows = np.flatnonzero(own >= 0)
    distances[rows, own[rows]] = np.inf
    return np.sort(distances, axis=1)


def mean_of_finite(distances, k):
    """The mean of the `k` smallest of sorted distances, of those there are."""
    nearest = [row[:k][np.isfinite(row[:k])] for row in distances]
    return np.array([row.mean() if row.size else np.inf for row in nearest])


def points(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("dimensions", [1, 2, DIRECT])
@pytest.mark.parametrize("k", [1, 5, 15])
def test_novelty_is_the_mean_distance_to_the_nearest_others(dimensions, k):
    reference, own = points(0, 3, 70, dimensions), np.arange(20)
    mask = np.random.default_rng(1).random((3, 70)) < 0.6
    mask[1] = np.arange(70) < 25
    ours = jax.jit(jax.vmap(lambda r, m: novelty(r[:20], r, k, mask=m, own=own, **BLOCKS)))(reference, mask)
    for r, m, found in zip(reference, mask, ours, strict=True):
        expected = mean_of_finite(brute_force(r[:20], r, m, own), k)
        # Each distance is off by at most (dimensions + 3) / 2 roundings, their mean by at most k + 1 more.
        np.testing.assert_allclose(found, expected, rtol=(dimensions + k + 4) * ROUNDING)


@pytest.mark.parametrize("dimensions", [3, DIRECT + 2])
def test_duplicates_have_no_distance_and_only_the_query_itself_is_left_out(dimensions):
    reference = np.tile(points(0, 10, dimensions), (3, 1)) + 100
    own = np.arange(30)
    found = nearest(reference, reference, 3, own=own, **BLOCKS)
    np.testing.assert_array_equal(found.distances[:, :2], 0.0)
    assert (np.asarray(found.distances[:, 2]) > 0.1).all()
    expected = [[j for j in (i % 10, i % 10 + 10, i % 10 + 20) if j != i] for i in range(30)]
    if dimensions <= DIRECT:
        np.testing.assert_array_equal(found.indices[:, :2], expected)  # of the equally near the earlier comes first
    else:
        assert np.sort(found.indices[:, :2]).tolist() == expected


def test_fewer_than_k_others():
    reference = np.array([[0.0, 0], [3, 4], [0, 8], [9, 9]], np.float32)
    mask = np.array([True, True, True, False])
    score = functools.partial(novelty, reference[:1], reference, 15)
    np.testing.assert_allclose(score(mask=mask, own=np.array([0])), [(5 + 8) / 2])
    np.testing.assert_allclose(score(mask=mask), [(0 + 5 + 8) / 3], rtol=2 * ROUNDING)
    np.testing.assert_allclose(score(mask=mask, own=np.array([-1])), [(0 + 5 + 8) / 3], rtol=2 * ROUNDING)
    assert score(mask=mask & (np.arange(4) == 0), own=np.array([0])).tolist() == [np.inf]
    assert score(mask=np.zeros(4, bool)).tolist() == [np.inf]


@pytest.mark.parametrize("dimensions", [2, DIRECT + 2])
def test_dropping_the_nearest_drops_the_query_itself_or_a_true_neighbour(dimensions):
    reference = points(0, 40, dimensions)
    scores = jax.jit(lambda q: novelty(q, reference, 5, drop_nearest=True, **BLOCKS))
    own = novelty(reference, reference, 5, own=np.arange(40), **BLOCKS)
    np.testing.assert_allclose(scores(reference), own, rtol=4 * ROUNDING)
    others = points(1, 40, dimensions)
    distances = brute_force(others, reference, np.ones(40, bool), np.full(40, -1))
    expected = distances[:, 1:6].mean(1)
    np.testing.assert_allclose(scores(others), expected, rtol=(dimensions + 9) * ROUNDING)


@pytest.mark.parametrize("block_size", [1, 7, 64, 70, 1000])
@pytest.mark.parametrize("dimensions", [2, DIRECT + 2])
def test_blocks_make_no_difference(block_size, dimensions):
    reference, mask = points(0, 70, dimensions), np.arange(70) % 3 > 0
    find = lambda size: nearest(reference[:9], reference, 4, mask=mask, own=np.arange(9), block_size=size)  # noqa: E731
    one, blocks = find(70), find(block_size)
    np.testing.assert_array_equal(blocks.indices, one.indices)
    np.testing.assert_allclose(blocks.distances, one.distances, rtol=2 * ROUNDING)
    distances = np.sqrt(((reference[:9, None] - reference[one.indices]).astype(np.float64) ** 2).sum(-1))
    np.testing.assert_allclose(one.distances, distances, rtol=(dimensions + 3) * ROUNDING)


@pytest.mark.parametrize("dimensions", [DIRECT + 2, 200])
def test_the_matrix_product_chooses_neighbours_that_are_as_near_up_to_its_rounding(dimensions):
    """Two far clusters of near points, where the product's error is as large as the distances within a cluster."""
    cluster = np.where(np.arange(80) % 2, 300.0, -300.0)[:, None]
    reference = (cluster + 0.1 * points(0, 80, dimensions)).astype(np.float32)
    found = jax.jit(lambda r: nearest(r[:30], r, 5, own=jnp.arange(30), **BLOCKS))(reference)
    exact = brute_force(reference[:30], reference, np.ones(80, bool), np.arange(30))[:, :5]
    chosen = np.sqrt(((reference[:30, None].astype(np.float64) - reference[found.indices]) ** 2).sum(-1))
    np.testing.assert_allclose(found.distances, chosen, rtol=(dimensions + 3) * ROUNDING)
    # The error of |a|^2 + |b|^2 - 2ab with a sum of `dimensions` terms in any order, for both of two that compete.
    error = 2 * (dimensions + 3) * ROUNDING * 4 * np.square(reference.astype(np.float64)).sum(1).max()
    assert (np.sort(chosen) ** 2 - exact**2 <= error).all()
    assert (chosen >= exact.min(1)[:, None] * (1 - ROUNDING)).all()


def test_one_far_cluster_costs_no_accuracy():
    """About the mean of the reference its distance from 0 cancels before the product is taken."""
    reference = (600 + 0.01 * points(0, 60, DIRECT + 2)).astype(np.float32)
    found = nearest(reference[:20], reference, 5, own=np.arange(20), **BLOCKS)
    exact = brute_force(reference[:20], reference, np.ones(60, bool), np.arange(20))[:, :5]
    np.testing.assert_allclose(np.sort(found.distances), exact, rtol=(DIRECT + 5) * ROUNDING)


@pytest.mark.parametrize("dimensions", [2, DIRECT + 2])
def test_it_compiles_to_the_fast_kernel_and_to_branches_without_a_table_of_all_distances(dimensions):
    queries, rows, block_size, seeds = 50, 65_536, 1024, 2
    shapes = [(seeds, queries, dimensions), (seeds, rows, dimensions), (seeds, rows), (seeds, queries)]
    types = [jnp.float32, jnp.float32, bool, jnp.int32]
    arguments = [jax.ShapeDtypeStruct(*of) for of in zip(shapes, types, strict=True)]
    call = jax.vmap(lambda q, r, m, o: novelty(q, r, 15, mask=m, own=o, block_size=block_size))
    compiled = jax.jit(call).lower(*arguments).compile()
    assert 'custom_call_target="TopK"' in compiled.as_text()
    assert " sort(" not in compiled.as_text()
    assert " conditional(" in compiled.as_text()
    centered = 4 * seeds * rows * (dimensions + 2)
    table_of_a_block = 4 * seeds * queries * (block_size + 15)
    assert compiled.memory_analysis().temp_size_in_bytes < 2 * centered + 4 * table_of_a_block
    assert 2 * centered + 4 * table_of_a_block < 4 * seeds * queries * rows


def test_what_does_not_fit_is_refused():
    table = np.zeros((4, 2), np.float32)
    with pytest.raises(ValueError, match=r"same d and R > 0; got \[4, 2\] and \[4, 3\]"):
        nearest(table, np.zeros((4, 3)), 1)
    with pytest.raises(ValueError, match=r"got \[4, 2\] and \[0, 2\]"):
        nearest(table, table[:0], 1)
    with pytest.raises(ValueError, match="k must be at least 1; got 0"):
        nearest(table, table, 0)
    with pytest.raises(ValueError, match="block_size must be at least 1; got 0"):
        nearest(table, table, 1, block_size=0)
    with pytest.raises(ValueError, match="got both, give one of them"):
        novelty(table, table, 1, own=np.arange(4), drop_nearest=True)
