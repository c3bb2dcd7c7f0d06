"""Ranges of numbers: drawn from evenly, and moved within."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped


class Range(NamedTuple):
    """What a hyperparameter is searched in.

    Attributes:
        low: Its least value.
        high: Its largest.
        log: Whether its logarithm is what is drawn and moved evenly.
        integer: Whether it is a whole number.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False


def check_range(name: str, within: Range) -> None:
    """Refuses a range that is none.

    Raises:
        ValueError: Its ends are not finite and in order, or not positive for a logarithmic one.
    """
    if not (math.isfinite(within.low) and math.isfinite(within.high) and within.low < within.high):
        raise ValueError(
            f"{name}: a range goes from a lower to a higher number, not from {within.low} to {within.high}"
        )
    if within.log and within.low <= 0:
        raise ValueError(f"{name}: a logarithmic range must be positive, not from {within.low}")


def draw(within: Range, key: Key[Array, ""], number: int) -> Float[Array, " N"]:
    """Draws values from a range, an integer's ends as likely as the others."""
    half = 0.5 if within.integer else 0.0
    low, high = within.low - half, within.high + half
    if within.log:
        values = jnp.exp(jax.random.uniform(key, (number,), minval=math.log(low), maxval=math.log(high)))
    else:
        values = jax.random.uniform(key, (number,), minval=low, maxval=high)
    return _within(within, values)


def perturb(
    within: Range, values: Shaped[Array, " N"], direction: Float[Array, " N"], factor: float
) -> Float[Array, " N"]:
    """Moves up (1) or down (-1), see `population.Config.perturb`; integers by at least one, none out of range."""
    if within.log:
        moved = values * factor**direction
    else:
        moved = values + direction * (factor - 1) * (within.high - within.low) / 2
    if within.integer:
        moved = values + direction * jnp.maximum(jnp.abs(jnp.round(moved) - values), 1)
    return _within(within, moved)


def _within(within: Range, values: Float[Array, " N"]) -> Float[Array, " N"]:
    return jnp.clip(jnp.round(values) if within.integer else values, within.low, within.high)
