"""Soft Q-learning in a table: the return gains `temperature` times the policy's entropy at every step.

The values are those of Haarnoja et al. 2017 (arXiv:1702.08165, theorem 3), `Q(s, a) = r + discount * V(s')` with
`V(s) = temperature * log sum_a exp(Q(s, a) / temperature)`, the policy is `softmax(Q / temperature)`; both are
those of `jaxreward.mdp.soft_value_iteration`. As the temperature falls it is Q-learning.
"""

from __future__ import annotations

from dataclasses import dataclass

from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.baselines.parts.tabular import Rule, Scalar, TableConfig, tabular
from jaxreward.mdp import soft_max, soft_policy


@dataclass(frozen=True)
class Config(TableConfig):
    """What shapes the program; see `TableConfig`."""


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        temperature: What a unit of entropy, in nats, is worth; above 0.
        step_size: Of the first change of a pair of state and action.
        step_decay: Power of a pair's changes by which its step size is divided: 0 for constant steps, 1 for means.
        discount: Per step; rewards with an `AgentDiscount` follow it.
        epsilon_start: How often any action is taken instead of the policy's, at first.
        epsilon_end: How often in the end.
        epsilon_steps: Environment steps that it takes to get there.
        initial_value: Of every action at first.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    temperature: Scalar = 0.1
    step_size: Scalar = 0.1
    step_decay: Scalar = 0.0
    discount: Scalar = 0.99
    epsilon_start: Scalar = 0.0
    epsilon_end: Scalar = 0.0
    epsilon_steps: Scalar = 20_000.0
    initial_value: Scalar = 0.0
    env_params: PyTree = None


def soft_q_learning(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A soft Q-learning agent.

    Args:
        env: An environment whose states are numbered: a `TabularEnv`, or one with a `Discrete` observation space.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes.

    Raises:
        TypeError: If actions are not discrete.
        ValueError: If states have no numbers, or the reward is a vector.
    """
    rule = Rule(probabilities, lambda values, _, action, hyperparams: soft_max(values, hyperparams.temperature))
    return tabular(env, env_params, config, rule, "soft_q_learning")


def probabilities(
    values: Float[Array, "*batch A"], epsilon: Scalar, hyperparams: Hyperparams
) -> Float[Array, "*batch A"]:
    """Those of the best policy at this temperature, and of any action with probability `epsilon`."""
    best = soft_policy(values, hyperparams.temperature)
    return (1 - epsilon) * best + epsilon / values.shape[-1]
