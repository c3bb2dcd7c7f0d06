"""Discs that pay where an episode ends: what the arm and the maze have in common."""

from __future__ import annotations

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

NO_AREA = -1
"""The index of a reward area where there is none."""


@struct.dataclass
class DiscsParams:
    """Numbers of a task whose goals are discs, which may be vmapped over.

    Attributes:
        goals: The centres of the discs that pay.
        goal_radius: Their radius.
        max_steps_in_episode: The time limit, which truncates: the policy does not see the time.
    """

    goals: Float[Array, "areas 2"]
    goal_radius: Float[Array, ""]
    max_steps_in_episode: Int[Array, ""]


def paid_in_disc(
    position: Float[Array, "2"], goals: Float[Array, "n 2"], radius: Float[Array, ""], pays: Bool[Array, ""]
) -> tuple[Float[Array, ""], Int[Array, ""]]:
    """What a position earns: `(r - d) / r`, 1 in a disc's centre, falling to 0 at its border, 0 outside.

    Args:
        position: Where one is.
        goals: The discs' centres.
        radius: Of each disc.
        pays: Whether anything is paid now.

    Returns:
        The reward, and the index of the disc that it is for, the first if there are several, or `NO_AREA`.
    """
    distance = jnp.linalg.norm(goals - position[None], axis=-1)
    reached = pays & (distance <= radius)
    first = jnp.argmax(reached).astype(jnp.int32)
    reward = jnp.where(reached.any(), (radius - distance[first]) / radius, 0.0)
    return reward, jnp.where(reached.any(), first, NO_AREA)
