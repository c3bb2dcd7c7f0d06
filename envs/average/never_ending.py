"""What never ends: no state terminates, no time limit truncates."""

from __future__ import annotations

import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, PyTree

from jaxreward.mdp import TabularEnv, TabularMDP


class NeverEnding(Environment):
    """An environment without episodes; training, tables and evaluation go by its reward a step, see `never_ends`."""

    never_ends = True

    def is_truncated(self, state: PyTree, params: PyTree) -> Bool[Array, ""]:
        return jnp.zeros((), bool)

    def is_terminated(self, state: PyTree, params: PyTree) -> Bool[Array, ""]:
        return jnp.zeros((), bool)


@struct.dataclass
class ContinuingParams:
    """The MDP itself, which a solver of `jaxreward.mdp` takes as it is; there is no time limit."""

    mdp: TabularMDP


class ContinuingEnv(NeverEnding, TabularEnv):
    """A `TabularEnv` over an MDP without terminal states, and without a time limit."""

    def __init__(self, mdp: TabularMDP, *, one_hot: bool = True, name: str = "ContinuingEnv") -> None:
        """An environment of the shape of `mdp`, which is also the one in its default params.

        Args:
            mdp: One MDP, without batch axes.
            one_hot: Whether the observation is the state one-hot, float32 `[S]`, or its number, int32.
            name: What it is called.

        Raises:
            ValueError: The MDP has a terminal state.
        """
        if mdp.terminal.any():
            raise ValueError(
                f"the MDP of {name} ends in state {int(mdp.terminal.argmax())}; expected one without terminal states, "
                "or `TabularEnv`"
            )
        super().__init__(mdp, one_hot=one_hot)
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    @property
    def default_params(self) -> ContinuingParams:  # type: ignore[override]
        return ContinuingParams(self.mdp)
