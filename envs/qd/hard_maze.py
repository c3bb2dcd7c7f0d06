"""The hard maze: a robot with two wheels, which sees little, and two discs that pay if the episode ends in them.

The robot, the maze and the goals are those of `FastsimSimpleNavigation-v0` as it comes with the authors' code of SERENE
(Paolo et al., Sparse Reward Exploration via Novelty Search and Emitters, GECCO 2021, arXiv:2102.03140), and of the
simulator beneath it (`fastsim`). There the maze is a picture of 200 x 200 pixels; here it is geometry fitted to it.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.envs.parts.fastsim import (
    FASTEST,
    LASER_RANGE,
    LASERS,
    SIDE,
    Walls,
    border,
    clearance,
    driven,
    laser_ranges,
    together,
)
from jaxreward.envs.parts.painting import BLACK, BLUE, RED, painted, pixel_centres, soft, to_point, to_segments
from jaxreward.envs.qd.discs import DiscsParams, paid_in_disc

INNER = (9.0, 590.0)
"""Between which coordinates the border leaves room."""
WALLS = np.array(
    [
        (174, 144, 174, 451, 7.5),
        (-64, 128, 170, 146, 9.1),
        (176, 144, 390, 80, 8.2),
        (1, 212, 102, 341, 8.0),
        (176, 305, 456, 462, 6.8),
        (263, 259, 607, 439, 6.8),
        (318, 477, 215, 597, 7.3),
    ],
    np.float32,
)
"""Start and end of each wall's middle, and half its thickness; ends are round. 0.2 % of the picture differs."""

START, HEADING = (60.0, 450.0), np.pi / 4
GOALS, GOAL_RADIUS = ((60.0, 60.0), (100.0, 200.0)), 50.0

_DOT = 6.0
"""The radius of the dot that stands for the robot in the picture."""


@struct.dataclass
class MazeState:
    """Where the robot is, where it heads, in rad, clockwise from the right as seen, and since when the episode runs."""

    position: Float[Array, "2"]
    heading: Float[Array, ""]
    time: Int[Array, ""]


class HardMaze(Environment):
    """A robot in a maze. It sees `[5]`: three laser ranges, up to 100, and the left and the right bumper, 0 or 1.

    An action says how far the left and the right wheel roll, which `fastsim.driven` does. The last step pays
    `(r - d) / r`, `d` being the distance from the first goal that is not farther than the goal's radius `r`.

    In the authors' code the last step is paid for the position before it, and an episode starts with what the sensors
    said last in the episode before.

    In `info` are `descriptor`, the position divided by 600, and `area`, the index of the goal that the last step was
    paid for, or `NO_AREA`.
    """

    descriptor_bounds = ((0.0, 0.0), (1.0, 1.0))
    """Between which corners `info["descriptor"]` lies."""
    num_areas = len(GOALS)
    """How many goals there are; `info["area"]` counts them from 0."""

    @property
    def num_actions(self) -> int:
        return 2

    @property
    def default_params(self) -> DiscsParams:
        return DiscsParams(jnp.asarray(GOALS), jnp.asarray(GOAL_RADIUS), jnp.asarray(2000, jnp.int32))

    def reset_env(self, key: Key[Array, ""], params: DiscsParams) -> tuple[Float[Array, "5"], MazeState]:
        state = MazeState(jnp.asarray(START), jnp.asarray(HEADING, float), jnp.zeros((), jnp.int32))
        return _observed(state, jnp.zeros(2)), state

    def step_env(
        self, key: Key[Array, ""], state: MazeState, action: Float[Array, "2"], params: DiscsParams
    ) -> tuple[Float[Array, "5"], MazeState, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        position, heading, bumpers = driven(state.position, state.heading, jnp.asarray(action, float), MAZE)
        state = MazeState(position, heading, state.time + 1)
        reward, area = paid_in_disc(position, params.goals, params.goal_radius, self.is_truncated(state, params))
        info = {"descriptor": position / SIDE, "area": area}
        return _observed(state, bumpers), state, reward, self.is_terminated(state, params), info

    def is_terminated(self, state: MazeState, params: DiscsParams) -> Bool[Array, ""]:
        return jnp.zeros((), bool)

    def image(self, state: MazeState, params: DiscsParams, size: int = 64) -> Float[Array, "size size 3"]:
        """The maze from above, walls in black, free space in white, goals in red, the robot as a blue dot."""
        unit = SIDE / size
        points = unit * pixel_centres(size)
        image = painted(jnp.ones((size, size, 3)), soft(clearance(points, MAZE) / unit), BLACK)
        for goal in params.goals:
            image = painted(image, soft((to_point(points, goal) - params.goal_radius) / unit), RED)
        return painted(image, soft((to_point(points, state.position) - _DOT) / unit), BLUE)

    def action_space(self, params: PyTree = None) -> spaces.Box:
        return spaces.Box(-FASTEST, FASTEST, (2,), jnp.float32)

    def observation_space(self, params: PyTree = None) -> Any:
        high = jnp.array([LASER_RANGE] * len(LASERS) + [1.0, 1.0])
        return spaces.Box(jnp.zeros_like(high), high, high.shape, jnp.float32)


def _observed(state: MazeState, bumpers: Float[Array, "2"]) -> Float[Array, "5"]:
    return jnp.concatenate([laser_ranges(state.position, state.heading, MAZE), bumpers])


def _near(position: Float[Array, "2"]) -> tuple[Float[Array, "7"], Float[Array, "7"]]:
    ways = to_segments(position, WALLS[:, :2], WALLS[:, 2:4])
    return jnp.linalg.norm(ways, axis=-1) - WALLS[:, 4], jnp.arctan2(ways[:, 1], ways[:, 0])


def _along_ray(origin: Float[Array, "2"], direction: Float[Array, "2"]) -> Float[Array, ""]:
    """How far it is along a ray to the first wall: to a wall's two sides and its two round ends."""
    along, half = WALLS[:, 2:4] - WALLS[:, :2], WALLS[:, 4]
    length = np.linalg.norm(along, axis=-1)
    axis = along / length[:, None]
    normal = np.stack([-axis[:, 1], axis[:, 0]], -1)
    relative = origin[None] - WALLS[:, :2]
    (x, y), (dx, dy) = (((v * axis).sum(-1), (v * normal).sum(-1)) for v in (relative, direction[None]))
    sides = [_to_side(x, y, dx, dy, length, side * half) for side in (-1, 1)]
    ends = [_to_disc(x - end, y, dx, dy, half) for end in (0 * length, length)]
    return jnp.stack(sides + ends).min()


def _to_side(x: Array, y: Array, dx: Array, dy: Array, length: np.ndarray, side: np.ndarray) -> Float[Array, "7"]:
    """Along a ray from `(x, y)` to the segment from `(0, side)` to `(length, side)`."""
    way = (side - y) / jnp.where(jnp.abs(dy) < 1e-9, 1e-9, dy)
    there = x + way * dx
    return jnp.where((way >= 0) & (there >= 0) & (there <= length), way, jnp.inf)


def _to_disc(x: Array, y: Array, dx: Array, dy: Array, radius: np.ndarray) -> Float[Array, "7"]:
    """Along a ray from `(x, y)` to the circle around the origin, from outside."""
    nearest = -(x * dx + y * dy)
    squared_half_chord = radius**2 - (x * dy - y * dx) ** 2
    way = nearest - jnp.sqrt(jnp.maximum(squared_half_chord, 0))
    return jnp.where((squared_half_chord >= 0) & (way >= 0), way, jnp.inf)


MAZE = together(border(*INNER), Walls(_near, _along_ray))
"""All that the robot can run into."""
