"""Distances that are correlations: of rewards over transitions, and of returns over episodes."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def pearson_distance(
    first: Float[Array, " N"], second: Float[Array, " N"], weight: Float[Array, " N"] | None = None
) -> Float[Array, ""]:
    """`sqrt((1 - rho) / 2)` of the correlation `rho`, from 0 to 1; NaN if one of them is constant.

    Args:
        first: Values.
        second: Others of the same things.
        weight: How much each counts; all the same by default.
    """
    share = jnp.full(first.shape, 1 / first.size, first.dtype) if weight is None else weight / jnp.sum(weight)
    a, b = first - jnp.sum(share * first), second - jnp.sum(share * second)
    scale = jnp.sqrt(jnp.sum(share * a**2) * jnp.sum(share * b**2))
    return jnp.sqrt(jnp.clip((1 - jnp.sum(share * a * b) / scale) / 2, 0.0, 1.0))


def spearman_distance(first: Float[Array, " N"], second: Float[Array, " N"]) -> Float[Array, ""]:
    """The same of their ranks, equals sharing the mean of theirs."""
    return pearson_distance(ranks(first), ranks(second))


def ranks(values: Float[Array, " N"]) -> Float[Array, " N"]:
    """How many are smaller, and half of how many are equal."""
    ordered = jnp.sort(values)
    return (jnp.searchsorted(ordered, values, side="left") + jnp.searchsorted(ordered, values, side="right")) / 2


def erc_distance(first: Float[Array, " E"], second: Float[Array, " E"]) -> Float[Array, ""]:
    """Episode return correlation: how differently two rewards order the same episodes, by their returns.

    A baseline of "Quantifying differences in reward functions" (Gleave et al., ICLR 2021, arXiv:2006.13900).
    """
    return pearson_distance(first, second)
