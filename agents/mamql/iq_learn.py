"""IQ-Learn: a soft critic learned from demonstrations, which is a policy and a reward at once; discrete actions.

Garg et al., "IQ-Learn: Inverse soft-Q Learning for Imitation", NeurIPS 2021, arXiv:2106.12142. It is what
`jaxreward.agents.mamql.mamql` does for each agent of a game, where but one acts.
"""

from __future__ import annotations

from dataclasses import dataclass

from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import PyTree

from jaxreward.agent import Agent
from jaxreward.agents.mamql.parts import inverse_q
from jaxreward.agents.mamql.parts.inverse_q import Scalar, States
from jaxreward.environment import scalar_environment


@dataclass(frozen=True)
class Config(inverse_q.Config):
    """What shapes the program, see `jaxreward.agents.mamql.parts.inverse_q.Config`; values as the authors have them."""

    value_states: States = "mixed"


@struct.dataclass
class Hyperparams(inverse_q.Hyperparams):
    """Traced numbers, see `jaxreward.agents.mamql.parts.inverse_q.Hyperparams`; some as the authors have them."""

    temperature: Scalar = 0.01
    alpha: Scalar = 0.5
    l2: Scalar = 0.0


def iq_learn(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An agent that does as was demonstrated, and says what for.

    Args:
        env: A gymnax `Environment` with `Discrete` actions.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: The demonstrations, sizes and architecture.

    Raises:
        TypeError: If actions are not discrete.
        ValueError: If the environment is a game, the reward is a vector, there is no such option, sizes do not fit
            together, or there are no demonstrations of this environment that say where episodes end.
    """
    env = scalar_environment(env, env_params)
    return inverse_q.inverse_q(env, env_params, config, (), "iq_learn")
