"""TAXONS: novelty and surprise in a space of behaviours that is learned from pictures of how episodes end.

Paolo, Laflaquiere, Coninx & Doncieux, Unsupervised Learning and Exploration of Reachable Outcome Space, ICRA 2020
(arXiv:1909.05508); the loop and its numbers are those of the authors' code. Different from it are the controllers,
which are those of `EvaluationConfig` and have no gene for how long they act; that mutation keeps all genes within their
limits, there only a network's weights; the autoencoder, which is that of STAX, without batch normalisation; and that
the archive has a capacity.

In a generation the most novel, or the most surprising, are stored and take the place of the least. Then nearly everyone
mutates, the best included, and is tried again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.quality_diversity.parts.evaluation import EvaluationConfig, Evaluator, make_evaluator
from jaxreward.agents.quality_diversity.parts.genotypes import Genotypes, evaluated, join, mutate, random_genomes, take
from jaxreward.agents.quality_diversity.parts.learned_space import PicturesConfig, space_of_pictures
from jaxreward.agents.quality_diversity.parts.policy import best_genome, policy_of
from jaxreward.agents.quality_diversity.parts.space import Space
from jaxreward.agents.quality_diversity.parts.statistics import (
    Statistics,
    cells_of,
    count,
    empty_statistics,
    metrics,
    since,
)
from jaxreward.contract.sizes import size
from jaxreward.learning.lazy import when
from jaxreward.names import check_name
from jaxreward.quality_diversity import Archive, append, empty_archive, is_stored, novelty

Criterion = Literal["both", "novelty", "surprise"]


@dataclass(frozen=True)
class Config(EvaluationConfig, PicturesConfig):
    """What shapes the program.

    Attributes:
        population_size: How many there are in a generation.
        best: How many of them are stored, and replace as many others.
        neighbours: How many of the nearest novelty is measured to.
        criterion: What makes the best: "novelty" (TAXO-N), "surprise" (TAXO-S), or "both" (TAXONS), one of the two by
            the toss of a coin in each generation. With `encoder="untrained"` and "novelty" it is NT.
        novelty_first: For how many generations "both" is novelty alone.
        interval: A training each so many generations, from all pictures since the last one and those of the archive.
        capacity: Room in the archive; what comes later is refused, and counted in `archive/refused`.
    """

    epochs: int = size(5)
    population_size: int = size(100)
    best: int = size(5)
    neighbours: int = size(15)
    criterion: Criterion = "both"
    novelty_first: int = size(30, least=0)
    interval: int = size(30)
    capacity: int = size(10_000)

    @property
    def brood(self) -> int:
        """Evaluations of a generation."""
        return self.population_size


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        mutation: The standard deviation of a gene's mutation.
        mutates: The probability that one mutates,
        gene_mutates: and then that a gene of it does.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    mutation: Float[Array, ""] | float = 0.05
    mutates: Float[Array, ""] | float = 0.9
    gene_mutates: Float[Array, ""] | float = 0.2
    env_params: PyTree = None


class Search(NamedTuple):
    """A search under way.

    Attributes:
        population: Those that were tried last.
        stored: Which of them are in the archive as they are.
        archive: What was stored, as `Genotypes`.
        seen: All outcomes since the last training.
        statistics: What was found.
        space: Params of the space of behaviours.
        start: The key of every evaluation.
        generation: How many generations have mutated.
    """

    population: Genotypes
    stored: Bool[Array, " P"]
    archive: Archive
    seen: Archive
    statistics: Statistics
    space: PyTree
    start: Key[Array, ""]
    generation: Int[Array, ""]


class State(NamedTuple):
    """Everything a run is made of."""

    search: Search
    hyperparams: Hyperparams
    key: Key[Array, ""]
    iteration: Int[Array, ""]

    @property
    def params(self) -> PyTree:
        """What is learned."""
        return self.search.population.genome, self.search.space


def taxons(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A TAXONS agent. Its policy is the one of all it keeps that earned most; rewards have no other use.

    Args:
        env: An environment that draws itself and has a descriptor of behaviours, which is for metrics alone, such as
            the tasks qd/...
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes, criterion and pictures.

    Raises:
        ValueError: If an option is unknown or does not fit the environment.
    """
    _check(config)
    # All there is is learned from: the authors hold nothing back and run all epochs.
    space = space_of_pictures(env, config, validation=0.0)
    evaluator = make_evaluator(env, env_params, config, space.watch, space.steps)
    algorithm = Taxons(evaluator, space, config, env_params)
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


def _check(config: Config) -> None:
    check_name("criterion", config.criterion, get_args(Criterion))
    if 2 * config.best > config.population_size:
        raise ValueError(
            f"best={config.best} of population_size={config.population_size} can't replace as many others; "
            f"give at most {config.population_size // 2}"
        )


@dataclass(frozen=True)
class Taxons:
    """The steps of the algorithm."""

    evaluator: Evaluator
    space: Space
    config: Config
    env_params: PyTree

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> State:
        """Tries the first population."""
        key, key_start, key_space, key_genomes = jax.random.split(key, 4)
        hyperparams, config = strong(hyperparams), self.config
        space = self.space.init(key_space)
        genomes = random_genomes(key_genomes, config.population_size, self.evaluator.controller.size, config)
        population = evaluated(self.evaluator, self.space, genomes, space, self.params_of_env(hyperparams), key_start)
        one = take(population, jnp.asarray(0))
        archive = empty_archive(one, config.capacity)
        # The first training comes one generation later than the interval.
        seen = append(empty_archive(one.outcome, (config.interval + 1) * config.population_size), population.outcome)
        statistics = count(empty_statistics(self.evaluator.env), self.evaluator.env, population.outcome, visits=True)
        stored = jnp.zeros(config.population_size, bool)
        search = Search(population, stored, archive, seen, statistics, space, key_start, jnp.zeros((), jnp.int32))
        return strong(State(search, hyperparams, key, jnp.zeros((), jnp.int32)))

    def step(self, state: State) -> tuple[State, dict[str, Array]]:
        """One iteration: some generations."""
        key, key_generations = jax.random.split(state.key)

        def generation(search: Search, key: Key[Array, ""]) -> tuple[Search, None]:
            return self.generation(search, key, state.hyperparams), None

        keys = jax.random.split(key_generations, self.config.generations)
        search, _ = jax.lax.scan(generation, state.search, keys)
        told = metrics(search.statistics) | self.of_archive(search.archive)
        search = search._replace(statistics=since(search.statistics))
        return State(search, state.hyperparams, key, state.iteration + 1), told

    def generation(self, search: Search, key: Key[Array, ""], hyperparams: Hyperparams) -> Search:
        """The best are stored and copied, nearly all mutate, the space is learned if it is time, all are tried."""
        key_criterion, key_mutate, key_learn = jax.random.split(key, 3)
        env_params = self.params_of_env(hyperparams)
        search, genomes = self.selected(search, self.merit(search, key_criterion))
        genomes, mutated = self.mutated(genomes, key_mutate, hyperparams)
        search = self.learned(search, key_learn, env_params)
        population = evaluated(self.evaluator, self.space, genomes, search.space, env_params, search.start)
        return search._replace(
            population=population,
            stored=search.stored & ~mutated,
            seen=append(search.seen, population.outcome),
            statistics=count(search.statistics, self.evaluator.env, population.outcome, visits=True),
            generation=search.generation + 1,
        )

    def merit(self, search: Search, key: Key[Array, ""]) -> Float[Array, " P"]:
        """What is selected by in this generation."""
        surprise = search.population.surprise
        if self.config.criterion == "surprise":
            return surprise
        here, stored = search.population.behaviour, search.archive.items.behaviour
        mask = jnp.concatenate([jnp.ones(len(here), bool), is_stored(search.archive)])
        reference, own = jnp.concatenate([here, stored]), jnp.arange(len(here))
        novel = novelty(here, reference, self.config.neighbours, mask=mask, own=own)
        if self.config.criterion == "novelty":
            return novel
        is_novelty = (search.generation < self.config.novelty_first) | jax.random.bernoulli(key)
        return jnp.where(is_novelty, novel, surprise)

    def selected(self, search: Search, merit: Float[Array, " P"]) -> tuple[Search, Float[Array, "P D"]]:
        """The best are stored, if they are not yet, and their copies replace the worst."""
        order = jnp.argsort(-merit)
        best, worst = order[: self.config.best], order[-self.config.best :]
        archive = append(search.archive, take(search.population, best), ~search.stored[best])
        genomes = search.population.genome
        # A copy counts as somebody new, who may be stored as well.
        stored = search.stored.at[best].set(True).at[worst].set(False)
        return search._replace(archive=archive, stored=stored), genomes.at[worst].set(genomes[best])

    def mutated(
        self, genomes: Float[Array, "P D"], key: Key[Array, ""], hyperparams: Hyperparams
    ) -> tuple[Float[Array, "P D"], Bool[Array, " P"]]:
        """Noise on some genes of most, and who has mutated."""
        key_who, key_genes, key_noise = jax.random.split(key, 3)
        who = jax.random.bernoulli(key_who, hyperparams.mutates, (len(genomes),))
        genes = jax.random.bernoulli(key_genes, hyperparams.gene_mutates, genomes.shape)
        changed = mutate(key_noise, genomes, hyperparams.mutation, self.config)
        return jnp.where(who[:, None] & genes, changed, genomes), who

    def learned(self, search: Search, key: Key[Array, ""], env_params: PyTree) -> Search:
        """Learns the space, if it is time, and puts the archive in its place in it; what was seen is forgotten."""
        learn = self.space.learn
        due = (search.generation % self.config.interval == 0) & (search.generation > 0)
        seen = search.seen._replace(size=jnp.where(due, 0, search.seen.size))
        if learn is None:
            return search._replace(seen=seen)

        def update(begun: tuple[PyTree, Array, Array], seen: Archive, archive: Archive) -> tuple[PyTree, Array, Array]:
            stored = archive.items.outcome
            exists = jnp.concatenate([is_stored(seen), is_stored(archive)])
            space = learn(begun[0], key, join(seen.items, stored), exists, env_params)
            return space, *self.space.place(space, stored, env_params)

        items = search.archive.items
        begun = (search.space, items.behaviour, items.surprise)
        space, behaviour, surprise = when(due, update, begun, search.seen, search.archive)
        archive = search.archive._replace(items=items._replace(behaviour=behaviour, surprise=surprise))
        return search._replace(space=space, archive=archive, seen=seen)

    def of_archive(self, archive: Archive) -> dict[str, Array]:
        """How much is stored, how much had no room, and which share of cells it covers, as metrics."""
        visits = empty_statistics(self.evaluator.env).visits
        cells = jnp.where(is_stored(archive), cells_of(self.evaluator.env, archive.items.outcome.descriptor), -1)
        covered = visits.at[jnp.where(cells >= 0, cells, visits.size)].set(1, mode="drop")
        return {
            "archive/size": archive.size.astype(float),
            "archive/refused": archive.refused.astype(float),
            "archive/coverage": covered.astype(float).mean(),
        }

    def policy(self, state: State) -> Policy:
        """The one kept that earned most."""
        search = state.search
        return policy_of(self.evaluator.controller, best_genome([search.population], [search.archive]))

    def params_of_env(self, hyperparams: Hyperparams) -> PyTree:
        """The environment's params."""
        return self.env_params if hyperparams.env_params is None else hyperparams.env_params
