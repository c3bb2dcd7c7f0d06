"""GRPO for a fleet ("One Step is Enough", arXiv:2507.15351): what an agent earns from now on, beside what others do.

Group-relative policy optimisation (Shao et al., "DeepSeekMath", 2024, arXiv:2402.03300) replaces the critic by the
statistics of a group; here the group are the agents of one game, which share a policy.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.dispatch.parts import group
from jaxreward.agents.dispatch.parts.group import Group, Hyperparams, grouped, standardised
from jaxreward.learning.estimators import discounted_returns

__all__ = ["Config", "Hyperparams", "grpo"]


@dataclass(frozen=True)
class Config(group.Config):
    """What shapes the program, see `jaxreward.agents.dispatch.parts.group.Config`.

    Attributes:
        whole_episode: Whether rewards are standardised over all steps and agents of a game's rollout, and what is left
            of them summed up, as in the authors' code; what agents earn is compared step by step otherwise.
    """

    whole_episode: bool = False


def grpo(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An agent that plays all sides of a game with one policy.

    The advantage of an agent is its discounted reward to go, less the mean of the group's and divided by their standard
    deviation, less how much the step makes the spread of the agents' returns grow. What comes behind the end of a
    rollout counts as nothing: let `num_steps` be a whole number of episodes.

    Args:
        env: A game whose agents are alike and each paid for itself.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes and architecture.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: See `jaxreward.agents.dispatch.parts.group.grouped`.
    """
    return grouped(GRPO, env, env_params, config, "grpo")


@dataclass(frozen=True)
class GRPO(Group):
    """The steps of the algorithm."""

    def relative(
        self,
        reward: Float[Array, "T N n"],
        done: Bool[Array, "T N n"],
        counted: Bool[Array, "T N n"],
        hyperparams: Hyperparams,
    ) -> Float[Array, "T N n"]:
        """By rewards to go, or by standardised rewards to go."""
        if not self.config.whole_episode:
            return standardised(discounted_returns(reward, done, hyperparams.discount), counted)
        together = lambda x: jnp.moveaxis(x, 1, 0).reshape(x.shape[1], -1)  # noqa: E731
        alike = standardised(together(reward), together(counted)).reshape(reward.shape[1], -1, self.agents)
        return discounted_returns(jnp.moveaxis(alike, 0, 1), done, hyperparams.discount)
