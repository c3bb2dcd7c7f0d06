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

from jaxreward.agents.quality_diversity.parts.emitter_set import Emitters, Staff, World, booked, flat
from jaxreward.agents.quality_diversity.parts.emitters import Emitter, finds, measured
from jaxreward.agents.quality_diversity.parts.exploration import Search
from jaxreward.agents.quality_diversity.parts.genotypes import Individuals, take
from jaxreward.agents.quality_diversity.parts.rewards import most_novel, stored
from jaxreward.agents.quality_diversity.parts.selection import Reference
from jaxreward.agents.quality_diversity.parts.statistics import Tally
from jaxreward.learning.lazy import when
from jaxreward.quality_diversity import Archive

STEPS = 5
"""Steps of an emitter that is tried out, after its first members."""


class Tryout(NamedTuple):
    """Emitters that are tried out, `C` of them.

    Attributes:
        tally: What was found.
        emitters: They.
        live: Which of them are tried out at all.
        rows: Their ancestors.
        bound: See `Rewarded`.
        met: Their members after each step, leaves `[STEPS, C, M, ...]`.
        found: Which of these are to be stored.
    """

    tally: Tally
    emitters: Emitter
    live: Bool[Array, " C"]
    rows: Int[Array, " C"]
    bound: Float[Array, " R"]
    met: Individuals
    found: Bool[Array, "S C M"]


def cost_of(staff: Staff) -> int:
    """Evaluations of one that is tried out."""
    return staff.config.members + STEPS * staff.strategy.brood


def most_in_a_chunk(staff: Staff) -> int:
    """How many can be tried out while over a third of a chunk is left."""
    chunk = staff.config.chunk_size
    return -(-(chunk - chunk // 3) // cost_of(staff))


def try_out(
    staff: Staff, search: Search, emitters: Emitters, left: Int[Array, ""], key: Key[Array, ""], world: World
) -> tuple[Search, Emitters, Int[Array, ""]]:
    """Tries out those that wait.

    Args:
        staff: The emitters' ways.
        search: The search.
        emitters: The emitters.
        left: Evaluations left in the chunk.
        key: For the mutations.
        world: What genomes are tried in.

    Returns:
        The search, the emitters, and the evaluations that are left.
    """
    rewards = emitters.rewards
    due = (left > 0) & rewards.items.waits.any() & staff.explorer.goes_on(search)
    known = staff.explorer.reference(search)
    run = partial(_run, staff)
    done = when(due, run, _nothing(staff, search, emitters), left, key, world, rewards, known)
    waits, places = rewards.items.waits, jnp.where(done.live, done.rows, rewards.items.waits.size)
    items = rewards.items._replace(bound=done.bound, waits=waits.at[places].set(False, mode="drop"))
    found = done.found & done.live[None, :, None]
    rewards = stored(rewards._replace(items=items), flat(done.met, 3), found.ravel())
    emitters = booked(emitters._replace(rewards=rewards), done.rows, done.live, cost_of(staff))
    emitters = admitted(emitters, done.emitters, done.live & (done.emitters.improvement > 0))
    left = left - done.live.sum(dtype=jnp.int32) * cost_of(staff)
    return search._replace(tally=done.tally), emitters, left


def _nothing(staff: Staff, search: Search, emitters: Emitters) -> Tryout:
    number = min(most_in_a_chunk(staff), emitters.rewards.items.waits.size)
    rows = jnp.zeros(number, jnp.int32)
    idle = take(emitters.pool, rows)
    met = jax.tree.map(lambda leaf: jnp.zeros((STEPS, *leaf.shape), leaf.dtype), idle.members)
    off = jnp.zeros((STEPS, number, staff.config.members), bool)
    return Tryout(search.tally, idle, off[0, :, 0], rows, emitters.rewards.items.bound, met, off)


def _run(
    staff: Staff,
    begun: Tryout,
    left: Int[Array, ""],
    key: Key[Array, ""],
    world: World,
    rewards: Archive,
    known: Reference,
) -> Tryout:
    config, number = staff.config, begun.rows.size
    key, key_start = jax.random.split(key)
    rewards, rows = most_novel(rewards, rewards.items.waits, number, config.neighbours)
    ancestors, before = take(rewards.items, rows), jnp.arange(number) * cost_of(staff)
    affordable = (3 * (left - before) > config.chunk_size) & (begun.tally.evaluations + before < config.budget)
    live = ancestors.waits & affordable
    start = jax.vmap(staff.strategy.start)
    memory, genomes = start(jax.random.split(key_start, number), ancestors.individual.genome, ancestors.spread)
    tally, members = staff.tried(begun.tally, genomes, live, world)
    memory = jax.vmap(staff.strategy.open)(memory, members)
    emitters = jax.vmap(staff.founded)(members, memory, rows, ancestors.spread)

    def step(carry: tuple[Tally, Emitter], key: Key[Array, ""]) -> tuple[tuple[Tally, Emitter], tuple]:
        tally, emitters = staff.step(*carry, live, key, world, known)
        emitters, found = jax.vmap(finds)(emitters)
        return (tally, emitters), (emitters.members, found)

    (tally, emitters), (met, found) = jax.lax.scan(step, (tally, emitters), jax.random.split(key, STEPS))
    return Tryout(tally, jax.vmap(measured)(emitters), live, rows, rewards.items.bound, met, found)


def admitted(emitters: Emitters, tried: Emitter, admit: Bool[Array, " n"]) -> Emitters:
    """The pool with some more, as long as there is room."""
    capacity = emitters.active.size
    free = jnp.argsort(emitters.active, stable=True)[: admit.size]  # places where there is none come first
    rank = jnp.cumsum(admit) - 1
    fits = admit & (rank < capacity - emitters.active.sum())
    places = jnp.where(fits, free[jnp.clip(rank, 0, free.size - 1)], capacity)
    pool = jax.tree.map(lambda leaf, new: leaf.at[places].set(new, mode="drop"), emitters.pool, tried)
    refused = emitters.refused + (admit & ~fits).sum(dtype=jnp.int32)
    return emitters._replace(pool=pool, active=emitters.active.at[places].set(True, mode="drop"), refused=refused)
