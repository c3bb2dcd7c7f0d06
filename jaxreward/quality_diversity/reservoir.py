"""A sample of fixed size of a stream of unknown length."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key, PyTree

from jaxreward.quality_diversity.archive import slots


class Reservoir(NamedTuple):
    """A uniform sample, without replacement, of everything offered so far.

    Attributes:
        items: A pytree of arrays `[size, ...]`; while fewer have been seen, the first `seen` slots are filled.
        seen: How many have been offered, fewer than 2**31.
    """

    items: PyTree
    seen: Int[Array, ""]


def empty_reservoir(item: PyTree, size: int) -> Reservoir:
    """A reservoir for `size` items like this one, of which only shapes and types matter.

    Raises:
        ValueError: The size is not positive.
    """
    return Reservoir(slots(item, size), jnp.zeros((), jnp.int32))


def offer(reservoir: Reservoir, key: Key[Array, ""], items: PyTree, keep: Bool[Array, " n"] | None = None) -> Reservoir:
    """The reservoir after some of `n` items came by: algorithm R (Vitter 1985), all of them at once.

    The `t`-th item ever goes to slot `t` while there are free ones. Later, it takes the place of a random one with
    probability `size / t`. A uniform sample of all that was offered remains, however it was split into calls.

    Args:
        reservoir: Of any number of items.
        key: For which items are kept.
        items: Each leaf `[n, ...]`, in their order.
        keep: Which of them are offered; all of them by default.
    """
    number = jax.tree.leaves(items)[0].shape[0]
    keep = jnp.ones(number, bool) if keep is None else keep
    size = jax.tree.leaves(reservoir.items)[0].shape[0]
    time = reservoir.seen + jnp.cumsum(keep, dtype=jnp.int32)
    drawn = jax.random.randint(key, (number,), 0, jnp.maximum(time, 1))
    slot = jnp.where(time <= size, time - 1, drawn)
    # Of several items drawn for one slot the last one stays; a slot beyond the last one is dropped.
    last = jnp.full(size, -1).at[jnp.where(keep, slot, size)].max(jnp.arange(number), mode="drop")
    stored = jax.tree.map(lambda old, new: _replaced(old, new, last), reservoir.items, items)
    return Reservoir(stored, reservoir.seen + keep.sum(dtype=jnp.int32))


def _replaced(old: Array, new: Array, source: Int[Array, " size"]) -> Array:
    """`new[source]` where there is a source, `old` where it is negative."""
    is_new = (source >= 0).reshape(-1, *(1,) * (old.ndim - 1))
    return jnp.where(is_new, new[source], old)


def is_sampled(reservoir: Reservoir) -> Bool[Array, " size"]:
    """Which slots hold an item."""
    return jnp.arange(jax.tree.leaves(reservoir.items)[0].shape[0]) < reservoir.seen
