"""Variances of Gaussian variables given a growing set of others."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Factor(NamedTuple):
    """The Cholesky factor of a covariance matrix with room for `capacity` rows.

    Attributes:
        columns: Those of the factor below its diagonal, column `i` in row `i`.
        scales: The inverse of its diagonal.
        size: How many rows there are.
    """

    columns: Float[Array, "capacity capacity"]
    scales: Float[Array, " capacity"]
    size: Int[Array, ""]


def no_rows(capacity: int) -> Factor:
    """The factor of nothing."""
    return Factor(jnp.zeros((capacity, capacity)), jnp.zeros(capacity), jnp.zeros((), jnp.int32))


def grow(
    factor: Factor, covariances: Float[Array, " capacity"], variance: Float[Array, ""], noise: Float[Array, ""]
) -> tuple[Factor, Float[Array, ""]]:
    """One more variable, and its variance given those before it, which is never below `noise`.

    By forward substitution: to multiply with an inverse factor is useless in float32 where variables nearly determine
    each other. No variable may explain more than is left to explain, or rounding errors would grow without bound there.

    Args:
        factor: The variables before. Where there is no more room it stays as it is.
        covariances: With each of them, in their order; those beyond their number are not looked at.
        variance: Of the new variable, without noise.
        noise: Variance of its own that no other variable says anything about.
    """
    capacity = factor.scales.size

    def explain(i: Int[Array, ""], carry: tuple) -> tuple:
        rest, left = carry
        most = jnp.sqrt(jnp.maximum(left, 1e-30))  # the root has no derivative at 0
        part = jnp.where(i < factor.size, jnp.clip(rest[i] * factor.scales[i], -most, most), 0)
        return (rest - factor.columns[i] * part).at[i].set(part), jnp.maximum(left - part**2, 0)

    row, left = jax.lax.fori_loop(0, capacity, explain, (covariances, variance))
    columns = factor.columns.at[:, factor.size].set(row, mode="drop")
    scales = factor.scales.at[factor.size].set(jax.lax.rsqrt(left + noise), mode="drop")
    return Factor(columns, scales, jnp.minimum(factor.size + 1, capacity)), left + noise
