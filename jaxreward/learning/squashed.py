"""Continuous actions within bounds: a box scaled to [-1, 1], and a Gaussian squashed into it by tanh.

The density of a squashed action is that of Haarnoja et al. 2018 (arXiv:1812.05905, appendix C, eq. 26).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments import spaces
from jaxtyping import Array, Float

LOG_STD_RANGE = (-10.0, 2.0)
"""Where log standard deviations are kept: beyond, a density over- or underflows in single precision."""


class UnitBox(NamedTuple):
    """A box of actions as `[-1, 1]^d`.

    Attributes:
        size: `d`, how many numbers an action has.
        to_env: `[*batch, d]` in `[-1, 1]` to actions `[*batch, *shape]`; the bounds go to the bounds.
        from_env: Back.
    """

    size: int
    to_env: Callable[[Array], Array]
    from_env: Callable[[Array], Array]


def unit_box(space: Any, who: str) -> UnitBox:
    """Scales an action space by its own bounds, side by side.

    Args:
        space: A gymnax space.
        who: What needs it, for the message.

    Raises:
        TypeError: If it is no `Box`.
        ValueError: If a side has no bound, or no length; says which.
    """
    if not isinstance(space, spaces.Box):
        raise TypeError(
            f"{who} needs continuous actions; expected a Box, got {type(space).__name__}; see dqn for discrete ones"
        )
    low, high = (np.broadcast_to(np.asarray(bound, np.float32), space.shape) for bound in (space.low, space.high))
    _check_bounds(low, high, who)
    middle, radius = low / 2 + high / 2, high / 2 - low / 2
    size, shape = math.prod(space.shape), space.shape
    # Sums of large bounds may round to beyond them.
    low, high, middle, radius = (np.ravel(x) for x in (low, high, middle, radius))

    def to_env(unit: Array) -> Array:
        inside = jnp.clip(_like(middle, unit) + _like(radius, unit) * unit, _like(low, unit), _like(high, unit))
        return inside.reshape(*unit.shape[:-1], *shape)

    def from_env(action: Array) -> Array:
        flat = jnp.reshape(action, (*jnp.shape(action)[: jnp.ndim(action) - len(shape)], size))
        return (flat - _like(middle, flat)) / _like(radius, flat)

    return UnitBox(size, to_env, from_env)


def _like(x: np.ndarray, batch: Float[Array, "*batch d"]) -> np.ndarray:
    """With as many axes as a batch has, `[1, ..., d]`."""
    return x.reshape((1,) * (jnp.ndim(batch) - 1) + x.shape)


def _check_bounds(low: np.ndarray, high: np.ndarray, who: str) -> None:
    wrong = ~(np.isfinite(low) & np.isfinite(high) & (low < high))
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"{who} scales actions by their bounds, and side {place} of the action space is from {low[place]:g} to "
            f"{high[place]:g}; expected finite bounds, the lower one below the upper one. `ppo` takes unbounded actions"
        )


def squashed_sample(
    outputs: Float[Array, "*batch 2d"], noise: Float[Array, "*batch d"]
) -> tuple[Float[Array, "*batch d"], Float[Array, "*batch"]]:
    """An action in `[-1, 1]^d` and the logarithm of its density there.

    Args:
        outputs: Means and log standard deviations, before tanh.
        noise: Standard normal.

    Returns:
        `tanh(u)`, `u = mean + std * noise`, and `log N(u) - sum log(1 - tanh(u)^2)`, both differentiable in `outputs`.
    """
    mean, log_std = mean_and_log_std(outputs)
    before = mean + jnp.exp(log_std) * noise
    normal = -jnp.square(noise) / 2 - log_std - math.log(2 * math.pi) / 2
    # log(1 - tanh(u)^2), which is lost to rounding where tanh(u) is near 1.
    stretch = 2 * (math.log(2) - before - jax.nn.softplus(-2 * before))
    return jnp.tanh(before), (normal - stretch).sum(-1)


def mean_and_log_std(outputs: Float[Array, "*batch 2d"]) -> tuple[Float[Array, "*batch d"], Float[Array, "*batch d"]]:
    """The two halves of a policy's outputs; log standard deviations within `LOG_STD_RANGE`."""
    mean, log_std = jnp.split(outputs, 2, -1)
    return mean, jnp.clip(log_std, *LOG_STD_RANGE)
