"""Emitters at work: who begins, who stops, what novelty is measured against, and from whom a space is learned."""

from __future__ import annotations

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agents.quality_diversity.parts.emitter_set import World
from jaxreward.agents.quality_diversity.parts.emitter_step import run_emitters
from jaxreward.agents.quality_diversity.parts.genotypes import join, take
from jaxreward.agents.quality_diversity.parts.rewards import reference
from jaxreward.agents.quality_diversity.parts.space import Space
from jaxreward.agents.quality_diversity.serene import Config, Hyperparams, Serene, State, serene, with_emitters
from jaxreward.envs import make

ENV, PARAMS = make("qd/point2d")
KEY = jax.random.key(0)
SIZES = {"population_size": 10, "children": 1, "chunk_size": 10, "budget": 200, "neighbours": 3, "archived": 2}
CONFIG = Config(**SIZES, controller="constant", emitter="cma_es", emitter_capacity=4, reward_capacity=8)
ANCESTOR, SLOT = 2, 1


def steps_of(config: Config = CONFIG) -> Serene:
    return serene(ENV, PARAMS, config).step.__self__  # type: ignore[attr-defined]


@cache
def begun() -> State:
    """Three have earned, of whom the last is far away, ended in area 3, and has an emitter; there is no other one."""
    runner = steps_of().runner
    state = jax.jit(steps_of().init)(KEY, Hyperparams())
    rewards, slots = state.emitters.rewards, state.emitters.slots
    places = jax.random.normal(KEY, (8, 2)).at[ANCESTOR].set(50.0)
    genotype = rewards.items.genotype
    outcome = genotype.outcome._replace(area=jnp.arange(8) + 1)
    genotype = genotype._replace(behaviour=places, outcome=outcome, genome=0.1 * places)
    items = rewards.items._replace(genotype=genotype, bound=jnp.full(8, jnp.inf))
    memory, _ = runner.strategy.start(KEY, jnp.zeros(2), jnp.asarray(0.1))
    members = take(state.search.population, jnp.arange(6))
    one = runner.founded(members, memory, jnp.asarray(ANCESTOR, jnp.int32), jnp.asarray(0.1))
    slots = jax.tree.map(lambda leaf, new: leaf.at[SLOT].set(new), slots, one)
    rewards = rewards._replace(items=items, size=jnp.int32(3))
    active = jnp.zeros(4, bool).at[SLOT].set(True)
    return state._replace(emitters=state.emitters._replace(rewards=rewards, slots=slots, active=active))


def novelty(places: np.ndarray, known: np.ndarray, but: int = 0) -> np.ndarray:
    """The mean distance to three others, without so many of the nearest."""
    distances = np.sort(np.linalg.norm(np.asarray(places)[:, None] - known[None], axis=-1))
    return distances[:, but : but + 3].mean(1)


def all_known(state: State) -> np.ndarray:
    parts = state.search.population.behaviour, state.search.offspring.behaviour
    return np.concatenate([*parts, state.emitters.rewards.items.genotype.behaviour[:3]])


@cache
def after_a_step() -> tuple:
    """The same after six evaluations, with a step size that CMA-ES goes on with, and with one at which it stops."""
    state, runner = begun(), steps_of().runner

    def run(sigma):
        slots = state.emitters.slots
        memory = slots.memory._replace(sigma=slots.memory.sigma.at[SLOT].set(sigma))
        emitters, search = state.emitters._replace(slots=slots._replace(memory=memory)), state.search
        world = World(search.space, PARAMS, search.start)
        return run_emitters(runner, search, emitters, jnp.int32(6), KEY, world)

    return jax.jit(jax.vmap(run))(jnp.array([0.1, 1e6]))


def test_one_that_begins_knows_its_ancestor_as_its_most_novel() -> None:
    slots = after_a_step()[1].slots
    here = begun().emitters.rewards.items.genotype.behaviour[ANCESTOR][None]
    np.testing.assert_allclose(slots.most_novel[0, SLOT], novelty(here, all_known(begun()), but=1)[0], rtol=1e-5)
    assert slots.is_ancestor[:, SLOT].all()
    np.testing.assert_array_equal(slots.steps[:, SLOT], 1)


def test_cma_es_stops_by_a_rule_of_its_own_and_its_ancestor_is_stored_again() -> None:
    emitters = after_a_step()[1]
    np.testing.assert_array_equal(emitters.active[:, SLOT], [True, False])
    sizes, genomes = emitters.rewards.size, emitters.rewards.items.genotype.genome
    ancestor = begun().emitters.rewards.items.genotype.genome[ANCESTOR]
    last = [(genomes[i, sizes[i] - 1] == ancestor).all() for i in range(2)]
    assert last[1]
    assert sizes[0] == 3 or not last[0]
    assert sizes[1] > 3


def test_what_is_spent_is_booked_to_the_area_of_the_ancestor() -> None:
    np.testing.assert_array_equal(after_a_step()[1].spent, [[0, 0, 0, 6, 0]] * 2)


@pytest.mark.parametrize("drop_nearest", [False, True])
def test_novelty_of_members_is_with_or_without_the_nearest(drop_nearest: bool) -> None:
    state, runner = begun(), steps_of(dataclasses.replace(CONFIG, drop_nearest=drop_nearest)).runner
    known = join(runner.explorer.reference(state.search), reference(state.emitters.rewards))
    members = take(state.search.population, jnp.arange(6))
    members = members._replace(behaviour=members.behaviour + 0.5)
    expected = novelty(members.behaviour, all_known(state), but=int(drop_nearest))
    np.testing.assert_allclose(runner.novelty(members, known), expected, rtol=1e-4)


def test_a_space_is_learned_from_all_that_earned_too() -> None:
    """Its one param is how many these are: population, offspring, three that are stored, three that earned."""
    space = Space(
        None,
        lambda _: (),
        lambda _: jnp.zeros(()),
        lambda moved, outcome, _: (outcome.descriptor + moved, jnp.zeros(len(outcome.reward))),
        lambda moved, key, outcomes, exists, _: moved + exists.sum(),
    )
    algorithm = with_emitters(ENV, PARAMS, CONFIG, space).step.__self__  # type: ignore[attr-defined]
    state = begun()
    search = state.search._replace(space=jnp.zeros(()), archive=state.search.archive._replace(size=jnp.int32(3)))
    after = jax.jit(algorithm.learned)(state._replace(search=search), KEY, jnp.asarray(True))
    assert after.search.space == 10 + 10 + 3 + 3
    of_rewards = after.emitters.rewards.items.genotype
    np.testing.assert_allclose(of_rewards.behaviour, of_rewards.outcome.descriptor + 26, rtol=1e-6)
