"""GAIL: a policy that a discriminator can't tell from demonstrations (Ho and Ermon 2016, arXiv:1606.03476).

An iteration is a rollout, some steps of the discriminator on what it and the demonstrations show, and PPO's update on
what the discriminator says: the environment's reward is logged and never learned from. Of a game it is MA-GAIL (Song et
al. 2018, arXiv:1807.09936), on independent PPO.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import PyTree

from jaxreward.agent import Agent
from jaxreward.agents.baselines import ppo
from jaxreward.agents.inverse.parts import adversarial as shared
from jaxreward.agents.inverse.parts import classifier
from jaxreward.agents.inverse.parts.adversarial import adversarial, adversary_for
from jaxreward.agents.inverse.parts.classifier import classifier_judge


@dataclass(frozen=True)
class Config(classifier.Config, shared.Config):
    """What shapes the program, see `adversarial.Config` and `classifier.Config`, and where the demonstrations are."""


@struct.dataclass
class Hyperparams(classifier.Hyperparams, ppo.Hyperparams):
    """Traced numbers: those of PPO and of the discriminator, see `classifier.Hyperparams`."""


def gail(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A GAIL agent.

    Args:
        env: A gymnax `Environment` with a `Discrete` or a `Box` action space; it may be a game.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: The demonstrations, sizes and architecture.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If there are no demonstrations or they are not of this environment, an option is unknown or of a
            game and the environment none, sizes do not divide, or the reward is a vector and the environment no game.
    """
    make = partial(classifier_judge, config, config.activation)
    return adversarial(adversary_for(env, env_params, config, make, "gail"), env, env_params, config)
