"""Running mean and variance of observations."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Moments(NamedTuple):
    """Mean and variance of everything seen so far.

    Attributes:
        samples: How many.
        mean: `[F]`.
        variance: Population variance, `[F]`.
    """

    samples: Float[Array, ""]
    mean: Float[Array, " F"]
    variance: Float[Array, " F"]


def moments(x: Float[Array, "*batch F"]) -> Moments:
    """The moments of a batch."""
    x = x.reshape(-1, x.shape[-1])
    return Moments(jnp.asarray(x.shape[0], float), x.mean(0), x.var(0))


def first_moments(x: Float[Array, "*batch F"]) -> Moments:
    """Those that scale the first steps: of what they show at first, which does not count as it is shown again."""
    return moments(x)._replace(samples=jnp.zeros(()))


def merge(a: Moments, b: Moments) -> Moments:
    """The moments of two sets together (Chan, Golub & LeVeque 1983)."""
    samples = a.samples + b.samples
    delta = b.mean - a.mean
    mean = a.mean + delta * b.samples / samples
    squares = a.variance * a.samples + b.variance * b.samples + jnp.square(delta) * a.samples * b.samples / samples
    return Moments(samples, mean, squares / samples)


def normalise(x: Float[Array, "*batch F"], seen: Moments, limit: float = 10.0) -> Float[Array, "*batch F"]:
    """`x` centred and scaled to unit variance, clipped to `limit` standard deviations; statistics are constants.

    What has been the same each time, but for rounding, has no scale yet and is only centred.
    """
    fitted = lambda m: jax.lax.stop_gradient(m).reshape((1,) * (x.ndim - m.ndim) + m.shape)  # noqa: E731
    mean, variance = fitted(seen.mean), fitted(seen.variance)
    varies = variance > 1e-12 * jnp.square(mean)
    scaled = (x - mean) * jnp.where(varies, jax.lax.rsqrt(variance + 1e-8), 1.0)
    return jnp.clip(scaled, -limit, limit)
