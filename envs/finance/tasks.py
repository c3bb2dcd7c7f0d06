"""Tasks of investing by name, `finance/NAME`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gymnax.environments.environment import Environment

from jaxreward.envs.finance.market import historical, simulated
from jaxreward.envs.finance.portfolio import Portfolio
from jaxreward.envs.finance.prices import read_prices


def portfolio(
    prices: str = "",
    window: int = 5,
    max_steps_in_episode: int = 252,
    cost: float = 0.001,
    drift: tuple[float, ...] | None = None,
    volatility: tuple[float, ...] | None = None,
    correlation: float | None = None,
    persistence: float | None = None,
) -> Portfolio:
    """A portfolio of cash and some assets, see `Portfolio`.

    Args:
        prices: A CSV file, see `read_prices`; without one, prices are simulated.
        window: How many returns are seen.
        max_steps_in_episode: Steps of an episode.
        cost: Of a unit that is moved.
        drift: Of simulated prices, as `volatility`, `correlation` and `persistence`, see
            `jaxreward.envs.finance.market.simulated`, whose own are taken where none is given.
        volatility: See there.
        correlation: See there.
        persistence: See there.

    Raises:
        ValueError: If prices have gaps, or a number is none that there can be.
    """
    if window < 1:
        raise ValueError(f"at least one return is seen; got window={window}")
    numbers = {"drift": drift, "volatility": volatility, "correlation": correlation, "persistence": persistence}
    simulation: dict[str, Any] = {name: value for name, value in numbers.items() if value is not None}
    if prices and simulation:
        raise ValueError(f"{', '.join(simulation)}: of simulated prices, and prices={prices} are given; leave either")
    market = (
        historical(*read_prices(prices), window, max_steps_in_episode) if prices else simulated(window, **simulation)
    )
    return Portfolio(market, max_steps_in_episode, cost)


TASKS: dict[str, Callable[..., Environment]] = {"portfolio": portfolio}
