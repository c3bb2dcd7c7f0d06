"""A game of one state, whose payoffs are its params, so that one compiled program plays any of its size."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment


@struct.dataclass
class MatrixParams:
    """What agents are paid, `[A, A, 2]`, for how many steps, and whether the last of them is an end or a cut."""

    payoff: jax.Array
    length: int = 1
    terminates: bool = True


@struct.dataclass
class MatrixState:
    time: jax.Array


class MatrixGame(Environment):
    """Two agents choose at once; each sees a one."""

    num_agents = 2

    def __init__(self, actions=2):
        super().__init__()
        self.actions = actions

    @property
    def default_params(self):
        return MatrixParams(jnp.zeros((self.actions, self.actions, 2)))

    def reset_env(self, key, params):
        return jnp.ones((2, 1)), MatrixState(jnp.zeros((), jnp.int32))

    def step_env(self, key, state, action, params):
        after = MatrixState(state.time + 1)
        reward = params.payoff[action[0], action[1]]
        return jnp.ones((2, 1)), after, reward, (after.time >= params.length) & params.terminates, {}

    def is_truncated(self, state, params):
        return (state.time >= params.length) & ~jnp.asarray(params.terminates)

    def action_space(self, params=None):
        return spaces.Discrete(self.actions)

    def observation_space(self, params=None):
        return spaces.Box(0, 1, (1,))


class OfOne(Environment):
    """An environment as a game of one agent."""

    num_agents = 1

    def __init__(self, env):
        super().__init__()
        self.env = env

    @property
    def default_params(self):
        return self.env.default_params

    def reset_env(self, key, params):
        observation, state = self.env.reset_env(key, params)
        return observation[None], state

    def step_env(self, key, state, action, params):
        observation, after, reward, terminated, info = self.env.step_env(key, state, action[0], params)
        return observation[None], after, jnp.asarray(reward)[None], terminated, info

    def is_truncated(self, state, params):
        return self.env.is_truncated(state, params)

    def action_space(self, params=None):
        return self.env.action_space(params)

    def observation_space(self, params=None):
        return self.env.observation_space(params)
