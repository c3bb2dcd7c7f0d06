"""The robot of the mazes: two wheels, three lasers and two bumpers, among walls of any shape.

It is that of the simulator libfastsim, set up as in the authors' code of SERENE (Paolo et al., Sparse Reward
Exploration via Novelty Search and Emitters, GECCO 2021, arXiv:2102.03140). There walls are pictures of 200 x 200
pixels; here they are geometry. Coordinates run from the upper left corner, `x` to the right and `y` downwards, so
angles, in rad, turn clockwise as seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

SIDE = 600.0
"""Of the square world."""
WHEEL_BASE, FASTEST = 20.0, 4.0
"""How far the wheels are apart, and how far one rolls in a step at most."""
CONTACT = 9.0
"""How near to the robot's middle walls come: its radius is 10, of which the simulator makes three pixels of 3."""
LASERS = np.array((np.pi / 4, 0, -np.pi / 4), np.float32)
"""Where they look, relative to the heading: right, ahead and left."""
LASER_RANGE = 100.0


class Walls(NamedTuple):
    """What stands in a robot's way, as `n` shapes.

    Attributes:
        near: `position [2] -> (distance [n], direction [n])`, how far it is to each, negative inside, and where it is,
            in rad.
        along_ray: `(origin [2], direction [2]) -> way []`, how far it is to the first of them along a ray whose
            direction has length 1, infinity if it meets none.
    """

    near: Callable[[Float[Array, "2"]], tuple[Float[Array, " n"], Float[Array, " n"]]]
    along_ray: Callable[[Float[Array, "2"], Float[Array, "2"]], Float[Array, ""]]


def together(*walls: Walls) -> Walls:
    """All of them."""

    def near(position: Float[Array, "2"]) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        distances, directions = zip(*(each.near(position) for each in walls), strict=True)
        return jnp.concatenate(distances), jnp.concatenate(directions)

    def along_ray(origin: Float[Array, "2"], direction: Float[Array, "2"]) -> Float[Array, ""]:
        return jnp.stack([each.along_ray(origin, direction) for each in walls]).min()

    return Walls(near, along_ray)


def border(low: float, high: float) -> Walls:
    """The four sides of the world, which leave room between two coordinates."""

    def near(position: Float[Array, "2"]) -> tuple[Float[Array, "4"], Float[Array, "4"]]:
        sides = jnp.asarray([np.pi, -np.pi / 2, 0, np.pi / 2], float)
        return jnp.concatenate([position - low, high - position]), sides

    def along_ray(origin: Float[Array, "2"], direction: Float[Array, "2"]) -> Float[Array, ""]:
        room = jnp.where(direction > 0, high - origin, origin - low)
        return (room / jnp.maximum(jnp.abs(direction), 1e-9)).min()

    return Walls(near, along_ray)


def clearance(points: Float[Array, "H W 2"], walls: Walls) -> Float[Array, "H W"]:
    """How far each point is from the nearest wall, negative inside."""
    return jax.vmap(jax.vmap(lambda point: walls.near(point)[0].min()))(points)


def driven(
    position: Float[Array, "2"], heading: Float[Array, ""], wheels: Float[Array, "2"], walls: Walls
) -> tuple[Float[Array, "2"], Float[Array, ""], Float[Array, "2"]]:
    """Position, heading and what the left and the right bumper say, 0 or 1, after the wheels rolled so far.

    Each rolls by at most `FASTEST`. Where a wall would be nearer than `CONTACT`, the robot turns but stays where it is,
    and the bumpers say on which sides, ahead of it, the wall is.
    """
    there, heading = rolled(position, heading, jnp.clip(wheels, -FASTEST, FASTEST))
    distance, direction = walls.near(there)
    hits = distance.min() <= CONTACT
    return jnp.where(hits, position, there), heading, _bumpers(distance, direction, heading)


def rolled(
    position: Float[Array, "2"], heading: Float[Array, ""], wheels: Float[Array, "2"]
) -> tuple[Float[Array, "2"], Float[Array, ""]]:
    """Position and heading, in `[-pi, pi]`, after the left and the right wheel rolled so far: along an arc."""
    turn = (wheels[1] - wheels[0]) / WHEEL_BASE
    chord = wheels.mean() * jnp.sinc(turn / (2 * jnp.pi))
    between = heading + turn / 2
    return position + chord * jnp.stack([jnp.cos(between), jnp.sin(between)]), wrapped(heading + turn)


def laser_ranges(position: Float[Array, "2"], heading: Float[Array, ""], walls: Walls) -> Float[Array, "3"]:
    """How far it is to the nearest wall where each laser looks, up to `LASER_RANGE`."""
    angles = heading + LASERS
    directions = jnp.stack([jnp.cos(angles), jnp.sin(angles)], -1)
    return jnp.minimum(jax.vmap(walls.along_ray, (None, 0))(position, directions), LASER_RANGE)


def visible(position: Float[Array, "2"], points: Float[Array, "n 2"], walls: Walls) -> Bool[Array, " n"]:
    """Which points no wall hides."""
    way = points - position[None]
    distance = jnp.linalg.norm(way, axis=-1)
    directions = way / jnp.maximum(distance, 1e-9)[:, None]
    return jax.vmap(walls.along_ray, (None, 0))(position, directions) >= distance


def wrapped(angle: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """The same angle in `[-pi, pi]`."""
    return angle - 2 * jnp.pi * jnp.round(angle / (2 * jnp.pi))


def _bumpers(
    distance: Float[Array, " n"], direction: Float[Array, " n"], heading: Float[Array, ""]
) -> Float[Array, "2"]:
    """Which of the left and the right bumper touches a wall: each is a quarter of the circle, from straight ahead.

    What of the circle is in a wall spans `2 acos(distance / radius)` if the wall is flat where it is touched.
    """
    half_span = jnp.where(distance <= CONTACT, jnp.arccos(jnp.clip(distance / CONTACT, 0, 1)), -jnp.inf)
    relative = wrapped(direction - heading)
    first, last = relative - half_span, relative + half_span
    left = (first < 0) & (last > -jnp.pi / 2)
    right = (first < jnp.pi / 2) & (last > 0)
    return jnp.stack([left.any(), right.any()]).astype(float)
