"""evosax's strategies behind `Strategy`; an optional extra, `pip install 'jaxreward[evosax]'`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agent import strong
from jaxreward.learning.evolution import Settings, Strategy, worst_if_broken
from jaxreward.names import check_name

UNFIT = {"RandomSearch", "SV_CMA_ES", "SV_Open_ES", "LM_MA_ES"}
"""Those that want more than a population and a solution, or a standard deviation that is no traced number."""


def evosax_strategy(name: str, like: PyTree, population_size: int) -> Strategy:
    """One of evosax's strategies that search around a mean, with its own defaults.

    `sigma` is its first standard deviation, where it has one; other settings are evosax's.

    Args:
        name: As evosax calls it, such as "CMA_ES" or "SNES".
        like: A solution; its values are not used.
        population_size: `P`.

    Raises:
        ImportError: If evosax is not installed.
        ValueError: If there is no such strategy, or it does not take this population.
    """
    algorithm = _algorithm(name, like, population_size)

    def params(hyperparams: Settings) -> Any:
        ours = algorithm.default_params
        return ours.replace(std_init=hyperparams.sigma) if hasattr(ours, "std_init") else ours

    def init(key: Key[Array, ""], solution: PyTree, hyperparams: Settings) -> PyTree:
        return strong(algorithm.init(key, solution, params(hyperparams)))

    def asked(key: Key[Array, ""], state: PyTree, hyperparams: Settings) -> tuple[PyTree, PyTree]:
        return algorithm.ask(jax.random.split(key)[0], state, params(hyperparams))

    def tell(
        key: Key[Array, ""], state: PyTree, population: PyTree, fitness: Float[Array, " P"], hyperparams: Settings
    ) -> PyTree:
        now = asked(key, state, hyperparams)[1]  # some remember what they were asked
        costs = -worst_if_broken(fitness)  # evosax minimises
        after, _ = algorithm.tell(jax.random.split(key)[1], population, costs, now, params(hyperparams))
        return jax.tree.map(lambda new, old: jnp.asarray(new, jnp.result_type(old)), after, state)

    ask = lambda *given: asked(*given)[0]  # noqa: E731
    return Strategy(population_size, init, ask, tell, algorithm.get_mean)


def _algorithm(name: str, like: PyTree, population_size: int) -> Any:
    try:
        from evosax.algorithms.distribution_based import distribution_based_algorithms as known
    except ImportError as error:
        raise ImportError(
            f"strategy=evosax/{name} needs evosax: pip install 'jaxreward[evosax]'; strategy=open_es needs nothing"
        ) from error
    check_name("strategy of evosax", name, set(known) - UNFIT)
    try:
        return known[name](population_size=population_size, solution=like)
    except AssertionError as error:
        raise ValueError(f"evosax's {name} does not take population_size={population_size}: {error}") from error
