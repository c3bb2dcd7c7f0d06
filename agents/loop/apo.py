"""APO: PPO for the reward rate (Ma, Tang, Xia, Yang and Zhao, IJCAI 2021, arXiv:2106.03442).

Nothing is discounted. Rewards are taken less their running mean, and values are kept near 0 by taking a part of their
running mean from what they are moved towards, since without a discount they are free to drift. It is `ppo` with
`centring`, and has its settings; values are not clipped, as the clip would be around what they are moved from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import PyTree

from jaxreward.agent import Agent
from jaxreward.agents.baselines import ppo
from jaxreward.agents.baselines.ppo import Scalar
from jaxreward.contract.wrappers import check_never_ends


@dataclass(frozen=True)
class Config(ppo.Config):
    """What shapes the program; see `jaxreward.agents.baselines.ppo.Config`."""

    centring: bool = True


@struct.dataclass
class Hyperparams(ppo.Hyperparams):
    """Traced numbers; see `jaxreward.agents.baselines.ppo.Hyperparams`."""

    discount: Scalar = 1.0
    value_clip: Scalar = math.inf
    value_bias: Scalar = 0.1


def apo(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An agent that maximises the reward rate.

    Args:
        env: An `Environment` that never ends, with a `Discrete` or a `Box` action space.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes and architecture.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If the environment has episodes, `centring` is off, or as `ppo` does.
    """
    if not config.centring:
        raise ValueError("centring=False leaves nothing to tell the reward rate by; for that, use the agent ppo")
    check_never_ends(env, "apo")
    return ppo.ppo(env, env_params, config)
