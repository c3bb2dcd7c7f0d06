"""Evolution strategies: a search distribution is asked for candidates and told how good they were.

A `Strategy` is a few pure functions over any pytree of numbers. Fitness is to be as high as can be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.names import check_name

Scalar = Float[Array, ""] | float

EVOSAX = "evosax/"
"""What the names of evosax's strategies begin with."""
MOST_AT_ONCE = 2**20
"""Up to so many numbers of noise are drawn at once where a gradient is estimated."""


def _row(key: Key[Array, ""], asked: PyTree, index: Int[Array, ""], hyperparams: Any) -> PyTree:
    """A candidate of a population that is there as a whole."""
    del key, hyperparams
    return jax.tree.map(lambda leaf: leaf[index], asked)


class Strategy(NamedTuple):
    """How to search; `P` candidates a generation.

    `member` and `tell` are given the key that `ask` was given, so that noise is drawn again in place of being kept.
    Candidates `i` and `i + P/2` are a pair: the noise of `open_es` has opposite signs there.

    Attributes:
        population_size: `P`.
        init: `(key, solution, hyperparams) -> state`, a search that begins at a solution.
        ask: `(key, state, hyperparams) -> asked`, what candidates are made of.
        tell: `(key, state, asked, fitness [P], hyperparams) -> state`.
        mean: `(state) -> solution`, the middle of where it searches.
        member: `(key, asked, index, hyperparams) -> solution`, one candidate, so that nobody need hold all of them; by
            default what was asked is a population, leaves `[P, ...]`.
    """

    population_size: int
    init: Callable[[Key[Array, ""], PyTree, Any], PyTree]
    ask: Callable[[Key[Array, ""], PyTree, Any], PyTree]
    tell: Callable[[Key[Array, ""], PyTree, PyTree, Float[Array, " P"], Any], PyTree]
    mean: Callable[[PyTree], PyTree]
    member: Callable[[Key[Array, ""], PyTree, Int[Array, ""], Any], PyTree] = _row


def everyone(strategy: Strategy, key: Key[Array, ""], asked: PyTree, hyperparams: Any) -> PyTree:
    """All candidates at once, leaves `[P, ...]`."""
    indices = jnp.arange(strategy.population_size)
    return jax.vmap(lambda index: strategy.member(key, asked, index, hyperparams))(indices)


@struct.dataclass
class Settings:
    """The hyperparams that strategies read: traced numbers, each may be vmapped over or searched.

    Attributes:
        sigma: Standard deviation of the noise on every param; of evosax's strategies, the first one.
        sigma_decay: What it is multiplied by each generation.
        sigma_least: It falls no further.
        learning_rate: Step size of Adam. evosax's strategies have their own, and nothing of what follows.
        learning_rate_decay: What it is multiplied by each generation.
        learning_rate_least: It falls no further.
        b1: How much of the mean gradient Adam keeps of one generation for the next.
        weight_decay: How much of the params the estimated gradient is less by.
    """

    sigma: Scalar = 0.1
    sigma_decay: Scalar = 1.0
    sigma_least: Scalar = 0.0
    learning_rate: Scalar = 0.05
    learning_rate_decay: Scalar = 1.0
    learning_rate_least: Scalar = 0.0
    b1: Scalar = 0.9
    weight_decay: Scalar = 0.0


class Search(NamedTuple):
    """The state of `open_es`: a flat solution and Adam's moments."""

    mean: Float[Array, " D"]
    optimiser: optax.ScaleByAdamState


class Asked(NamedTuple):
    """What the candidates of `open_es` are made of: where the noise is added, and what it is scaled by."""

    mean: Float[Array, " D"]
    sigma: Float[Array, ""]


def open_es(like: PyTree, population_size: int, *, shaping: str = "centred", rank: int = 0) -> Strategy:
    """The evolution strategy of Salimans et al. 2017 (arXiv:1703.03864, algorithm 1 and section 2.1).

    Gaussian noise in antithetic pairs, shaped fitness, Adam on the estimated gradient. Each pair's noise has a key of
    its own, so a candidate is the same wherever and with whomever it is made.

    Args:
        like: A solution; its values are not used.
        population_size: `P`, even.
        shaping: What fitness is turned into, a name in `SHAPINGS`.
        rank: Of the noise on each matrix, `A B^T / sqrt(rank)` with normal `A` and `B` (Sarkar et al. 2025,
            arXiv:2511.16652); 0 for noise that is normal everywhere.

    Raises:
        ValueError: If the population is odd, or there is no such shaping.
    """
    check_pairs(population_size)
    check_name("fitness shaping", shaping, SHAPINGS)
    unravel = ravel_pytree(like)[1]

    def adam(hyperparams: Settings) -> optax.GradientTransformation:
        return optax.scale_by_adam(b1=hyperparams.b1)

    def init(key: Key[Array, ""], solution: PyTree, hyperparams: Settings) -> Search:
        del key
        mean = ravel_pytree(solution)[0]
        return Search(mean, adam(hyperparams).init(mean))

    def ask(key: Key[Array, ""], state: Search, hyperparams: Settings) -> Asked:
        del key
        settings = hyperparams.sigma, hyperparams.sigma_decay, hyperparams.sigma_least
        return Asked(state.mean, decayed(*settings, state.optimiser.count))

    def noise(key: Key[Array, ""], pair: Int[Array, ""]) -> Float[Array, " D"]:
        return noise_like(jax.random.fold_in(key, pair), like, rank)

    def member(key: Key[Array, ""], asked: Asked, index: Int[Array, ""], hyperparams: Settings) -> PyTree:
        del hyperparams
        half = population_size // 2
        sign = jnp.where(index < half, 1.0, -1.0)
        return unravel(asked.mean + sign * asked.sigma * noise(key, index % half))

    def tell(
        key: Key[Array, ""], state: Search, asked: Asked, fitness: Float[Array, " P"], hyperparams: Settings
    ) -> Search:
        shaped = SHAPINGS[shaping](fitness)
        gradient = antithetic_gradient(shaped, lambda pair: noise(key, pair), asked.sigma)
        gradient = gradient - hyperparams.weight_decay * state.mean
        update, optimiser = adam(hyperparams).update(gradient, state.optimiser)
        settings = hyperparams.learning_rate, hyperparams.learning_rate_decay, hyperparams.learning_rate_least
        return Search(state.mean + decayed(*settings, state.optimiser.count) * update, optimiser)

    return Strategy(population_size, init, ask, tell, lambda state: unravel(state.mean), member)


def make_strategy(name: str, like: PyTree, population_size: int, shaping: str = "centred", rank: int = 0) -> Strategy:
    """The strategy called `name`: "open_es", or one of evosax's, such as "evosax/CMA_ES".

    Raises:
        ImportError: It is evosax's, and that is not installed.
        ValueError: See `check_strategy`, `open_es` and `evosax_strategy`.
    """
    check_strategy(name, shaping, rank)
    if not name.startswith(EVOSAX):
        return open_es(like, population_size, shaping=shaping, rank=rank)
    from jaxreward.learning.evosax_strategies import evosax_strategy

    return evosax_strategy(name.removeprefix(EVOSAX), like, population_size)


def check_strategy(name: str, shaping: str = "centred", rank: int = 0) -> None:
    """Refuses a strategy or a fitness shaping that there is not, and options that are not evosax's."""
    check_name("fitness shaping", shaping, SHAPINGS)
    if not name.startswith(EVOSAX):
        check_name("strategy", name, ["open_es"], "evosax's are evosax/NAME.")
    elif rank or shaping != "centred":
        raise ValueError(f"shaping={shaping} and rank={rank} are options of strategy=open_es; {name} has its own")


def decayed(first: Scalar, decay: Scalar, least: Scalar, generation: Int[Array, ""]) -> Float[Array, ""]:
    """`first decay^generation`, or the least."""
    return jnp.maximum(first * jnp.power(decay, generation), least)


def noise_like(key: Key[Array, ""], like: PyTree, rank: int = 0) -> Float[Array, " D"]:
    """Flat noise on a solution, each number of mean 0 and variance 1, see `open_es`."""
    if not rank:
        flat = jax.eval_shape(lambda: ravel_pytree(like)[0])
        return jax.random.normal(key, flat.shape, flat.dtype)
    leaves, structure = jax.tree.flatten(like)
    drawn = [_low_rank(k, leaf, rank) for k, leaf in zip(jax.random.split(key, len(leaves)), leaves, strict=True)]
    return ravel_pytree(jax.tree.unflatten(structure, drawn))[0]


def _low_rank(key: Key[Array, ""], leaf: Array, rank: int) -> Array:
    if jnp.ndim(leaf) != 2:
        return jax.random.normal(key, jnp.shape(leaf), leaf.dtype)
    both = jax.random.normal(key, (sum(leaf.shape), rank), leaf.dtype)
    return both[: leaf.shape[0]] @ both[leaf.shape[0] :].T / jnp.sqrt(rank)


def check_pairs(population_size: int) -> None:
    """Refuses an odd population."""
    if population_size % 2:
        raise ValueError(
            f"population_size={population_size} is odd, and noise comes in pairs of opposite signs; try "
            f"{population_size + 1}"
        )


def antithetic_gradient(
    fitness: Float[Array, " P"], noise: Callable[[Int[Array, ""]], Float[Array, " D"]], sigma: Scalar
) -> Float[Array, " D"]:
    """The gradient of the expected fitness, `1 / (P sigma) sum_i F_i e_i` over noise `e` and `-e`.

    What fitness has that is even around the mean cancels in each pair. The sum's order depends on nothing but the two
    sizes, so it is the same to the bit wherever fitness came from.

    Args:
        fitness: Of the mean plus noise, then of the mean less noise.
        noise: Of a pair, by its number; of mean 0 and variance 1.
        sigma: What it was scaled by.
    """
    pairs = len(fitness) // 2
    flat = jax.eval_shape(noise, jnp.zeros((), jnp.int32))
    together = max(d for d in range(1, pairs + 1) if pairs % d == 0 and d * flat.size <= max(MOST_AT_ONCE, flat.size))
    parts = (fitness[:pairs] - fitness[pairs:]).reshape(-1, together), jnp.arange(pairs).reshape(-1, together)

    def add(total: Float[Array, " D"], part: tuple) -> tuple[Float[Array, " D"], None]:
        weight, numbers = part
        return total + weight @ jax.vmap(noise)(numbers), None

    return jax.lax.scan(add, jnp.zeros(flat.shape, flat.dtype), parts)[0] / (len(fitness) * sigma)


def centred_ranks(fitness: Float[Array, " P"]) -> Float[Array, " P"]:
    """Ranks scaled to `[-1/2, 1/2]`, the highest the best; those that are tied share the mean of theirs.

    What is no number is the worst.
    """
    fitness = jnp.where(jnp.isnan(fitness), -jnp.inf, fitness)
    ordered = jnp.sort(fitness)
    below, up_to = (jnp.searchsorted(ordered, fitness, side) for side in ("left", "right"))
    ranks = (below + up_to - 1).astype(fitness.dtype) / 2
    return ranks / (len(fitness) - 1) - 0.5


def better_of_pair(fitness: Float[Array, " P"]) -> Float[Array, " P"]:
    """1 for the better of each pair and 0 for the other, so that pairs on tasks of any scale count alike.

    Where they are equal both are 0, which says nothing. Used by Jackson et al. (ICLR 2024, arXiv:2402.05828), in whose
    code the second has 1 then.
    """
    first, second = jnp.split(worst_if_broken(fitness), 2)
    return jnp.concatenate([first > second, second > first]).astype(fitness.dtype)


def z_scores(fitness: Float[Array, " P"]) -> Float[Array, " P"]:
    """Less their mean, by their standard deviation; what is no finite number is as bad as the worst that is."""
    fitness = worst_if_broken(fitness)
    return (fitness - fitness.mean()) / (fitness.std() + 1e-8)


def worst_if_broken(fitness: Float[Array, " P"]) -> Float[Array, " P"]:
    """Fitness with the least finite one in place of what is not finite; 0 where none is."""
    finite = jnp.isfinite(fitness)
    worst = jnp.where(finite.any(), jnp.min(jnp.where(finite, fitness, jnp.inf)), 0.0)
    return jnp.where(finite, fitness, worst)


SHAPINGS: dict[str, Callable[[Float[Array, " P"]], Float[Array, " P"]]] = {
    "centred": centred_ranks,
    "pairwise": better_of_pair,
    "z_score": z_scores,
}
"""What fitness can be turned into, so that its scale is no matter."""
