"""The hard maze: a robot with two wheels, which sees little, and two discs that pay if the episode ends in them.

The robot, the maze and the goals are those of `FastsimSimpleNavigation-v0` as it comes with the authors' code of SERENE
(Paolo et al., Sparse Reward Exploration via Novelty Search and Emitters, GECCO 2021, arXiv:2102.03140), and of the
simulator beneath it, libfastsim. There the maze is a picture of 200 x 200 pixels; here it is geometry fitted to it.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.envs.discs import DiscsParams, paid_in_disc
from jaxreward.envs.painting import BLACK, BLUE, RED, painted, pixel_centres, soft, to_segments

SIDE = 600.0
"""Of the maze, `x` to the right and `y` downwards from its upper left corner."""
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
WHEEL_BASE, FASTEST = 20.0, 4.0
"""How far the wheels are apart, and how far one rolls in a step at most."""
CONTACT = 9.0
"""How near to the robot's middle walls come: its radius is 10, of which the simulator makes three pixels of 3."""
LASERS = np.array((np.pi / 4, 0, -np.pi / 4), np.float32)
"""Where they look, relative to the heading: right, ahead and left."""
LASER_RANGE = 100.0
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

    An action says how far the left and the right wheel roll. Where a wall would be nearer than `CONTACT`, the robot
    turns but stays where it is, and the bumpers say on which sides, ahead of it, the wall is. The last step pays
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
        return _sensors(state, jnp.zeros(2)), state

    def step_env(
        self, key: Key[Array, ""], state: MazeState, action: Float[Array, "2"], params: DiscsParams
    ) -> tuple[Float[Array, "5"], MazeState, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        wheels = jnp.clip(jnp.asarray(action, float), -FASTEST, FASTEST)
        position, heading = rolled(state.position, state.heading, wheels)
        to_walls = _to_walls(position)
        hits = to_walls[0].min() <= CONTACT
        state = MazeState(jnp.where(hits, state.position, position), heading, state.time + 1)
        reward, area = paid_in_disc(state.position, params.goals, params.goal_radius, self.is_truncated(state, params))
        info = {"descriptor": state.position / SIDE, "area": area}
        observation = _sensors(state, _bumpers(*to_walls, heading))
        return observation, state, reward, self.is_terminated(state, params), info

    def is_terminated(self, state: MazeState, params: DiscsParams) -> Bool[Array, ""]:
        return jnp.zeros((), bool)

    def image(self, state: MazeState, params: DiscsParams, size: int = 64) -> Float[Array, "size size 3"]:
        """The maze from above, walls in black, free space in white, goals in red, the robot as a blue dot."""
        unit = SIDE / size
        points = unit * pixel_centres(size)
        to_wall = jax.vmap(jax.vmap(lambda point: _to_walls(point)[0].min()))(points)
        image = painted(jnp.ones((size, size, 3)), soft(to_wall / unit), BLACK)
        for goal in params.goals:
            image = painted(image, soft((_distance(points, goal) - params.goal_radius) / unit), RED)
        return painted(image, soft((_distance(points, state.position) - _DOT) / unit), BLUE)

    def action_space(self, params: PyTree = None) -> spaces.Box:
        return spaces.Box(-FASTEST, FASTEST, (2,), jnp.float32)

    def observation_space(self, params: PyTree = None) -> Any:
        high = jnp.array([LASER_RANGE] * len(LASERS) + [1.0, 1.0])
        return spaces.Box(jnp.zeros_like(high), high, high.shape, jnp.float32)


def rolled(
    position: Float[Array, "2"], heading: Float[Array, ""], wheels: Float[Array, "2"]
) -> tuple[Float[Array, "2"], Float[Array, ""]]:
    """Position and heading, in `[-pi, pi]`, after the left and the right wheel rolled so far: along an arc."""
    turn = (wheels[1] - wheels[0]) / WHEEL_BASE
    chord = wheels.mean() * jnp.sinc(turn / (2 * jnp.pi))
    between = heading + turn / 2
    return position + chord * jnp.stack([jnp.cos(between), jnp.sin(between)]), _wrapped(heading + turn)


def laser_ranges(position: Float[Array, "2"], heading: Float[Array, ""]) -> Float[Array, "3"]:
    """How far it is to the nearest wall where each laser looks, up to `LASER_RANGE`."""
    angles = heading + LASERS
    directions = jnp.stack([jnp.cos(angles), jnp.sin(angles)], -1)
    to_walls = jax.vmap(_along_ray_to_walls, (None, 0))(position, directions).min(-1)
    to_border = jax.vmap(_along_ray_to_border, (None, 0))(position, directions)
    return jnp.minimum(jnp.minimum(to_walls, to_border), LASER_RANGE)


def _sensors(state: MazeState, bumpers: Float[Array, "2"]) -> Float[Array, "5"]:
    return jnp.concatenate([laser_ranges(state.position, state.heading), bumpers])


def _to_walls(position: Float[Array, "2"]) -> tuple[Float[Array, "11"], Float[Array, "11"]]:
    """How far it is to each wall and each side of the border, negative inside, and in which direction, in rad."""
    ways = to_segments(position, WALLS[:, :2], WALLS[:, 2:4])
    low, high = INNER
    distance = jnp.linalg.norm(ways, axis=-1) - WALLS[:, 4]
    direction = jnp.arctan2(ways[:, 1], ways[:, 0])
    to_border = jnp.concatenate([position - low, high - position])
    sides = jnp.asarray([np.pi, -np.pi / 2, 0, np.pi / 2], float)
    return jnp.concatenate([distance, to_border]), jnp.concatenate([direction, sides])


def _bumpers(
    distance: Float[Array, "11"], direction: Float[Array, "11"], heading: Float[Array, ""]
) -> Float[Array, "2"]:
    """Which of the left and the right bumper touches a wall: each is a quarter of the circle, from straight ahead.

    What of the circle is in a wall spans `2 acos(distance / radius)` if the wall is flat where it is touched.
    """
    half_span = jnp.where(distance <= CONTACT, jnp.arccos(jnp.clip(distance / CONTACT, 0, 1)), -jnp.inf)
    relative = _wrapped(direction - heading)
    first, last = relative - half_span, relative + half_span
    left = (first < 0) & (last > -jnp.pi / 2)
    right = (first < jnp.pi / 2) & (last > 0)
    return jnp.stack([left.any(), right.any()]).astype(float)


def _along_ray_to_walls(origin: Float[Array, "2"], direction: Float[Array, "2"]) -> Float[Array, "7"]:
    """How far it is along a ray to each wall, infinity where it is missed: to its two sides and its two round ends."""
    along, half = WALLS[:, 2:4] - WALLS[:, :2], WALLS[:, 4]
    length = np.linalg.norm(along, axis=-1)
    axis = along / length[:, None]
    normal = np.stack([-axis[:, 1], axis[:, 0]], -1)
    relative = origin[None] - WALLS[:, :2]
    (x, y), (dx, dy) = (((axis * v).sum(-1), (normal * v).sum(-1)) for v in (relative, direction[None]))
    sides = [_to_side(x, y, dx, dy, length, side * half) for side in (-1, 1)]
    ends = [_to_disc(x - end, y, dx, dy, half) for end in (0 * length, length)]
    return jnp.stack(sides + ends).min(0)


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


def _along_ray_to_border(origin: Float[Array, "2"], direction: Float[Array, "2"]) -> Float[Array, ""]:
    low, high = INNER
    room = jnp.where(direction > 0, high - origin, origin - low)
    return (room / jnp.maximum(jnp.abs(direction), 1e-9)).min()


def _distance(points: Float[Array, "H W 2"], centre: Float[Array, "2"]) -> Float[Array, "H W"]:
    return jnp.linalg.norm(points - centre[None, None], axis=-1)


def _wrapped(angle: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    return angle - 2 * jnp.pi * jnp.round(angle / (2 * jnp.pi))
