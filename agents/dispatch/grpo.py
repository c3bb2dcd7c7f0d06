"""GRPO: what an agent earns, beside what the others of its group do, and no critic.

Group-relative policy optimisation (Shao et al., "DeepSeekMath", 2024, arXiv:2402.03300, section 4.1) replaces the
critic by the statistics of a group. Here it is several episodes of one environment from the same start, or the agents
of one game, which share a policy, as for a fleet ("One Step is Enough", arXiv:2507.15351).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.dispatch.parts import group
from jaxreward.agents.dispatch.parts.copies import Copies, copied
from jaxreward.agents.dispatch.parts.group import Group, Hyperparams, grouped, standardised
from jaxreward.contract.games import num_agents
from jaxreward.contract.sizes import size
from jaxreward.learning.estimators import discounted_returns
from jaxreward.names import check_name

__all__ = ["Config", "Hyperparams", "grpo"]

Advantage = Literal["to_go", "outcome", "process"]


@dataclass(frozen=True)
class Config(group.Config):
    """What shapes the program, see `jaxreward.agents.dispatch.parts.group.Config`.

    Attributes:
        advantage: What is compared within a group: `to_go`, what each earns from a step on, among those that are at
            the same step; `outcome`, what each earns in its episode, told to all of its steps (DeepSeekMath, section
            4.1.2); `process`, each reward among all of a group's rollout, of which what follows a step is summed up
            (section 4.1.3, and the code for fleets). That learns nothing where every step pays the same, as in
            CartPole: no reward stands out then, and how many there are is not compared.
        group_size: Where there is one agent, of how many episodes from the same start a group is; divides `num_envs`.
    """

    advantage: Advantage = "to_go"
    group_size: int = size(8, least=2)


def grpo(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An agent that learns from how others of its group did, and in a game plays all sides with one policy.

    With one agent, all copies of its environment are reset before every rollout, in groups that start in the same
    state, and what follows the end of a copy's first episode is not learned from. In a game an advantage is less by how
    much the step makes the spread of the agents' returns grow. What comes behind the end of a rollout counts as
    nothing, whether the episode was cut there or goes on, as there is no critic that could tell: `num_steps` is at
    least as long as an episode may be, and of a game best a whole number of them. Moments of observations are of all
    steps. The penalty of the paper that keeps policies near a reference
    is left out, as there is none that learning starts from.

    Args:
        env: An environment of one agent, or a game whose agents are alike and each paid for itself.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes and architecture.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: See `jaxreward.agents.dispatch.parts.group.grouped`, with one agent
            `jaxreward.agents.dispatch.parts.copies.copied`.
    """
    check_name("advantage", config.advantage, get_args(Advantage))
    if num_agents(env) is None:
        return copied(GRPOAlone, env, env_params, config, "grpo")
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
        """By rewards to go, by whole episodes, or by standardised rewards to go."""
        if self.config.advantage == "process":
            together = lambda x: jnp.moveaxis(x, 1, 0).reshape(x.shape[1], -1)  # noqa: E731
            alike = standardised(together(reward), together(counted)).reshape(reward.shape[1], -1, self.agents)
            return discounted_returns(jnp.moveaxis(alike, 0, 1), done, hyperparams.discount)
        to_go = discounted_returns(reward, done, hyperparams.discount)
        if self.config.advantage == "to_go":
            return standardised(to_go, counted)
        return standardised(of_episode(to_go, done), jnp.ones_like(counted))


@dataclass(frozen=True)
class GRPOAlone(Copies, GRPO):
    """The same where there is one agent."""


def of_episode(to_go: Float[Array, "T *batch"], done: Bool[Array, "T *batch"]) -> Float[Array, "T *batch"]:
    """What is earned from the first step of each step's episode on, or from the first step of the rollout."""

    def step(now: tuple[Array, Array], x: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
        (total, begins), (to_go, done) = now, x
        total = jnp.where(begins, to_go, total)
        return (total, done), total

    return jax.lax.scan(step, (to_go[0], jnp.ones_like(done[0])), (to_go, done))[1]
