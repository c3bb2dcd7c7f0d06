"""Lifetimes of PPO: what an outer loop judges, from an agent's first iteration to its last."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Key, PyTree

from jaxreward.agent import Agent, Policy
from jaxreward.agents.baselines import ppo
from jaxreward.agents.baselines.parts.on_policy import State
from jaxreward.agents.meta.parts import evolved
from jaxreward.agents.meta.parts.evolved import Life, Problem
from jaxreward.contract.sizes import size
from jaxreward.contract.wrappers import never_ends
from jaxreward.learning.evaluation import PREFIX, EvaluationConfig, env_params_of, evaluate_policy
from jaxreward.learning.population import pooled
from jaxreward.learning.walker import LONGEST
from jaxreward.names import check_name

JUDGED = {"environment": ("episode/env_return", "average_env_reward"), "reward": ("episode/return", "average_reward")}
"""By what a lifetime may be judged, and the metric of that where episodes end and where none does."""


@dataclass(frozen=True)
class Config(evolved.Config, ppo.Config):
    """What shapes the program: that of the outer loop, of PPO, and this.

    Attributes:
        inner_iterations: Of PPO in a lifetime.
        judged_iterations: The last so many of them are what a lifetime is judged by; an episode should end in each
            lifetime within these, or nothing is known of it.
        judged_episodes: New episodes of the policy at the end that it is judged by instead, whose steps are not
            counted; 0 for none.
        episode_steps: After how many steps one that has not ended is cut.
        judged: By the returns of the "environment" itself, or of the "reward" that PPO learned from.
    """

    inner_iterations: int = size(100)
    judged_iterations: int = size(10)
    judged_episodes: int = size(0, least=0)
    episode_steps: int = size(LONGEST)
    judged: str = "environment"

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps of a generation."""
        return self.population_size * self.inner_iterations * self.num_envs * self.num_steps

    @property
    def evaluation(self) -> EvaluationConfig:
        """How a lifetime is judged by new episodes."""
        return EvaluationConfig(episodes=max(self.judged_episodes, 1), steps=self.episode_steps, sampled=True)

    def with_numbers(self, hyperparams: Any) -> Any:
        """The hyperparams as they are: what comes with PPO's objective is not for PPO to say."""
        return hyperparams

    def for_length(self, hyperparams: Any, iterations: int) -> Any:
        """The hyperparams as they are: a generation is no iteration of PPO."""
        del iterations
        return hyperparams

    def check_numbers(self, env: Environment, env_params: PyTree, hyperparams: Any) -> None:
        """Refuses hyperparams of PPO that the outer loop sets.

        Raises:
            ValueError: One was given.
        """
        if not np.isinf(np.asarray(hyperparams.inner.lifetime)).all():
            raise ValueError("a lifetime is inner_iterations long: set that, and not inner.lifetime")


@struct.dataclass
class Hyperparams(evolved.Hyperparams):
    """Traced numbers of both loops: each may be vmapped over or searched.

    Attributes:
        inner: Those of PPO, see `jaxreward.agents.baselines.ppo.Hyperparams`, such as `inner.learning_rate`.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    inner: ppo.Hyperparams = field(default_factory=ppo.Hyperparams)
    env_params: PyTree = None


def check_config(config: Config) -> None:
    """Refuses what does not fit together, before anything is compiled."""
    evolved.check_config(config)
    ppo.check_config(config)
    check_name("judge of a lifetime", config.judged, JUDGED)
    if config.judged_iterations > config.inner_iterations:
        raise ValueError(
            f"judged_iterations={config.judged_iterations} are more than a lifetime has, "
            f"inner_iterations={config.inner_iterations}"
        )


def evolved_lifetimes(
    env: Environment,
    env_params: PyTree,
    config: Config,
    init: Callable[[Key[Array, ""], Hyperparams], PyTree],
    inner: Callable[[PyTree, Hyperparams], ppo.Hyperparams],
) -> Agent:
    """An agent that evolves something PPO follows, by what PPO comes to earn.

    Args:
        env: What PPO learns in.
        env_params: Its params.
        config: Sizes of both loops.
        init: `(key, hyperparams) -> params`, where evolution begins.
        inner: `(params, hyperparams) -> PPO's hyperparams`, made by `inner_hyperparams`.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If an option is unknown, sizes do not divide, or the reward is a vector.
    """
    check_config(config)
    agent, metric = ppo.ppo(env, env_params, config), JUDGED[config.judged][never_ends(env)]

    def live(params: PyTree, key: Key[Array, ""], hyperparams: Hyperparams) -> Life:
        key_life, key_judged = jax.random.split(key)
        settings = inner(params, hyperparams)
        state, life = lifetime(agent, config, settings, key_life, metric)
        if not config.judged_episodes:
            return life
        played = env_params_of(settings, env_params)
        told = evaluate_policy(env, played, agent.policy(state), key_judged, config.evaluation)
        return life._replace(fitness=told[PREFIX + metric.removeprefix("episode/")])

    def policy(left: PyTree, hyperparams: Hyperparams) -> Policy:
        params, seen = left
        return agent.policy(State(params, (), (), (), seen, None, hyperparams, (), ()))  # type: ignore[arg-type]

    return evolved.evolved(Problem(init, live, policy), config)


def inner_hyperparams(hyperparams: Hyperparams, config: Config, env_params: PyTree, objective: PyTree) -> Any:
    """PPO's, in such an environment and with such params of its objective.

    Raises:
        ValueError: Either was given there, where it would count for nothing.
    """
    for name in ("env_params", "objective"):
        if getattr(hyperparams.inner, name) is not None:
            raise ValueError(f"inner.{name} is set by the outer loop; the environment's params are env_params")
    lifetime = jnp.asarray(config.inner_iterations, float)
    return dataclasses.replace(hyperparams.inner, env_params=env_params, lifetime=lifetime, objective=objective)


def lifetime(agent: Agent, config: Config, inner: Any, key: Key[Array, ""], metric: str) -> tuple[State, Life]:
    """One lifetime of PPO, which leaves its network and the moments of what it has seen.

    Args:
        agent: PPO.
        config: How long it lives.
        inner: PPO's hyperparams.
        key: For all there is to chance.
        metric: What it is judged by, a mean over its last episodes or iterations.
    """

    def iteration(state: State, _: None) -> tuple[State, dict[str, Array]]:
        return agent.step(state)

    state, metrics = jax.lax.scan(iteration, agent.init(key, inner), length=config.inner_iterations)
    last = jax.tree.map(lambda value: value[-config.judged_iterations :], metrics)
    return state, Life(pooled(last)[metric], pooled(metrics), (state.params, state.seen))
