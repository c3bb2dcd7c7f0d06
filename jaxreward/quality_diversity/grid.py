"""MAP-Elites: the best of each cell of descriptor space (Mouret & Clune 2015)."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Key, PyTree

from jaxreward.quality_diversity.archive import Archive, append, empty_archive, slots
from jaxreward.quality_diversity.novelty import nearest


class Grid(NamedTuple):
    """The best item of each cell.

    Attributes:
        items: A pytree of arrays `[cells, ...]`; in an empty cell zeros, which mean nothing.
        fitness: Of each cell's item; minus infinity where there is none.
        occupied: The cells that hold an item, in the order in which they were first filled; `occupied.size` is their
            number. Choosing among them so costs the same however many cells there are.
    """

    items: PyTree
    fitness: Float[Array, " cells"]
    occupied: Archive


def empty_grid(item: PyTree, cells: int) -> Grid:
    """A grid for items like this one, of which only shapes and types matter.

    Raises:
        ValueError: There is not to be a single cell.
    """
    return Grid(slots(item, cells), jnp.full(cells, -jnp.inf), empty_archive(jnp.int32(0), cells))


def insert(
    grid: Grid,
    items: PyTree,
    fitness: Float[Array, " B"],
    cells: Int[Array, " B"],
    *,
    ties_replace: bool = False,
) -> Grid:
    """The grid after `B` items were put in, each if it is better than what its cell holds.

    The same as inserting them one after the other. The cost is that of a few passes over `B` items, whatever the number
    of cells, where XLA can update the grid in place.

    Args:
        grid: The grid.
        items: Each leaf `[B, ...]`.
        fitness: Items with a fitness of NaN or minus infinity are left out.
        cells: The cell of each. Items whose cell does not exist, such as -1, are left out.
        ties_replace: Whether an item as good as what its cell holds replaces it; in the paper it does not.
    """
    number = grid.fitness.size  # a slot beyond the last one: dropped
    held = grid.fitness[jnp.clip(cells, 0, number - 1)]
    better = _eligible(fitness, cells, number) & (fitness >= held if ties_replace else fitness > held)
    enters, untidy = _winners(grid.fitness, fitness, cells, better, ties_replace)
    place = jnp.where(enters, cells, number)
    put = lambda old, new: old.at[place].set(new, mode="drop")  # noqa: E731
    occupied = append(grid.occupied, cells.astype(jnp.int32), enters & jnp.isneginf(held))
    return Grid(jax.tree.map(put, grid.items, items), put(untidy, fitness), occupied)


def _winners(
    best: Float[Array, " cells"], fitness: Float[Array, " B"], cells: Int[Array, " B"], better: Array, latest: bool
) -> tuple[Bool[Array, " B"], Float[Array, " cells"]]:
    """Which of those better than what their cell holds is the best in it; the earliest or the latest of several.

    Whoever has the highest fitness is found by writing it into the cells, and who of several by writing the turns of
    these there: nothing needs to be sorted, nor another buffer as large as the grid. What comes back beside the winners
    has their turns where their fitness has to be put.
    """
    turn = jnp.arange(fitness.size, dtype=best.dtype)
    turn = -turn if latest else turn
    at = jnp.where(better, cells, best.size)
    best = best.at[at].max(fitness, mode="drop")
    leads = better & (fitness == best[jnp.clip(cells, 0, best.size - 1)])
    at = jnp.where(leads, cells, best.size)
    turns = best.at[at].set(jnp.inf, mode="drop").at[at].min(turn, mode="drop")
    return leads & (turns[jnp.clip(cells, 0, best.size - 1)] == turn), turns


def _eligible(fitness: Float[Array, " B"], cells: Int[Array, " B"], number: int) -> Bool[Array, " B"]:
    """Which items may be put in: not those of no fitness or no cell."""
    return (fitness > -jnp.inf) & (cells >= 0) & (cells < number)


def accepted(
    grid: Grid, fitness: Float[Array, " B"], cells: Int[Array, " B"], *, ties_replace: bool = False
) -> Bool[Array, " B"]:
    """Which of `B` items `insert` accepts: those better than what their cell holds when it is their turn.

    Of several in one cell, each that is better than those before it, though only the last of these stays. The memory is
    `B^2` numbers.

    Args:
        grid: The grid before they are put in.
        fitness: As for `insert`.
        cells: The same.
        ties_replace: The same.
    """
    eligible = _eligible(fitness, cells, grid.fitness.size)
    held = grid.fitness[jnp.clip(cells, 0, grid.fitness.size - 1)]
    order = jnp.arange(fitness.size)
    is_before = (order[None] < order[:, None]) & eligible[None] & (cells[None] == cells[:, None])
    before = jnp.where(is_before, fitness[None], -jnp.inf).max(1)
    best = jnp.maximum(held, before)
    return eligible & (fitness >= best if ties_replace else fitness > best)


def sample_elites(grid: Grid, key: Key[Array, ""], number: int) -> PyTree:
    """Items of occupied cells, uniformly and with replacement; each leaf `[number, ...]`. One must be there."""
    drawn = jax.random.randint(key, (number,), 0, jnp.maximum(grid.occupied.size, 1))
    cells = grid.occupied.items[drawn]
    return jax.tree.map(lambda leaf: leaf[cells], grid.items)


def cell_index(
    descriptor: Float[Array, " d"], low: Float[ArrayLike, " d"], high: Float[ArrayLike, " d"], bins: tuple[int, ...]
) -> Int[Array, ""]:
    """The cell of a regular grid that holds a descriptor, the last dimension varying fastest.

    What lies outside counts to the nearest cell; a descriptor with a NaN in it has none, -1.

    Args:
        descriptor: `[d]`.
        low: Where the grid starts, in each dimension or in all.
        high: Where it ends.
        bins: How many cells it has in each dimension.

    Raises:
        ValueError: If there are not as many `bins` as dimensions.
    """
    if descriptor.shape != (len(bins),):
        raise ValueError(f"bins are one number for each of {list(descriptor.shape)} dimensions; got {len(bins)}")
    low, high = (jnp.broadcast_to(jnp.asarray(bound, descriptor.dtype), descriptor.shape) for bound in (low, high))
    sides = np.array(bins)
    steps = jnp.floor((descriptor - low) / (high - low) * sides)
    cell = jnp.clip(steps, 0, sides - 1).astype(jnp.int32)
    strides = np.array([math.prod(bins[i + 1 :]) for i in range(len(bins))], np.int32)
    return jnp.where(jnp.isnan(descriptor).any(), -1, (cell * strides).sum())


def centroid_index(descriptors: Float[Array, "B d"], centroids: Float[Array, "cells d"]) -> Int[Array, " B"]:
    """The cell of each descriptor where cells are those of centroids: the nearest one, the first of several."""
    return nearest(descriptors, centroids, 1).indices[:, 0]


def cvt_centroids(
    key: Key[Array, ""],
    cells: int,
    low: Float[Array, " d"],
    high: Float[Array, " d"],
    *,
    samples: int = 20_000,
    iterations: int = 20,
) -> Float[Array, "cells d"]:
    """Centroids that divide a box about evenly in any number of dimensions (CVT-MAP-Elites, Vassiliades et al. 2018).

    Lloyd's k-means on uniform samples, from some of these samples; a centroid to which none belongs stays.

    Args:
        key: For the samples.
        cells: How many centroids.
        low: The box's corner.
        high: The opposite one.
        samples: How many, at least as many as cells.
        iterations: Of k-means.

    Raises:
        ValueError: If there are fewer samples than cells.
    """
    if not 1 <= cells <= samples:
        raise ValueError(f"there must be from 1 to {samples} cells, as that many points are sampled; got {cells}")
    points = jax.random.uniform(key, (samples, low.shape[0]), minval=low, maxval=high)

    def improve(_: int, centroids: Array) -> Array:
        # A thousand samples at a time: their distances to all centroids would not fit where both are many.
        nearest_of = lambda point: centroid_index(point[None], centroids)[0]  # noqa: E731
        cell = jax.lax.map(nearest_of, points, batch_size=1024)
        number = jnp.zeros(cells).at[cell].add(1.0)[:, None]
        mean = jnp.zeros_like(centroids).at[cell].add(points) / jnp.maximum(number, 1)
        return jnp.where(number > 0, mean, centroids)

    return jax.lax.fori_loop(0, iterations, improve, points[:cells])
