"""An unstructured container: behaviours that keep a distance from each other, and fitter ones in their place.

Cully & Demiris 2018 (Quality and Diversity Optimization: A Unifying Modular Framework); the rules are those of the
container in the authors' code of AURORA (Grillotti & Cully 2022, arXiv:2106.05648).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.quality_diversity.archive import slots


class Repertoire(NamedTuple):
    """What is held, in the first `size` slots.

    Attributes:
        items: A pytree of arrays `[capacity, ...]`; what lies beyond `size` means nothing.
        behaviour: Where each of them is.
        fitness: How good each of them is.
        size: How many there are.
        refused: How many were new enough when there was no room.
    """

    items: PyTree
    behaviour: Float[Array, "capacity b"]
    fitness: Float[Array, " capacity"]
    size: Int[Array, ""]
    refused: Int[Array, ""]


class Rules(NamedTuple):
    """Who may enter.

    Attributes:
        distance: Who is farther than this from all others enters; who is nearer can but replace the nearest one.
        tolerance: The share of its nearest one's fitness, and of its novelty, that a newcomer may lack to replace it,
            and the share of the distance by which its second nearest may be too near.
        neighbours: How many of the nearest novelty is measured to.
    """

    distance: Float[Array, ""] | float
    tolerance: float = 0.1
    neighbours: int = 15


def empty_repertoire(item: PyTree, dimensions: int, capacity: int) -> Repertoire:
    """A repertoire for items like this one, of which only shapes and types matter.

    Raises:
        ValueError: The capacity is less than 2.
    """
    if capacity < 2:
        raise ValueError(f"a repertoire has room for at least 2 items; got {capacity}")
    zero = jnp.zeros((), jnp.int32)
    return Repertoire(slots(item, capacity), jnp.zeros((capacity, dimensions)), jnp.zeros(capacity), zero, zero)


def is_held(repertoire: Repertoire) -> Bool[Array, " capacity"]:
    """Which slots hold an item."""
    return jnp.arange(repertoire.fitness.size) < repertoire.size


def sample(repertoire: Repertoire, key: Key[Array, ""], number: int) -> PyTree:
    """Items, uniformly and with replacement; each leaf `[number, ...]`. One must be there."""
    rows = jax.random.randint(key, (number,), 0, jnp.maximum(repertoire.size, 1))
    return jax.tree.map(lambda leaf: leaf[rows], repertoire.items)


def add(
    repertoire: Repertoire, items: PyTree, behaviour: Float[Array, "n b"], fitness: Float[Array, " n"], rules: Rules
) -> Repertoire:
    """The repertoire after `n` items came, one after the other.

    One that is farther than `distance` from all others enters. Otherwise it replaces its nearest one, if the second
    nearest is not much nearer than `distance`, if it is hardly worse in fitness and in novelty, and if what it gains in
    one, as a share of what the other has, is more than what it loses in the other.

    Args:
        repertoire: The repertoire.
        items: Each leaf `[n, ...]`.
        behaviour: Where each is.
        fitness: How good each is.
        rules: Who may enter.
    """
    capacity, number = repertoire.fitness.size, fitness.size
    held = jnp.concatenate([is_held(repertoire), jnp.zeros(number, bool)])
    old, new = (repertoire.items, repertoire.behaviour, repertoire.fitness), (items, behaviour, fitness)
    items, behaviour, fitness = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), old, new)
    held, refused = _one_by_one(behaviour, fitness, held, capacity, capacity + number, capacity, rules)
    return _of_rows(items, behaviour, fitness, held, repertoire.refused + refused, capacity)


def rebuilt(repertoire: Repertoire, behaviour: Float[Array, "capacity b"], rules: Rules) -> Repertoire:
    """What remains of a repertoire if its items, at other places or under other rules, come one after the other."""
    capacity, items, fitness = repertoire.fitness.size, repertoire.items, repertoire.fitness
    held, _ = _one_by_one(behaviour, fitness, jnp.zeros(capacity, bool), 0, repertoire.size, capacity, rules)
    return _of_rows(items, behaviour, fitness, held, repertoire.refused, capacity)


def _of_rows(
    items: PyTree, behaviour: Array, fitness: Array, held: Bool[Array, " R"], refused: Array, capacity: int
) -> Repertoire:
    """The repertoire of the rows that are held, in their order."""
    rows = jnp.argsort(~held, stable=True)[:capacity]
    items, behaviour, fitness = jax.tree.map(lambda leaf: leaf[rows], (items, behaviour, fitness))
    return Repertoire(items, behaviour, fitness, held.sum(dtype=jnp.int32), refused)


def _one_by_one(
    behaviour: Float[Array, "R b"],
    fitness: Float[Array, " R"],
    held: Bool[Array, " R"],
    first: int,
    end: Int[Array, ""] | int,
    capacity: int,
    rules: Rules,
) -> tuple[Bool[Array, " R"], Int[Array, ""]]:
    """Which rows are held after those from `first` to `end` came, and how many found no room."""

    def one(row: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        held, refused = carry
        near = _nearest(behaviour, held, behaviour[row], rules.neighbours)
        other = near.rows[0]
        its_own = _nearest(behaviour, held, behaviour[other], rules.neighbours)
        is_new = near.distances[0] > rules.distance
        has_room = held.sum() < capacity
        # An empty repertoire is infinitely far; a second one is, where there is but one, which nobody replaces.
        apart = jnp.isfinite(near.distances[1]) & (near.distances[1] >= (1 - rules.tolerance) * rules.distance)
        pairs = (fitness[row], fitness[other]), (near.novelty, its_own.novelty)
        replaces = ~is_new & apart & _dominates(*pairs, rules.tolerance)
        held = held.at[other].set(held[other] & ~replaces).at[row].set((is_new & has_room) | replaces)
        return held, refused + (is_new & ~has_room)

    return jax.lax.fori_loop(first, end, one, (held, jnp.zeros((), jnp.int32)))


class _Near(NamedTuple):
    """The nearest, and the mean distance to them without the very nearest."""

    distances: Float[Array, " k"]
    rows: Int[Array, " k"]
    novelty: Float[Array, ""]


def _nearest(points: Float[Array, "R b"], held: Bool[Array, " R"], point: Float[Array, " b"], number: int) -> _Near:
    squared = jnp.where(held, jnp.square(points - point[None]).sum(1), jnp.inf)
    nearness, rows = jax.lax.top_k(-squared, min(number + 1, len(squared)))
    distances = jnp.sqrt(-nearness)
    counts = jnp.isfinite(distances) & (jnp.arange(len(distances)) > 0)
    mean = jnp.where(counts, distances, 0).sum() / jnp.maximum(counts.sum(), 1)
    return _Near(distances, rows, mean)


def _dominates(fitness: tuple[Array, Array], novelty: tuple[Array, Array], tolerance: float) -> Bool[Array, ""]:
    """Whether the first of two is hardly worse in anything, and gains more than it loses, as shares of the second."""
    hardly_worse = lambda new, old: new >= old - tolerance * jnp.abs(old)  # noqa: E731
    gain = (fitness[0] - fitness[1]) * jnp.abs(novelty[1]) + (novelty[0] - novelty[1]) * jnp.abs(fitness[1])
    return hardly_worse(*fitness) & hardly_worse(*novelty) & (gain > 0)
