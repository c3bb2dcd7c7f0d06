"""Curling: an arm pushes a ball over a table, and two discs pay if the ball ends in them.

Table, ball, arm and goals are those of `Curling-v0` as it comes with the authors' code of SERENE (Paolo et al., Sparse
Reward Exploration via Novelty Search and Emitters, GECCO 2021, arXiv:2102.03140), also used by STAX (arXiv:2111.01919).
There they are bodies in Box2D; here the arm is kinematic, and the ball, the only thing with a mass, bounces off it.

What agrees with Box2D: the arm's motion, also where the walls stop it or friction holds it at one; the ball's damping,
bouncing, sliding and rolling; that a ball held between arm and wall rolls, and the arm gives way to it. What does not:
where a fast ball or link would go into the other, Box2D lets the two collide once as if the motors were off, so that
the arm is knocked back and the ball gets less; here it gets what it gets of an arm that does not yield. From there on,
and where the ball is squeezed, small differences grow: most controllers that move the ball end with it elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.envs.parts import pushing_arm as arm
from jaxreward.envs.parts.painting import BLUE, RED, painted, pixel_centres, soft
from jaxreward.envs.parts.pushing_arm import Link, Stop
from jaxreward.envs.parts.rigid_contact import (
    Contact,
    DiscMotion,
    Scalar,
    Vector,
    collided,
    depth,
    dot,
    jams,
    kept_out,
    left_of,
    plus,
)
from jaxreward.envs.qd.discs import NO_AREA

DT = 1 / 60
"""Seconds of a step."""
SIDE, INNER = 3.0, 1.45
"""The table's side, and how far from its middle, the origin, the walls' inner faces are, in m."""
RADIUS, START = 0.15, (-0.5, 0.2)
"""The ball's radius, and where it starts, in m."""
DAMPING, SPIN_DAMPING = 1.1, 2.0
"""How quickly the ball loses speed and spin, per second."""
RESTITUTION = 0.9
LINK_FRICTION, WALL_FRICTION = 0.9, float(np.sqrt(0.9 * 0.2))
"""Of ball and arm, and of either and a wall."""
GOALS, GOAL_RADII = ((0.8, 0.8), (0.8, -0.8)), (0.4, 0.2)

CLEARANCE, ARM_CLEARANCE = 0.005, 0.015
"""How near the ball comes to anything, and the arm to a wall, in m."""
SKIN = 0.005
"""What is nearer than this beyond its clearance touches, in m."""
GRIP = 10.0
"""With what impulse the arm presses a ball that it holds, by the ball's mass, in m/s: the motors are strong."""
IMPULSE_ITERATIONS, MOVE_ITERATIONS = 4, 2

_PAIRS = ((0, 2), (0, 3), (1, 2), (1, 3), (1, 0))
"""What may hold the ball: two of upper link, lower link, wall beside and wall above or below, by number."""
_GREY, _LIGHT_GREY = (100 / 255,) * 3, (150 / 255,) * 3


@struct.dataclass
class CurlingState:
    """The ball and the arm, vectors being pairs of scalars, and since when the episode runs.

    Attributes:
        ball: Where the ball is, in m from the middle of the table.
        motion: How it moves.
        angles: Of the arm's joints, in rad.
        speeds: Of the arm's joints, in rad/s, in the last step.
        time: In steps.
    """

    ball: Vector
    motion: DiscMotion
    angles: Vector
    speeds: Vector
    time: Int[Array, ""]


@struct.dataclass
class CurlingParams:
    """Numbers of the task, which may be vmapped over.

    Attributes:
        goals: The centres of the discs that pay, in m.
        goal_radii: Their radii, in m.
        max_steps_in_episode: The time limit, which truncates: the policy does not see the time.
    """

    goals: Float[Array, "areas 2"]
    goal_radii: Float[Array, " areas"]
    max_steps_in_episode: Int[Array, ""]


class Curling(Environment):
    """A ball and an arm on a table. Seen are the ball's position, in m, and the joints' angles and speeds, `[6]`.

    An action says how fast the two joints are to turn, in rad/s, up to 1. The last step pays `(r - d) / r`, `d` being
    the ball's distance from the first goal that is not farther than its radius `r`.

    In `info` are `descriptor`, the ball's position, and `area`, the index of the goal that the last step was paid for,
    or `NO_AREA`.
    """

    descriptor_bounds = ((-1.35, -1.35), (1.35, 1.35))
    """Between which corners `info["descriptor"]` lies."""
    num_areas = len(GOALS)
    """How many goals there are; `info["area"]` counts them from 0."""

    @property
    def num_actions(self) -> int:
        return 2

    @property
    def default_params(self) -> CurlingParams:
        return CurlingParams(jnp.asarray(GOALS), jnp.asarray(GOAL_RADII), jnp.asarray(500, jnp.int32))

    def reset_env(self, key: Key[Array, ""], params: CurlingParams) -> tuple[Float[Array, "6"], CurlingState]:
        zero = jnp.zeros(())
        ball = jnp.asarray(START[0], float), jnp.asarray(START[1], float)
        state = CurlingState(ball, DiscMotion((zero, zero), zero), (zero, zero), (zero, zero), jnp.zeros((), jnp.int32))
        return _seen(state), state

    def step_env(
        self, key: Key[Array, ""], state: CurlingState, action: Float[Array, "2"], params: CurlingParams
    ) -> tuple[Float[Array, "6"], CurlingState, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        action = jnp.asarray(action, float)
        state = advanced(state, (action[0], action[1]))
        reward, area = _paid(state, params, self.is_truncated(state, params))
        info = {"descriptor": _vector(state.ball), "area": area}
        return _seen(state), state, reward, self.is_terminated(state, params), info

    def is_terminated(self, state: CurlingState, params: CurlingParams) -> Bool[Array, ""]:
        return jnp.zeros((), bool)

    def image(self, state: CurlingState, params: CurlingParams, size: int = 64) -> Float[Array, "size size 3"]:
        """The table from above as the authors draw it: white, goals red, walls light grey, ball blue, arm grey."""
        unit = SIDE / size
        pixels = (unit * pixel_centres(size) - SIDE / 2) * jnp.array([1.0, -1.0])[None, None]
        x, y = pixels[..., 0], pixels[..., 1]
        image = jnp.ones((size, size, 3))
        for goal, radius in zip(params.goals, params.goal_radii, strict=True):
            image = painted(image, soft(jnp.asarray(jnp.hypot(x - goal[0], y - goal[1]) - radius) / unit), RED)
        image = painted(image, soft((INNER - jnp.maximum(jnp.abs(x), jnp.abs(y))) / unit), _LIGHT_GREY)
        to_ball = jnp.hypot(x - state.ball[0], y - state.ball[1]) - RADIUS
        image = painted(image, soft(to_ball / unit), BLUE)
        for link in arm.links(state.angles):
            image = painted(image, soft(jnp.asarray(arm.outside(link, (x, y))) / unit), _GREY)
        return image

    def action_space(self, params: PyTree = None) -> spaces.Box:
        return spaces.Box(-1.0, 1.0, (2,), jnp.float32)

    def observation_space(self, params: PyTree = None) -> Any:
        high = jnp.array([INNER, INNER, *arm.LIMITS, arm.FASTEST_PUSHED, arm.FASTEST_PUSHED])
        return spaces.Box(-high, high, high.shape, jnp.float32)


class _Near(NamedTuple):
    """A thing that the ball is near: the contact if it stood still, its nearest point, and the link, if it is one."""

    contact: Contact
    point: Vector
    link: Link | None = None

    def levers(self, way: Vector) -> Vector:
        """How fast the point goes some way per rad/s of each joint."""
        if self.link is None:
            return jnp.zeros_like(way[0]), jnp.zeros_like(way[0])
        return arm.levers(self.link, self.point, way)


@jax.jit
def advanced(state: CurlingState, action: Vector) -> CurlingState:
    """The table a step later.

    The arm gives way to walls and to a ball that is held; the ball moves out of its way; where it cannot, the arm gives
    way again; and if the arm then still would be in something, it stands still.
    """
    links = arm.links(state.angles)
    stops, speeds = _off_walls(links[1], arm.commanded(state.angles, action, DT))
    near = (*(_near_link(link, state.ball) for link in links), *_near_walls(state.ball))
    speeds, grips = _off_held_ball(near, speeds)
    contacts = [_moving(thing, speeds, grip) for thing, grip in zip(near, grips, strict=True)]
    motion = collided(_damped(state.motion), contacts, SKIN, RESTITUTION, IMPULSE_ITERATIONS)
    move = kept_out((DT * motion.velocity[0], DT * motion.velocity[1]), contacts, DT, MOVE_ITERATIONS)
    stops, speeds = _off_ball(near[0], near[1], move, stops, speeds)
    stuck = reduce(jnp.logical_or, [dot(stop.levers, speeds) < stop.least - 1e-3 for stop in stops])
    speeds = jnp.where(stuck, 0.0, speeds[0]), jnp.where(stuck, 0.0, speeds[1])
    angles, speeds = arm.turned(state.angles, speeds, DT)
    return CurlingState(plus(state.ball, move), motion, angles, speeds, state.time + 1)


def _off_walls(link: Link, speeds: Vector) -> tuple[list[Stop], Vector]:
    """What keeps the arm's tip out of the walls beside and below it, and the joints' speeds if it does."""
    tip, right = plus(link.joint, link.along, link.extent[1]), (link.along[1], -link.along[0])
    stops = []
    for axis, side in ((0, _sign(tip[0])), (1, -1.0)):
        corner = plus(tip, right, side * arm.HALF_WIDTH * _sign(right[axis]))
        normal = (-side, 0.0) if axis == 0 else (0.0, -side)
        gap = INNER - ARM_CLEARANCE - side * corner[axis]
        stop = Stop(arm.levers(link, corner, normal), jnp.where(gap <= SKIN, 0.0, -gap / DT))
        held = arm.sticks(speeds, stop, arm.levers(link, corner, left_of(normal)), WALL_FRICTION)
        free = arm.given_way(speeds, stop)
        speeds = jnp.where(held, 0.0, free[0]), jnp.where(held, 0.0, free[1])
        stops.append(stop)
    return stops, speeds


def _off_held_ball(near: Sequence[_Near], speeds: Vector) -> tuple[Vector, list[Scalar]]:
    """The joints' speeds if the ball, where it is held, is as stiff as a bar between its two points of contact.

    Also with what grip each thing holds it.
    """
    grips: list[Scalar] = [jnp.zeros_like(speeds[0])] * len(near)
    for one, other in _PAIRS:
        bar = plus(near[other].contact.normal, near[one].contact.normal, -1.0)
        apart = plus(near[one].levers(bar), near[other].levers(bar), -1.0)
        holds = jams(near[one].contact, near[other].contact, SKIN)
        pressed = jnp.logical_and(holds, dot(apart, speeds) < 0)
        speeds = arm.given_way(speeds, Stop(apart, jnp.where(pressed, 0.0, -jnp.inf)))
        for holder in (one, other):
            grips[holder] = jnp.where(pressed, GRIP, grips[holder])
    return speeds, grips


def _off_ball(upper: _Near, lower: _Near, move: Vector, stops: list[Stop], speeds: Vector) -> tuple[list[Stop], Vector]:
    """The joints' speeds if the links do not enter the ball after its move, and these two stops after the others.

    If the ball is at both links, only the elbow can make room for it.
    """
    off_upper, off_lower = (
        Stop(plus((0.0, 0.0), link.levers(link.contact.normal), -1.0), depth(move, link.contact) / DT)
        for link in (upper, lower)
    )
    speeds = arm.given_way(speeds, off_upper)
    first, second = off_lower.levers
    pinched = upper.contact.gap <= SKIN
    by_shoulder = jnp.where(pinched, first * speeds[0], 0.0)
    by_elbow = Stop((jnp.where(pinched, 0.0, first), second), off_lower.least - by_shoulder)
    return [*stops, off_upper, off_lower], arm.given_way(speeds, by_elbow)


def _moving(near: _Near, speeds: Vector, grip: Scalar) -> Contact:
    """The contact if the joints turn at such speeds."""
    normal = near.contact.normal
    closing, sliding = (dot(near.levers(way), speeds) for way in (normal, left_of(normal)))
    return replace(near.contact, closing=closing, sliding=sliding, grip=grip)


def _near_link(link: Link, ball: Vector) -> _Near:
    point, normal, distance = arm.nearest(link, ball)
    return _Near(Contact(normal, distance - RADIUS - CLEARANCE, friction=LINK_FRICTION), point, link)


def _near_walls(ball: Vector) -> tuple[_Near, _Near]:
    """The wall to the left or right and that above or below, whichever is nearer."""
    (x, y), zero = ball, jnp.zeros_like(ball[0])
    beside, across = _sign(x), _sign(y)
    room = INNER - RADIUS - CLEARANCE
    return (
        _Near(Contact((-beside, zero), room - beside * x, friction=WALL_FRICTION), ball),
        _Near(Contact((zero, -across), room - across * y, friction=WALL_FRICTION), ball),
    )


def _damped(motion: DiscMotion) -> DiscMotion:
    keeps = 1 / (1 + DT * DAMPING)
    return DiscMotion((keeps * motion.velocity[0], keeps * motion.velocity[1]), motion.rim / (1 + DT * SPIN_DAMPING))


def _paid(state: CurlingState, params: CurlingParams, ends: Array) -> tuple[Array, Array]:
    """What the ball's position earns if the episode ends, and the index of the goal that it is for."""
    x, y = params.goals[:, 0] - state.ball[0], params.goals[:, 1] - state.ball[1]
    share = (params.goal_radii - jnp.sqrt(x * x + y * y)) / params.goal_radii
    reached = ends & (share >= 0)
    first = reached & (jnp.cumsum(reached) == 1)
    area = jnp.where(first, jnp.arange(len(first), dtype=jnp.int32), NO_AREA).max()
    return jnp.where(first, share, 0.0).sum(), area


def _seen(state: CurlingState) -> Float[Array, "6"]:
    return _vector((*state.ball, *state.angles, *state.speeds))


def _vector(numbers: Sequence[Scalar]) -> Float[Array, " n"]:
    """The numbers as an array. Batched, to stack them takes a third of a step on a CPU, and this a twentieth."""
    position = jnp.arange(len(numbers))
    vector = jnp.full(len(numbers), numbers[0])
    for index, number in enumerate(numbers[1:], 1):
        vector = jnp.where(position == index, number, vector)
    return vector


def _sign(value: Scalar) -> Scalar:
    return jnp.where(value > 0, 1.0, -1.0)
