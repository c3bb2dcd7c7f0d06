"""Four cars that cross at once, each for itself: a game of when to go and when to let others go first.

The task is that of MAMQL (Haynam et al., ICRA 2025, arXiv:2503.04679), its multi-agent `intersection` of highway-env,
without other traffic: each car follows its way, and only its speed is to be chosen.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key

from jaxreward.envs.games.crossing import ACCESS, LEFT, RIGHT, STRAIGHT, length_of, picture, poses, touching

AGENTS = 4
SPEEDS = (0.0, 4.5, 9.0)
"""What a car may be told to drive, in m/s."""
SUBSTEPS, SECONDS, RESPONSE = 15, 1 / 15, 0.6
"""Parts of a step of a second, how long each is, and the time in which a car comes to its speed."""
TURNS = (LEFT, RIGHT, RIGHT, STRAIGHT)
"""Where each car goes, unless something else is said."""
FASTEST = 20.0
"""By what speeds are divided in observations."""

Scalar = Float[Array, ""] | float
Weights = tuple[Scalar, Scalar, Scalar, Scalar]
Turn = Int[Array, ""] | int


@struct.dataclass
class IntersectionState:
    """How far each car has come on its way, how fast it is and should be, which crashed, and the time in steps."""

    along: Float[Array, "4"]
    speed: Float[Array, "4"]
    target: Float[Array, "4"]
    crashed: Bool[Array, "4"]
    time: Int[Array, ""]


@struct.dataclass
class IntersectionParams:
    """Numbers of the game, which may be vmapped over; each weight has one for each car.

    Attributes:
        turns: 0 for right, 1 for straight on, 2 for left.
        w_arrive: Paid in each step after which a car has arrived.
        w_crash: Taken from one that has crashed and not arrived.
        w_speed: Paid times the speed after a step, in shares of 9 m/s.
        w_progress: Paid times what the car came on in it, in shares of 9 m.
        exit_length: How far behind the box a car has arrived.
        max_steps_in_episode: The time limit, which truncates.
    """

    turns: tuple[Turn, Turn, Turn, Turn] = TURNS
    w_arrive: Weights = (2.0, 2.0, 2.0, 2.0)
    w_crash: Weights = (4.0, 4.0, 4.0, 4.0)
    w_speed: Weights = (0.0, 0.0, 0.0, 0.0)
    w_progress: Weights = (0.0, 0.0, 0.0, 0.0)
    exit_length: Scalar = 25.0
    max_steps_in_episode: Int[Array, ""] | int = 13


class Intersection(Environment):
    """Four cars, one from each side, that are slower (0), go on as they do (1) or faster (2), second by second.

    Slower and faster are by one of `SPEEDS` from that which is nearest to a car's speed. A car starts about 35 m before
    the box at 10 m/s, and comes to its speed exponentially; one that has crashed comes to rest. An episode
    terminates when any has crashed or all have arrived.

    A car sees itself and the other three in the order of their numbers, `[28]`: 1, its position divided by 100 m, its
    velocity divided by 20 m/s, cosine and sine of its heading. `info` has `arrived`, `crashed`, `speed` and `progress`,
    what the rewards weigh.
    """

    num_agents = AGENTS

    @property
    def name(self) -> str:
        return "games/intersection"

    @property
    def num_actions(self) -> int:
        return 3

    @property
    def default_params(self) -> IntersectionParams:
        return IntersectionParams()

    def reset_env(
        self, key: Key[Array, ""], params: IntersectionParams
    ) -> tuple[Float[Array, "4 28"], IntersectionState]:
        along = 60.0 + 5.0 * (1.0 + jax.random.normal(key, (AGENTS,)))
        speed = jnp.full(AGENTS, 10.0)
        state = IntersectionState(
            along, speed, jnp.full(AGENTS, SPEEDS[-1]), jnp.zeros(AGENTS, bool), jnp.zeros((), jnp.int32)
        )
        return self.observe(state, params), state

    def step_env(
        self, key: Key[Array, ""], state: IntersectionState, action: Int[Array, "4"], params: IntersectionParams
    ) -> tuple[Float[Array, "4 28"], IntersectionState, Float[Array, "4"], Bool[Array, ""], dict[str, Array]]:
        turns = jnp.asarray(params.turns, jnp.int32)
        target = told(state.speed, state.target, action)

        def drive(now: tuple, _: None) -> tuple[tuple, None]:
            along, speed, crashed = now
            pull = jnp.where(crashed, -speed, (target - speed) / RESPONSE)
            along, speed = along + speed * SECONDS, speed + pull * SECONDS
            return (along, speed, crashed | touching(*poses(along, turns))), None

        now = (state.along, state.speed, state.crashed)
        along, speed, crashed = jax.lax.scan(drive, now, None, SUBSTEPS)[0]
        after = IntersectionState(along, speed, target, crashed, state.time + 1)
        events = {
            "arrived": self.arrived(after, params).astype(float),
            "crashed": crashed.astype(float),
            "speed": speed / SPEEDS[-1],
            "progress": (along - state.along) / SPEEDS[-1],
        }
        parts = earned(events, params)
        info = {**events, **{f"reward/{name}": part for name, part in parts.items()}}
        reward = sum(parts.values(), jnp.zeros(AGENTS))
        return self.observe(after, params), after, reward, self.is_terminated(after, params), info

    def arrived(self, state: IntersectionState, params: IntersectionParams) -> Bool[Array, "4"]:
        """Which cars have."""
        turns = jnp.asarray(params.turns, jnp.int32)
        return state.along >= ACCESS + length_of(turns) + params.exit_length

    def is_terminated(self, state: IntersectionState, params: IntersectionParams) -> Bool[Array, ""]:
        return state.crashed.any() | self.arrived(state, params).all()

    def observe(self, state: IntersectionState, params: IntersectionParams) -> Float[Array, "4 28"]:
        """What each car sees."""
        positions, headings = poses(state.along, jnp.asarray(params.turns, jnp.int32))
        ahead = jnp.stack([jnp.cos(headings), jnp.sin(headings)], -1)
        there = jnp.ones((AGENTS, 1))
        cars = jnp.concatenate([there, positions / 100, ahead * state.speed[:, None] / FASTEST, ahead], -1)
        return cars[_ORDERS].reshape(AGENTS, -1)

    def image(
        self, state: IntersectionState, params: IntersectionParams, size: int = 256
    ) -> Float[Array, "size size 3"]:
        """The crossing from above."""
        return picture(*poses(state.along, jnp.asarray(params.turns, jnp.int32)), size)

    def action_space(self, params: IntersectionParams | None = None) -> spaces.Discrete:
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: IntersectionParams | None = None) -> Any:
        """Of one car: nothing bounds how far one may come."""
        return spaces.Box(-jnp.inf, jnp.inf, (7 * AGENTS,))


def told(speed: Float[Array, "4"], target: Float[Array, "4"], action: Int[Array, "4"]) -> Float[Array, "4"]:
    """The speed each car is to come to."""
    nearest = jnp.clip(jnp.round(speed / SPEEDS[1]), 0, len(SPEEDS) - 1).astype(jnp.int32)
    other = jnp.asarray(SPEEDS)[jnp.clip(nearest + action - 1, 0, len(SPEEDS) - 1)]
    return jnp.where(action == 1, target, other)


def earned(events: dict[str, Float[Array, "4"]], params: IntersectionParams) -> dict[str, Float[Array, "4"]]:
    """What each part of a step pays each car."""
    of = {name: jnp.asarray(getattr(params, f"w_{name}"), float) for name in ("arrive", "crash", "speed", "progress")}
    return {
        "arrive": of["arrive"] * events["arrived"],
        "crash": -of["crash"] * events["crashed"] * (1 - events["arrived"]),
        "speed": of["speed"] * events["speed"],
        "progress": of["progress"] * events["progress"],
    }


_ORDERS = np.array([[car, *(other for other in range(AGENTS) if other != car)] for car in range(AGENTS)])
"""The cars as each one sees them."""
