"""The reward that the outer level learns: the environment's outermost one, or an alignment of primary and auxiliary."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, PyTree

from jaxreward.agents.barfi.parts.config import Config
from jaxreward.agents.baselines.parts.learner import (
    Learner,
    shows_auxiliary,
)
from jaxreward.environment import WithReward, first_memory
from jaxreward.observed import observed
from jaxreward.reward import Reward
from jaxreward.rewards.alignment import alignment


def beneath(env: Environment, env_params: PyTree) -> tuple[Environment, PyTree]:
    """The environment whose reward is primary, and its params, where the outermost reward is the learned one.

    Raises:
        ValueError: If there is no such reward, nothing of it can be learned, or the policy sees what it remembers.
    """
    if not isinstance(env, WithReward):
        raise ValueError(
            f"{env.name} has its own reward, so learned='environment' has no params to learn: give it another with "
            "`with_reward`, or learn an alignment reward, learned='state'"
        )
    if observed(first_memory(env, env_params)):
        raise ValueError(
            f"the reward of {env.name} shows the policy what it remembers, and episodes are played without the reward "
            "that is learned: make it with observed=False"
        )
    leaves = jax.tree.leaves(env_params.reward)
    if not leaves or not all(jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in leaves):
        kinds = ", ".join(sorted({str(jnp.result_type(leaf)) for leaf in leaves})) or "none"
        raise ValueError(f"to be learned a reward's params are to be floating-point numbers; they are {kinds}")
    return env.env, env_params.env


def alignment_for(learner: Learner, env_params: PyTree, config: Config) -> Reward:
    """The alignment reward that a config asks for.

    Raises:
        ValueError: If the environment shows no auxiliary reward.
    """
    env, features = learner.env, learner.features
    if not shows_auxiliary(env, env_params):
        raise ValueError(
            f"{env.name} shows no auxiliary reward: give it one with `jaxreward.rewards.beside`, as auxiliary=..., or "
            "learn the params of its reward, learned='environment'"
        )
    if config.learned == "numbers":
        return alignment(primary=config.primary, initial="sum")
    space = env.action_space(env_params)

    def of_pair(observation: PyTree, action: PyTree) -> Float[Array, " F"]:
        seen = features(observation)
        if config.learned == "state":
            return seen
        if isinstance(space, spaces.Discrete):
            return jnp.outer(jax.nn.one_hot(action, space.n), seen).ravel()
        return jnp.concatenate([seen, jnp.ravel(action)])

    observation = jax.eval_shape(lambda: env.reset_env(jax.random.key(0), env_params)[0])
    size = jax.eval_shape(of_pair, observation, jax.eval_shape(space.sample, jax.random.key(0))).shape[0]
    return alignment(lambda t: of_pair(t.observation, t.action), size, config.primary, config.initial)
