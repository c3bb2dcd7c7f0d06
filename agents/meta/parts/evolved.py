"""Evolution as an outer loop: what is evolved is judged by whole lifetimes of agents that follow it.

One iteration is one generation: `P` candidates in antithetic pairs, each with a lifetime of its own. Both of a pair
meet the same task, drawn from one key, so that they differ in nothing but what is evolved (Jackson et al., ICLR 2024,
arXiv:2402.05828).

Nobody holds the population: a candidate is made from its pair's key where it lives. Pairs live in mini-batches, one
after the other, each spread over devices. A lifetime's numbers do not depend on how, but for the rounding of operations
that XLA arranges by their sizes; what is made of all fitness is computed in one order always.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, over_devices, strong, with_auto_axes
from jaxreward.contract.sizes import Sized, size
from jaxreward.learning import evolution
from jaxreward.learning.evolution import (
    Scalar,
    Strategy,
    check_pairs,
    check_strategy,
    make_strategy,
    worst_if_broken,
)
from jaxreward.learning.minibatch import check_minibatches
from jaxreward.learning.population import pooled

Metrics = dict[str, Float[Array, "..."]]

PAIRS = "pairs"
"""The axis of the mesh that pairs are spread over."""


class Life(NamedTuple):
    """What came of a lifetime.

    Attributes:
        fitness: How well it went; what is no number is the worst.
        metrics: As an agent's, `env_steps` and `episode/count` among them: counts are summed over all lifetimes, others
            are means.
        left: What it leaves behind, such as a trained policy's params; kept of the fittest alone.
    """

    fitness: Float[Array, ""]
    metrics: Metrics
    left: PyTree = ()


class Problem(NamedTuple):
    """What is evolved, and what for.

    Attributes:
        init: `(key, hyperparams) -> params`, where evolution begins.
        live: `(params, key, hyperparams) -> Life`. The key is the task's, all there is to chance. Where lifetimes have
            their own lengths, it is a `while_loop` that ends with the own length: those that live together take as long
            as the longest of them, and what is over is left alone.
        policy: `(left, hyperparams) -> Policy`, how to act with what a lifetime left, which is all zeros before any has
            been.
        length: `(key, hyperparams) -> N`, how long the lifetime of a task is; those alike live together. None where all
            are.
    """

    init: Callable[[Key[Array, ""], Any], PyTree]
    live: Callable[[PyTree, Key[Array, ""], Any], Life]
    policy: Callable[[PyTree, Any], Policy]
    length: Callable[[Key[Array, ""], Any], Int[Array, ""]] | None = None


@dataclass(frozen=True)
class Config(Sized):
    """What shapes the program of a generation.

    Attributes:
        population_size: Candidates, `P`, even.
        generation_parts: Parts of a generation that live one after the other; divides `P / 2`. More of them need less
            memory.
        num_devices: Over so many devices each part is spread; divides its pairs.
        strategy: "open_es", or one of evosax's such as "evosax/CMA_ES", if it is installed, of which the whole
            population is held, and whose candidates share a task by twos without being antithetic.
        shaping: What "open_es" turns fitness into: "pairwise", "centred" or "z_score", see
            `jaxreward.learning.evolution.SHAPINGS`.
        rank: Of the noise on matrices of "open_es"; 0 for full rank.
        same_task: Whether all pairs of a generation meet the same task.
    """

    headline: ClassVar[tuple[str, ...]] = ("fitness/mean",)

    population_size: int = size(64, least=2)
    generation_parts: int = size(1)
    num_devices: int = size(1)
    strategy: str = "open_es"
    shaping: str = "centred"
    rank: int = size(0, least=0)
    same_task: bool = False


@struct.dataclass
class Hyperparams(evolution.Settings):
    """Traced numbers of the outer loop, see `jaxreward.learning.evolution.Settings`."""

    sigma: Scalar = 0.03
    sigma_decay: Scalar = 0.99
    sigma_least: Scalar = 0.01
    learning_rate: Scalar = 0.03
    learning_rate_decay: Scalar = 0.99
    learning_rate_least: Scalar = 1e-5
    b1: Scalar = 0.99


class State(NamedTuple):
    """Everything a run is made of.

    Attributes:
        params: What is evolved, in the middle of the search.
        search: The strategy's state.
        left: What the fittest lifetime of the last generation left.
        hyperparams: Those of both loops.
        key: For what comes.
        iteration: How many generations there were.
    """

    params: PyTree
    search: PyTree
    left: PyTree
    hyperparams: Any
    key: Key[Array, ""]
    iteration: Int[Array, ""]


def evolved(problem: Problem, config: Config) -> Agent:
    """An agent that solves a problem by evolution; a generation is an iteration.

    It logs `fitness/mean`, `fitness/best`, `fitness/deviation`, `fitness/broken` (the share of lifetimes whose fitness
    is not finite, of which the others say nothing), `fitness/tied` (the share of pairs whose two are as fit: where all
    are, nothing is learned), and what lifetimes log.

    Args:
        problem: What is evolved.
        config: How.

    Raises:
        ValueError: Sizes do not divide, there are fewer devices, or an option is unknown.
        ImportError: The strategy is evosax's, and that is not installed.
    """
    check_config(config)
    algorithm = Evolved(problem, config)
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


def check_config(config: Config) -> None:
    """Refuses what does not fit together, before anything is compiled."""
    check_pairs(config.population_size)
    pairs = config.population_size // 2
    check_minibatches(config.generation_parts, pairs, "population_size / 2", "generation_parts")
    check_minibatches(config.num_devices, pairs // config.generation_parts, "the pairs of a part", "num_devices")
    if config.num_devices > len(jax.devices()):
        raise ValueError(f"num_devices={config.num_devices}, and there are {len(jax.devices())}")
    check_strategy(config.strategy, config.shaping, config.rank)


@dataclass(frozen=True)
class Evolved:
    """The steps of the algorithm."""

    problem: Problem
    config: Config

    def init(self, key: Key[Array, ""], hyperparams: Any) -> State:
        """Where evolution begins."""
        key, key_params, key_search = jax.random.split(key, 3)
        hyperparams = strong(hyperparams)
        params = strong(self.problem.init(key_params, hyperparams))
        left = jax.eval_shape(self.problem.live, params, key, hyperparams).left
        left = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), left)
        search = self.strategy(params).init(key_search, params, hyperparams)
        return strong(State(params, search, left, hyperparams, key, jnp.zeros((), jnp.int32)))

    def step(self, state: State) -> tuple[State, Metrics]:
        """One generation: ask, live, tell."""
        key, key_ask, key_task = jax.random.split(state.key, 3)
        strategy, hyperparams = self.strategy(state.params), state.hyperparams
        asked = strategy.ask(key_ask, state.search, hyperparams)
        lives, left = self.live(strategy, asked, (key_ask, key_task), hyperparams)
        search = strategy.tell(key_ask, state.search, asked, lives.fitness, hyperparams)
        after = State(strategy.mean(search), search, left, hyperparams, key, state.iteration + 1)
        return after, {**pooled(lives.metrics), **described(lives.fitness)}

    def policy(self, state: State) -> Policy:
        """That of what the fittest lifetime of the last generation left."""
        return self.problem.policy(state.left, state.hyperparams)

    def strategy(self, like: PyTree) -> Strategy:
        """How to search for such params."""
        config = self.config
        return make_strategy(config.strategy, like, config.population_size, shaping=config.shaping, rank=config.rank)

    def live(
        self, strategy: Strategy, asked: PyTree, keys: tuple[Key[Array, ""], Key[Array, ""]], hyperparams: Any
    ) -> tuple[Life, PyTree]:
        """All lifetimes of a generation, leaves `[P, ...]` in the order of candidates, and what the fittest left."""
        pairs = self.config.population_size // 2
        order = self.order(keys[1], hyperparams)

        def on_device(asked: PyTree, keys: tuple, hyperparams: Any, order: Int[Array, "parts pairs"]) -> tuple:
            def part(numbers: Int[Array, " pairs"]) -> tuple[Life, Life]:
                pair = lambda number: self.pair(strategy, asked, keys, hyperparams, number)  # noqa: E731
                return without_rest(jax.vmap(pair)(numbers))

            return self.gathered(jax.lax.map(part, order))

        lives, fittest = self.spread(on_device)(asked, keys, hyperparams, order)
        # Back in the order of pairs, all the first halves before all the second: sums do not depend on how they lived.
        back = jnp.argsort(order.reshape(-1))
        in_order = lambda x: jnp.swapaxes(x.reshape(pairs, 2, *x.shape[3:])[back], 0, 1)  # noqa: E731
        lives = jax.tree.map(lambda x: in_order(x).reshape(2 * pairs, *x.shape[3:]), lives)
        # Fused into what made the numbers, a sum of them would be rounded as these are laid out.
        return jax.lax.optimization_barrier(lives), best_of(fittest, 2).left

    def pair(self, strategy: Strategy, asked: PyTree, keys: tuple, hyperparams: Any, number: Int[Array, ""]) -> Life:
        """The two lifetimes of a pair, leaves `[2, ...]`, which meet the same task."""
        key_ask, key_task = keys
        task = self.task(key_task, number)

        def one(index: Int[Array, ""]) -> Life:
            return self.problem.live(strategy.member(key_ask, asked, index, hyperparams), task, hyperparams)

        return jax.vmap(one)(number + jnp.arange(2) * (self.config.population_size // 2))

    def task(self, key: Key[Array, ""], number: Int[Array, ""]) -> Key[Array, ""]:
        """The key of a pair's task."""
        return key if self.config.same_task else jax.random.fold_in(key, number)

    def order(self, key: Key[Array, ""], hyperparams: Any) -> Int[Array, "parts pairs"]:
        """Which pairs live together: those with lifetimes of the most similar lengths."""
        numbers = jnp.arange(self.config.population_size // 2)
        if self.problem.length is not None:
            length = self.problem.length
            numbers = jnp.argsort(jax.vmap(lambda number: length(self.task(key, number), hyperparams))(numbers))
        return numbers.reshape(self.config.generation_parts, -1)

    def spread(self, fn: Callable) -> Callable:
        """A function of what is the same everywhere and of an order, on all devices, each with its part of that."""
        if self.config.num_devices == 1:
            return fn
        if not jax.sharding.get_abstract_mesh().empty:
            raise ValueError(
                f"num_devices={self.config.num_devices} spreads one run, and runs are spread over devices already: "
                "train one seed, or set num_devices=1"
            )
        mesh = with_auto_axes(Mesh(jax.devices()[: self.config.num_devices], (PAIRS,)))
        same = PartitionSpec()
        return over_devices(fn, mesh, (same, same, same, PartitionSpec(None, PAIRS)), same)

    def gathered(self, tree: PyTree) -> PyTree:
        """Leaves `[parts, pairs, ...]` of all devices."""
        if self.config.num_devices == 1:
            return tree
        return jax.tree.map(lambda leaf: jax.lax.all_gather(leaf, PAIRS, axis=1, tiled=True), tree)


def without_rest(lives: Life) -> tuple[Life, Life]:
    """Lives without what they left, leaves `[pairs, 2, ...]`, and the fittest with it, leaves `[1, ...]`."""
    return lives._replace(left=()), jax.tree.map(lambda leaf: leaf[None], best_of(lives, 2))


def best_of(lives: Life, axes: int) -> Life:
    """The fittest of lives that are laid out along so many axes, the first of those that are as fit."""
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[axes:]), lives)
    fitness = jnp.where(jnp.isfinite(flat.fitness), flat.fitness, -jnp.inf)
    best = jnp.argmax(fitness)
    return jax.tree.map(lambda leaf: leaf[best], flat)


def described(fitness: Float[Array, " P"]) -> Metrics:
    """What to log of fitness; 0 for what is nowhere finite."""
    finite = jnp.isfinite(fitness)
    number = jnp.maximum(finite.sum(), 1)
    mean = jnp.where(finite, fitness, 0.0).sum() / number
    deviation = jnp.sqrt(jnp.where(finite, jnp.square(fitness - mean), 0.0).sum() / number)
    best = jnp.where(finite.any(), jnp.max(jnp.where(finite, fitness, -jnp.inf)), 0.0)
    tied = jnp.equal(*jnp.split(worst_if_broken(fitness), 2)).mean()
    told = {"mean": mean, "best": best, "deviation": deviation, "broken": 1 - finite.mean(), "tied": tied}
    return {f"fitness/{name}": value for name, value in told.items()}
