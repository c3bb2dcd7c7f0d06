"""Where the returns of assets come from: a simulation, or prices that were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

Returns = Float[Array, " n"]
"""Of each asset, log returns of one step."""


ENDLESS = np.iinfo(np.int32).max
"""What is simulated goes on."""


class Market(NamedTuple):
    """Draws log returns of `n` assets.

    Attributes:
        names: Of the assets.
        params: The numbers it is made of, a pytree.
        start: `(key, params, steps) -> (state, returns [W, n])`, before an episode of at most so many steps.
        step: `(key, state, params) -> (state, returns [n])`.
        longest: The most steps that an episode can have.
    """

    names: tuple[str, ...]
    params: PyTree
    start: Callable[[Key[Array, ""], PyTree, Any], tuple[PyTree, Float[Array, "W n"]]]
    step: Callable[[Key[Array, ""], PyTree, PyTree], tuple[PyTree, Returns]]
    longest: int = ENDLESS


def simulated(
    window: int,
    drift: tuple[float, ...] = (0.0002, 0.0004, 0.0006),
    volatility: tuple[float, ...] = (0.005, 0.01, 0.02),
    correlation: float = 0.3,
    persistence: float = 0.0,
) -> Market:
    """Log returns `x_t = drift + persistence * (x_{t-1} - drift) + volatility * e_t`, stationary.

    The noise `e_t` is normal, of variance 1 and equally correlated. With a persistence of 0 prices are geometric
    Brownian motions, and what was says nothing of what comes; below 0 they return, above 0 they go on.

    Args:
        window: How many returns are known before an episode, `W`.
        drift: Of each asset, a step.
        volatility: Of each asset, a step.
        correlation: Of any two assets, from 0 to 1.
        persistence: Of each asset, between -1 and 1.

    Raises:
        ValueError: If there is no asset, or numbers are not so.
    """
    drift, volatility = (tuple(np.atleast_1d(each).tolist()) for each in (drift, volatility))  # one asset has a number
    if len(drift) != len(volatility) or min(volatility, default=-1) < 0:
        raise ValueError(f"each asset has a drift and a volatility, 0 or more; got {drift=} and {volatility=}")
    if not (0 <= correlation <= 1 and -1 < persistence < 1):
        raise ValueError(
            f"a correlation lies in [0, 1] and a persistence in (-1, 1); got {correlation=} and {persistence=}"
        )
    numbers = {"drift": drift, "volatility": volatility, "correlation": correlation, "persistence": persistence}
    params = {name: jnp.asarray(value, float) for name, value in numbers.items()}

    def noise(key: Key[Array, ""], params: dict[str, Array]) -> Returns:
        own, common = jnp.split(jax.random.normal(key, (len(drift) + 1,), float), [len(drift)])
        share = params["correlation"]
        return params["volatility"] * (jnp.sqrt(1 - share) * own + jnp.sqrt(share) * common)

    def step(key: Key[Array, ""], away: Returns, params: dict[str, Array]) -> tuple[Returns, Returns]:
        away = params["persistence"] * away + noise(key, params)
        return away, params["drift"] + away

    def start(key: Key[Array, ""], params: dict[str, Array], steps: Any) -> tuple[Returns, Float[Array, "W n"]]:
        key, key_first = jax.random.split(key)
        first = noise(key_first, params) / jnp.sqrt(1 - params["persistence"] ** 2)
        past = lambda away, key: step(key, away, params)  # noqa: E731
        away, returns = jax.lax.scan(past, first, jax.random.split(key, window - 1))
        return away, jnp.concatenate([(params["drift"] + first)[None], returns])

    return Market(tuple(f"asset {k}" for k in range(len(drift))), params, start, step)


def historical(prices: Float[np.ndarray, "T n"], names: tuple[str, ...], window: int, steps: int) -> Market:
    """Log returns of prices that were, each episode from a place of its own, equally likely.

    Args:
        prices: Of each asset, in their order of time.
        names: Of the assets.
        window: How many returns are known before an episode, `W`.
        steps: Of an episode.

    Raises:
        ValueError: If there are not enough prices for an episode.
    """
    needed = window + steps + 1
    if len(prices) < needed:
        raise ValueError(
            f"{len(prices)} prices of each asset, and an episode of {steps} steps with {window} returns before it "
            f"needs {needed}: set max_steps_in_episode={max(len(prices) - window - 1, 1)} or less, or give more prices"
        )
    params = jnp.asarray(np.diff(np.log(np.asarray(prices, np.float64)), axis=0), float)

    def start(key: Key[Array, ""], returns: Float[Array, "T n"], steps: Any) -> tuple[Int[Array, ""], Array]:
        place = jax.random.randint(key, (), 0, jnp.maximum(returns.shape[0] - window - steps + 1, 1))
        return place + window, jax.lax.dynamic_slice_in_dim(returns, place, window)

    def step(
        key: Key[Array, ""], place: Int[Array, ""], returns: Float[Array, "T n"]
    ) -> tuple[Int[Array, ""], Returns]:
        return place + 1, returns[place]

    return Market(names, params, start, step, len(prices) - 1 - window)
