"""The archive of what earned: where emitters start from, and which of them come first."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreward.agents.quality_diversity.parts.exploration import Search
from jaxreward.agents.quality_diversity.parts.genotypes import Genotypes, join, take
from jaxreward.agents.quality_diversity.parts.selection import Reference
from jaxreward.quality_diversity import Archive, append, empty_archive, is_stored, nearest, novelty

BLOCK = 64
"""How many novelties are brought up to date at once."""


class Rewarded(NamedTuple):
    """What is stored of one that earned; leaves `[R, ...]`.

    Attributes:
        genotype: It.
        spread: The standard deviation of the mutations of an emitter that starts from it.
        waits: Whether one is still to start from it.
        bound: No less than its novelty among the others.
    """

    genotype: Genotypes
    spread: Float[Array, " R"]
    waits: Bool[Array, " R"]
    bound: Float[Array, " R"]


def no_rewards(genotypes: Genotypes, capacity: int) -> Archive:
    """An archive for genotypes like these."""
    zero = jnp.zeros(())
    return empty_archive(Rewarded(take(genotypes, 0), zero, jnp.zeros((), bool), zero), capacity)


def stored(rewards: Archive, genotypes: Genotypes, keep: Bool[Array, " n"]) -> Archive:
    """The archive with some more from which no emitter starts."""
    number = keep.size
    nothing = jnp.zeros(number), jnp.zeros(number, bool), jnp.full(number, jnp.inf)
    return append(rewards, Rewarded(genotypes, *nothing), keep)


def recruit(search: Search, rewards: Archive, least_spread: Float[Array, ""] | float) -> tuple[Search, Archive]:
    """Stores everybody of population and offspring that earned for the first time, to start an emitter from each.

    An emitter's spread is a third of the distance to the nearest other genome around, `least_spread` if that is 0.
    """
    everybody = join(search.population, search.offspring)
    new = (everybody.outcome.reward > 0) & ~everybody.recruited
    genomes, number = everybody.genome, new.size
    distance = nearest(genomes, genomes, 1, own=jnp.arange(number)).distances[:, 0]
    spread = jnp.where(distance > 0, distance / 3, least_spread)
    waiting = Rewarded(everybody, spread, jnp.ones(number, bool), jnp.full(number, jnp.inf))
    here = len(search.population.surprise)
    marked = everybody.recruited | new
    population = search.population._replace(recruited=marked[:here])
    offspring = search.offspring._replace(recruited=marked[here:])
    return search._replace(population=population, offspring=offspring), append(rewards, waiting, new)


def reference(rewards: Archive) -> Reference:
    """The archive as something to measure novelty against."""
    genotype = rewards.items.genotype
    return Reference(genotype.behaviour, genotype.outcome.reward, is_stored(rewards))


def most_novel(
    rewards: Archive, among: Bool[Array, " R"], number: int, neighbours: int
) -> tuple[Archive, Int[Array, " number"]]:
    """The most novel rows among some, by novelty within the archive, most novel first.

    Novelty only falls while the archive grows. So what it once was bounds what it is, and only rows whose bounds are
    among the highest are compared again, until none that was not could be among the first.

    Args:
        rewards: The archive.
        among: Which rows are in question.
        number: How many are asked for.
        neighbours: How many of the nearest novelty is measured to.

    Returns:
        The archive with tighter bounds, and the rows; if there are fewer, others follow that are not in question.
    """

    def unsettled(carry: tuple[Array, Array]) -> Array:
        bound, fresh = carry
        settled = jax.lax.top_k(jnp.where(among & fresh, bound, -jnp.inf), number)[0][-1]
        return (among & ~fresh & ((bound > settled) | jnp.isneginf(settled))).any()

    def tighten(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        bound, fresh = carry
        return _tightened(rewards, bound, fresh, among & ~fresh, neighbours)

    start = rewards.items.bound, jnp.zeros_like(among)
    bound, _ = jax.lax.while_loop(unsettled, tighten, start)
    return with_bound(rewards, bound, neighbours), jax.lax.top_k(jnp.where(among, bound, -jnp.inf), number)[1]


def first_front(
    rewards: Archive,
    ancestor: Int[Array, " E"],
    improvement: Float[Array, " E"],
    active: Bool[Array, " E"],
    neighbours: int,
) -> tuple[Archive, Bool[Array, " E"]]:
    """Which emitters no other one surpasses in both the novelty of its ancestor and its improvement.

    Bounds serve as in `most_novel`: an emitter that another one surpasses even by its bound is surpassed.

    Returns:
        The archive with tighter bounds, and the first front of the active ones.
    """

    def front(bound: Float[Array, " R"]) -> Bool[Array, " E"]:
        return _undominated(jnp.where(active, bound[ancestor], -jnp.inf), improvement) & active

    def stale(carry: tuple[Array, Array]) -> Bool[Array, " E"]:
        return front(carry[0]) & ~carry[1][ancestor]

    def tighten(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        rows = jnp.zeros_like(carry[1]).at[jnp.where(stale(carry), ancestor, carry[1].size)].set(True, mode="drop")
        return _tightened(rewards, *carry, rows, neighbours)

    start = rewards.items.bound, jnp.zeros_like(rewards.items.waits)
    bound, _ = jax.lax.while_loop(lambda carry: stale(carry).any(), tighten, start)
    return with_bound(rewards, bound, neighbours), front(bound)


def _tightened(
    rewards: Archive, bound: Array, fresh: Array, wanted: Bool[Array, " R"], neighbours: int
) -> tuple[Array, Array]:
    """Bounds with those of some of the wanted rows replaced by their novelty, the highest first."""
    high, rows = jax.lax.top_k(jnp.where(wanted, bound, -jnp.inf), min(BLOCK, bound.size))
    behaviour = rewards.items.genotype.behaviour
    exact = novelty(behaviour[rows], behaviour, neighbours, mask=is_stored(rewards), own=rows)
    places = jnp.where(jnp.isneginf(high), bound.size, rows)
    return bound.at[places].set(exact, mode="drop"), fresh.at[places].set(True, mode="drop")


def with_bound(rewards: Archive, bound: Float[Array, " R"], neighbours: int) -> Archive:
    """The archive with these bounds; with no more than `neighbours` in it novelty may rise, and nothing bounds it."""
    bound = jnp.where(rewards.size > neighbours, bound, jnp.inf)
    return rewards._replace(items=rewards.items._replace(bound=bound))


def _undominated(x: Float[Array, " n"], y: Float[Array, " n"]) -> Bool[Array, " n"]:
    """Which points no other one is as good as in both, and better than in one."""
    no_less = (x[:, None] >= x[None]) & (y[:, None] >= y[None])
    more = (x[:, None] > x[None]) | (y[:, None] > y[None])
    return ~(no_less & more).any(0)
