"""The best distribution near an estimate in the sense of Kullback and Leibler."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

NEWTON_STEPS = 12
"""With these all of thousands of random cases are exact to 2e-6 of the span."""
SMALLEST = 1e-12
"""Least margin of the multiplier above the largest bias, relative to the span."""
LARGEST = 1e3
"""A radius so large leaves nothing where float32 could tell."""


def most_in_kl_ball(
    estimate: Float[Array, "S A S"], radius: Float[Array, "S A"], bias: Float[Array, " S"]
) -> Float[Array, "S A"]:
    """The largest `q . bias` of distributions with `KL(p, q) <= radius` (Filippi et al. 2010).

    With a multiplier `nu` above the bias, `q` is in proportion to `p / (nu - bias)` where `p` is not zero, and `nu`
    solves `f(nu) = radius`. A best state that was never seen gets what is left if `f` is below the radius even there.

    Args:
        estimate: `p`.
        radius: Infinite where nothing was seen: all goes to the best state.
        bias: What states are worth.
    """
    below, radius = jnp.max(bias) - bias, jnp.minimum(radius, LARGEST)
    margin = jnp.maximum(margin_of(estimate, radius, below), SMALLEST * jnp.maximum(jnp.max(below), 1e-30))
    weights = estimate / (1 + below[None, None] / margin[..., None])
    loss = weights @ below / jnp.maximum(jnp.sum(weights, axis=-1), 1e-30)
    best_unseen = estimate @ (below == 0).astype(float) == 0
    kept = jnp.exp(jnp.minimum(0.0, divergence(estimate, below[None, None] / margin[..., None])[0] - radius))
    return jnp.max(bias) - jnp.where(best_unseen, kept, 1.0) * loss


def margin_of(
    estimate: Float[Array, "S A S"], radius: Float[Array, "S A"], below: Float[Array, " S"]
) -> Float[Array, "S A"]:
    """By how much `nu` is above the largest bias where `f(nu) = radius`; less than nothing where `f` is never so large.

    Newton's steps for `log f` of the logarithm of the margin, which falls and is concave: from the right, where
    `f <= E[below^2] / margin^2` puts the start, they come down to the solution.
    """
    least = jnp.log(SMALLEST * jnp.maximum(jnp.max(below), 1e-30))
    start = jnp.log(jnp.maximum(estimate @ below**2, 1e-30) / radius) / 2

    def step(_: int, log_margin: Float[Array, "S A"]) -> Float[Array, "S A"]:
        value, slope = divergence(estimate, below[None, None] / jnp.exp(log_margin)[..., None])
        move = (jnp.log(jnp.maximum(value, 1e-30)) - jnp.log(radius)) * value / jnp.minimum(slope, -1e-30)
        return jnp.maximum(least, log_margin - move)

    return jnp.exp(jax.lax.fori_loop(0, NEWTON_STEPS, step, jnp.maximum(least, start)))


def divergence(
    estimate: Float[Array, "S A S"], ratio: Float[Array, "S A S"]
) -> tuple[Float[Array, "S A"], Float[Array, "S A"]]:
    """`f = KL(p, q)` for `q` in proportion to `p / (1 + ratio)`, and its derivative in the logarithm of the margin.

    The ratio is that of what a state is below the best to the margin; written so that small values keep their digits.
    """
    kept, shrunk = estimate / (1 + ratio), estimate * ratio / (1 + ratio)
    left, mean = jnp.maximum(jnp.sum(kept, axis=-1), 1e-30), jnp.sum(shrunk, axis=-1)
    log_left = jnp.where(mean < 0.5, jnp.log1p(-jnp.minimum(mean, 0.5)), jnp.log(left))
    slope = jnp.sum(shrunk / (1 + ratio), axis=-1) / left - mean
    return jnp.sum(estimate * jnp.log1p(ratio), axis=-1) + log_left, slope
