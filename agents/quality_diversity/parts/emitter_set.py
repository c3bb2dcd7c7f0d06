"""All emitters of a run, and what they have in common: how they are tried, scored and booked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.agents.quality_diversity.parts.emitters import (
    Emitter,
    Kind,
    Strategy,
    advance,
    new_emitter,
    strategy_of,
    window_of,
)
from jaxreward.agents.quality_diversity.parts.exploration import Explorer, Search, SearchConfig
from jaxreward.agents.quality_diversity.parts.genotypes import Genotypes, join, take
from jaxreward.agents.quality_diversity.parts.rewards import no_rewards, reference
from jaxreward.agents.quality_diversity.parts.selection import Reference
from jaxreward.agents.quality_diversity.parts.statistics import Statistics, count
from jaxreward.contract.sizes import size
from jaxreward.learning.lazy import when
from jaxreward.names import check_name
from jaxreward.quality_diversity import Archive, is_sampled, novelty


@dataclass(frozen=True)
class EmitterConfig(SearchConfig):
    """What shapes the program of a search with emitters.

    Attributes:
        emitter: How emitters climb, see `jaxreward.agents.quality_diversity.parts.emitters.strategy_of`.
        members: The population of each.
        emitter_children: How many children each member has in a step.
        parallel_emitters: How many climb at once. The authors' one after the other is 1; more are faster, as they are
            evaluated together, and differ in that none of them knows what the others find in the same step.
        emitter_capacity: How many can be active; 0 for one to every 150 evaluations of the budget, which is more than
            a chunk of each in turn can try out with the other defaults.
        reward_capacity: How many that earned can be stored; 0 for one to every 16 evaluations of the budget.
        drop_nearest: Whether novelty of members leaves out the nearest neighbour, as in the authors' code.
    """

    emitter: Kind = "fitness"
    members: int = size(6)
    emitter_children: int = size(2)
    parallel_emitters: int = size(1)
    emitter_capacity: int = size(0, least=0)
    reward_capacity: int = size(0, least=0)
    drop_nearest: bool = False

    @property
    def archive_capacity(self) -> int:
        """Room for what generations store, and for what emitters hand over: no window is shorter than 120 steps."""
        return super().archive_capacity + self.archived * (self.budget // (120 * self.members))


class Emitters(NamedTuple):
    """The emitters of a run.

    Attributes:
        rewards: The archive of what earned, `Rewarded`.
        slots: Room for `E` emitters.
        active: Which of them there are.
        refused: How many improved when all slots were taken.
        spent: Evaluations spent on each reward area; the last for ancestors that ended in none.
    """

    rewards: Archive
    slots: Emitter
    active: Bool[Array, " E"]
    refused: Int[Array, ""]
    spent: Int[Array, " areas+1"]


class World(NamedTuple):
    """What genomes are tried in.

    Attributes:
        space: Params of the space of behaviours.
        env_params: Params of the environment.
        start: The key of every evaluation.
    """

    space: PyTree
    env_params: PyTree
    start: Key[Array, ""]


@dataclass(frozen=True)
class EmitterRunner:
    """What trying out and climbing have in common."""

    explorer: Explorer
    config: EmitterConfig
    strategy: Strategy

    def init(self, search: Search) -> Emitters:
        """No emitters yet."""
        config = self.config
        rewards = no_rewards(search.population, config.reward_capacity or max(config.budget // 16, 64))
        places = config.emitter_capacity or max(config.budget // 150, 16)
        memory, _ = self.strategy.start(search.start, search.population.genome[0], jnp.ones(()))
        nobody = take(search.population, jnp.zeros(config.members, jnp.int32))
        emitter = self.founded(nobody, memory, jnp.zeros((), jnp.int32), jnp.zeros(()))
        slots = jax.tree.map(lambda leaf: jnp.zeros((places, *leaf.shape), leaf.dtype), emitter)
        spent = jnp.zeros(self.explorer.evaluator.env.num_areas + 1, jnp.int32)
        return Emitters(rewards, slots, jnp.zeros(places, bool), jnp.zeros((), jnp.int32), spent)

    def founded(
        self, members: Genotypes, memory: PyTree, ancestor: Int[Array, ""], spread: Float[Array, ""]
    ) -> Emitter:
        """An emitter whose first members were tried."""
        window = window_of(self.explorer.evaluator.controller.size, self.config.members)
        return new_emitter(members, memory, ancestor, spread, window, self.config.archived)

    def step(
        self,
        statistics: Statistics,
        emitters: Emitter,
        live: Bool[Array, " F"],
        key: Key[Array, ""],
        world: World,
        known: Reference,
    ) -> tuple[Statistics, Emitter]:
        """A step of several emitters; of those that are not live neither evaluations nor results mean anything."""
        strategy = self.strategy
        keys, genomes = jax.random.split(key, live.size), emitters.members.genome
        memory, genomes = jax.vmap(strategy.propose)(keys, emitters.memory, genomes, emitters.spread)
        statistics, brood = self.evaluated(statistics, genomes, live, world)
        everybody = jax.vmap(join)(emitters.members, brood)
        score = self.novelty(everybody, known) if strategy.by_novelty else everybody.outcome.reward
        return statistics, jax.vmap(partial(advance, strategy))(emitters, memory, brood, score)

    def evaluated(
        self, statistics: Statistics, genomes: Float[Array, "F n D"], live: Bool[Array, " F"], world: World
    ) -> tuple[Statistics, Genotypes]:
        """What comes of genomes of several emitters, leaves `[F, n, ...]`."""
        flat = self.explorer.evaluated(genomes.reshape(-1, genomes.shape[-1]), *world)
        counts = jnp.repeat(live, genomes.shape[1])
        statistics = count(statistics, self.explorer.evaluator.env, flat.outcome, visits=False, counts=counts)
        return statistics, jax.tree.map(lambda leaf: leaf.reshape(*genomes.shape[:2], *leaf.shape[1:]), flat)

    def everybody(self, emitters: Emitters) -> list[Genotypes]:
        """All whom emitters and the archive of what earned know, in a row."""
        slots = emitters.slots
        crews = [flat(_present(crew, emitters.active), 2) for crew in (slots.members, slots.novel.items)]
        return [emitters.rewards.items.genotype, *crews]

    def moved(self, emitters: Emitters, known: Sequence[Genotypes], search: Search) -> Emitters:
        """The emitters, and what earned, where all whom they know are at their place in a space that has changed."""
        genotype, *crews = known
        rewards, slots = emitters.rewards, emitters.slots
        members, novel = (
            _at(crew, there) for crew, there in zip((slots.members, slots.novel.items), crews, strict=True)
        )
        items = rewards.items._replace(genotype=genotype, bound=jnp.full_like(rewards.items.bound, jnp.inf))
        slots = slots._replace(members=members, novel=slots.novel._replace(items=novel))
        emitters = emitters._replace(rewards=rewards._replace(items=items), slots=slots)
        return self.remeasured(emitters, join(self.explorer.reference(search), reference(emitters.rewards)))

    def remeasured(self, emitters: Emitters, known: Reference) -> Emitters:
        """The active emitters with the novelty of their most novel as it is now; one by one, as there are few."""

        def measured(x: tuple[Bool[Array, ""], Emitter]) -> Float[Array, ""]:
            active, emitter = x
            of = lambda _, emitter, known: self.most_novel(emitter, known)  # noqa: E731
            return when(active, of, emitter.most_novel, emitter, known)

        most_novel = jax.lax.map(measured, (emitters.active, emitters.slots))
        return emitters._replace(slots=emitters.slots._replace(most_novel=most_novel))

    def most_novel(self, emitter: Emitter, known: Reference) -> Float[Array, ""]:
        """The novelty of its most novel member, of those it still has and those sampled; of its ancestor until then."""
        of_sample = jnp.where(is_sampled(emitter.novel), self.novelty(emitter.novel.items, known), -jnp.inf).max()
        of_members = self.novelty(emitter.members, known).max()
        return jnp.where(emitter.is_ancestor, self.around(emitter.ancestor, known), jnp.maximum(of_sample, of_members))

    def around(self, ancestor: Int[Array, ""], known: Reference) -> Float[Array, ""]:
        """The novelty of an ancestor, who is among those known: after population, offspring and archive."""
        config = self.config
        own = (ancestor + config.population_size * (1 + config.children) + config.archive_capacity)[None]
        return novelty(known.behaviour[own], known.behaviour, config.neighbours, mask=known.exists, own=own)[0]

    def novelty(self, genotypes: Genotypes, known: Reference) -> Float[Array, "*F n"]:
        """The novelty of genotypes of some emitters, who are not among those known."""
        behaviour, config = genotypes.behaviour, self.config
        flat = behaviour.reshape(-1, behaviour.shape[-1])
        found = novelty(flat, known.behaviour, config.neighbours, mask=known.exists, drop_nearest=config.drop_nearest)
        return found.reshape(behaviour.shape[:-1])


def _present(genotypes: Genotypes, active: Bool[Array, " E"]) -> Genotypes:
    """The genotypes of emitters, of which those that are not active have none, and cost nothing."""
    outcome = genotypes.outcome
    return genotypes._replace(outcome=outcome._replace(steps=jnp.where(active[:, None], outcome.steps, 0)))


def _at(genotypes: Genotypes, there: Genotypes) -> Genotypes:
    """The genotypes of emitters where the same, in a row, are."""
    behaviour, surprise = genotypes.behaviour, genotypes.surprise
    return genotypes._replace(
        behaviour=there.behaviour.reshape(behaviour.shape), surprise=there.surprise.reshape(surprise.shape)
    )


def booked(emitters: Emitters, rows: Int[Array, " F"], live: Bool[Array, " F"], cost: int) -> Emitters:
    """Books evaluations to the areas of ancestors; those of no area, -1, to the last."""
    areas = emitters.rewards.items.genotype.outcome.area[rows]
    return emitters._replace(spent=emitters.spent.at[areas].add(live * cost))


def flat(genotypes: Genotypes, axes: int) -> Genotypes:
    """The leading axes as one."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[axes:]), genotypes)


def make_runner(explorer: Explorer, config: EmitterConfig) -> EmitterRunner:
    """The emitters of a search."""
    check_name("emitter", config.emitter, get_args(Kind))
    genes = explorer.evaluator.controller.size
    return EmitterRunner(
        explorer, config, strategy_of(config.emitter, config.members, config.emitter_children, genes, config)
    )
