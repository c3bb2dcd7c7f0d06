"""Coverage of a continuous region, a patch of it from each position."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Key

from jaxreward.reward import Params
from jaxreward.rewards.sets.function import SetFunction, set_function

Covered = Bool[Array, "*cells"]


def patches(
    low: Sequence[float], high: Sequence[float], shape: Sequence[int], patch: Sequence[int], worth: ArrayLike = 1.0
) -> SetFunction:
    """How much of a region's grid a set of positions covers.

    Items are positions `[d]`. Each covers the block of cells that begins with its own, the lower corner, and goes on in
    the direction of growing coordinates, `[i:i+m, j:j+n]`; what of it lies outside of the region counts nothing.
    Monotone and submodular.

    Params: `worth`.

    Args:
        low: Where the region begins, `[d]`.
        high: Where it ends, `[d]`.
        shape: How many cells it has along each coordinate.
        patch: How many cells a position covers along each.
        worth: What a cell is worth.

    Raises:
        ValueError: If the four do not belong together.
    """
    _check(low, high, shape, patch)
    pad = jnp.asarray(patch, jnp.int32)
    last = pad + jnp.asarray(shape, jnp.int32)

    def init(key: Key[Array, ""]) -> Params:
        return {"worth": jnp.asarray(worth, float)}

    def empty(params: Params) -> Covered:
        # Around the region lie cells that count as covered already: patches need no clipping.
        return jnp.pad(jnp.zeros(shape, bool), [(cells, cells) for cells in patch], constant_values=True)

    def add(params: Params, covered: Covered, position: Float[Array, " d"]) -> tuple[Covered, Float[Array, ""]]:
        start = jnp.clip(_cell(position) + pad, 0, last)
        new = ~jax.lax.dynamic_slice(covered, start, patch)
        covered = jax.lax.dynamic_update_slice(covered, jnp.ones(patch, bool), start)
        return covered, params["worth"] * new.sum()

    def single(params: Params, position: Float[Array, " d"]) -> Float[Array, ""]:
        start = _cell(position)
        within = jnp.minimum(start + pad, last - pad) - jnp.maximum(start, 0)
        return params["worth"] * jnp.maximum(within, 0).prod()

    def _cell(position: Float[Array, " d"]) -> Array:
        sizes = (jnp.asarray(high, float) - jnp.asarray(low, float)) / jnp.asarray(shape, float)
        return jnp.floor((position - jnp.asarray(low, float)) / sizes).astype(jnp.int32)

    return set_function(init, empty, add, single)


def _check(low: Sequence[float], high: Sequence[float], shape: Sequence[int], patch: Sequence[int]) -> None:
    lengths = [len(low), len(high), len(shape), len(patch)]
    if len(set(lengths)) > 1:
        raise ValueError(f"low, high, shape and patch have one entry a coordinate; got {lengths} entries")
    if any(a >= b for a, b in zip(low, high, strict=True)):
        raise ValueError(f"a region ends after it begins; got low={list(low)}, high={list(high)}")
    if min(shape) < 1 or min(patch) < 1:
        raise ValueError(f"a region and a patch have at least one cell; got shape={list(shape)}, patch={list(patch)}")
