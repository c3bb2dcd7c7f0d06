"""Delayed chains: the first action decides what is paid at the end (Oh et al., NeurIPS 2020, arXiv:2007.08794).

What a step in between shows says whether the first action was right, so a prediction can carry the news back. The
paper's text says less than a program needs; what is shown here is such that there is something to learn.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

BITS = 20
"""Random bits that distract."""


@struct.dataclass
class ChainParams:
    """The numbers of a chain.

    Attributes:
        length: Steps of an episode.
        noise: What each step before the last pays beside, plus or minus.
    """

    length: Int[Array, ""]
    noise: Float[Array, ""]


@struct.dataclass
class ChainState:
    """Which of two actions is right in this episode, whether it was chosen, and the time."""

    right: Int[Array, ""]
    chosen: Int[Array, ""]
    time: Int[Array, ""]


class DelayedChain(Environment):
    """Two actions, of which only the first of an episode counts: the last step pays 1 if it was right, else -1.

    Without distraction the state's number is seen: `right` at the start, then `2 + chosen * longest + time - 1`. With
    distraction: whether it is the start, `right` there or else `chosen`, and 20 random bits, `[22]`.

    Attributes:
        num_states: `2 + 2 * longest`.
    """

    def __init__(
        self, shortest: int = 5, longest: int = 30, noise: float = 0.0, distraction: bool = False, seed: int = 0
    ) -> None:
        """Makes chains.

        Args:
            shortest: The least length that `sample_params` draws.
            longest: The most.
            noise: See `ChainParams`.
            distraction: Whether random bits are seen in place of the time.
            seed: Of the length in the default params.

        Raises:
            ValueError: If the lengths are none.
        """
        super().__init__()
        if not 1 <= shortest <= longest:
            raise ValueError(f"a chain's length is 1 or more; got shortest={shortest}, longest={longest}")
        self.shortest, self.longest, self.noise, self.distraction = shortest, longest, noise, distraction
        self.num_states, self.seed = 2 + 2 * longest, seed

    @property
    def num_actions(self) -> int:
        return 2

    @property
    def default_params(self) -> ChainParams:
        return self.sample_params(jax.random.key(self.seed))

    def sample_params(self, key: Key[Array, ""]) -> ChainParams:
        """A chain of another length."""
        length = jax.random.randint(key, (), self.shortest, self.longest + 1)
        return ChainParams(length, jnp.asarray(self.noise, float))

    def reset_env(self, key: Key[Array, ""], params: ChainParams) -> tuple[Array, ChainState]:
        key_right, key_bits = jax.random.split(key)
        zero = jnp.zeros((), jnp.int32)
        state = ChainState(jax.random.bernoulli(key_right).astype(jnp.int32), zero, zero)
        return self.observe(key_bits, state, None, params), state

    def step_env(
        self, key: Key[Array, ""], state: ChainState, action: Int[Array, ""], params: ChainParams
    ) -> tuple[Array, ChainState, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        key_noise, key_bits = jax.random.split(key)
        first = state.time == 0
        chosen = jnp.where(first, (action == state.right).astype(jnp.int32), state.chosen)
        state = ChainState(state.right, chosen, state.time + 1)
        ended = self.is_terminated(state, params)
        sign = jax.random.rademacher(key_noise, (), jnp.int32)
        reward = jnp.where(ended, 2.0 * chosen - 1.0, params.noise * sign)
        return self.observe(key_bits, state, action, params), state, reward, ended, {}

    def observe(self, key: Key[Array, ""], state: ChainState, action: PyTree, params: ChainParams) -> Array:
        """What is seen of a state."""
        first = state.time == 0
        if not self.distraction:
            later = 2 + state.chosen * self.longest + jnp.clip(state.time - 1, 0, self.longest - 1)
            return jnp.where(first, state.right, later)
        told = jnp.stack([first.astype(jnp.int32), jnp.where(first, state.right, state.chosen)])
        return jnp.concatenate([told, jax.random.bernoulli(key, 0.5, (BITS,)).astype(jnp.int32)]).astype(jnp.float32)

    def is_terminated(self, state: ChainState, params: ChainParams) -> Bool[Array, ""]:
        return state.time >= params.length

    def is_truncated(self, state: ChainState, params: ChainParams) -> Bool[Array, ""]:
        return jnp.zeros((), bool)

    def action_space(self, params: PyTree = None) -> spaces.Discrete:
        return spaces.Discrete(2)

    def observation_space(self, params: PyTree = None) -> Any:
        return spaces.Box(0.0, 1.0, (2 + BITS,), jnp.float32) if self.distraction else spaces.Discrete(self.num_states)
