"""An archive that only grows, of a capacity that is known beforehand."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree


class Archive(NamedTuple):
    """What has been stored so far, in the order in which it came.

    Nothing is ever removed. What comes when the archive is full is refused, and counted: a run whose `refused` is not
    0 was given too small a capacity and is not the one with an unbounded archive.

    Attributes:
        items: A pytree of arrays `[capacity, ...]`; what lies beyond `size` is zero and means nothing.
        size: How many are stored.
        refused: How many came when the archive was full.
    """

    items: PyTree
    size: Int[Array, ""]
    refused: Int[Array, ""]


def slots(item: PyTree, number: int) -> PyTree:
    """Zeros for `number` items like this one: each leaf `[...]` becomes `[number, ...]`.

    Raises:
        ValueError: There is not to be a single one.
    """
    if number < 1:
        raise ValueError(f"there must be room for at least 1 item; got {number}")
    return jax.tree.map(lambda leaf: jnp.zeros((number, *jnp.shape(leaf)), jnp.result_type(leaf)), item)


def empty_archive(item: PyTree, capacity: int) -> Archive:
    """An archive for items like this one, of which only shapes and types matter.

    Raises:
        ValueError: The capacity is not positive.
    """
    return Archive(slots(item, capacity), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def append(archive: Archive, items: PyTree, keep: Bool[Array, " n"] | None = None) -> Archive:
    """The archive with some of `n` items added, in their order.

    Args:
        archive: Of any number of items.
        items: Each leaf `[n, ...]`.
        keep: Which of them are added; all of them by default.
    """
    keep = jnp.ones(_number(items), bool) if keep is None else keep
    capacity = _number(archive.items)
    # A slot beyond the last one is dropped by the scatter.
    slot = jnp.where(keep, archive.size + jnp.cumsum(keep, dtype=jnp.int32) - 1, capacity)
    stored = jax.tree.map(lambda old, new: old.at[slot].set(new, mode="drop"), archive.items, items)
    wanted = archive.size + keep.sum(dtype=jnp.int32)
    count = jnp.minimum(wanted, capacity)
    return Archive(stored, count, archive.refused + wanted - count)


def is_stored(archive: Archive) -> Bool[Array, " capacity"]:
    """Which slots hold an item: the mask to give to `novelty`."""
    return jnp.arange(_number(archive.items)) < archive.size


def _number(items: PyTree) -> int:
    return jax.tree.leaves(items)[0].shape[0]
