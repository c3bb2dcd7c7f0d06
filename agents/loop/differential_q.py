"""Differential Q-learning: the rate is learned from the same errors as the values (Wan, Naik and Sutton, ICML 2021)."""

from __future__ import annotations

from dataclasses import dataclass

from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.loop.parts.incremental import Values, difference, incremental, learning_rate, moved
from jaxreward.agents.loop.parts.learner import StreamConfig, Visit, finite_learner
from jaxreward.agents.loop.parts.world import finite_world


@dataclass(frozen=True)
class Config(StreamConfig):
    """What shapes the program; see `StreamConfig`. Nothing is planned, so `steps_per_check` changes nothing."""


@struct.dataclass
class Hyperparams:
    """Traced numbers. Rewards are scaled to be between 0 and 1.

    Attributes:
        step_size: `alpha`, of the first visit of a pair.
        step_decay: Power of the visits of a pair by which its step size is divided: 0 for constant steps, 1 for means.
        rate_step: `eta`, how much faster the rate is learned than the values.
        exploration: The probability of any action instead of the best.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    step_size: Float[Array, ""] | float = 0.025
    step_decay: Float[Array, ""] | float = 0.0
    rate_step: Float[Array, ""] | float = 0.5
    exploration: Float[Array, ""] | float = 0.1
    env_params: PyTree = None


def differential_q(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A differential Q-learning agent.

    Args:
        env: A finite world that never ends.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes.

    Raises:
        ValueError: If the environment is not finite, or ends, or its reward has a memory.
    """
    world = finite_world(env, env_params, "differential_q")
    return finite_learner(world, env_params, config, incremental(world, update))


def update(values: Values, visit: Visit, hyperparams: Hyperparams) -> Values:
    """`Q += alpha delta` and `rate += eta alpha delta`."""
    change = learning_rate(values, visit, hyperparams) * difference(values, visit, values.rate)
    return values._replace(action_value=moved(values, visit, change), rate=values.rate + hyperparams.rate_step * change)
