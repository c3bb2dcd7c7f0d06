"""Rewards less their average: what a value is of where the reward rate counts.

Naik, Wan, Tomar and Sutton, "Reward Centering", RLC 2024: whatever is added to all rewards then changes nothing, and a
discount near 1 costs no precision.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

Scalar = Float[Array, ""] | float


class Average(NamedTuple):
    """A running mean.

    Attributes:
        value: The mean.
        weight: The weight of what was seen, from 0 to 1.
    """

    value: Float[Array, ""]
    weight: Float[Array, ""]


def no_average() -> Average:
    """Of nothing."""
    return Average(jnp.zeros(()), jnp.zeros(()))


def averaged(average: Average, value: Float[Array, ""], rate: Scalar) -> Average:
    """With one more value; the first replaces the start, whatever the rate, later ones move it by `rate` in the limit.

    The step is `rate / o` with `o <- o + rate (1 - o)`, the unbiased constant step of Sutton and Barto (2018, exercise
    2.7).

    Args:
        average: The mean so far.
        value: The new one.
        rate: Of the exponential moving average.
    """
    weight = average.weight + rate * (1 - average.weight)
    return Average(average.value + rate / weight * (value - average.value), weight)
