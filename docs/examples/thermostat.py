"""A room to be kept warm at little cost, as an environment of one's own."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment

LEVELS = jnp.array([0.0, 1.0, 2.0])
"""What the heater can be set to, in kilowatts."""


@struct.dataclass
class Params:
    """Numbers of the task: `--set env.price=0.3` sets one, `--grid env.price=0,0.3,1` trains with several at once."""

    target: Any = 20.0
    price: Any = 0.2
    leak: Any = 0.05
    max_steps_in_episode: Any = 96


@struct.dataclass
class State:
    """Temperatures inside and outside, and the time in quarters of an hour."""

    inside: jax.Array
    outside: jax.Array
    time: jax.Array


class Thermostat(Environment):
    """Each step costs the distance to the target and the power; the pipes freeze at 0 degrees, which ends the day."""

    num_actions = len(LEVELS)

    @property
    def default_params(self) -> Params:
        return Params()

    def reset_env(self, key: jax.Array, params: Params) -> tuple[jax.Array, State]:
        inside, outside = jax.random.uniform(key, (2,), minval=jnp.array([10.0, -10.0]), maxval=jnp.array([25.0, 15.0]))
        state = State(inside, outside, jnp.zeros((), jnp.int32))
        return self.observe_state(state, params), state

    def step_env(self, key: jax.Array, state: State, action: jax.Array, params: Params) -> tuple:
        power = LEVELS[action]
        inside = state.inside + params.leak * (state.outside - state.inside) + power
        outside = state.outside + 0.3 * jax.random.normal(key)
        state = State(inside, outside, state.time + 1)
        reward = -jnp.abs(inside - params.target) / 10 - params.price * power
        return self.observe_state(state, params), state, reward, self.is_terminated(state, params), {"power": power}

    def is_terminated(self, state: State, params: Params) -> jax.Array:
        """Whether there is nothing more to earn; `is_truncated`, which asks the time limit, is gymnax's."""
        return state.inside < 0.0

    def observe_state(self, state: State, params: Params) -> jax.Array:
        """What the agent sees."""
        return jnp.stack([state.inside - params.target, state.outside]) / 10

    def action_space(self, params: Params | None = None) -> spaces.Discrete:
        return spaces.Discrete(len(LEVELS))

    def observation_space(self, params: Params | None = None) -> spaces.Box:
        return spaces.Box(-10.0, 10.0, (2,), jnp.float32)
