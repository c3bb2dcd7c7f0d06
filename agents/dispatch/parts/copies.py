"""Copies of one environment that begin in the same state: what a group is where there is but one agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.baselines.parts.on_policy import Metrics, State
from jaxreward.agents.dispatch.parts.group import Group, Hyperparams, learner_for
from jaxreward.environment import carry_over, scalar_environment
from jaxreward.learning.episodes import time_limit
from jaxreward.learning.networks import head_for
from jaxreward.learning.rollout import EnvBatch, Trajectory, first_episodes, reset_batch


class Copies(Group):
    """Before an algorithm of `Group`, whose agents are then copies of one environment, each with a policy's actions.

    A rollout begins anew, each group from a state of its own. What a copy does behind the end of its first episode,
    where it begins again from somewhere else, is not compared, not learned from and not told of.
    """

    only_first: ClassVar[bool] = True

    def collect(
        self, state: State, key_noise: Key[Array, ""], key_envs: Key[Array, ""]
    ) -> tuple[EnvBatch, PyTree, Trajectory, Metrics]:
        """`T` steps of `N` copies, those of a group beside each other."""
        key_start, key_steps = jax.random.split(key_envs)
        groups = self.config.num_envs // self.agents
        starts = reset_batch(self.env, self.params_of_env(state.hyperparams), groups, key_start)
        envs = jax.tree.map(lambda leaf: jnp.repeat(leaf, self.agents, 0), starts)
        # What outlives episodes, such as a reward's counts, is each copy's own.
        kept = jax.vmap(lambda ended, fresh: carry_over(self.env, ended, fresh))(state.envs.state, envs.state)
        return super().collect(state._replace(envs=envs._replace(state=kept)), key_noise, key_steps)

    def counted(self, action: Array, done: Bool[Array, "T N n"]) -> Bool[Array, "T N n"]:
        """The steps of first episodes."""
        return first_episodes(done)

    def relative(
        self,
        reward: Float[Array, "T N n"],
        done: Bool[Array, "T N n"],
        counted: Bool[Array, "T N n"],
        hyperparams: Hyperparams,
    ) -> Float[Array, "T N n"]:
        """As of agents that are paid nothing any more once their first episode has ended."""
        first = jnp.where(counted, reward, 0.0), jnp.zeros_like(done)
        return super().relative(*first, counted, hyperparams)  # type: ignore[safe-super]

    def held_against(
        self, state: State, reward: Float[Array, "T N n"], done: Bool[Array, "T N n"]
    ) -> Float[Array, "T N n"]:
        """Nothing: copies share nothing that could be unfair."""
        return jnp.zeros_like(reward)


def copied(kind: Callable[..., Group], env: Environment, env_params: PyTree, config: Any, name: str) -> Agent:
    """The agent of an algorithm that compares copies of an environment of one agent.

    Args:
        kind: The algorithm, a `Group` behind `Copies`.
        env: An environment of one agent.
        env_params: Its params.
        config: Sizes and architecture, a `Config` with a `group_size`.
        name: What the algorithm is called.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If sizes do not divide, the activation is unknown, the reward is a vector, choices are to be dealt,
            of which there is one, or an episode may be longer than a rollout.
    """
    if config.dispatch:
        raise ValueError(f"dispatch=True deals orders to the agents of a game, and {env.name} has one; leave it False")
    if config.num_envs % config.group_size:
        fits = max(config.num_envs // config.group_size, 1) * config.group_size
        raise ValueError(
            f"num_envs={config.num_envs} are no whole number of groups of group_size={config.group_size}, which {name} "
            f"compares; try num_envs={fits}"
        )
    env = scalar_environment(env, env_params)
    limit = time_limit(env, env_params)
    if limit > config.num_steps:
        raise ValueError(
            f"num_steps={config.num_steps} is less than the {limit} steps that an episode of {env.name} may have, and "
            f"{name} begins anew with every rollout: longer episodes would never end; give num_steps={limit}"
        )
    learner = learner_for(kind, env, env_params, config, head_for(env.action_space(env_params)), config.group_size)
    return Agent(learner.init, learner.step, learner.policy)
