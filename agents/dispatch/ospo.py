"""OSPO, "One Step is Enough" (arXiv:2507.15351): each step's reward alone, beside what the others were paid in it."""

from __future__ import annotations

from dataclasses import dataclass

from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.dispatch.parts.group import Config, Group, Hyperparams, grouped, standardised

__all__ = ["Config", "Hyperparams", "ospo"]


def ospo(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An agent that plays all sides of a game with one policy.

    The advantage of an agent is its reward of the step, less the mean of the group's and divided by their standard
    deviation, less how much the step makes the spread of the agents' returns grow. Nothing that follows counts.

    Args:
        env: A game whose agents are alike and each paid for itself.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes and architecture.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: See `jaxreward.agents.dispatch.parts.group.grouped`.
    """
    return grouped(OSPO, env, env_params, config, "ospo")


@dataclass(frozen=True)
class OSPO(Group):
    """The steps of the algorithm."""

    def relative(
        self,
        reward: Float[Array, "T N n"],
        done: Bool[Array, "T N n"],
        counted: Bool[Array, "T N n"],
        hyperparams: Hyperparams,
    ) -> Float[Array, "T N n"]:
        """By rewards."""
        return standardised(reward, counted)
