"""Boxes with sides along the axes: how far it is to them, and where a way enters them."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int


def to_boxes(
    position: Float[Array, "2"], low: Float[ArrayLike, "n 2"], high: Float[ArrayLike, "n 2"]
) -> tuple[Float[Array, " n"], Float[Array, "n 2"]]:
    """How far it is from a position to each box, negative inside, and the way there, 0 inside.

    Args:
        position: Where one is.
        low: The boxes' lower corners.
        high: Their upper corners.
    """
    low, high = jnp.asarray(low, float), jnp.asarray(high, float)
    way = jnp.clip(position[None], low, high) - position[None]
    beyond = jnp.maximum(low - position[None], position[None] - high).max(-1)
    return jnp.where(beyond < 0, beyond, jnp.linalg.norm(way, axis=-1)), way


def into_boxes(
    origin: Float[Array, "2"], way: Float[Array, "2"], low: Float[ArrayLike, "n 2"], high: Float[ArrayLike, "n 2"]
) -> tuple[Float[Array, " n"], Int[Array, " n"]]:
    """After which share of a way it enters each box, infinity if never, and along which axis one enters.

    Args:
        origin: Where the way begins, outside of the boxes.
        way: Where it leads, from there, and on.
        low: The boxes' lower corners.
        high: Their upper corners.
    """
    low, high = jnp.asarray(low, float), jnp.asarray(high, float)
    slope = jnp.where(jnp.abs(way) < 1e-9, 1e-9, way)[None]
    to_low, to_high = (low - origin[None]) / slope, (high - origin[None]) / slope
    enters, leaves = jnp.minimum(to_low, to_high), jnp.maximum(to_low, to_high)
    first = enters.max(-1)
    meets = (first >= 0) & (first <= leaves.min(-1))
    return jnp.where(meets, first, jnp.inf), enters.argmax(-1).astype(jnp.int32)
