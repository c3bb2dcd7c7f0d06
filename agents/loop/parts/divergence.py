"""The best distribution near an estimate in the sense of Kullback and Leibler."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

HALVINGS = 32
SMALLEST, LARGEST = -14.0, 14.0
"""Where the multiplier is looked for: its natural logarithm, relative to the span of the bias."""


def most_in_kl_ball(
    estimate: Float[Array, "S A S"], radius: Float[Array, "S A"], bias: Float[Array, " S"]
) -> Float[Array, "S A"]:
    """The largest `q . bias` of distributions with `KL(p, q) <= radius` (Filippi et al. 2010, algorithm 2).

    With a multiplier `nu` above the bias, `q` is in proportion to `p / (nu - bias)` where `p` is not zero, and `nu`
    solves `f(nu) = radius`. A best state that was never seen gets what is left if `f` is below the radius even there.

    Args:
        estimate: `p`.
        radius: Infinite where nothing was seen: all goes to the best state.
        bias: What states are worth.
    """
    below = jnp.max(bias) - bias
    scale = jnp.maximum(jnp.max(below), 1e-30)
    target = radius[..., None]

    def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = (low + high) / 2
        too_far = divergence(estimate, below / (scale * jnp.exp(middle))) > target
        return jnp.where(too_far, middle, low), jnp.where(too_far, high, middle)

    bracket = jnp.full_like(target, SMALLEST), jnp.full_like(target, LARGEST)
    _, log_margin = jax.lax.fori_loop(0, HALVINGS, halve, bracket)
    ratio = below / (scale * jnp.exp(log_margin))
    weights = estimate / (1 + ratio)
    loss = jnp.sum(weights * below, axis=-1) / jnp.maximum(jnp.sum(weights, axis=-1), 1e-30)
    best_unseen = jnp.sum(jnp.where(below == 0, estimate, 0.0), axis=-1) == 0
    left = 1 - jnp.exp(jnp.minimum(0.0, divergence(estimate, ratio)[..., 0] - radius))
    return jnp.max(bias) - jnp.where(best_unseen, 1 - left, 1.0) * loss


def divergence(estimate: Float[Array, "S A S"], ratio: Float[Array, "S A S"]) -> Float[Array, "S A 1"]:
    """`f = KL(p, q)` for `q` in proportion to `p / (1 + ratio)`, without loss of digits where it is small."""
    shrunk = jnp.sum(estimate * ratio / (1 + ratio), axis=-1, keepdims=True)
    return jnp.sum(estimate * jnp.log1p(ratio), axis=-1, keepdims=True) + jnp.log1p(-jnp.minimum(shrunk, 1 - 1e-7))
