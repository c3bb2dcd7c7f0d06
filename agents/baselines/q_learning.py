"""Q-learning in a table (Watkins 1989; Sutton & Barto 2018, section 6.5): the values of the best policy.

It acts by chance with some probability and learns what it would be worth to do the best from then on.
"""

from __future__ import annotations

from dataclasses import dataclass

from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import PyTree

from jaxreward.agent import Agent
from jaxreward.agents.baselines.parts.tabular import Rule, TableConfig, TableHyperparams, epsilon_greedy_policy, tabular


@dataclass(frozen=True)
class Config(TableConfig):
    """What shapes the program; see `TableConfig`."""


@struct.dataclass
class Hyperparams(TableHyperparams):
    """Traced numbers; see `TableHyperparams`."""


def q_learning(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A Q-learning agent.

    Args:
        env: An environment whose states are numbered: a `TabularEnv`, or one with a `Discrete` observation space.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes.

    Raises:
        TypeError: If actions are not discrete.
        ValueError: If states have no numbers, or the reward is a vector.
    """
    rule = Rule(
        lambda values, epsilon, hyperparams: epsilon_greedy_policy(values, epsilon),
        lambda values, probabilities, action, hyperparams: values.max(-1),
    )
    return tabular(env, env_params, config, rule, "q_learning")
