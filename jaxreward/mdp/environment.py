"""A tabular MDP as an environment, for agents to learn in what can be solved exactly."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment, spaces
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.mdp.tabular import TabularMDP


class Outcomes(NamedTuple):
    """All that may happen in one step, `K` cases; see `jaxreward.mdp.to_tabular`.

    Attributes:
        probability: Of each case, `[K]`; sums to one.
        state: The environment's next state in each case, leaves `[K, ...]`.
        reward: `[K]`.
        terminated: `[K]`.
    """

    probability: Float[Array, " K"]
    state: PyTree
    reward: Float[Array, " K"]
    terminated: Bool[Array, " K"]


@struct.dataclass
class TabularState(environment.EnvState):
    """The number of the state, and how many steps the episode has taken."""

    index: Int[Array, "*batch"]
    time: Int[Array, "*batch"]


@struct.dataclass(kw_only=True)
class TabularParams(environment.EnvParams):
    """The MDP itself, so that environments of one shape can be vmapped over, and the time limit."""

    mdp: TabularMDP
    max_steps_in_episode: int = 1_000


class TabularEnv(environment.Environment[TabularState, TabularParams]):
    """An environment whose dynamics are those of the `TabularMDP` in its params.

    Entering a terminal state is `terminated`; the time limit is `truncated`, and no part of the MDP.
    """

    def __init__(self, mdp: TabularMDP, *, max_steps_in_episode: int = 1_000, one_hot: bool = True) -> None:
        """An environment of the shape of `mdp`, which is also the one in its default params.

        Args:
            mdp: One MDP, without batch axes.
            max_steps_in_episode: Steps after which an episode is truncated.
            one_hot: Whether the observation is the state one-hot, float32 `[S]`, or its number, int32.
        """
        super().__init__()
        self.mdp = mdp
        self.max_steps_in_episode = max_steps_in_episode
        self.one_hot = one_hot

    @property
    def default_params(self) -> TabularParams:
        """The MDP and the time limit given at construction."""
        return TabularParams(mdp=self.mdp, max_steps_in_episode=self.max_steps_in_episode)

    def reset_env(self, key: Key[Array, ""], params: TabularParams) -> tuple[Array, TabularState]:
        """Draws a state from the start distribution."""
        state = TabularState(index=_draw(key, params.mdp.start), time=jnp.int32(0))
        return self.observe(key, state, None, params), state

    def step_env(
        self, key: Key[Array, ""], state: TabularState, action: Int[Array, ""], params: TabularParams
    ) -> tuple[Array, TabularState, Array, Array, dict[str, Any]]:
        """Draws the next state from the row of the state and action."""
        mdp = params.mdp
        index = _draw(key, mdp.transition[state.index, action])
        reward = mdp.reward[state.index, action, index]
        following = TabularState(index=index, time=state.time + 1)
        terminated = self.is_terminated(following, params)
        info = {"discount": self.discount(following, params)}
        return self.observe(key, following, action, params), following, reward, terminated, info

    def observe(self, key: Key[Array, ""], state: TabularState, action: Any, params: TabularParams) -> Array:
        """The state, one-hot or as a number."""
        return jax.nn.one_hot(state.index, self.mdp.num_states, dtype=jnp.float32) if self.one_hot else state.index

    def is_terminated(self, state: TabularState, params: TabularParams) -> Bool[Array, ""]:
        """Whether the state is terminal."""
        return params.mdp.terminal[state.index]

    def reset_outcomes(self, params: TabularParams) -> tuple[Float[Array, " S"], TabularState]:
        """Every state and its probability under the start distribution."""
        return params.mdp.start, self.states

    def step_outcomes(self, state: TabularState, action: Int[Array, ""], params: TabularParams) -> Outcomes:
        """Every next state and its probability."""
        mdp = params.mdp
        here = state.index, action
        return Outcomes(mdp.transition[here], self.states, mdp.reward[here], mdp.terminal)

    @property
    def states(self) -> TabularState:
        """All states at the start of an episode, leaves `[S]`."""
        index = jnp.arange(self.mdp.num_states, dtype=jnp.int32)
        return TabularState(index=index, time=jnp.zeros_like(index))

    @property
    def num_actions(self) -> int:
        """Number of actions, `A`."""
        return self.mdp.num_actions

    def action_space(self, params: TabularParams | None = None) -> spaces.Discrete:
        """The numbers of the actions."""
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: TabularParams | None = None) -> spaces.Discrete | spaces.Box:
        """One-hot vectors or numbers, as chosen."""
        size = self.mdp.num_states
        return spaces.Box(0, 1, (size,), jnp.float32) if self.one_hot else spaces.Discrete(size)

    def state_space(self, params: TabularParams | None = None) -> spaces.Dict:
        """The number of the state and the clock."""
        largest = jnp.iinfo(jnp.int32).max
        return spaces.Dict({"index": spaces.Discrete(self.mdp.num_states), "time": spaces.Discrete(int(largest))})


def _draw(key: Key[Array, ""], probability: Float[Array, " S"]) -> Int[Array, ""]:
    """An index, by inverting the distribution function: one random number, and never one of probability zero."""
    index = jax.random.choice(key, probability.shape[0], p=probability)
    return index.astype(jnp.int32)
