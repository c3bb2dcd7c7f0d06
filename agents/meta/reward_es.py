"""The optimal reward: one evolved so that an agent that learns from it earns the most of the environment's own.

The optimal reward problem of Singh, Lewis & Barto ("Where do rewards come from?", CogSci 2009): with an agent that has
limits, a lifetime may come to more by another reward than by the one it is judged by. Any reward's params are evolved
by the outer loop of `jaxreward.agents.meta.parts.evolved`; a candidate's fitness is what a lifetime of PPO comes to
earn of the environment's own reward.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import PyTree

from jaxreward.agent import Agent
from jaxreward.agents.meta.parts.lifetimes import Config, Hyperparams, evolved_lifetimes, inner_hyperparams
from jaxreward.environment import WithReward


def reward_es(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An agent that evolves its reward; its `params` are the reward's, its policy that of the fittest PPO.

    Its metric `episode/return` is of the evolved rewards, `episode/env_return` of the environment's own.

    Args:
        env: A gymnax `Environment` with a reward whose params are to be evolved, see
            `jaxreward.environment.with_reward`.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes of both loops.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If the reward has nothing to evolve or is a vector, an option is unknown, or sizes do not divide.
    """
    check_reward(env, env_params)
    if config.judged != "environment":
        raise ValueError(f"a reward that is judged by itself would just grow: judged=environment, not {config.judged}")

    def given(hyperparams: Hyperparams) -> PyTree:
        return env_params if hyperparams.env_params is None else hyperparams.env_params

    def inner(params: PyTree, hyperparams: Hyperparams) -> Any:
        rewarded = dataclasses.replace(given(hyperparams), reward=params)
        return inner_hyperparams(hyperparams, config, rewarded, None)

    return evolved_lifetimes(env, env_params, config, lambda key, hyperparams: given(hyperparams).reward, inner)


def check_reward(env: Environment, env_params: PyTree) -> None:
    """Refuses an environment whose reward has nothing to evolve.

    Raises:
        ValueError: It has its own reward, or one without params, or with some that are no real numbers.
    """
    leaves = jax.tree.leaves(env_params.reward) if isinstance(env, WithReward) else []
    kinds = {jnp.result_type(leaf) for leaf in leaves}
    wrong = sorted(str(kind) for kind in kinds if not jnp.issubdtype(kind, jnp.floating))
    if wrong or not leaves:
        what = f"params of type {', '.join(wrong)}" if wrong else "no params"
        raise ValueError(
            f"{env.name}'s reward has {what}, and what is evolved is a reward's real numbers: give it another with "
            "--reward file.py:function or `with_reward`"
        )
