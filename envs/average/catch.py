"""Balls that keep falling, to be caught with a paddle: `Catch` of github.com/google-deepmind/csuite."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from jaxtyping import Array, Bool, Float, Int, Key

from jaxreward.envs.average.never_ending import NeverEnding


@struct.dataclass
class CatchState:
    """Where balls are on the board, and in which column of its last row the paddle is."""

    balls: Bool[Array, "rows columns"]
    paddle: Int[Array, ""]


@struct.dataclass
class CatchParams:
    """How likely a new ball appears in a step, which may be vmapped over."""

    spawn_probability: Float[Array, ""] | float = 0.1


class ContinuingCatch(NeverEnding):
    """A paddle that goes left, stays or goes right, and balls that fall a row a step.

    First the paddle moves, then the balls. One that comes to the last row is gone, and pays 1 if the paddle is there
    and -1 if not. Then a ball may appear at the top, anywhere. It begins with one there, the paddle in the middle, and
    sees the board with balls and paddle as ones, `[rows, columns]`.
    """

    def __init__(self, rows: int = 10, columns: int = 5) -> None:
        """A board of this size.

        Raises:
            ValueError: It is too small for a ball to fall.
        """
        super().__init__()
        if rows < 2 or columns < 1:
            raise ValueError(f"rows={rows}, columns={columns}; expected at least 2 and 1")
        self.shape = rows, columns

    @property
    def num_actions(self) -> int:
        return 3

    @property
    def default_params(self) -> CatchParams:
        return CatchParams()

    def reset_env(self, key: Key[Array, ""], params: CatchParams) -> tuple[Float[Array, "rows columns"], CatchState]:
        balls = jnp.zeros(self.shape, bool).at[0].set(self._appearing(key, True))
        state = CatchState(balls, jnp.asarray(self.shape[1] // 2, jnp.int32))
        return self.observe(key, state, None, params), state

    def step_env(
        self, key: Key[Array, ""], state: CatchState, action: Int[Array, ""], params: CatchParams
    ) -> tuple[Float[Array, "rows columns"], CatchState, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        key_whether, key_where = jax.random.split(key)
        paddle = jnp.clip(state.paddle + action - 1, 0, self.shape[1] - 1).astype(jnp.int32)
        landing = state.balls[-2]
        reward = jnp.where(landing.any(), jnp.where(landing[paddle], 1.0, -1.0), 0.0)
        appears = jax.random.bernoulli(key_whether, params.spawn_probability)
        new = self._appearing(key_where, appears)
        gone = jnp.zeros_like(state.balls[:1])
        balls = jnp.concatenate([new[None], state.balls[:-2], gone])
        following = CatchState(balls, paddle)
        shown = self.observe(key, following, action, params)
        return shown, following, reward, self.is_terminated(following, params), {}

    def observe(
        self, key: Key[Array, ""], state: CatchState, action: Int[Array, ""] | None, params: CatchParams
    ) -> Float[Array, "rows columns"]:
        return state.balls.at[-1, state.paddle].set(True).astype(float)

    def action_space(self, params: CatchParams | None = None) -> spaces.Discrete:
        return spaces.Discrete(3)

    def observation_space(self, params: CatchParams | None = None) -> spaces.Box:
        return spaces.Box(0, 1, self.shape)

    def _appearing(self, key: Key[Array, ""], appears: Bool[Array, ""] | bool) -> Bool[Array, " columns"]:
        """The top row: a ball in some column, or none."""
        columns = jnp.arange(self.shape[1])
        return (columns == jax.random.randint(key, (), 0, self.shape[1])) & appears
