"""RVI Q-learning: the rate is a function of the values themselves (Abounadi, Bertsekas and Borkar 2001)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.loop.parts.incremental import Values, difference, incremental, learning_rate, moved
from jaxreward.agents.loop.parts.learner import StreamConfig, Visit, finite_learner
from jaxreward.agents.loop.parts.world import finite_world
from jaxreward.names import check_name

REFERENCES = {
    "pair": lambda value: value[0, 0],
    "state": lambda value: jnp.max(value[0]),
    "largest": jnp.max,
    "mean": jnp.mean,
}
"""What stands for the rate, `f(Q)`: each grows by c if all values do."""


@dataclass(frozen=True)
class Config(StreamConfig):
    """What shapes the program; see `StreamConfig` too. Nothing is planned, so `steps_per_check` changes nothing.

    Attributes:
        reference: What stands for the rate: the value of the first action of state 0 (`pair`), the best of state 0
            (`state`), the `largest` of all, or their `mean`.
    """

    reference: Literal["pair", "state", "largest", "mean"] = "state"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("reference", self.reference, REFERENCES)


@struct.dataclass
class Hyperparams:
    """Traced numbers. Rewards are scaled to be between 0 and 1.

    Attributes:
        step_size: `alpha`, of the first visit of a pair.
        step_decay: Power of the visits of a pair by which its step size is divided: 0 for constant steps, 1 for means.
        exploration: The probability of any action instead of the best.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    step_size: Float[Array, ""] | float = 1.0
    step_decay: Float[Array, ""] | float = 1.0
    exploration: Float[Array, ""] | float = 0.05
    env_params: PyTree = None


def rvi_q(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An RVI Q-learning agent.

    Args:
        env: A finite world that never ends.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes and the reference.

    Raises:
        ValueError: If the environment is not finite, or ends, or its reward has a memory.
    """
    world = finite_world(env, env_params, "rvi_q")
    reference = REFERENCES[config.reference]

    def update(values: Values, visit: Visit, hyperparams: Hyperparams) -> Values:
        """`Q += alpha (r - f(Q) + max Q(s') - Q(s, a))`."""
        error = difference(values, visit, reference(values.action_value))
        action_value = moved(values, visit, learning_rate(values, visit, hyperparams) * error)
        return values._replace(action_value=action_value, rate=reference(action_value))

    return finite_learner(world, env_params, config, incremental(world, update))
