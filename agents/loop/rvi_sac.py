"""RVI-SAC: soft actor-critic for the reward rate (Hisaki and Ono, ICML 2024).

Nothing is discounted. The critics are moved towards the reward less a rate, which is that of relative value iteration:
a function of the values themselves, here their mean over what was sampled, of which a moving average is taken (the
paper's delayed f(Q) update). All else is `sac`. What a fall costs is the environment's `reset_cost`; the paper moves it
until falls are as rare as is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.baselines import sac
from jaxreward.agents.baselines.parts import off_policy as loop
from jaxreward.agents.baselines.parts.off_policy import Metrics, Scalar
from jaxreward.agents.baselines.sac import Learner, networks
from jaxreward.contract.wrappers import check_never_ends
from jaxreward.learning.n_step import Batch
from jaxreward.learning.reading import reading_for


@dataclass(frozen=True)
class Config(sac.Config):
    """What shapes the program; see `jaxreward.agents.baselines.sac.Config`."""


@struct.dataclass
class Hyperparams:
    """Traced numbers; what has no words here is as in `jaxreward.agents.baselines.sac.Hyperparams`.

    Attributes:
        rate_step: How far an update moves the rate, the paper's kappa.
    """

    learning_rate: Scalar = 3e-4
    critic_learning_rate: Scalar = 3e-4
    temperature_learning_rate: Scalar = 3e-4
    temperature: Scalar = 1.0
    entropy_per_dimension: Scalar = -1.0
    entropy_share: Scalar = 0.5
    target_step: Scalar = 0.005
    rate_step: Scalar = 0.005
    env_params: PyTree = None

    discount: ClassVar[float] = 1.0


def rvi_sac(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A soft actor-critic that maximises the reward rate.

    Args:
        env: An `Environment` that never ends, with a `Discrete` action space or a `Box` with bounds.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes and architecture.

    Raises:
        TypeError: If there is no policy for the action space.
        ValueError: If the environment has episodes, or as `sac` does.
    """
    check_never_ends(env, "rvi_sac")
    reading = reading_for(env, env_params, config)
    algorithm = RVISAC(*networks(env.action_space(env_params), config, "rvi_sac", reading))
    return loop.off_policy(env, env_params, config, lambda env, env_params: algorithm, name="rvi_sac")


@dataclass(frozen=True)
class RVISAC(sac.SAC):
    """`SAC` with another target, and the rate that it has in it."""

    def update(self, learner: Learner, hyperparams: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Learner, Metrics]:
        """As `SAC` does, and tells the rate, in which the entropy counts as it does in values."""
        learner, metrics = super().update(learner, hyperparams, batch, key)
        return learner, {**metrics, "rate": learner.rate}

    def target(self, learner: Learner, batch: Batch, next_value: Float[Array, " B"]) -> Float[Array, " B"]:
        """What follows, less the rate for each of its steps."""
        return batch.reward - learner.rate * batch.weight + next_value

    def rate(self, learner: Learner, hyperparams: Any, next_value: Float[Array, " B"]) -> Float[Array, ""]:
        """Moved towards the mean of the values that were bootstrapped from."""
        return learner.rate + hyperparams.rate_step * (next_value.mean() - learner.rate)
