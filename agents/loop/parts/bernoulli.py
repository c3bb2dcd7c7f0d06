"""Confidence bounds of a mean that hold at all times at once, after Bourel, Maillard and Talebi (2020).

Each is the tighter one of two: Bernstein's with a peeling of time, and a sub-Gaussian one by the method of mixtures.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Means = Float[Array, "..."]

PEELING = 1.12
"""The ratio of two time slices, as in the paper."""
HALVINGS = 24
"""A bound is found by so many halvings of where it may be."""


def peeled(visits: Means, delta: Means | float) -> Means:
    """Log of the time slices over delta, by the number of visits; at least one visit."""
    slices = jnp.log(PEELING * visits) * jnp.log(PEELING**2 * visits)
    return PEELING * jnp.log(slices / (jnp.log(PEELING) ** 2 * delta)) / visits


def mean_upper(mean: Means, variance: Means, visits: Means, delta: Means | float) -> Means:
    """An upper bound of the mean of what is between 0 and 1, from its empirical mean and variance; 1 without visits."""
    number = jnp.maximum(1.0, visits)
    rate = peeled(number, delta)
    bernstein = jnp.sqrt(2 * variance * rate) + 7 / 3 * rate
    laplace = jnp.sqrt((1 + 1 / number) * jnp.log(jnp.sqrt(number + 1) / delta) / (2 * number))
    return jnp.where(visits > 0, jnp.minimum(1.0, mean + jnp.minimum(bernstein, laplace)), 1.0)


def probability_bounds(estimate: Means, visits: Means, delta: Means | float) -> tuple[Means, Means]:
    """The least and the largest probability that the estimate does not refute; 0 and 1 without visits."""
    number = jnp.maximum(1.0, visits)
    high = lambda q: q - estimate <= _radius(q, jnp.where(q < 0.5, _proxy(q), q * (1 - q)), number, delta)  # noqa: E731
    low = lambda q: estimate - q <= _radius(q, _proxy(q), number, delta)  # noqa: E731
    upper = _last(high, estimate, jnp.ones_like(estimate))
    lower = _last(low, estimate, jnp.zeros_like(estimate))
    return jnp.where(visits > 0, lower, 0.0), jnp.where(visits > 0, upper, 1.0)


def _radius(q: Means, proxy: Means, visits: Means, delta: Means | float) -> Means:
    """How far from `q` the estimate may be."""
    rate = peeled(visits, delta)
    bernstein = jnp.sqrt(2 * q * (1 - q) * rate) + rate / 3
    laplace = jnp.sqrt(2 * proxy * (1 + 1 / visits) * jnp.log(2 * jnp.sqrt(visits + 1) / delta) / visits)
    return jnp.minimum(bernstein, laplace)


def _proxy(q: Means) -> Means:
    """The variance proxy of a Bernoulli variable, `(1/2 - q) / log(1/q - 1)` (Kearns and Saul 1998)."""
    inside = jnp.clip(q, 1e-30, 1 - 1e-7)
    near_half = jnp.abs(inside - 0.5) < 1e-3
    odds = jnp.log1p(-inside) - jnp.log(inside)
    proxy = jnp.where(near_half, 0.25, (0.5 - inside) / jnp.where(near_half, 1.0, odds))
    return jnp.where((q <= 0) | (q >= 1), 0.0, proxy)


def _last(holds: Callable[[Means], Array], start: Means, end: Means) -> Means:
    """The last point for which a condition holds on the way from `start`, where it does, to `end`."""

    def halve(_: int, bracket: tuple[Means, Means]) -> tuple[Means, Means]:
        good, bad = bracket
        middle = (good + bad) / 2
        return jnp.where(holds(middle), middle, good), jnp.where(holds(middle), bad, middle)

    good, _ = jax.lax.fori_loop(0, HALVINGS, halve, (start, end))
    return jnp.where(holds(end), end, good)
