"""Sets of numbers below a fixed size as bit masks: 32 numbers a word, so that copying one costs next to nothing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt32

Bits = UInt32[Array, " words"]

_WORD = 32


def no_bits(size: int) -> Bits:
    """The empty set of numbers from 0 to `size - 1`."""
    return jnp.zeros(-(-size // _WORD), jnp.uint32)


def contains(bits: Bits, ids: Int[Array, "*k"]) -> Bool[Array, "*k"]:
    """Whether each of `ids` is in the set; they must be numbers it can hold."""
    word, bit = _locate(ids)
    return (bits.at[word].get(mode="clip") >> bit) & 1 == 1


def insert(bits: Bits, ids: Int[Array, "*k"]) -> Bits:
    """The set with `ids` in it; those that have no word of the mask are left out."""
    word, bit = _locate(jnp.atleast_1d(ids))
    # Each word compared with each id: on a CPU that is faster than a scatter of the ids.
    here = jnp.arange(bits.size, dtype=jnp.int32)[:, None] == word[None]
    masks = jnp.where(here, (jnp.uint32(1) << bit)[None], jnp.uint32(0))
    return bits | jax.lax.reduce(masks, jnp.uint32(0), jax.lax.bitwise_or, (1,))


def _locate(ids: Int[Array, "*k"]) -> tuple[Int[Array, "*k"], UInt32[Array, "*k"]]:
    return ids // _WORD, (ids % _WORD).astype(jnp.uint32)
