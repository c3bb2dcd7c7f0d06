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

from jaxreward.agents.quality_diversity.parts.emitter_set import EmitterRunner, Emitters, World, booked, flat
from jaxreward.agents.quality_diversity.parts.emitters import Emitter, finds, has_stagnated, measured, note_novelty
from jaxreward.agents.quality_diversity.parts.exploration import Search
from jaxreward.agents.quality_diversity.parts.genotypes import join, take
from jaxreward.agents.quality_diversity.parts.rewards import first_front, reference, stored
from jaxreward.agents.quality_diversity.parts.selection import Reference
from jaxreward.agents.quality_diversity.parts.statistics import Statistics
from jaxreward.learning.lazy import when
from jaxreward.quality_diversity import Archive, append, is_sampled


class EmitterPhase(NamedTuple):
    """Emitters at work within a chunk.

    Attributes:
        search: The search.
        emitters: The emitters.
        running: The slots of those at work, `[F]`.
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
        running: slots, `[F]`.
        on: Which of them are.
        around: The novelty of the ancestors of those who just began.
        bound: See `Rewarded`.
    """

    running: Int[Array, " F"]
    on: Bool[Array, " F"]
    around: Float[Array, " F"]
    bound: Float[Array, " R"]


def run_emitters(
    runner: EmitterRunner, search: Search, emitters: Emitters, left: Int[Array, ""], key: Key[Array, ""], world: World
) -> tuple[Search, Emitters]:
    """Emitters climb until the chunk is used up.

    Args:
        runner: The emitters' ways.
        search: The search.
        emitters: The emitters.
        left: Evaluations left in the chunk.
        key: For draws and mutations.
        world: What genomes are tried in.
    """
    config = runner.config
    known = join(runner.explorer.reference(search), reference(emitters.rewards))
    off = jnp.zeros(config.parallel_emitters, jnp.int32)
    most = -(-config.chunk_size // runner.strategy.brood)  # if only one is active; a step of nobody costs nothing

    def step(phase: EmitterPhase, key: Key[Array, ""]) -> tuple[EmitterPhase, None]:
        key_choose, key_step = jax.random.split(key)
        going = (phase.left > 0) & runner.explorer.goes_on(phase.search)
        phase = _chosen(runner, phase, going, key_choose, known)
        return _stepped(runner, phase, going, key_step, world, known), None

    phase = EmitterPhase(search, emitters, off, off > 0, left)
    phase, _ = jax.lax.scan(step, phase, jax.random.split(key, most))
    return phase.search, _remeasured(phase)


def _chosen(
    runner: EmitterRunner, phase: EmitterPhase, going: Bool[Array, ""], key: Key[Array, ""], known: Reference
) -> EmitterPhase:
    """Puts emitters to work where there are places and none is at work."""
    emitters, slots = phase.emitters, phase.emitters.slots
    idle = going & ~phase.on.all() & (emitters.active.sum() > phase.on.sum())
    begun = Choice(phase.running, phase.on, jnp.zeros(phase.on.shape), emitters.rewards.items.bound)
    about = slots.ancestor, slots.improvement, emitters.active
    choice = when(idle, partial(_choose, runner), begun, key, emitters.rewards, about, known)
    # Until it meets something more novel, the most novel that an emitter knows is its ancestor, as novel as it is now.
    fresh = choice.on & ~phase.on & slots.is_ancestor[choice.running]
    places = jnp.where(fresh, choice.running, emitters.active.size)
    slots = slots._replace(most_novel=slots.most_novel.at[places].set(choice.around, mode="drop"))
    items = emitters.rewards.items._replace(bound=choice.bound)
    emitters = emitters._replace(slots=slots, rewards=emitters.rewards._replace(items=items))
    return phase._replace(emitters=emitters, running=choice.running, on=choice.on)


def _choose(
    runner: EmitterRunner,
    choice: Choice,
    key: Key[Array, ""],
    rewards: Archive,
    about: tuple[Array, Array, Array],
    known: Reference,
) -> Choice:
    """Draws an emitter for each place without, from the first front of those that are not at work."""
    ancestor, improvement, active = about
    neighbours = runner.config.neighbours

    def fill(slot: Array, choice: Choice) -> Choice:
        free = active & ~jnp.zeros_like(active).at[choice.running].max(choice.on)
        items = rewards.items._replace(bound=choice.bound)
        bounded, front = first_front(rewards._replace(items=items), ancestor, improvement, free, neighbours)
        place = _drawn(jax.random.fold_in(key, slot), front)
        around = runner.around(ancestor[place], known)
        fills = ~choice.on[slot] & free.any()
        put = lambda leaf, value: leaf.at[slot].set(jnp.where(fills, value, leaf[slot]))  # noqa: E731
        filled = put(choice.running, place), put(choice.on, True), put(choice.around, around)
        return Choice(*filled, bounded.items.bound)

    return jax.lax.fori_loop(0, choice.on.size, fill, choice)


def _drawn(key: Key[Array, ""], among: Bool[Array, " n"]) -> Int[Array, ""]:
    """One of those, all as likely."""
    return jnp.argmax(jnp.where(among, jax.random.uniform(key, among.shape), -1.0)).astype(jnp.int32)


def _stepped(
    runner: EmitterRunner,
    phase: EmitterPhase,
    going: Bool[Array, ""],
    key: Key[Array, ""],
    world: World,
    known: Reference,
) -> EmitterPhase:
    """One step of all emitters at work, and what they hand over."""
    search, emitters, running = phase.search, phase.emitters, phase.running
    on = phase.on & going
    begun = search.statistics, take(emitters.slots, running), jnp.zeros((on.size, runner.config.members), bool)
    statistics, stepped, found = when(on.any(), partial(_step, runner), begun, on, key, world, known)
    rewards = stored(emitters.rewards, flat(stepped.members, 2), (found & on[:, None]).ravel())
    stops = on & jax.vmap(has_stagnated)(stepped)
    stops |= on & jax.vmap(runner.strategy.is_spent, axis_size=on.size)(stepped.memory)
    rewards = stored(rewards, take(rewards.items.genotype, stepped.ancestor), stops)
    search = _handed_over(search._replace(statistics=statistics), stepped, stops)
    end = emitters.active.size
    places, stopped = jnp.where(on, running, end), jnp.where(stops, running, end)
    slots = jax.tree.map(lambda leaf, new: leaf.at[places].set(new, mode="drop"), emitters.slots, stepped)
    active = emitters.active.at[stopped].set(False, mode="drop")
    emitters = emitters._replace(rewards=rewards, slots=slots, active=active)
    emitters = booked(emitters, stepped.ancestor, on, runner.strategy.brood)
    left = phase.left - on.sum(dtype=jnp.int32) * runner.strategy.brood
    return EmitterPhase(search, emitters, running, phase.on & ~stops, left)


def _step(
    runner: EmitterRunner,
    begun: tuple[Statistics, Emitter, Array],
    on: Bool[Array, " F"],
    key: Key[Array, ""],
    world: World,
    known: Reference,
) -> tuple[Statistics, Emitter, Bool[Array, "F M"]]:
    """The step, and which members are to be stored."""
    key_step, key_sample = jax.random.split(key)
    statistics, stepped = runner.step(*begun[:2], on, key_step, world, known)
    novel = runner.novelty(stepped.members, known)
    stepped = jax.vmap(note_novelty)(stepped, jax.random.split(key_sample, on.size), novel)
    return statistics, *jax.vmap(finds)(stepped)


def _handed_over(search: Search, emitters: Emitter, stops: Bool[Array, " F"]) -> Search:
    """Stores the samples of novel members of the emitters that stop."""
    keep = (jax.vmap(is_sampled)(emitters.novel) & stops[:, None]).ravel()
    return search._replace(archive=append(search.archive, flat(emitters.novel.items, 2), keep))


def _remeasured(phase: EmitterPhase) -> Emitters:
    """The emitters with the improvement of those still at work."""
    emitters, slots = phase.emitters, phase.emitters.slots
    improvement = jax.vmap(measured)(take(slots, phase.running)).improvement
    places = jnp.where(phase.on, phase.running, emitters.active.size)
    return emitters._replace(
        slots=slots._replace(improvement=slots.improvement.at[places].set(improvement, mode="drop"))
    )
