"""An arm of two links whose joints turn as fast as they are told, and give way where the arm cannot go.

Both motors are equally strong and far stronger than what the arm moves needs. So if the arm is stopped at a point, the
joint farther from the stopping force's line gives way, as it needs more torque to hold against it; the other keeps its
speed. If friction holds the point against both motors, none moves.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from jaxreward.envs.parts.rigid_contact import Scalar, Vector, cross, dot, plus

BASE = (0.0, -1.5)
"""Where the first joint is."""
EXTENTS = ((0.0, 1.0), (-0.1, 0.9))
"""From where to where each link reaches along itself, in m from its joint; the second joint is at the first's end."""
HALF_WIDTH = 0.05
LIMITS = (0.4 * np.pi, 0.9 * np.pi)
"""How far each joint turns to either side, in rad: 0 is straight up or straight on, positive is to the left."""
FASTEST = 1.0
"""Of a motor, in rad/s."""
FASTEST_PUSHED = 2.0
"""Of a joint that gives way, in rad/s."""


class Link(NamedTuple):
    """Where a link is: its joint, its direction, from where to where it reaches, and all joints that move it."""

    joint: Vector
    along: Vector
    extent: tuple[float, float]
    joints: tuple[Vector, ...]


class Stop(NamedTuple):
    """What the arm may not do: `levers . speeds` is at least `least`, in m/s, the speeds being those of the joints."""

    levers: Vector
    least: Scalar


def links(angles: Vector) -> tuple[Link, Link]:
    """Where the links are at angles in rad."""
    upper, lower = _direction(angles[0]), _direction(angles[0] + angles[1])
    elbow = plus(BASE, upper)
    return Link(BASE, upper, EXTENTS[0], (BASE,)), Link(elbow, lower, EXTENTS[1], (BASE, elbow))


def levers(link: Link, point: Vector, direction: Vector) -> Vector:
    """How fast a point of a link goes in a direction per rad/s of each joint, in m."""
    turned = tuple(cross(plus(point, joint, -1.0), direction) for joint in link.joints)
    return turned if len(turned) == 2 else (turned[0], jnp.zeros_like(turned[0]))


def nearest(link: Link, position: Vector) -> tuple[Vector, Vector, Scalar]:
    """The link's point nearest to a position outside, the direction from there to it, and how far it is."""
    far, aside = _within(link, position)
    right = _right(link)
    point = plus(
        plus(link.joint, link.along, jnp.clip(far, *link.extent)), right, jnp.clip(aside, -HALF_WIDTH, HALF_WIDTH)
    )
    way = plus(position, point, -1.0)
    distance = jnp.maximum(jnp.sqrt(dot(way, way)), 1e-6)
    return point, (way[0] / distance, way[1] / distance), distance


def outside(link: Link, position: Vector) -> Scalar:
    """How far a position is from the link, in the larger of the link's own two directions; negative inside."""
    far, aside = _within(link, position)
    low, high = link.extent
    return jnp.maximum(jnp.maximum(low - far, far - high), jnp.abs(aside) - HALF_WIDTH)


def commanded(angles: Vector, action: Vector, dt: float) -> Vector:
    """The joints' speeds that an action asks for, as far as the joints' limits allow."""
    first, second = (
        jnp.clip(jnp.clip(asked, -FASTEST, FASTEST), (-limit - angle) / dt, (limit - angle) / dt)
        for asked, angle, limit in zip(action, angles, LIMITS, strict=True)
    )
    return first, second


def given_way(speeds: Vector, stop: Stop) -> Vector:
    """The joints' speeds after the one with the longer lever gave way as far as a stop makes it."""
    lack = jnp.maximum(stop.least - dot(stop.levers, speeds), 0.0)
    first = jnp.abs(stop.levers[0]) > jnp.abs(stop.levers[1])
    longer = jnp.where(first, stop.levers[0], stop.levers[1])
    change = lack / jnp.where(longer == 0, jnp.inf, longer)
    return speeds[0] + jnp.where(first, change, 0.0), speeds[1] + jnp.where(first, 0.0, change)


def sticks(speeds: Vector, stop: Stop, along: Vector, friction: float) -> Bool[Array, ""]:
    """Whether friction holds the point that is stopped against both motors, which would turn at these speeds.

    The force that balances two equal torques, one in the direction of each speed, is within the cone of friction.

    Args:
        speeds: Of the joints, were it not for the stop.
        stop: With the levers in the direction in which the point is stopped.
        along: The levers across that direction.
        friction: The coefficient of friction.
    """
    torques = jnp.sign(speeds[0]), jnp.sign(speeds[1])
    orientation = cross(stop.levers, along)
    force, drag = cross(along, torques) * orientation, cross(torques, stop.levers) * orientation
    stopped = dot(stop.levers, speeds) < stop.least
    return stopped & (force > 0) & (jnp.abs(drag) <= friction * force)


def turned(angles: Vector, speeds: Vector, dt: float) -> tuple[Vector, Vector]:
    """Angles and speeds after a time in which the joints turned at such speeds, as far as their limits allow."""
    first, second = (
        jnp.clip(angle + dt * jnp.clip(speed, -FASTEST_PUSHED, FASTEST_PUSHED), -limit, limit)
        for angle, speed, limit in zip(angles, speeds, LIMITS, strict=True)
    )
    return (first, second), ((first - angles[0]) / dt, (second - angles[1]) / dt)


def _within(link: Link, position: Vector) -> Vector:
    """A position in the link's own directions: along it from its joint, and to the right."""
    relative = plus(position, link.joint, -1.0)
    return dot(relative, link.along), dot(relative, _right(link))


def _right(link: Link) -> Vector:
    return link.along[1], -link.along[0]


def _direction(angle: Scalar) -> Vector:
    """`(-sin, cos)` of an angle of less than 4.2 rad, by their series at a quarter of it, doubled twice.

    The compiler's own sine and cosine take any angle, and longer than everything else that a step does.
    """
    quarter = angle / 4
    sine = quarter * _series(-quarter * quarter, (6, 20, 42, 72, 110))
    cosine = _series(-quarter * quarter, (2, 12, 30, 56, 90))
    for _ in range(2):
        sine, cosine = 2 * sine * cosine, 1 - 2 * sine * sine
    return -sine, cosine


def _series(x: Scalar, divisors: tuple[int, ...]) -> Scalar:
    """`1 + x / d1 (1 + x / d2 (1 + ...))`."""
    total: Scalar = 1.0
    for divisor in reversed(divisors):
        total = 1 + x * (1 / divisor) * total
    return total
