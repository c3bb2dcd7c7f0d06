"""Environments of which the states are numbered, for agents that keep a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Int, PyTree

from jaxreward.environment import world
from jaxreward.mdp import TabularEnv


class Numbered(NamedTuple):
    """States and actions by number.

    Attributes:
        num_states: `S`.
        num_actions: `A`.
        number: `(observation [*batch, ...]) -> [*batch]`, which state is observed.
    """

    num_states: int
    num_actions: int
    number: Callable[[Array], Int[Array, "*batch"]]


def numbered(env: Environment, env_params: PyTree, agent: str) -> Numbered:
    """The states that an environment shows.

    Args:
        env: One whose observation space is `Discrete`, or a `TabularEnv`, perhaps under rewards.
        env_params: Its params.
        agent: Who asks, for the message.

    Raises:
        TypeError: If actions are not discrete.
        ValueError: If the states that are observed have no numbers.
    """
    actions = env.action_space(env_params)
    if not isinstance(actions, spaces.Discrete):
        raise TypeError(f"{agent} has a value for each of a few actions; {env.name} has a {type(actions).__name__}")
    num_actions, shown = int(actions.n), env.observation_space(env_params)
    if isinstance(shown, spaces.Discrete):
        return Numbered(int(shown.n), num_actions, lambda observation: jnp.asarray(observation, jnp.int32))
    inside = world(env, env_params)[0]
    shape = jax.eval_shape(lambda: env.reset_env(jax.random.key(0), env_params)[0]).shape
    if isinstance(inside, TabularEnv) and shape == (inside.mdp.num_states,):
        return Numbered(shape[0], num_actions, lambda observation: jnp.argmax(observation, -1).astype(jnp.int32))
    raise ValueError(
        f"{agent} has a table of values, a row for each state, so it needs an environment with few states that says in "
        "which it is: a TabularEnv, such as average/river_swim, or one whose observation space is Discrete; "
        f"{env.name} shows a {type(shown).__name__} of shape {shape}. With a network, see ppo and a2c"
    )
