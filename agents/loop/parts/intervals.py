"""Confidence intervals of each probability, and the best distribution within them."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreward.agents.loop.parts.counts import Counts


def most_within(
    lower: Float[Array, "S A S"], upper: Float[Array, "S A S"], bias: Float[Array, " S"]
) -> Float[Array, "S A"]:
    """The largest `p . bias` of distributions with `lower <= p <= upper`.

    All get their least, and what is left goes to the best states first, up to their most. Where all may not get enough
    to sum to 1, what is missing goes to the worst state.
    """
    order = jnp.argsort(-bias)
    worst = bias[order[-1]]
    return filled(lower[..., order], upper[..., order], bias[order] - worst) + worst


def filled(
    lower: Float[Array, "S A S"], upper: Float[Array, "S A S"], worth: Float[Array, " S"]
) -> Float[Array, "S A"]:
    """As `most_within`, of states in the order of their worth, the best first; what is missing is worth nothing."""
    room = jnp.maximum(0.0, upper - lower)
    left = 1 - jnp.sum(lower, axis=-1, keepdims=True)
    before = jnp.cumsum(room, axis=-1) - room
    return (lower + jnp.clip(left - before, 0.0, room)) @ worth


def estimated(counts: Counts) -> tuple[Float[Array, "S A"], Float[Array, "S A"], Float[Array, "S A S"]]:
    """The mean and the variance of each pair's rewards, and how often each state followed; zero where nothing was seen.

    Returns:
        `[S, A]`, `[S, A]` and `[S, A, S]`.
    """
    visits = jnp.maximum(1.0, counts.visits)
    mean = counts.reward / visits
    variance = jnp.maximum(0.0, counts.squared / visits - mean**2)
    return mean, variance, counts.following / visits[..., None]
