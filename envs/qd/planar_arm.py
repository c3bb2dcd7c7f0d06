"""An arm in the plane whose posture is chosen at once: the function on which quality-diversity is usually timed.

That one of many redundant postures is to be found for each place of the tip is of Cully, Clune, Tarapore & Mouret 2015;
scaled to the unit square, with the standard deviation of the angles as cost, it is the arm of the `qdax` package.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.envs.parts.painting import BLACK, painted, pixel_centres, soft, to_nearest_segment
from jaxreward.envs.qd.discs import NO_AREA

_LINE = 3 / 400
"""How thick the arm is drawn, as a part of the picture's side."""


@struct.dataclass
class PlanarArmState:
    """The posture, one number in [0, 1] for each joint, and whether it was chosen already: 0 or 1."""

    posture: Float[Array, " n"]
    time: Int[Array, ""]


@struct.dataclass
class PlanarArmParams:
    """The task has no numbers but its time limit, which the one step it takes never exceeds."""

    max_steps_in_episode: Int[Array, ""]


class PlanarArm(Environment):
    """An arm of total length 1/2, fixed in the middle of `[0, 1]^2`. It sees its posture, `[n]`, straight at first.

    The only action of an episode is the posture: a number `x`, clipped to `[0, 1]`, for each joint, which turns it by
    `2 pi x - pi` from where the segment before it points to (the first: from the right). It pays minus the standard
    deviation of the `x`, between -1/2 and 0, and terminates.

    In `info` are `descriptor`, the tip's position, and `area`, always `NO_AREA`: everything is paid.
    """

    descriptor_bounds = ((0.0, 0.0), (1.0, 1.0))
    """Between which corners `info["descriptor"]` lies."""
    num_areas = 0
    """How many areas pay: none, as the reward is not sparse."""

    def __init__(self, joints: int = 8) -> None:
        """Makes the task.

        Args:
            joints: How many there are.

        Raises:
            ValueError: If there is not to be one.
        """
        super().__init__()
        if joints < 1:
            raise ValueError(f"an arm has at least 1 joint; got joints={joints}")
        self.joints = joints

    @property
    def num_actions(self) -> int:
        return self.joints

    @property
    def default_params(self) -> PlanarArmParams:
        return PlanarArmParams(jnp.asarray(1, jnp.int32))

    def reset_env(self, key: Key[Array, ""], params: PlanarArmParams) -> tuple[Float[Array, " n"], PlanarArmState]:
        posture = jnp.full(self.joints, 0.5, float)
        return posture, PlanarArmState(posture, jnp.zeros((), jnp.int32))

    def step_env(
        self, key: Key[Array, ""], state: PlanarArmState, action: Float[Array, " n"], params: PlanarArmParams
    ) -> tuple[Float[Array, " n"], PlanarArmState, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        posture = jnp.clip(jnp.asarray(action, float), 0.0, 1.0)
        state = PlanarArmState(posture, jnp.ones((), jnp.int32))
        info = {"descriptor": joints_of(posture)[-1], "area": jnp.asarray(NO_AREA, jnp.int32)}
        return posture, state, -posture.std(), self.is_terminated(state, params), info

    def is_terminated(self, state: PlanarArmState, params: PlanarArmParams) -> Bool[Array, ""]:
        return state.time > 0

    def is_truncated(self, state: PlanarArmState, params: PlanarArmParams) -> Bool[Array, ""]:
        return jnp.zeros((), bool)

    def image(self, state: PlanarArmState, params: PlanarArmParams, size: int = 64) -> Float[Array, "size size 3"]:
        """The arm in black on white, `y` downwards."""
        points = size * joints_of(state.posture)
        to_arm = to_nearest_segment(pixel_centres(size), points[:-1], points[1:])
        return painted(jnp.ones((size, size, 3)), soft(to_arm - _LINE * size / 2), BLACK)

    def action_space(self, params: PyTree = None) -> spaces.Box:
        return spaces.Box(0.0, 1.0, (self.joints,), jnp.float32)

    def observation_space(self, params: PyTree = None) -> Any:
        return spaces.Box(0.0, 1.0, (self.joints,), jnp.float32)


def joints_of(posture: Float[Array, " n"]) -> Float[Array, "n+1 2"]:
    """Where the joints are, from the base to the tip, for one number in [0, 1] of each."""
    headings = jnp.cumsum(2 * jnp.pi * posture - jnp.pi)
    segments = jnp.stack([jnp.cos(headings), jnp.sin(headings)], -1) / (2 * posture.size)
    base = np.full((1, 2), 0.5, np.float32)
    return jnp.concatenate([base, base + jnp.cumsum(segments, axis=0)])
