"""SARSA in a table (Rummery & Niranjan 1994; Sutton & Barto 2018, section 6.4): the values of the policy that acts.

Where exploring costs, its values say so, and Q-learning's do not. Expected SARSA (van Seijen et al. 2009; section 6.6)
takes the mean over the next action in place of a sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.baselines.parts.tabular import Rule, TableConfig, TableHyperparams, epsilon_greedy_policy, tabular


@dataclass(frozen=True)
class Config(TableConfig):
    """What shapes the program; see `TableConfig` too.

    Attributes:
        expected: Whether the next state is worth what the policy expects there, or the value of the action that it
            takes next.
    """

    expected: bool = False


@struct.dataclass
class Hyperparams(TableHyperparams):
    """Traced numbers; see `TableHyperparams`."""


def sarsa(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A SARSA agent.

    Args:
        env: An environment whose states are numbered: a `TabularEnv`, or one with a `Discrete` observation space.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes, and whether errors are expected ones.

    Raises:
        TypeError: If actions are not discrete.
        ValueError: If states have no numbers, or the reward is a vector.
    """
    rule = Rule(
        lambda values, epsilon, hyperparams: epsilon_greedy_policy(values, epsilon),
        expectation if config.expected else sample,
    )
    return tabular(env, env_params, config, rule, "sarsa")


def sample(
    values: Float[Array, "*batch A"], probabilities: Float[Array, "*batch A"], action: Int[Array, "*batch"], _: Any
) -> Float[Array, "*batch"]:
    """The value of the next action."""
    return jnp.take_along_axis(values, action[..., None], -1)[..., 0]


def expectation(
    values: Float[Array, "*batch A"], probabilities: Float[Array, "*batch A"], action: Int[Array, "*batch"], _: Any
) -> Float[Array, "*batch"]:
    """The mean value of the next action."""
    return (values * probabilities).sum(-1)
