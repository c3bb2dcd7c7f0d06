"""How the reward that is learned from and the true one go together on a policy's own steps."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

CORRELATION = "reward_correlation"
"""The metric."""
TRUE = "true"
"""What stands beside a reward under this name, see `jaxreward.rewards.beside`, is the true one."""


def with_true(reward: Float[Array, "..."], info: dict[str, Any]) -> tuple[Array, Array] | tuple[()]:
    """The reward that is learned from and the true one: what is beside it as `true`, or else the environment's own.

    Nothing where the environment's own is what is learned from, or one is a vector and the other isn't.
    """
    true = info.get(f"reward/{TRUE}", info.get("env_reward"))
    if true is None or jnp.shape(true) != jnp.shape(reward):
        return ()
    return jnp.asarray(reward, float), jnp.asarray(true, float)


def told_together(
    pair: tuple[Array, Array] | tuple[()], valid: Bool[Array, "T N"] | None = None
) -> dict[str, Float[Array, ""]]:
    """Their correlation over steps as a metric; nothing where there is no pair.

    Args:
        pair: See `with_true`, with leading axes `[T, N]`.
        valid: Which steps count; all if not given.
    """
    if not pair:
        return {}
    weight = jnp.ones(pair[0].shape[:2], bool) if valid is None else valid
    weight = jnp.broadcast_to(weight.reshape(*weight.shape, *[1] * (pair[0].ndim - 2)), pair[0].shape)
    return {CORRELATION: correlation(*pair, weight)}


def correlation(
    first: Float[Array, "*n"], second: Float[Array, "*n"], weight: Float[Array, "*n"] | Bool[Array, "*n"]
) -> Float[Array, ""]:
    """Pearson's, of weighted pairs; 0 where one of them doesn't vary."""
    share = weight / jnp.maximum(weight.sum(), 1)
    centred = []
    for x in (first, second):
        x = jnp.where(weight > 0, x, 0.0)  # what doesn't count may be anything, NaN included
        mean = (share * x).sum()
        largest = jnp.abs(x).max()
        off = jnp.where(weight > 0, x - mean, 0.0)
        rounding = 8 * jnp.finfo(x.dtype).eps * largest
        centred.append(jnp.where((share * jnp.abs(off)).sum() <= rounding, 0.0, off))  # what is NaN stays so
    scale = jnp.sqrt((share * centred[0] ** 2).sum()) * jnp.sqrt((share * centred[1] ** 2).sum())
    none = scale == 0
    return jnp.where(none, 0.0, (share * centred[0] * centred[1]).sum() / jnp.where(none, 1.0, scale))
