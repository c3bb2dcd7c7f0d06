"""Evolution strategies: a search distribution is asked for candidates and told how good they were.

A `Strategy` is four pure functions over any pytree of numbers. Fitness is to be as high as can be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree


class Strategy(NamedTuple):
    """How to search; `P` candidates a generation.

    `tell` is given the key that `ask` was given, so that noise is drawn again in place of being kept.

    Attributes:
        population_size: `P`.
        init: `(key, solution, hyperparams) -> state`, a search that begins at a solution.
        ask: `(key, state, hyperparams) -> population`, leaves `[P, ...]`.
        tell: `(key, state, population, fitness [P], hyperparams) -> state`.
        mean: `(state) -> solution`, the middle of where it searches.
    """

    population_size: int
    init: Callable[[Key[Array, ""], PyTree, Any], PyTree]
    ask: Callable[[Key[Array, ""], PyTree, Any], PyTree]
    tell: Callable[[Key[Array, ""], PyTree, PyTree, Float[Array, " P"], Any], PyTree]
    mean: Callable[[PyTree], PyTree]


class Settings(Protocol):
    """The hyperparams that strategies read.

    Attributes:
        sigma: Standard deviation of the noise.
        learning_rate: Of Adam.
        weight_decay: How much of the solution the gradient is less by.
    """

    sigma: Any
    learning_rate: Any
    weight_decay: Any


class Search(NamedTuple):
    """The state of `open_es`: a flat solution and Adam's moments."""

    mean: Float[Array, " D"]
    optimiser: PyTree


def open_es(like: PyTree, population_size: int) -> Strategy:
    """The evolution strategy of Salimans et al. 2017 (arXiv:1703.03864, algorithm 1 and section 2.1).

    Gaussian noise in antithetic pairs, fitness as centred ranks, Adam on the estimated gradient.

    Args:
        like: A solution; its values are not used.
        population_size: `P`, even.

    Raises:
        ValueError: If the population is odd.
    """
    check_pairs(population_size)
    flat, unravel = ravel_pytree(like)
    adam, half = optax.scale_by_adam(), (population_size // 2, flat.size)

    def init(key: Key[Array, ""], solution: PyTree, hyperparams: Settings) -> Search:
        del key, hyperparams
        mean = ravel_pytree(solution)[0]
        return Search(mean, adam.init(mean))

    def ask(key: Key[Array, ""], state: Search, hyperparams: Settings) -> PyTree:
        noise = hyperparams.sigma * jax.random.normal(key, half, flat.dtype)
        return jax.vmap(unravel)(state.mean[None] + jnp.concatenate([noise, -noise]))

    def tell(
        key: Key[Array, ""], state: Search, population: PyTree, fitness: Float[Array, " P"], hyperparams: Settings
    ) -> Search:
        del population
        noise = jax.random.normal(key, half, flat.dtype)
        gradient = antithetic_gradient(centred_ranks(fitness), noise, hyperparams.sigma)
        gradient = gradient - hyperparams.weight_decay * state.mean
        update, optimiser = adam.update(gradient, state.optimiser)
        return Search(state.mean + hyperparams.learning_rate * update, optimiser)

    return Strategy(population_size, init, ask, tell, lambda state: unravel(state.mean))


def check_pairs(population_size: int) -> None:
    """Refuses an odd population."""
    if population_size % 2:
        raise ValueError(
            f"population_size={population_size} is odd, and noise comes in pairs of opposite signs; try "
            f"{population_size + 1}"
        )


def antithetic_gradient(
    fitness: Float[Array, " P"], noise: Float[Array, "P/2 D"], sigma: Float[Array, ""] | float
) -> Float[Array, " D"]:
    """The gradient of the expected fitness, `1 / (P sigma) sum_i F_i e_i` over noise `e` and `-e`.

    What fitness has that is even around the mean cancels in each pair.

    Args:
        fitness: Of the mean plus noise, then of the mean less noise.
        noise: Standard normal.
        sigma: What it was scaled by.
    """
    pairs = len(fitness) // 2
    return (fitness[:pairs] - fitness[pairs:]) @ noise / (len(fitness) * sigma)


def centred_ranks(fitness: Float[Array, " P"]) -> Float[Array, " P"]:
    """Ranks scaled to `[-1/2, 1/2]`, the highest the best; those that are tied share the mean of theirs.

    What is no number is the worst.
    """
    fitness = jnp.where(jnp.isnan(fitness), -jnp.inf, fitness)
    ordered = jnp.sort(fitness)
    below, up_to = (jnp.searchsorted(ordered, fitness, side) for side in ("left", "right"))
    ranks = (below + up_to - 1).astype(fitness.dtype) / 2
    return ranks / (len(fitness) - 1) - 0.5
