"""The grid against a Python dict, its cells against counting by hand, centroids against brute force."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxreward.quality_diversity.grid import (
    accepted,
    cell_index,
    centroid_index,
    cvt_centroids,
    empty_grid,
    insert,
    sample_elites,
)

CELLS, BATCH, BATCHES, SEEDS = 5, 8, 3, 2
ITEM = {"genome": np.zeros(3, np.float32), "number": np.int32(0)}
SHAPE = (SEEDS, BATCHES, BATCH)

drawn = functools.partial(st.lists, min_size=SEEDS * BATCHES * BATCH, max_size=SEEDS * BATCHES * BATCH)
cells_drawn = drawn(st.integers(-1, CELLS))
few_values = st.sampled_from([-np.inf, np.nan, -0.0, 0.0, 1.0, 2.0, -3.5, np.inf])
fitness_drawn = drawn(few_values)


def items_of(numbers):
    return {"genome": numbers[:, None] * jnp.array([[1.0, 2.0, 3.0]]), "number": numbers}


@functools.partial(jax.jit, static_argnums=2)
def history(fitness, cells, ties_replace):
    """The grid after each of the batches, whose items are numbered from 1, and which of these were accepted."""

    def add(grid, batch):
        enters = accepted(grid, *batch[1:], ties_replace=ties_replace)
        grid = insert(grid, *batch, ties_replace=ties_replace)
        return grid, (grid, enters)

    def run(fitness, cells):
        items = jax.vmap(items_of)(jnp.arange(1, 1 + BATCHES * BATCH).reshape(BATCHES, BATCH))
        return jax.lax.scan(add, empty_grid(ITEM, CELLS), (items, fitness, cells))[1]

    return jax.vmap(run)(fitness, cells)


def put_one(known, number, fitness, cell, ties_replace):
    """Whether it was accepted."""
    if not 0 <= cell < CELLS or np.isnan(fitness) or fitness == -np.inf:
        return False
    held = known.get(cell, (-np.inf, 0))[0]
    if fitness > held or (ties_replace and fitness == held):
        known[cell] = (fitness, number)
        return True
    return False


@pytest.mark.parametrize("ties_replace", [False, True])
@given(cells_drawn, fitness_drawn)
@settings(max_examples=100, deadline=None)
def test_a_batch_is_put_in_as_if_one_by_one(ties_replace, cells, fitness):
    cells, fitness = np.reshape(cells, SHAPE), np.reshape(fitness, SHAPE).astype(np.float32)
    grids, enters = jax.device_get(history(fitness, cells, ties_replace))
    for seed in range(SEEDS):
        known = {}
        for batch in range(BATCHES):
            for i in range(BATCH):
                at, number = (seed, batch, i), 1 + batch * BATCH + i
                assert enters[at] == put_one(known, number, fitness[at], cells[at], ties_replace)
            grid = jax.tree.map(lambda leaf, at=(seed, batch): leaf[at], grids)
            numbers = np.array([known.get(cell, (0, 0))[1] for cell in range(CELLS)])
            np.testing.assert_array_equal(grid.items["number"], numbers)
            np.testing.assert_array_equal(grid.items["genome"], numbers[:, None] * np.array([[1, 2, 3]]))
            np.testing.assert_array_equal(grid.fitness, [known.get(cell, (-np.inf, 0))[0] for cell in range(CELLS)])
            assert sorted(grid.occupied.items[: grid.occupied.size].tolist()) == sorted(known)
            assert grid.occupied.refused == 0


def test_parents_are_drawn_from_occupied_cells_alone_and_equally_often(key):
    """A fair draw fails for one seed in 10,000."""
    cells, fitness = jnp.array([900, 3, 3, 41, 7]), jnp.array([1.0, 5.0, 6.0, -2.0, 0.0])
    grid = insert(empty_grid(ITEM, 1000), items_of(jnp.arange(5)), fitness, cells)
    parents = jax.jit(sample_elites, static_argnums=2)(grid, key, 8000)
    drawn, counts = np.unique(parents["number"], return_counts=True)
    assert drawn.tolist() == [0, 2, 3, 4]
    assert stats.chisquare(counts).pvalue > 1e-4
    np.testing.assert_array_equal(parents["genome"], parents["number"][:, None] * np.array([[1, 2, 3]]))


def test_the_cost_of_insertion_does_not_depend_on_the_number_of_cells():
    """Updated in place, as in a loop, it needs no memory that grows with them."""

    def memory(cells):
        grid = jax.eval_shape(lambda: empty_grid(ITEM, cells))
        batch = jax.eval_shape(lambda: (items_of(jnp.arange(64)), jnp.zeros(64), jnp.arange(64)))
        compiled = jax.jit(insert, donate_argnums=0).lower(grid, *batch).compile()
        return compiled.memory_analysis().temp_size_in_bytes, compiled.cost_analysis()["flops"]

    assert memory(100) == memory(1_000_000)


def test_cells_are_counted_with_the_last_dimension_fastest():
    low, high, bins = jnp.array([-1.0, 0.0]), jnp.array([1.0, 8.0]), (4, 3)
    index = jax.jit(jax.vmap(lambda descriptor: cell_index(descriptor, low, high, bins)))
    centers = [(-1 + (i + 0.5) / 2, (j + 0.5) * 8 / 3) for i in range(4) for j in range(3)]
    assert index(jnp.array(centers)).tolist() == list(range(12))
    # A border belongs to the cell above it, the last one and all beyond to the last cell.
    edges = [(-1.0, 0.0), (-0.5, 0.0), (0.0, 0.0), (1.0, 8.0), (9.0, 0.0), (-9.0, 99.0), (-np.inf, np.inf)]
    assert index(jnp.array(edges)).tolist() == [0, 3, 6, 11, 9, 2, 2]
    assert index(jnp.array([(np.nan, 1.0), (0.0, np.nan)])).tolist() == [-1, -1]


def test_a_point_made_in_a_cell_is_found_there():
    """Inside by a hundredth of a cell at least, many times what rounding can move it."""
    bins, low, high = (50, 7, 4), np.array([-1.35, 0, 3]), np.array([1.35, 600, 4])
    rng = np.random.default_rng(0)
    made = rng.integers(0, bins, size=(5000, 3))
    descriptors = low + (made + rng.uniform(0.01, 0.99, size=made.shape)) / bins * (high - low)
    index = jax.jit(jax.vmap(lambda descriptor: cell_index(descriptor, low, high, bins)))
    np.testing.assert_array_equal(index(descriptors.astype(np.float32)), np.ravel_multi_index(tuple(made.T), bins))


def test_each_descriptor_belongs_to_the_nearest_centroid():
    rng = np.random.default_rng(0)
    descriptors, centroids = rng.normal(size=(3, 40, 2)), rng.normal(size=(3, 300, 2))
    ours = jax.jit(jax.vmap(centroid_index))(descriptors.astype(np.float32), centroids.astype(np.float32))
    expected = ((descriptors[:, :, None] - centroids[:, None]) ** 2).sum(-1).argmin(-1)
    np.testing.assert_array_equal(ours, expected)
    assert centroid_index(jnp.zeros((1, 2)), jnp.array([[1.0, 0], [0, 1.0], [-1.0, 0]])).tolist() == [0]


def test_centroids_on_a_line_are_where_k_means_must_end(key):
    """Each is the mean of the samples nearest to it; on a line that means cells are about equal."""
    low, high = jnp.array([2.0]), jnp.array([4.0])
    cvt = jax.jit(lambda key: cvt_centroids(key, 2, low, high, samples=4000, iterations=40))
    centroids = np.sort(cvt(key)[:, 0])
    points = np.asarray(jax.random.uniform(key, (4000, 1), minval=low, maxval=high), np.float64)[:, 0]
    border = centroids.mean()
    means = [points[points < border].mean(), points[points >= border].mean()]
    np.testing.assert_allclose(centroids, means, rtol=4000 * 2.0**-24)
    # Of the uniform distribution they are 2.5 and 3.5; a mean of 2000 points strays by 0.0065, the border with them.
    np.testing.assert_allclose(centroids, [2.5, 3.5], atol=0.08)


def test_what_does_not_fit_is_refused(key):
    with pytest.raises(ValueError, match=r"one number for each of \[2\] dimensions; got 3"):
        cell_index(jnp.zeros(2), 0, 1, (2, 2, 2))
    with pytest.raises(ValueError, match="from 1 to 10 cells, as that many points are sampled; got 11"):
        cvt_centroids(key, 11, jnp.zeros(2), jnp.ones(2), samples=10)
