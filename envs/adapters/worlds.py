"""Worlds of other packages as environments: what the adapters of XLand-MiniGrid, navix, craftax and jumanji share.

Each of these packages starts a world from a key and moves it by an action. It is said here how an episode ends: by the
world, which terminates, or by the time limit, which truncates and is counted here.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.envs.adapters.foreign import lenient, strongly_typed


@struct.dataclass
class WorldState:
    """The state of the world (`inner`, the package's own), the steps since the start, and how the episode stands."""

    inner: PyTree
    time: Int[Array, ""]
    terminated: Bool[Array, ""]
    truncated: Bool[Array, ""]


@struct.dataclass
class WorldParams:
    """The time limit, 0 for none, which shapes the program, as the world's size does: the environment holds both."""

    max_steps_in_episode: int = struct.field(pytree_node=False, default=0)


class WorldEnv(Environment):
    """A world whose actions are numbered; `begin` and `advance` are the package's.

    A step that ends the world terminates, in the last step of the time limit too.
    """

    def __init__(self, name: str, num_actions: int, shown: spaces.Box, max_steps_in_episode: int) -> None:
        """Fixes what does not change.

        Args:
            name: What the environment is called, such as "navix/Navix-Empty-5x5-v0".
            num_actions: How many actions there are.
            shown: The space of observations.
            max_steps_in_episode: The time limit; 0 for none.
        """
        super().__init__()
        self._name, self._num_actions, self._shown = name, num_actions, shown
        self._limit = int(max_steps_in_episode)

    def begin(self, key: Key[Array, ""]) -> tuple[Array, PyTree]:
        """The first observation and the world's state."""
        raise NotImplementedError

    def advance(
        self, key: Key[Array, ""], inner: PyTree, action: Int[Array, ""]
    ) -> tuple[Array, PyTree, Float[Array, ""], Bool[Array, ""]]:
        """What is seen then, the world's state, what it paid, and whether it has ended; a time limit is no end."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        return self._name

    @property
    def num_actions(self) -> int:
        return self._num_actions

    @property
    def default_params(self) -> WorldParams:
        return WorldParams(self._limit)

    def reset_env(self, key: Key[Array, ""], params: WorldParams) -> tuple[Array, WorldState]:
        with lenient():
            seen, inner = jax.tree.map(strongly_typed, self.begin(key))
        going = jnp.zeros((), bool)
        return self._as_shown(seen), WorldState(inner, jnp.zeros((), jnp.int32), going, going)

    def step_env(
        self, key: Key[Array, ""], state: WorldState, action: Int[Array, ""], params: WorldParams
    ) -> tuple[Array, WorldState, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        with lenient():
            seen, inner, reward, ended = self.advance(key, state.inner, action)
        inner = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), inner, state.inner)
        ended, time = jnp.asarray(ended, bool), state.time + 1
        limit = params.max_steps_in_episode
        late = (limit > 0) & (time >= limit)
        after = WorldState(inner, time, ended, late & ~ended)
        return self._as_shown(seen), after, jnp.asarray(reward, float), ended, {}

    def is_terminated(self, state: WorldState, params: WorldParams) -> Bool[Array, ""]:
        return state.terminated

    def is_truncated(self, state: WorldState, params: WorldParams) -> Bool[Array, ""]:
        return state.truncated

    def action_space(self, params: WorldParams | None = None) -> spaces.Discrete:
        return spaces.Discrete(self._num_actions)

    def observation_space(self, params: WorldParams | None = None) -> spaces.Box:
        return self._shown

    def _as_shown(self, seen: Any) -> Array:
        return jnp.asarray(seen, self._shown.dtype)


def check_limit(max_steps_in_episode: int | None) -> None:
    """Refuses a time limit that is not positive.

    Raises:
        ValueError: If it is not.
    """
    if max_steps_in_episode is not None and max_steps_in_episode < 1:
        raise ValueError(f"max_steps_in_episode must be positive, not {max_steps_in_episode}")
