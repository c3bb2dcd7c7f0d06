"""A portfolio that is rearranged at each step, and what it grows by."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.envs.finance.market import Market

SHARPNESS = 5.0
"""Of the softmax that makes shares of actions from -1 to 1: the most of two shares is `exp(10)` times the least."""


@struct.dataclass
class PortfolioState:
    """How the market stands, its last returns, the shares held, cash first, the wealth, which starts at 1, and time."""

    market: PyTree
    returns: Float[Array, "W n"]
    shares: Float[Array, " n+1"]
    wealth: Float[Array, ""]
    time: Int[Array, ""]


@struct.dataclass
class PortfolioParams:
    """Numbers of the task, which may be vmapped over.

    Attributes:
        market: What returns are made of, see `jaxreward.envs.finance.market`.
        cost: What is lost of a unit of wealth that is moved into or out of an asset.
        max_steps_in_episode: After so many steps an episode is truncated: the market goes on. Of given prices it is
            truncated where they end.
    """

    market: PyTree
    cost: Float[Array, ""] | float = 0.001
    max_steps_in_episode: Int[Array, ""] | int = 252


class Portfolio(Environment):
    """Shares of wealth in cash and `n` assets, none negative; a step pays the logarithm of what wealth grows by.

    The action, `[n+1]` numbers from -1 to 1, becomes shares by a softmax of 5 times it. Rearranging costs
    `cost * sum |change|` over the assets, then returns follow: wealth grows by `(1 - costs) * sum share * exp(x)`, cash
    by 1, and shares drift with prices. The return of an episode is the logarithm of the last wealth.

    It sees the last `W` log returns in percent, the oldest first, and the shares held: `[W * n + n + 1]`. `info` has
    `growth`, the simple return of the step, and `turnover`, `sum |change|`.
    """

    def __init__(self, market: Market, max_steps: int = 252, cost: float = 0.001) -> None:
        """A portfolio of the market's assets.

        Raises:
            ValueError: If there is no step, or costs are negative or all of what is moved.
        """
        super().__init__()
        if max_steps < 1 or not 0 <= cost < 0.5:
            raise ValueError(
                f"an episode has 1 step or more and costs lie in [0, 0.5); got {max_steps} steps and {cost=}"
            )
        self.market, self.max_steps, self.cost = market, max_steps, cost

    @property
    def num_shares(self) -> int:
        """Of cash and of the assets."""
        return len(self.market.names) + 1

    @property
    def num_actions(self) -> int:
        return self.num_shares

    @property
    def name(self) -> str:
        return "finance/portfolio"

    @property
    def default_params(self) -> PortfolioParams:
        return PortfolioParams(self.market.params, self.cost, self.max_steps)

    def reset_env(self, key: Key[Array, ""], params: PortfolioParams) -> tuple[Float[Array, " F"], PortfolioState]:
        market, returns = self.market.start(key, params.market, params.max_steps_in_episode)
        cash = jnp.zeros(self.num_shares, float).at[0].set(1.0)
        state = PortfolioState(market, returns, cash, jnp.ones((), float), jnp.zeros((), jnp.int32))
        return self.observe(state), state

    def step_env(
        self, key: Key[Array, ""], state: PortfolioState, action: Float[Array, " n+1"], params: PortfolioParams
    ) -> tuple[Float[Array, " F"], PortfolioState, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        shares = jax.nn.softmax(SHARPNESS * jnp.clip(jnp.asarray(action, float), -1.0, 1.0))
        turnover = jnp.abs(shares - state.shares)[1:].sum()
        market, returns = self.market.step(key, state.market, params.market)
        worth = shares * jnp.exp(jnp.concatenate([jnp.zeros(1, float), returns]))
        growth = (1 - params.cost * turnover) * worth.sum()
        recent = jnp.concatenate([state.returns[1:], returns[None]])
        after = PortfolioState(market, recent, worth / worth.sum(), state.wealth * growth, state.time + 1)
        info = {"growth": growth - 1, "turnover": turnover}
        return self.observe(after), after, jnp.log(growth), self.is_terminated(after, params), info

    def observe(self, state: PortfolioState) -> Float[Array, " F"]:
        """What is seen of a state."""
        return jnp.concatenate([100 * state.returns.ravel(), state.shares])

    def is_terminated(self, state: PortfolioState, params: PortfolioParams) -> Bool[Array, ""]:
        return jnp.zeros((), bool)

    def is_truncated(self, state: PortfolioState, params: PortfolioParams) -> Bool[Array, ""]:
        return state.time >= jnp.minimum(params.max_steps_in_episode, self.market.longest)

    def action_space(self, params: PortfolioParams | None = None) -> spaces.Box:
        return spaces.Box(-1.0, 1.0, (self.num_shares,))

    def observation_space(self, params: PortfolioParams | None = None) -> spaces.Box:
        shape: Any = jax.eval_shape(lambda: self.reset_env(jax.random.key(0), self.default_params)[0]).shape
        return spaces.Box(-jnp.inf, jnp.inf, shape)
