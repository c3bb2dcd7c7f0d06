"""A continuous grid world: a point that walks through the unit square to a box, in four directions.

Gupta et al., Behavior Alignment via Reward Function Optimization, NeurIPS 2023 (arXiv:2310.19007). The rules are those
of the authors' code.
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

UP, RIGHT, DOWN, LEFT = range(4)
MOTIONS = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)], np.float32)
"""Where each action leads, x and y."""
SUBSTEPS, STRIDE = 4, 0.045
"""An action is up to so many sub-steps of that length."""

START = (0.125, 0.125)
GOAL = ((0.75, 0.75), (0.99, 0.99))
"""The lower and the upper corner."""


@struct.dataclass
class BoxWorldState:
    """Where the point is, and since when."""

    position: Float[Array, "2"]
    time: Int[Array, ""]


@struct.dataclass
class BoxWorldParams:
    """Numbers of a box world, which may be vmapped over.

    Attributes:
        slip: With which probability the action is replaced by any of the four, itself among them.
        start: Where an episode starts.
        goal: The lower and the upper corner of the box where it terminates.
        step_reward: What each step earns.
        goal_reward: What the step that enters the goal earns beside it.
        max_steps_in_episode: The time limit, which truncates: the policy does not see the time.
    """

    slip: Float[Array, ""]
    start: Float[Array, "2"]
    goal: Float[Array, "2 2"]
    step_reward: Float[Array, ""]
    goal_reward: Float[Array, ""]
    max_steps_in_episode: Int[Array, ""]


class BoxWorld(Environment):
    """A point in the unit square, without walls. It sees where it is, `[2]`.

    An action moves it by up to four sub-steps in one direction. A sub-step that would leave the square is refused and
    ends the step, and so does entering the goal. From the usual start and without walls all positions lie on a grid
    of 22 x 22 points, `0.125 + 0.045 k`.

    In `info` are the sub-steps, for rewards that are paid for each: `substeps` `[4, 2]`, where they lead, and `taken`
    `[4]`, which of them were made, a prefix. `executed_action` is what was done, by choice or by slip.

    In the authors' code the step that reaches the time limit ends after its first sub-step; here it is like any other.
    """

    def __init__(self, slip: float = 0.1) -> None:
        """Makes a box world.

        Args:
            slip: See `BoxWorldParams`.

        Raises:
            ValueError: If `slip` is not a probability.
        """
        super().__init__()
        if not 0 <= slip <= 1:
            raise ValueError(f"slip is a probability, from 0 to 1; got {slip}")
        self.slip = slip

    @property
    def num_actions(self) -> int:
        return len(MOTIONS)

    @property
    def default_params(self) -> BoxWorldParams:
        slip, start, goal, step_reward, goal_reward = (
            jnp.asarray(x, float) for x in (self.slip, START, GOAL, -0.1, 100)
        )
        return BoxWorldParams(slip, start, goal, step_reward, goal_reward, jnp.asarray(50, jnp.int32))

    def reset_env(self, key: Key[Array, ""], params: BoxWorldParams) -> tuple[Float[Array, "2"], BoxWorldState]:
        return params.start, BoxWorldState(params.start, jnp.zeros((), jnp.int32))

    def step_env(
        self, key: Key[Array, ""], state: BoxWorldState, action: Int[Array, ""], params: BoxWorldParams
    ) -> tuple[Float[Array, "2"], BoxWorldState, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        action = _slipped(jnp.asarray(action, jnp.int32), key, params.slip)
        stride = STRIDE * jnp.asarray(MOTIONS)[action]
        substeps = state.position[None] + jnp.arange(1, SUBSTEPS + 1)[:, None] * stride[None]
        taken = _taken(substeps, params.goal)
        state = BoxWorldState(state.position + taken.sum() * stride, state.time + 1)
        terminated = self.is_terminated(state, params)
        reward = params.step_reward + jnp.where(terminated, params.goal_reward, 0.0)
        info = {"substeps": substeps, "taken": taken, "executed_action": action}
        return state.position, state, reward, terminated, info

    def is_terminated(self, state: BoxWorldState, params: BoxWorldParams) -> Bool[Array, ""]:
        return inside(state.position, params.goal)

    def action_space(self, params: PyTree = None) -> spaces.Discrete:
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: PyTree = None) -> Any:
        return spaces.Box(0.0, 1.0, (2,), jnp.float32)


def inside(positions: Float[Array, "*batch 2"], box: Float[Array, "2 2"]) -> Bool[Array, "*batch"]:
    """Which positions lie in a box, its border included, given by its lower and its upper corner."""
    low, high = (jnp.broadcast_to(corner, positions.shape) for corner in box)
    return ((positions >= low) & (positions <= high)).all(-1)


def _taken(substeps: Float[Array, "4 2"], goal: Float[Array, "2 2"]) -> Bool[Array, " 4"]:
    """Which sub-steps are made: those that stay in the square, up to the first in the goal."""
    in_square = ((substeps >= 0) & (substeps <= 1)).all(-1)  # a prefix, as all go the same way
    in_goal = inside(substeps, goal).astype(jnp.int32)
    entered_before = jnp.cumsum(in_goal) > in_goal
    return in_square & ~entered_before


def _slipped(action: Int[Array, ""], key: Key[Array, ""], slip: Float[Array, ""]) -> Int[Array, ""]:
    slips, other = jax.random.uniform(key, (2,))
    return jnp.where(slips < slip, (other * len(MOTIONS)).astype(jnp.int32), action)
