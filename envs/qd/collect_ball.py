"""Balls to be picked up and brought to where the robot started: the robot of the hard maze, with a hand, in an arena.

The rules, the arena and the picture are those of `CollectBall-v0` as it comes with the authors' code of SERENE (Paolo
et al., Sparse Reward Exploration via Novelty Search and Emitters, GECCO 2021, arXiv:2102.03140).
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.envs.parts.boxes import into_boxes, to_boxes
from jaxreward.envs.parts.fastsim import (
    FASTEST,
    LASER_RANGE,
    SIDE,
    Walls,
    border,
    clearance,
    driven,
    laser_ranges,
    together,
    visible,
    wrapped,
)
from jaxreward.envs.parts.painting import pixel_centres, soft, to_point
from jaxreward.envs.qd.discs import NO_AREA

PIXEL = 3.0
"""Of the authors' picture of the arena; pixel `i` is what is nearer to `3 i` than to the others' middles."""
INNER = (PIXEL * 4 + PIXEL / 2, PIXEL * 195 - PIXEL / 2)
"""Between which coordinates the border leaves room."""
WALLS = PIXEL * np.array([(0, 99, 126, 101), (174, 99, 199, 101), (99, 102, 101, 126), (99, 174, 101, 194)], np.float32)
WALLS += np.array([-1, -1, 1, 1], np.float32) * PIXEL / 2
"""Lower and upper corner of each wall, `(x, y, x, y)`: one with a gap at the right, and below it one with a gap."""

START, HEADING = (100.0, 500.0), 45 % (2 * np.pi)
"""Where the robot starts, which is where balls are to be brought, and where it heads: 45 rad, as in the code."""
BALLS = ((75.0, 75.0), (75.0, 540.0), (225.0, 540.0), (450.0, 450.0), (450.0, 75.0), (225.0, 225.0))
REACH = 10.0
"""How near the robot must have been to a ball to pick it up, and to the start to be paid for releasing one."""
NOTHING = -1
"""What is held by an empty hand."""
ACTION_TO_WHEEL = 2.0
"""How far a wheel rolls by an action of 1."""

BALL_EYES = np.deg2rad(np.array([-20, 20], np.float32))
START_EYES = np.deg2rad(np.array([20, -20], np.float32))
"""Where the sensors of light look, relative to the heading, in the order of the observation: -20 degrees is left."""
EYE_SPAN = np.deg2rad(np.float32(50))
"""The angle that each of them sees."""

_ROBOT, _BALL = 30.0, 15.0
"""The radii of what stands for the robot and for a ball in the picture, larger than both are."""


@struct.dataclass
class CollectBallState:
    """Where the robot and the balls are, which is held and which were brought, and since when the episode runs.

    Attributes:
        position: Of the robot.
        heading: In rad, clockwise from the right as seen.
        balls: Where each ball was when it last lay on the ground.
        held: The index of the ball in the hand, or `NOTHING`.
        brought: Which balls were released at the start: they are gone.
        time: Steps since the start of the episode.
    """

    position: Float[Array, "2"]
    heading: Float[Array, ""]
    balls: Float[Array, "6 2"]
    held: Int[Array, ""]
    brought: Bool[Array, "6"]
    time: Int[Array, ""]


@struct.dataclass
class CollectBallParams:
    """Numbers of the task, which may be vmapped over.

    Attributes:
        balls: Where the balls lie at the start.
        max_steps_in_episode: The time limit, which truncates: the policy does not see the time.
    """

    balls: Float[Array, "6 2"]
    max_steps_in_episode: Int[Array, ""]


class CollectBall(Environment):
    """A robot in an arena with six balls, of which each that is released where the robot started pays 1.

    It sees `[10]`: three laser ranges, divided by 100; the left and the right bumper, 0 or 1; whether a ball on the
    ground is seen at the left and at the right; whether the start is at the right and at the left; and whether it holds
    a ball. What is seen is less than 25 degrees off 20 degrees to one side of the heading, and no wall hides it.

    An action is `[left wheel, right wheel, hand]`. The wheels roll twice as far, see `fastsim.driven`. A hand above 0
    holds: if it is empty, it takes the first ball that is less than `REACH` away. Otherwise it releases: less than
    `REACH` from the start the ball is brought, elsewhere it lies on the ground again. Both go by where the robot was
    before this step, and so a ball is dropped there; what is seen is from where it is, before the hand moves.

    In `info` are `descriptor`, the position divided by 600, and `area`, 0 once a ball was brought, before `NO_AREA`.

    In the authors' code the first observation and the position that the first step's hand goes by are those in which
    the episode before ended, and of several balls within reach the one that has been on the ground longest is taken.
    """

    descriptor_bounds = ((0.0, 0.0), (1.0, 1.0))
    """Between which corners `info["descriptor"]` lies."""
    num_areas = 1
    """There is one place where balls are paid for."""

    @property
    def num_actions(self) -> int:
        return 3

    @property
    def default_params(self) -> CollectBallParams:
        return CollectBallParams(jnp.asarray(BALLS), jnp.asarray(2000, jnp.int32))

    def reset_env(self, key: Key[Array, ""], params: CollectBallParams) -> tuple[Float[Array, "10"], CollectBallState]:
        state = CollectBallState(
            position=jnp.asarray(START),
            heading=jnp.asarray(HEADING, float),
            balls=jnp.asarray(params.balls, float),
            held=jnp.asarray(NOTHING, jnp.int32),
            brought=jnp.zeros(len(BALLS), bool),
            time=jnp.zeros((), jnp.int32),
        )
        return _observed(state, jnp.zeros(2), state.held), state

    def step_env(
        self, key: Key[Array, ""], state: CollectBallState, action: Float[Array, "3"], params: CollectBallParams
    ) -> tuple[Float[Array, "10"], CollectBallState, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        action = jnp.asarray(action, float)
        position, heading, bumpers = driven(state.position, state.heading, ACTION_TO_WHEEL * action[:2], ARENA)
        balls, held, brought = handled(state, action[2] > 0)
        reward = (brought.sum() - state.brought.sum()).astype(float)
        moved = CollectBallState(position, heading, state.balls, state.held, state.brought, state.time + 1)
        state = CollectBallState(position, heading, balls, held, brought, moved.time)
        info = {"descriptor": position / SIDE, "area": jnp.where(brought.any(), 0, NO_AREA).astype(jnp.int32)}
        return _observed(moved, bumpers, held), state, reward, self.is_terminated(state, params), info

    def is_terminated(self, state: CollectBallState, params: CollectBallParams) -> Bool[Array, ""]:
        return jnp.zeros((), bool)

    def image(self, state: CollectBallState, params: CollectBallParams, size: int = 64) -> Float[Array, "size size 3"]:
        """The arena from above, walls in white, the robot in blue, balls on the ground in red, all colours added up.

        What is held or was brought is not shown, nor is the start. In the authors' picture, 200 wide, edges are hard.
        """
        unit = SIDE / size
        points = unit * pixel_centres(size) - PIXEL / 2
        walls = soft(clearance(points, ARENA) / unit)
        robot = soft((to_point(points, state.position) - _ROBOT) / unit)
        balls = jnp.zeros((size, size))
        for ball, lies in zip(state.balls, _on_ground(state), strict=True):
            balls += lies * soft((to_point(points, ball) - _BALL) / unit)
        return jnp.clip(jnp.stack([walls + balls, walls, walls + robot], -1), 0, 1)

    def action_space(self, params: PyTree = None) -> spaces.Box:
        high = jnp.array([FASTEST, FASTEST, 1.0])
        return spaces.Box(-high, high, (3,), jnp.float32)

    def observation_space(self, params: PyTree = None) -> Any:
        return spaces.Box(0.0, 1.0, (10,), jnp.float32)


def handled(
    state: CollectBallState, holds: Bool[Array, ""]
) -> tuple[Float[Array, "6 2"], Int[Array, ""], Bool[Array, "6"]]:
    """Where the balls are, which is held and which were brought, after the hand held or released where the robot is."""
    near = _on_ground(state) & (to_point(state.balls, state.position) < REACH)
    takes = holds & (state.held == NOTHING) & near.any()
    released = ~holds & (state.held == jnp.arange(len(near)))
    at_start = to_point(state.position, jnp.asarray(START)) < REACH
    balls = jnp.where((released & ~at_start)[:, None], state.position[None], state.balls)
    held = jnp.where(takes, near.argmax().astype(jnp.int32), jnp.where(holds, state.held, NOTHING))
    return balls, held, state.brought | (released & at_start)


def lights(
    position: Float[Array, "2"],
    heading: Float[Array, ""],
    sources: Float[Array, "n 2"],
    on: Bool[Array, " n"],
    eyes: Float[np.ndarray, " k"],
) -> Float[Array, " k"]:
    """Whether sensors of light see any of the sources that are on, 0 or 1.

    Args:
        position: Where the robot is.
        heading: Where it heads, in rad.
        sources: Where the sources of light are.
        on: Which of them shine.
        eyes: Where each sensor looks, relative to the heading, in rad.
    """
    way = sources - position[None]
    off = wrapped(jnp.arctan2(way[:, 1], way[:, 0]) - heading)[None] - eyes[:, None]
    seen = (on & visible(position, sources, ARENA))[None] & (jnp.abs(off) < EYE_SPAN / 2)
    return seen.any(-1).astype(float)


def _observed(state: CollectBallState, bumpers: Float[Array, "2"], held: Int[Array, ""]) -> Float[Array, "10"]:
    """What is seen; `state` says how the balls lay before the hand moved, `held` what it holds after."""
    pose = (state.position, state.heading)
    ranges = laser_ranges(*pose, ARENA) / LASER_RANGE
    balls = lights(*pose, state.balls, _on_ground(state), BALL_EYES)
    start = lights(*pose, jnp.asarray(START)[None], jnp.ones(1, bool), START_EYES)
    return jnp.concatenate([ranges, bumpers, balls, start, (held != NOTHING).astype(float)[None]])


def _on_ground(state: CollectBallState) -> Bool[Array, "6"]:
    return ~state.brought & (state.held != jnp.arange(len(state.brought)))


def _near(position: Float[Array, "2"]) -> tuple[Float[Array, "4"], Float[Array, "4"]]:
    distance, way = to_boxes(position, WALLS[:, :2], WALLS[:, 2:])
    return distance, jnp.arctan2(way[:, 1], way[:, 0])


def _along_ray(origin: Float[Array, "2"], direction: Float[Array, "2"]) -> Float[Array, ""]:
    return into_boxes(origin, direction, WALLS[:, :2], WALLS[:, 2:])[0].min()


ARENA = together(border(*INNER), Walls(_near, _along_ray))
"""All that the robot can run into."""
