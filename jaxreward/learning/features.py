"""Fixed features of observations, for linear policies and linear rewards."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float


def rescale(observation: Float[Array, " d"], low: ArrayLike, high: ArrayLike) -> Float[Array, " d"]:
    """The observation on a scale of its own range: 0 at `low` and 1 at `high`; what lies beyond is not clipped."""
    low, high = (jnp.broadcast_to(jnp.asarray(bound, float), observation.shape) for bound in (low, high))
    return (observation - low) / (high - low)


def fourier(
    observation: Float[Array, " d"], low: ArrayLike, high: ArrayLike, order: int
) -> Float[Array, " (order+1)^d"]:
    """The coupled cosine basis, `cos(pi c . s)` for all `c` in `{0..order}^d` (Konidaris, Osentoski & Thomas 2011).

    Args:
        observation: `[d]`.
        low: Where each number's range starts, a scalar or `[d]`; outside of its range the basis repeats.
        high: Where it ends.
        order: The highest frequency, in half periods over the range.

    Returns:
        The features, the frequencies of the last number varying fastest.
    """
    # exp(i pi c . s) is a product of powers of exp(i pi s_k): a cosine and a sine for each number, not each feature.
    angles = jnp.pi * rescale(observation, low, high)
    turns = jax.lax.complex(jnp.cos(angles), jnp.sin(angles))
    powers = list(itertools.accumulate([turns] * order, jnp.multiply, initial=jnp.ones_like(turns)))
    product = functools.reduce(lambda made, each: (made[:, None] * each[None]).ravel(), jnp.stack(powers, 1))
    return product.real


def tile_coding(
    observation: Float[Array, " d"], low: ArrayLike, high: ArrayLike, tiles: int, tilings: int
) -> Float[Array, " tilings*tiles^d"]:
    """Tile coding: one feature of each tiling is active, with the value `1 / tilings`.

    Tiling `n` is shifted against the first by `n / tilings` of a tile in all dimensions. Tiles are numbered with the
    first dimension varying fastest, modulo their number, so that what a shift moves out of the last tile of a
    dimension shares the first tile of the next row: the features of PyFixedReps 1.0.0.

    Args:
        observation: `[d]`.
        low: Where each number's range starts, a scalar or `[d]`.
        high: Where it ends.
        tiles: How many there are in each dimension's range.
        tilings: How many there are.
    """
    shifts = (jnp.arange(tilings) / tilings)[:, None]
    position = tiles * rescale(observation, low, high)
    cells = jnp.floor(position[None] + shifts).astype(jnp.int32)
    each = tiles ** np.arange(observation.shape[0])
    tile = (cells @ each) % tiles ** observation.shape[0]
    return jax.nn.one_hot(tile, tiles ** observation.shape[0]).ravel() / tilings
