"""Emitters that wait are tried out: the bootstrap of SERENE (arXiv:2102.03140).

The most novel come first, while over a third of the chunk is left. Each costs its first members and some steps; one
that improves becomes active, any other is given up. All of a chunk are evaluated together; the only difference to the
authors' one after the other is the order in which their finds are stored.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxreward.agents.quality_diversity.parts.emitter_set import EmitterRunner, Emitters, World, booked, flat
from jaxreward.agents.quality_diversity.parts.emitters import Emitter, finds, measured
from jaxreward.agents.quality_diversity.parts.exploration import Search
from jaxreward.agents.quality_diversity.parts.genotypes import Genotypes, take
from jaxreward.agents.quality_diversity.parts.rewards import most_novel, stored
from jaxreward.agents.quality_diversity.parts.selection import Reference
from jaxreward.agents.quality_diversity.parts.statistics import Statistics
from jaxreward.learning.lazy import when
from jaxreward.quality_diversity import Archive

STEPS = 5
"""Steps of an emitter that is tried out, after its first members."""


class Bootstrap(NamedTuple):
    """Emitters that are tried out, `C` of them.

    Attributes:
        statistics: What was found.
        emitters: They.
        live: Which of them are tried out at all.
        rows: Their ancestors.
        bound: See `Rewarded`.
        met: Their members after each step, leaves `[STEPS, C, M, ...]`.
        found: Which of these are to be stored.
    """

    statistics: Statistics
    emitters: Emitter
    live: Bool[Array, " C"]
    rows: Int[Array, " C"]
    bound: Float[Array, " R"]
    met: Genotypes
    found: Bool[Array, "S C M"]


def cost_of(runner: EmitterRunner) -> int:
    """Evaluations of one that is tried out."""
    return runner.config.members + STEPS * runner.strategy.brood


def most_in_a_chunk(runner: EmitterRunner) -> int:
    """How many can be tried out while over a third of a chunk is left."""
    chunk = runner.config.chunk_size
    return -(-(chunk - chunk // 3) // cost_of(runner))


def bootstrap(
    runner: EmitterRunner, search: Search, emitters: Emitters, left: Int[Array, ""], key: Key[Array, ""], world: World
) -> tuple[Search, Emitters, Int[Array, ""]]:
    """Tries out those that wait.

    Args:
        runner: The emitters' ways.
        search: The search.
        emitters: The emitters.
        left: Evaluations left in the chunk.
        key: For the mutations.
        world: What genomes are tried in.

    Returns:
        The search, the emitters, and the evaluations that are left.
    """
    rewards = emitters.rewards
    due = (left > 0) & rewards.items.waits.any() & runner.explorer.goes_on(search)
    known = runner.explorer.reference(search)
    run = partial(_run, runner)
    done = when(due, run, _nothing(runner, search, emitters), left, key, world, rewards, known)
    waits, places = rewards.items.waits, jnp.where(done.live, done.rows, rewards.items.waits.size)
    items = rewards.items._replace(bound=done.bound, waits=waits.at[places].set(False, mode="drop"))
    found = done.found & done.live[None, :, None]
    rewards = stored(rewards._replace(items=items), flat(done.met, 3), found.ravel())
    emitters = booked(emitters._replace(rewards=rewards), done.rows, done.live, cost_of(runner))
    emitters = admitted(emitters, done.emitters, done.live & (done.emitters.improvement > 0))
    left = left - done.live.sum(dtype=jnp.int32) * cost_of(runner)
    return search._replace(statistics=done.statistics), emitters, left


def _nothing(runner: EmitterRunner, search: Search, emitters: Emitters) -> Bootstrap:
    number = min(most_in_a_chunk(runner), emitters.rewards.items.waits.size)
    rows = jnp.zeros(number, jnp.int32)
    idle = take(emitters.slots, rows)
    met = jax.tree.map(lambda leaf: jnp.zeros((STEPS, *leaf.shape), leaf.dtype), idle.members)
    off = jnp.zeros((STEPS, number, runner.config.members), bool)
    return Bootstrap(search.statistics, idle, off[0, :, 0], rows, emitters.rewards.items.bound, met, off)


def _run(
    runner: EmitterRunner,
    begun: Bootstrap,
    left: Int[Array, ""],
    key: Key[Array, ""],
    world: World,
    rewards: Archive,
    known: Reference,
) -> Bootstrap:
    config, number = runner.config, begun.rows.size
    key, key_start = jax.random.split(key)
    rewards, rows = most_novel(rewards, rewards.items.waits, number, config.neighbours)
    ancestors, before = take(rewards.items, rows), jnp.arange(number) * cost_of(runner)
    affordable = (3 * (left - before) > config.chunk_size) & (begun.statistics.evaluations + before < config.budget)
    live = ancestors.waits & affordable
    start = jax.vmap(runner.strategy.start)
    memory, genomes = start(jax.random.split(key_start, number), ancestors.genotype.genome, ancestors.spread)
    statistics, members = runner.evaluated(begun.statistics, genomes, live, world)
    memory = jax.vmap(runner.strategy.open)(memory, members)
    emitters = jax.vmap(runner.founded)(members, memory, rows, ancestors.spread)

    def step(carry: tuple[Statistics, Emitter], key: Key[Array, ""]) -> tuple[tuple[Statistics, Emitter], tuple]:
        statistics, emitters = runner.step(*carry, live, key, world, known)
        emitters, found = jax.vmap(finds)(emitters)
        return (statistics, emitters), (emitters.members, found)

    (statistics, emitters), (met, found) = jax.lax.scan(step, (statistics, emitters), jax.random.split(key, STEPS))
    return Bootstrap(statistics, jax.vmap(measured)(emitters), live, rows, rewards.items.bound, met, found)


def admitted(emitters: Emitters, bootstrapped: Emitter, admit: Bool[Array, " n"]) -> Emitters:
    """The emitters with some more, as long as there is room."""
    capacity = emitters.active.size
    free = jnp.argsort(emitters.active, stable=True)[: admit.size]  # places where there is none come first
    rank = jnp.cumsum(admit) - 1
    fits = admit & (rank < capacity - emitters.active.sum())
    places = jnp.where(fits, free[jnp.clip(rank, 0, free.size - 1)], capacity)
    slots = jax.tree.map(lambda leaf, new: leaf.at[places].set(new, mode="drop"), emitters.slots, bootstrapped)
    refused = emitters.refused + (admit & ~fits).sum(dtype=jnp.int32)
    return emitters._replace(slots=slots, active=emitters.active.at[places].set(True, mode="drop"), refused=refused)
