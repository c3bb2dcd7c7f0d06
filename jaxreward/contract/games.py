"""Games: environments that several agents act in at once.

A game is an `Environment` with an attribute `num_agents`, `n`. Its observation's leaves have a leading axis of agents,
its action is joint and has one too, its own reward is `[n]`, what each agent is paid, or a scalar that all are paid. An
episode ends for all at once: `terminated` and `truncated` are scalars.
"""

from __future__ import annotations

from typing import Any

import jax
from gymnax.environments.environment import Environment
from jaxtyping import Array, Key, PyTree

AGENT = "ippo"
"""An agent that takes games, to name where another doesn't."""


def num_agents(env: Environment) -> int | None:
    """How many agents act in it; None for an environment of one agent, which has no axis of agents.

    Wrappers hand attributes on, `with_reward` among them.
    """
    agents = getattr(env, "num_agents", None)
    return None if agents is None else int(agents)


def sample_action(env: Environment, params: PyTree, key: Key[Array, ""]) -> PyTree:
    """A random action, of a game a joint one: `[n, ...]`.

    `env.action_space(params)` of a game is that of one agent, as is `env.observation_space(params)`; the joint ones
    have `n` of each.
    """
    space: Any = env.action_space(params)
    agents = num_agents(env)
    return space.sample(key) if agents is None else jax.vmap(space.sample)(jax.random.split(key, agents))


def refuse_game(env: Environment) -> None:
    """Refuses what an agent that learns for itself alone can't act in.

    Raises:
        ValueError: The environment is a game.
    """
    agents = num_agents(env)
    if agents is not None:
        raise ValueError(
            f"{env.name} is a game of {agents} agents, and this agent learns to act for one; use {AGENT}, which takes "
            "games"
        )


def check_game(env: Environment, observation: PyTree, reward: Any) -> int:
    """How many agents play; refuses what is no game, or shows or pays another number of agents.

    Args:
        env: The environment.
        observation: What it shows, abstract or not.
        reward: One step's, abstract or not.

    Raises:
        ValueError: An environment of one agent, or a leaf or the reward has no leading axis of agents.
    """
    agents = num_agents(env)
    if agents is None:
        raise ValueError(
            f"{env.name} has one agent, and this agent takes games, whose `num_agents` says how many act; use ppo, or "
            "a game such as games/gems"
        )
    for path, leaf in jax.tree_util.tree_leaves_with_path(observation):
        if leaf.shape[:1] != (agents,):
            raise ValueError(
                f"{env.name} has {agents} agents, and the observation{jax.tree_util.keystr(path)} the shape "
                f"{leaf.shape}; expected a leading axis of agents, ({agents}, ...)"
            )
    if reward.shape not in ((), (agents,)):
        raise ValueError(
            f"{env.name} has {agents} agents, and the reward the shape {reward.shape}; expected ({agents},), a reward "
            "for each agent, or (), one that all share"
        )
    return agents
