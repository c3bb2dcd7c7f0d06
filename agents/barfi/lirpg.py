"""LIRPG: an intrinsic reward, learned through the policy's step (Zheng, Oh, Singh, NeurIPS 2018, arXiv:1804.06459).

The policy climbs the return under `r_p + lambda r_in`, and `r_in`, linear in features of the state for each action,
climbs the return under `r_p` through that step (algorithm 1). Both use the same episodes, whose actions are weighed by
the ratio of the policy after the step to the one that played. A baseline stands for the two values that the
authors' agents learn.
"""

from __future__ import annotations

from dataclasses import dataclass

from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.barfi.parts import online as shared
from jaxreward.agents.barfi.parts.online import Batch, Online, learner_for, make_agent, through_one_step
from jaxreward.agents.baselines.parts.learner import Scalar


@dataclass(frozen=True)
class Config(shared.Config):
    """What shapes the program, see `jaxreward.agents.barfi.parts.online.Config`."""


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        learning_rate: Of the policy.
        reward_learning_rate: Of the intrinsic reward.
        discount: Per step, of both returns.
        entropy_coefficient: Weight of the entropy bonus in the policy's step.
        intrinsic: Weight of the intrinsic reward, `lambda`.
        auxiliary: Weight of the environment's auxiliary reward in what the policy learns from: 0 as in the paper, which
            has none; 1 to start from the naive sum. It counts for nothing where the environment shows none.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    learning_rate: Scalar = 5e-3
    reward_learning_rate: Scalar = 5e-3
    discount: Scalar = 0.99
    entropy_coefficient: Scalar = 0.25
    intrinsic: Scalar = 0.1
    auxiliary: Scalar = 0.0
    env_params: PyTree = None


def lirpg(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A LIRPG agent.

    Args:
        env: A gymnax `Environment` with a `Discrete` or a `Box` action space.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes and architecture.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If an option is unknown, an episode can be too long, or the reward is a vector.
    """
    learner = learner_for(env, env_params, config)
    return make_agent(Online(learner, env_params, config, "intrinsic_reward", 0.0, with_intrinsic, through_one_step))


def with_intrinsic(intrinsic: Float[Array, "T N"], batch: Batch, hyperparams: Hyperparams) -> Float[Array, "T N"]:
    """What the policy learns from."""
    return batch.primary + hyperparams.auxiliary * batch.auxiliary + hyperparams.intrinsic * intrinsic
