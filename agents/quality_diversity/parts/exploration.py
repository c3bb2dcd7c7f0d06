"""Novelty search: the half of every algorithm of this family that looks for new behaviours (Lehman & Stanley 2011).

As in the authors' code of SERENE and STAX (arXiv:2102.03140, 2111.01919): each of a population has some mutated
children; a few of these, drawn at random, are stored for good; the best of parents and children go on.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxreward.agents.quality_diversity.parts.evaluation import EvaluationConfig, Evaluator, Outcome
from jaxreward.agents.quality_diversity.parts.genotypes import Genotypes, evaluated, join, mutate, random_genomes, take
from jaxreward.agents.quality_diversity.parts.selection import Reference, Selection, merits, order
from jaxreward.agents.quality_diversity.parts.space import Space
from jaxreward.agents.quality_diversity.parts.statistics import Statistics, count
from jaxreward.contract.sizes import size
from jaxreward.learning.lazy import when
from jaxreward.names import check_name
from jaxreward.quality_diversity import Archive, append, empty_archive, is_stored


@dataclass(frozen=True)
class SearchConfig(EvaluationConfig):
    """What shapes the program of a search.

    Attributes:
        budget: Evaluations after which the search ends; it overshoots by less than a generation.
        population_size: How many have children in each generation.
        children: How many each has.
        archived: How many children of a generation are stored.
        neighbours: How many of the nearest novelty is measured to.
        selection: Who goes on, see `jaxreward.agents.quality_diversity.parts.selection.order`.
    """

    budget: int = size(500_000)
    population_size: int = size(100)
    children: int = size(2)
    archived: int = size(5)
    neighbours: int = size(15)
    selection: Selection = "novelty"

    @property
    def brood(self) -> int:
        """Evaluations of a generation."""
        return self.population_size * self.children

    @property
    def archive_capacity(self) -> int:
        """Room for what all generations of the budget store."""
        return self.archived * (-(-self.budget // self.brood) + 1)


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        mutation: The standard deviation of a gene's mutation in exploration, and of an emitter's where its ancestor has
            a twin.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    mutation: Float[Array, ""] | float = 0.05
    env_params: PyTree = None


class Search(NamedTuple):
    """An exploration under way.

    Attributes:
        population: Those that have children.
        offspring: The children of the last generation.
        archive: What was stored, as `Genotypes`.
        statistics: What was found.
        space: Params of the space of behaviours.
        start: The key of every evaluation.
    """

    population: Genotypes
    offspring: Genotypes
    archive: Archive
    statistics: Statistics
    space: PyTree
    start: Key[Array, ""]


@dataclass(frozen=True)
class Explorer:
    """The steps of a generation."""

    evaluator: Evaluator
    space: Space
    config: SearchConfig

    def init(self, key: Key[Array, ""], env_params: PyTree, statistics: Statistics) -> Search:
        """Tries random genomes."""
        config = self.config
        key_start, key_space, key_genomes = jax.random.split(key, 3)
        space = self.space.init(key_space)
        genomes = random_genomes(key_genomes, config.population_size, self.evaluator.controller.size, config)
        population = self.evaluated(genomes, space, env_params, key_start)
        offspring = join(*[population] * config.children)
        archive = empty_archive(take(population, jnp.asarray(0)), config.archive_capacity)
        statistics = count(statistics, self.evaluator.env, population.outcome, visits=True)
        return Search(population, offspring, archive, statistics, space, key_start)

    def evaluated(
        self, genomes: Float[Array, "n D"], space: PyTree, env_params: PyTree, key: Key[Array, ""]
    ) -> Genotypes:
        """Genomes with what comes of them."""
        return evaluated(self.evaluator, self.space, genomes, space, env_params, key)

    def goes_on(self, search: Search) -> Bool[Array, ""]:
        """Whether there is budget left."""
        return search.statistics.evaluations < self.config.budget

    # What follows leaves the search as it is where it is not to go on. The archive is written to by a mask for that:
    # to choose between two of them would copy both.

    def breed(
        self,
        search: Search,
        key: Key[Array, ""],
        deviation: Float[Array, ""] | float | None,
        env_params: PyTree,
        goes_on: Bool[Array, ""],
    ) -> Search:
        """Tries children of the whole population; random genomes in their place where there is no deviation."""
        config = self.config
        parents = jnp.repeat(search.population.genome, config.children, axis=0)

        def evaluated(
            begun: tuple[Genotypes, Statistics], parents: Array, search_space: PyTree
        ) -> tuple[Genotypes, Statistics]:
            if deviation is None:
                genomes = random_genomes(key, parents.shape[0], parents.shape[1], config)
            else:
                genomes = mutate(key, parents, deviation, config)
            offspring = self.evaluated(genomes, search_space, env_params, search.start)
            return offspring, count(begun[1], self.evaluator.env, offspring.outcome, visits=True)

        offspring, statistics = when(goes_on, evaluated, (search.offspring, search.statistics), parents, search.space)
        return search._replace(offspring=offspring, statistics=statistics)

    def survive(
        self, search: Search, key: Key[Array, ""], goes_on: Bool[Array, ""], further: Reference | None = None
    ) -> Search:
        """Replaces the population by the best of it and its offspring.

        Args:
            search: The search after `breed`, before `store`: who is stored would count twice.
            key: For the selection.
            goes_on: Whether to.
            further: What else novelty is measured against.
        """
        everybody = join(search.population, search.offspring)
        reference = self.reference(search) if further is None else join(self.reference(search), further)

        def best(_: Genotypes, everybody: Genotypes, reference: Reference) -> Genotypes:
            known = merits(everybody, reference, self.config.neighbours)
            rows = order(self.config.selection, key, everybody, known)[: self.config.population_size]
            return take(everybody, rows)

        return search._replace(population=when(goes_on, best, search.population, everybody, reference))

    def store(self, search: Search, key: Key[Array, ""], goes_on: Bool[Array, ""]) -> Search:
        """Keeps some of the offspring, drawn at random."""
        rows = jax.random.choice(key, len(search.offspring.surprise), (self.config.archived,), replace=False)
        keep = jnp.broadcast_to(goes_on, rows.shape)
        return search._replace(archive=append(search.archive, take(search.offspring, rows), keep))

    def reference(self, search: Search) -> Reference:
        """Population, offspring and archive, in this order."""
        stored = search.archive.items
        parts = [_all(search.population), _all(search.offspring)]
        return join(*parts, Reference(stored.behaviour, stored.outcome.reward, is_stored(search.archive)))

    def learn(
        self,
        search: Search,
        key: Key[Array, ""],
        env_params: PyTree,
        further: Archive | None = None,
        others: Sequence[Genotypes] = (),
    ) -> tuple[Search, list[Genotypes]]:
        """Learns the space of behaviours from everybody, and puts everybody in their place in it, all at once.

        Args:
            search: The search.
            key: For the learning.
            env_params: Params of the environment.
            further: What else is learned from.
            others: Who else is put in their place.
        """
        outcomes, exists = self.known(search, further)
        assert self.space.learn is not None
        search = search._replace(space=self.space.learn(search.space, key, outcomes, exists, env_params))
        everybody = search.population, search.offspring, search.archive.items, *others
        population, offspring, items, *others = self.placed(search.space, env_params, *everybody)
        archive = search.archive._replace(items=items)
        return search._replace(population=population, offspring=offspring, archive=archive), list(others)

    def known(self, search: Search, further: Archive | None = None) -> tuple[Outcome, Bool[Array, " n"]]:
        """All outcomes at hand, and which of them exist."""
        archives = [search.archive, *([] if further is None else [further])]
        present = [search.population, search.offspring]
        exists = [jnp.ones(part.surprise.shape, bool) for part in present] + [is_stored(part) for part in archives]
        outcomes = [part.outcome for part in (*present, *(archive.items for archive in archives))]
        return join(*outcomes), jnp.concatenate(exists)

    def placed(self, space: PyTree, env_params: PyTree, *groups: Genotypes) -> list[Genotypes]:
        """Some groups, each at its place in a space of behaviours that has changed."""
        outcomes = join(*[group.outcome for group in groups])
        ends = list(itertools.accumulate(len(group.surprise) for group in groups))[:-1]
        places = [jnp.split(x, ends) for x in self.space.place(space, outcomes, env_params)]
        return [
            group._replace(behaviour=behaviour, surprise=surprise)
            for group, behaviour, surprise in zip(groups, *places, strict=True)
        ]


def _all(genotypes: Genotypes) -> Reference:
    exists = jnp.ones(genotypes.surprise.shape, bool)
    return Reference(genotypes.behaviour, genotypes.outcome.reward, exists)


def check_search(config: SearchConfig, learned: bool) -> None:
    """Refuses sizes and selections that can't be.

    Args:
        config: What was given.
        learned: Whether the space of behaviours is learned, without which nothing surprises.

    Raises:
        ValueError: If one is wrong; says which, and what would be right.
    """
    check_name("selection", config.selection, get_args(Selection))
    if config.archived > config.brood:
        raise ValueError(
            f"archived={config.archived} of {config.brood} children can't be stored; give at most {config.brood}"
        )
    if "surprise" in config.selection and not learned:
        raise ValueError(
            f"selection={config.selection!r} needs a learned space of behaviours, as `stax` and `taxons` have; in a "
            "given one nothing surprises: try 'novelty', 'nsga2' or 'nslc'"
        )
