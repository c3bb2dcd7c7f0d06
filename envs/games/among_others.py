"""The world that one agent of a game is in while the others play by a policy, in which its reward can be judged."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.agent import Policy
from jaxreward.reward import Transition

JOINT = "joint"
"""Where `info` has the step of all agents."""


class Among(NamedTuple):
    """A state of the game, and what all agents see of it, leaves `[n, ...]`."""

    state: PyTree
    seen: PyTree


class AmongOthers(Environment):
    """One agent's world, in which it alone acts; `info["joint"]` has the `Transition` of all.

    It is for what is measured of an agent's reward, such as `jaxreward.distances.sampled.advantage`.
    """

    def __init__(self, game: Environment, agent: int, others: Policy) -> None:
        """A place in a game of discrete actions.

        Args:
            game: With agents on the leading axis.
            agent: Whose place.
            others: How all others act, by what each sees and nothing before.

        Raises:
            ValueError: There is no such agent.
        """
        super().__init__()
        if not 0 <= agent < game.num_agents:
            raise ValueError(f"agent={agent} of {game.name}: its agents are 0 to {game.num_agents - 1}")
        self.game, self.agent, self.others = game, agent, others

    @property
    def name(self) -> str:
        return f"{self.game.name}, agent {self.agent}"

    @property
    def num_actions(self) -> int:
        return self.game.num_actions

    @property
    def default_params(self) -> PyTree:
        return self.game.default_params

    def reset_env(self, key: Key[Array, ""], params: PyTree) -> tuple[PyTree, Among]:
        seen, state = self.game.reset_env(key, params)
        return self.own(seen), Among(state, seen)

    def step_env(
        self, key: Key[Array, ""], state: Among, action: Int[Array, ""], params: PyTree
    ) -> tuple[PyTree, Among, Float[Array, ""], Bool[Array, ""], dict[str, Any]]:
        key_others, key_step = jax.random.split(key)
        joint = self.others.act((), state.seen, key_others)[1].at[self.agent].set(action)
        seen, after, reward, terminated, info = self.game.step_env(key_step, state.state, joint, params)
        off = jnp.zeros((), bool)
        happened = Transition(state.seen, joint, reward, seen, terminated, off, state.state, after, info)
        return self.own(seen), Among(after, seen), reward[self.agent], terminated, {JOINT: happened}

    def own(self, leaves: PyTree) -> PyTree:
        """The agent's part of leaves `[n, ...]`."""
        return jax.tree.map(lambda leaf: leaf[self.agent], leaves)

    def is_terminated(self, state: Among, params: PyTree) -> Bool[Array, ""]:
        return self.game.is_terminated(state.state, params)

    def is_truncated(self, state: Among, params: PyTree) -> Bool[Array, ""]:
        return self.game.is_truncated(state.state, params)

    def action_space(self, params: PyTree = None) -> Any:
        return self.game.action_space(params)

    def observation_space(self, params: PyTree = None) -> Any:
        return self.game.observation_space(params)
