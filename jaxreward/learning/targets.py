"""Target networks: parameters that follow those that are learned."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from jaxreward.environment import select

Scalar = Float[Array, ""] | float


def soft_update(params: PyTree, target: PyTree, step: Scalar) -> PyTree:
    """The target moved by a part `step` of the way (Lillicrap et al. 2016, arXiv:1509.02971, algorithm 1)."""
    return jax.tree.map(lambda new, old: step * new + (1 - step) * old, params, target)


def periodic_update(
    params: PyTree, target: PyTree, updates: Int[Array, ""], period: Scalar, step: Scalar = 1.0
) -> PyTree:
    """The target moved by a part `step` of the way after every `period` updates, as it is in between.

    With a step of 1 it becomes the params (Mnih et al. 2015, "Human-level control through deep reinforcement learning",
    algorithm 1), with a period of 1 it is `soft_update`. A copy of params costs little beside the update before it, so
    both sides are computed.

    Args:
        params: That are learned.
        target: That follow.
        updates: How many there were, this one included.
        period: Every how many.
        step: How far.
    """
    due = updates % jnp.maximum(jnp.asarray(period, jnp.int32), 1) == 0
    return select(due, soft_update(params, target, step), target)
