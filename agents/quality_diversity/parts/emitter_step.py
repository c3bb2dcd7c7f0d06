"""Active emitters climb: who goes on, when one stops, and what it hands over (SERENE, arXiv:2102.03140).

One is drawn from those that no other surpasses in both the novelty of its ancestor among what earned and its
improvement. It climbs until the chunk is used up or it stagnates; then another one is drawn. All novelty of a chunk is
measured against what was known at its start.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxreward.agents.quality_diversity.parts.emitter_set import Emitters, Staff, World, booked, flat
from jaxreward.agents.quality_diversity.parts.emitters import Emitter, finds, has_stagnated, measured, note_novelty
from jaxreward.agents.quality_diversity.parts.exploration import Search
from jaxreward.agents.quality_diversity.parts.genotypes import join, take
from jaxreward.agents.quality_diversity.parts.rewards import first_front, reference, stored
from jaxreward.agents.quality_diversity.parts.selection import Reference
from jaxreward.agents.quality_diversity.parts.statistics import Tally
from jaxreward.learning.lazy import when
from jaxreward.quality_diversity import Archive, append, is_sampled


class Shift(NamedTuple):
    """Emitters at work within a chunk.

    Attributes:
        search: The search.
        emitters: The emitters.
        running: The places in the pool of those at work, `[F]`.
        on: Which of them are, `[F]`.
        left: Evaluations left in the chunk.
    """

    search: Search
    emitters: Emitters
    running: Int[Array, " F"]
    on: Bool[Array, " F"]
    left: Int[Array, ""]


class Choice(NamedTuple):
    """Who is at work.

    Attributes:
        running: Places in the pool, `[F]`.
        on: Which of them are.
        around: The novelty of the ancestors of those who just began.
        bound: See `Rewarded`.
    """

    running: Int[Array, " F"]
    on: Bool[Array, " F"]
    around: Float[Array, " F"]
    bound: Float[Array, " R"]


def climb(
    staff: Staff, search: Search, emitters: Emitters, left: Int[Array, ""], key: Key[Array, ""], world: World
) -> tuple[Search, Emitters]:
    """Emitters climb until the chunk is used up.

    Args:
        staff: The emitters' ways.
        search: The search.
        emitters: The emitters.
        left: Evaluations left in the chunk.
        key: For draws and mutations.
        world: What genomes are tried in.
    """
    config = staff.config
    known = join(staff.explorer.reference(search), reference(emitters.rewards))
    off = jnp.zeros(config.parallel_emitters, jnp.int32)
    most = -(-config.chunk_size // staff.strategy.brood)  # if only one is active; a step of nobody costs nothing

    def step(shift: Shift, key: Key[Array, ""]) -> tuple[Shift, None]:
        key_choose, key_step = jax.random.split(key)
        going = (shift.left > 0) & staff.explorer.goes_on(shift.search)
        shift = _chosen(staff, shift, going, key_choose, known)
        return _climbed(staff, shift, going, key_step, world, known), None

    shift = Shift(search, emitters, off, off > 0, left)
    shift, _ = jax.lax.scan(step, shift, jax.random.split(key, most))
    return shift.search, _remeasured(shift)


def _chosen(staff: Staff, shift: Shift, going: Bool[Array, ""], key: Key[Array, ""], known: Reference) -> Shift:
    """Puts emitters to work where there are places and none is at work."""
    emitters, pool = shift.emitters, shift.emitters.pool
    idle = going & ~shift.on.all() & (emitters.active.sum() > shift.on.sum())
    begun = Choice(shift.running, shift.on, jnp.zeros(shift.on.shape), emitters.rewards.items.bound)
    about = pool.ancestor, pool.improvement, emitters.active
    choice = when(idle, partial(_choose, staff), begun, key, emitters.rewards, about, known)
    # Until it meets something more novel, the most novel that an emitter knows is its ancestor, as novel as it is now.
    fresh = choice.on & ~shift.on & pool.is_ancestor[choice.running]
    places = jnp.where(fresh, choice.running, emitters.active.size)
    pool = pool._replace(most_novel=pool.most_novel.at[places].set(choice.around, mode="drop"))
    items = emitters.rewards.items._replace(bound=choice.bound)
    emitters = emitters._replace(pool=pool, rewards=emitters.rewards._replace(items=items))
    return shift._replace(emitters=emitters, running=choice.running, on=choice.on)


def _choose(
    staff: Staff,
    choice: Choice,
    key: Key[Array, ""],
    rewards: Archive,
    about: tuple[Array, Array, Array],
    known: Reference,
) -> Choice:
    """Draws an emitter for each place without, from the first front of those that are not at work."""
    ancestor, improvement, active = about
    neighbours = staff.config.neighbours

    def fill(slot: Array, choice: Choice) -> Choice:
        free = active & ~jnp.zeros_like(active).at[choice.running].max(choice.on)
        items = rewards.items._replace(bound=choice.bound)
        bounded, front = first_front(rewards._replace(items=items), ancestor, improvement, free, neighbours)
        place = _drawn(jax.random.fold_in(key, slot), front)
        around = staff.around(ancestor[place], known)
        fills = ~choice.on[slot] & free.any()
        put = lambda leaf, value: leaf.at[slot].set(jnp.where(fills, value, leaf[slot]))  # noqa: E731
        filled = put(choice.running, place), put(choice.on, True), put(choice.around, around)
        return Choice(*filled, bounded.items.bound)

    return jax.lax.fori_loop(0, choice.on.size, fill, choice)


def _drawn(key: Key[Array, ""], among: Bool[Array, " n"]) -> Int[Array, ""]:
    """One of those, all as likely."""
    return jnp.argmax(jnp.where(among, jax.random.uniform(key, among.shape), -1.0)).astype(jnp.int32)


def _climbed(
    staff: Staff, shift: Shift, going: Bool[Array, ""], key: Key[Array, ""], world: World, known: Reference
) -> Shift:
    """One step of all emitters at work, and what they hand over."""
    search, emitters, running = shift.search, shift.emitters, shift.running
    on = shift.on & going
    begun = search.tally, take(emitters.pool, running), jnp.zeros((on.size, staff.config.members), bool)
    tally, climbing, found = when(on.any(), partial(_step, staff), begun, on, key, world, known)
    rewards = stored(emitters.rewards, flat(climbing.members, 2), (found & on[:, None]).ravel())
    stops = on & jax.vmap(has_stagnated)(climbing)
    stops |= on & jax.vmap(staff.strategy.is_spent, axis_size=on.size)(climbing.memory)
    rewards = stored(rewards, take(rewards.items.individual, climbing.ancestor), stops)
    search = _handed_over(search._replace(tally=tally), climbing, stops)
    end = emitters.active.size
    places, stopped = jnp.where(on, running, end), jnp.where(stops, running, end)
    pool = jax.tree.map(lambda leaf, new: leaf.at[places].set(new, mode="drop"), emitters.pool, climbing)
    active = emitters.active.at[stopped].set(False, mode="drop")
    emitters = emitters._replace(rewards=rewards, pool=pool, active=active)
    emitters = booked(emitters, climbing.ancestor, on, staff.strategy.brood)
    left = shift.left - on.sum(dtype=jnp.int32) * staff.strategy.brood
    return Shift(search, emitters, running, shift.on & ~stops, left)


def _step(
    staff: Staff,
    begun: tuple[Tally, Emitter, Array],
    on: Bool[Array, " F"],
    key: Key[Array, ""],
    world: World,
    known: Reference,
) -> tuple[Tally, Emitter, Bool[Array, "F M"]]:
    """The step, and which members are to be stored."""
    key_step, key_sample = jax.random.split(key)
    tally, climbing = staff.step(*begun[:2], on, key_step, world, known)
    novel = staff.novelty(climbing.members, known)
    climbing = jax.vmap(note_novelty)(climbing, jax.random.split(key_sample, on.size), novel)
    return tally, *jax.vmap(finds)(climbing)


def _handed_over(search: Search, emitters: Emitter, stops: Bool[Array, " F"]) -> Search:
    """Stores the samples of novel members of the emitters that stop."""
    keep = (jax.vmap(is_sampled)(emitters.novel) & stops[:, None]).ravel()
    return search._replace(archive=append(search.archive, flat(emitters.novel.items, 2), keep))


def _remeasured(shift: Shift) -> Emitters:
    """The emitters with the improvement of those still at work."""
    emitters, pool = shift.emitters, shift.emitters.pool
    improvement = jax.vmap(measured)(take(pool, shift.running)).improvement
    places = jnp.where(shift.on, shift.running, emitters.active.size)
    return emitters._replace(pool=pool._replace(improvement=pool.improvement.at[places].set(improvement, mode="drop")))
