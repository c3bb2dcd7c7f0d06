"""A buffer of whole episodes that stores of each step only what is read again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, PyTree

from jaxreward.learning.episodes import Episodes
from jaxreward.learning.relabel import leaves_read


class Replay(NamedTuple):
    """Stored episodes.

    Attributes:
        leaves: What is kept of them, `[capacity, T, ...]` each.
        seen: How many there have been; the oldest ones are overwritten.
    """

    leaves: list[Array]
    seen: Int[Array, ""]


@dataclass(frozen=True)
class Buffer:
    """How episodes are stored, first in, first out; see `make_buffer`.

    Attributes:
        capacity: The most episodes.
        like: Shapes and types of `N` episodes.
        kept: Which of their leaves are stored.
    """

    capacity: int
    like: Episodes
    kept: tuple[bool, ...]

    def empty(self) -> Replay:
        """No episode yet."""
        shapes = [x for x, keep in zip(jax.tree.leaves(self.like), self.kept, strict=True) if keep]
        leaves = [jnp.zeros((self.capacity, x.shape[0], *x.shape[2:]), x.dtype) for x in shapes]
        return Replay(leaves, jnp.zeros((), jnp.int32))

    def add(self, replay: Replay, episodes: Episodes) -> Replay:
        """The buffer with `N` more episodes."""
        new = [x for x, keep in zip(jax.tree.leaves(episodes), self.kept, strict=True) if keep]
        size = episodes.valid.shape[1]
        places = (replay.seen + jnp.arange(size)) % self.capacity
        leaves = [old.at[places].set(jnp.moveaxis(x, 1, 0)) for old, x in zip(replay.leaves, new, strict=True)]
        return Replay(leaves, replay.seen + size)

    def newest(self, replay: Replay, number: int) -> Episodes:
        """The last `number` episodes."""
        return self.take(replay, (replay.seen - 1 - jnp.arange(number)) % self.capacity)

    def sample(self, replay: Replay, key: Key[Array, ""], number: int, but_newest: int = 0) -> Episodes:
        """`number` episodes at random, with replacement, any but the newest; of those there must be some."""
        held = jnp.minimum(replay.seen, self.capacity) - but_newest
        ages = but_newest + jax.random.randint(key, (number,), 0, held)
        return self.take(replay, (replay.seen - 1 - ages) % self.capacity)

    def take(self, replay: Replay, places: Int[Array, " n"]) -> Episodes:
        """Episodes from some places, leaves `[T, n, ...]`; what was not stored is zero."""
        stored = iter(replay.leaves)
        leaves = [
            jnp.moveaxis(next(stored)[places], 0, 1) if keep else _blank(x, len(places))
            for x, keep in zip(jax.tree.leaves(self.like), self.kept, strict=True)
        ]
        return jax.tree.unflatten(jax.tree.structure(self.like), leaves)


def make_buffer(capacity: int, like: Episodes, reads: Callable[[Episodes], PyTree]) -> Buffer:
    """A buffer for what a function reads of episodes.

    Args:
        capacity: The most episodes.
        like: Shapes and types of the episodes that are added at a time.
        reads: All that is computed of episodes later; what it doesn't look at is not stored.

    Raises:
        ValueError: If more episodes are added at a time than there is room for.
    """
    number = like.valid.shape[1]
    if capacity < number:
        raise ValueError(f"the buffer has room for {capacity} episodes and is given {number} at a time; make it larger")
    return Buffer(capacity, like, tuple(leaves_read(reads, like)))


def _blank(like: jax.ShapeDtypeStruct, number: int) -> Array:
    """Zeros for `[T, n, ...]`, or keys where there are keys."""
    shape = (like.shape[0], number, *like.shape[2:])
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0, impl=jax.random.key_impl(jnp.empty(0, like.dtype))), shape)
    return jnp.zeros(shape, like.dtype)
