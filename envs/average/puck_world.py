"""A puck to be steered to a goal that moves from time to time: PuckWorld in Naik's version of csuite."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from jaxtyping import Array, Bool, Float, Int, Key

from jaxreward.envs.average.never_ending import NeverEnding

SUBSTEPS, SECONDS, BOUNCE = 4, 0.05, -0.5
"""How often an action is repeated, for how long each time, and what a wall makes of the velocity across it."""

DIRECTIONS = ((0.0, -1.0), (-1.0, 0.0), (0.0, 1.0), (1.0, 0.0))
"""Where each action pushes: up, left, down, right, `y` pointing down."""


@struct.dataclass
class PuckState:
    """Where the puck is, how fast, where the goal is, and for how many steps it has been there."""

    position: Float[Array, "2"]
    velocity: Float[Array, "2"]
    goal: Float[Array, "2"]
    age: Int[Array, ""]


@struct.dataclass
class PuckParams:
    """Numbers of the task, which may be vmapped over.

    Attributes:
        size: The side of the square arena.
        radius: Of the puck, whose centre stays this far from the walls.
        acceleration: What an action pushes with.
        friction: What of the velocity is lost a second.
        goal_steps: After how many steps the goal moves.
    """

    size: Float[Array, ""] | float = 5.0
    radius: Float[Array, ""] | float = 0.5
    acceleration: Float[Array, ""] | float = 0.1
    friction: Float[Array, ""] | float = 0.5
    goal_steps: Int[Array, ""] | int = 300


class PuckWorld(NeverEnding):
    """A step pays minus the distance to the goal, which is drawn anew, anywhere in the arena, every `goal_steps` steps.

    The velocity is integrated before the position, `SUBSTEPS` times `SECONDS` a step, then walls stop the puck. It sees
    the puck's position and velocity and the goal, `[6]`.
    """

    @property
    def num_actions(self) -> int:
        return len(DIRECTIONS)

    @property
    def default_params(self) -> PuckParams:
        return PuckParams()

    def reset_env(self, key: Key[Array, ""], params: PuckParams) -> tuple[Float[Array, "6"], PuckState]:
        position, goal = params.size * jax.random.uniform(key, (2, 2))
        state = PuckState(position, jnp.zeros(2), goal, jnp.zeros((), jnp.int32))
        return self.observe(key, state, None, params), state

    def step_env(
        self, key: Key[Array, ""], state: PuckState, action: Int[Array, ""], params: PuckParams
    ) -> tuple[Float[Array, "6"], PuckState, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        position, velocity = _pushed(state, jnp.asarray(DIRECTIONS)[action], params)
        moves = state.age + 1 >= params.goal_steps
        goal = jnp.where(moves, params.size * jax.random.uniform(key, (2,)), state.goal)
        age = jnp.where(moves, 0, state.age + 1).astype(jnp.int32)
        following = PuckState(position, velocity, goal, age)
        shown = self.observe(key, following, action, params)
        reward = -jnp.linalg.norm(position - goal)
        return shown, following, reward, self.is_terminated(following, params), {}

    def observe(
        self, key: Key[Array, ""], state: PuckState, action: Int[Array, ""] | None, params: PuckParams
    ) -> Float[Array, "6"]:
        return jnp.concatenate([state.position, state.velocity, state.goal])

    def action_space(self, params: PuckParams | None = None) -> spaces.Discrete:
        return spaces.Discrete(len(DIRECTIONS))

    def observation_space(self, params: PuckParams | None = None) -> spaces.Box:
        params = self.default_params if params is None else params
        fastest, zero = jnp.full(2, params.acceleration / params.friction), jnp.zeros(2)
        far = jnp.full(2, params.size, float)
        return spaces.Box(jnp.concatenate([zero, -fastest, zero]), jnp.concatenate([far, fastest, far]), (6,))


def _pushed(
    state: PuckState, direction: Float[Array, "2"], params: PuckParams
) -> tuple[Float[Array, "2"], Float[Array, "2"]]:
    """The position and the velocity after a step."""
    position, velocity = state.position, state.velocity
    for _ in range(SUBSTEPS):
        velocity = velocity + SECONDS * (params.acceleration * direction - params.friction * velocity)
        position = position + SECONDS * velocity
    inside = jnp.clip(position, params.radius, params.size - params.radius)
    return inside, jnp.where(inside == position, velocity, BOUNCE * velocity)
