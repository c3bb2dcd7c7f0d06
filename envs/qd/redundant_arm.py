"""An arm of 20 joints among four walls, which is to bring its tip to one of three discs: a sparse reward for many ways.

The rules are those of `RedundantArm-v0` in the authors' code of SERENE (Paolo et al., Sparse Reward Exploration via
Novelty Search and Emitters, GECCO 2021, arXiv:2102.03140), also used by STAX (arXiv:2111.01919).
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
from jaxreward.envs.qd.discs import DiscsParams, paid_in_disc

JOINTS, SEGMENT = 20, 0.05
"""How many joints there are, and how long each of as many segments is."""
BASE = (0.5, 0.5)
FIRST_ANGLE = 4 * np.pi / JOINTS
"""Of the joint at the base when an episode starts; the others fall linearly to a quarter of it: a spiral."""

SUBSTEPS, DT = 2, 0.01
"""An action is so many sub-steps of that many seconds."""
FASTEST = 1.0
"""What the speed that is checked may not exceed."""
CLEARANCE = 0.95 * SEGMENT
"""How near, in the sum of the two coordinates' differences, two joints may not be."""

WALLS = np.array([(0.49, 0, 0.51, 0.2), (0.49, 0.8, 0.51, 1), (0, 0.49, 0.2, 0.51), (0.8, 0.49, 1, 0.51)], np.float32)
"""Lower and upper corner of each wall, `(x, y, x, y)`."""
GOALS, GOAL_RADIUS = ((0.25, 0.25), (0.85, 0.85), (0.25, 0.9)), 0.05

_LIGHT_RED = (1.0, 50 / 255, 50 / 255)
_SCREEN, _SIDE, _CORNER, _LINE = 400, 360.52, (20, 5), 3
"""The authors' picture in its pixels: its side, that of the arena, where this begins, how thick the arm is drawn."""


@struct.dataclass
class ArmState:
    """The joints' angles in rad and speeds in rad/s, whether the arm was stopped, and since when the episode runs."""

    angles: Float[Array, "20"]
    speeds: Float[Array, "20"]
    stopped: Bool[Array, ""]
    time: Int[Array, ""]


class RedundantArm(Environment):
    """An arm in the unit square, fixed in the middle. It sees its angles, divided by pi, `[20]`.

    An action is the torque at each joint; a sub-step moves the angles by `speed dt + torque / 2 dt^2` and adds
    `torque / 2 dt` to the speeds. A sub-step after which the arm would be where it may not be (`legal`) is not made and
    terminates the episode. The last step pays `(r - d) / r`, `d` being the tip's distance from the first goal that is
    not farther than the goal's radius `r`.

    In `info` are `descriptor`, the tip's position, and `area`, the index of the goal that the last step was paid for,
    or `NO_AREA`.
    """

    descriptor_bounds = ((0.0, 0.0), (1.0, 1.0))
    """Between which corners `info["descriptor"]` lies."""
    num_areas = len(GOALS)
    """How many goals there are; `info["area"]` counts them from 0."""

    def __init__(self, require_stop: bool = False) -> None:
        """Makes the task.

        Args:
            require_stop: Whether only an episode that an illegal move ended is paid. It is so in the authors' code: the
                environment pays where it ends itself, after 250 steps, and their evaluation cuts it off before.
        """
        super().__init__()
        self.require_stop = require_stop

    @property
    def num_actions(self) -> int:
        return JOINTS

    @property
    def default_params(self) -> DiscsParams:
        return DiscsParams(jnp.asarray(GOALS), jnp.asarray(GOAL_RADIUS), jnp.asarray(100, jnp.int32))

    def reset_env(self, key: Key[Array, ""], params: DiscsParams) -> tuple[Float[Array, "20"], ArmState]:
        angles = jnp.asarray(np.linspace(FIRST_ANGLE, FIRST_ANGLE / 4, JOINTS), float)
        state = ArmState(angles, jnp.zeros(JOINTS), jnp.zeros((), bool), jnp.zeros((), jnp.int32))
        return angles / jnp.pi, state

    def step_env(
        self, key: Key[Array, ""], state: ArmState, action: Float[Array, "20"], params: DiscsParams
    ) -> tuple[Float[Array, "20"], ArmState, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        torque, tip = jnp.asarray(action, float), joints(state.angles)[-1]
        for _ in range(SUBSTEPS):
            state, tip = _substep(state, tip, torque)
        state = ArmState(state.angles, state.speeds, state.stopped, state.time + 1)
        ends = state.stopped if self.require_stop else state.stopped | self.is_truncated(state, params)
        reward, area = paid_in_disc(tip, params.goals, params.goal_radius, ends)
        return state.angles / jnp.pi, state, reward, state.stopped, {"descriptor": tip, "area": area}

    def is_terminated(self, state: ArmState, params: DiscsParams) -> Bool[Array, ""]:
        return state.stopped

    def image(self, state: ArmState, params: DiscsParams, size: int = 64) -> Float[Array, "size size 3"]:
        """The arm and the walls in black and the goals in red over them, on white, `y` downwards.

        Laid out as the authors' picture of 400 x 400 pixels, with soft edges instead of the gaps that thin lines get
        when a picture is made small by taking single pixels of it.
        """
        scale = size / _SCREEN
        points = _on_screen(joints(state.angles), scale)
        goals = _on_screen(params.goals, scale)
        pixels = pixel_centres(size)
        image = jnp.ones((size, size, 3))
        for wall in WALLS.reshape(-1, 2, 2):
            image = painted(image, soft(_to_box(pixels, _on_screen(jnp.asarray(wall), scale))), BLACK)
        to_arm = to_nearest_segment(pixels, points[:-1], points[1:])
        image = painted(image, soft(to_arm - _LINE * scale / 2), BLACK)
        for goal in goals:
            to_goal = jnp.linalg.norm(pixels - goal[None, None], axis=-1)
            image = painted(image, soft(to_goal - params.goal_radius * _SIDE * scale), _LIGHT_RED)
        return image

    def action_space(self, params: PyTree = None) -> spaces.Box:
        return spaces.Box(-1.0, 1.0, (JOINTS,), jnp.float32)

    def observation_space(self, params: PyTree = None) -> Any:
        return spaces.Box(-1.0, 1.0, (JOINTS,), jnp.float32)


def joints(angles: Float[Array, " n"]) -> Float[Array, "n+1 2"]:
    """Where the arm's joints are, from the base to the tip. All angles 0: straight up; positive: counter-clockwise."""
    headings = jnp.pi / 2 + jnp.cumsum(angles)
    segments = SEGMENT * jnp.stack([jnp.cos(headings), jnp.sin(headings)], -1)
    base = jnp.asarray(BASE)[None]
    return jnp.concatenate([base, base + jnp.cumsum(segments, axis=0)])


def legal(points: Float[Array, "21 2"], tip: Float[Array, "2"], last_speed: Float[Array, ""]) -> Bool[Array, ""]:
    """Whether the joints of an arm whose tip is here may move to `points`.

    They may not if the arm were too fast; if a joint were outside of `[0, 1)^2`, or strictly inside a wall; or if two
    joints were too near each other. "Too fast" is the authors' check, which adds unlike things: half the distance that
    the tip moves, and the speed of the last joint before, in rad/s, signed.
    """
    moved = jnp.linalg.norm(points[-1] - tip)
    slow = moved / SUBSTEPS + last_speed <= FASTEST
    in_arena = (points.min() >= 0) & (points.max() < 1)
    return slow & in_arena & ~in_walls(points).any() & apart(points)


def apart(points: Float[Array, "n 2"]) -> Bool[Array, ""]:
    """Whether no two points are too near each other.

    Those that are so many joints apart are compared at once: on a CPU nine times as fast as a table of all pairs.
    """
    x, y = points.T
    far = [
        (jnp.abs(x[lag:] - x[:-lag]) + jnp.abs(y[lag:] - y[:-lag]) >= CLEARANCE).all() for lag in range(1, len(points))
    ]
    return jnp.stack(far).all()


def in_walls(points: Float[Array, "n 2"]) -> Bool[Array, " n"]:
    """Which points are strictly inside a wall."""
    low, high = (jnp.asarray(corner)[None] for corner in (WALLS[:, :2], WALLS[:, 2:]))
    return ((points[:, None] > low) & (points[:, None] < high)).all(-1).any(-1)


def _substep(state: ArmState, tip: Float[Array, "2"], torque: Float[Array, "20"]) -> tuple[ArmState, Float[Array, "2"]]:
    """Moves the arm, and its tip, if it was not stopped before and is not now."""
    proposed = state.angles + state.speeds * DT + torque / 2 * DT**2
    points = joints(proposed)
    goes = ~state.stopped & legal(points, tip, state.speeds[-1])
    angles = jnp.where(goes, proposed, state.angles)
    speeds = jnp.where(goes, state.speeds + torque / 2 * DT, state.speeds)
    return ArmState(angles, speeds, ~goes, state.time), jnp.where(goes, points[-1], tip)


def _on_screen(points: Float[Array, "n 2"], scale: float) -> Float[Array, "n 2"]:
    return scale * (jnp.asarray(_CORNER, float)[None] + _SIDE * points)


def _to_box(points: Float[Array, "*batch 2"], box: Float[Array, "2 2"]) -> Float[Array, "*batch"]:
    """The distance from a box with sides along the axes, in the larger of the two directions; negative inside."""
    low, high = (jnp.broadcast_to(corner, points.shape) for corner in box)
    return jnp.maximum(low - points, points - high).max(-1)
