"""The rules of emitters, against the same rules written over whole histories."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agents.quality_diversity.parts.bootstrap import admitted
from jaxreward.agents.quality_diversity.parts.emitters import (
    EDGE,
    advance,
    finds,
    has_stagnated,
    measured,
    new_emitter,
    note_novelty,
    strategy_of,
    window_of,
)
from jaxreward.agents.quality_diversity.parts.evaluation import EvaluationConfig, Outcome
from jaxreward.agents.quality_diversity.parts.genotypes import Genotypes, join, take
from jaxreward.agents.quality_diversity.parts.rewards import Rewarded, first_front, most_novel, recruit
from jaxreward.agents.quality_diversity.parts.scheduler import Scheduler, credited, decide, new_scheduler
from jaxreward.quality_diversity import append, empty_archive, is_sampled

MEMBERS, GENES = 6, 3
CONFIG = EvaluationConfig(genome_low=-1.0, genome_high=1.0)


advance, finds, note_novelty, recruit = (
    jax.jit(advance, static_argnums=0),
    jax.jit(finds),
    jax.jit(note_novelty),
    jax.jit(recruit),
)
append = jax.jit(append)


def genotypes(rewards: np.ndarray, genomes: np.ndarray | None = None, behaviour: np.ndarray | None = None):
    """Some that earned so much."""
    number = len(rewards)
    genomes = np.zeros((number, GENES)) if genomes is None else genomes
    behaviour = np.zeros((number, 2)) if behaviour is None else behaviour
    zeros = np.zeros(number, np.float32), np.zeros(number, np.int32), np.zeros((number, 2), np.float32)
    nothing, area, where = map(jnp.asarray, zeros)
    outcome = Outcome(jnp.asarray(rewards, jnp.float32), area, where, jnp.asarray(np.ones(number, np.int32)), ())
    of = jnp.asarray(genomes, jnp.float32), outcome, jnp.asarray(behaviour, jnp.float32)
    return Genotypes(*of, nothing, jnp.asarray(np.zeros(number, bool)))


@partial(jax.jit, static_argnums=(1, 2))
def emitter(rewards: np.ndarray, window: int = 40, kept: int = 5):
    return new_emitter(genotypes(rewards), (), jnp.asarray(0), jnp.asarray(0.1), window, kept)


STRATEGY = strategy_of("fitness", MEMBERS, 2, GENES, CONFIG)


@jax.jit
def climbed(one, rewards: np.ndarray):
    """A step in which children earned so much."""
    brood = genotypes(rewards)
    score = jnp.concatenate([one.members.outcome.reward, brood.outcome.reward])
    return advance(STRATEGY, one, (), brood, score)


def test_window() -> None:
    assert [window_of(genes, 6) for genes in (48, 63, 93, 94, 228, 574)] == [280, 330, 430, 433, 880, 2033]


@pytest.mark.parametrize("rising", [0.0, 0.01, 0.3], ids=["flat", "slow", "steep"])
def test_it_stops_exactly_when_the_whole_history_says_so(rising: float) -> None:
    window, steps = 45, 130
    draws = np.random.default_rng(1)
    history = [draws.uniform(size=MEMBERS).astype(np.float32)]
    children = (draws.uniform(size=(steps, 12)) + rising * np.arange(steps)[:, None]).astype(np.float32)
    children[60:] = 0.0  # from here on nothing gets better

    @jax.jit
    def run(first, children):
        def step(one, rewards):
            one = climbed(one, rewards)
            return one, (has_stagnated(one), measured(one).improvement, one.members.outcome.reward)

        return jax.lax.scan(step, emitter(first, window), children)[1]

    stops, improvements, members = jax.device_get(run(history[0], children))
    for step in range(steps):
        history.append(np.sort(np.concatenate([history[-1], children[step]]))[::-1][:MEMBERS])
        np.testing.assert_array_equal(np.sort(members[step])[::-1], history[-1])
        rows = np.array(history)
        last = rows[-window:]
        stuck = np.median(last[:EDGE]) >= np.median(last[-EDGE:]) or last[:EDGE].max() >= last[-EDGE:].max()
        assert stops[step] == (step + 1 > window and stuck), step
        if step >= 2:
            expected = max(rows[-3:].mean() - rows[:3].mean(), 0)
            np.testing.assert_allclose(improvements[step], expected, atol=1e-6)
    assert stops.any()
    assert not stops[:window].any()
    # Nothing rises from step 60 on: the last 20 rows of a window equal its first 20 once these begin there.
    assert (np.argmax(stops) >= 60 + window - EDGE - 1) == (rising == 0.3)


def test_the_first_find_is_the_best_and_later_ones_beat_all_before() -> None:
    one, found = finds(emitter(np.array([0.0, 0.2, 0.5, 0.5, -1.0, 0.1])))
    np.testing.assert_array_equal(found, [False, False, True, False, False, False])
    one, found = finds(one)
    assert not found.any()
    one, found = finds(one._replace(members=genotypes(np.array([0.6, 0.5, 0.55, 0.0, 0.9, 0.5]))))
    np.testing.assert_array_equal(found, [True, False, True, False, True, False])
    np.testing.assert_allclose(one.best, 0.9)
    _, found = finds(emitter(np.zeros(MEMBERS)))
    assert not found.any()


def test_members_more_novel_than_any_before_are_sampled() -> None:
    one = emitter(np.arange(6.0))._replace(most_novel=jnp.asarray(0.5))
    one = note_novelty(one, jax.random.key(0), jnp.array([0.1, 0.6, 0.5, 0.7, 0.2, 0.0]))
    assert int(one.novel.seen) == 2
    assert not one.is_ancestor
    np.testing.assert_allclose(one.most_novel, 0.7)
    np.testing.assert_array_equal(one.novel.items.outcome.reward[:2], [1.0, 3.0])
    same = note_novelty(one, jax.random.key(1), jnp.full(6, 0.7))
    assert int(same.novel.seen) == 2
    many = note_novelty(one, jax.random.key(1), jnp.full(6, 0.8))
    assert int(many.novel.seen) == 8
    assert int(is_sampled(many.novel).sum()) == 5  # never more than are handed over


def test_children_are_near_their_parents_within_the_limits() -> None:
    strategy = strategy_of("fitness", MEMBERS, 2, GENES, CONFIG)
    assert (strategy.members, strategy.brood) == (6, 12)
    _, start = strategy.start(jax.random.key(0), jnp.array([0.9, 0.0, -2.0]), jnp.asarray(0.01))
    assert start.shape == (6, 3)
    assert float(jnp.abs(start - jnp.array([[0.9, 0.0, -1.0]])).max()) < 0.06
    assert bool((start[:, 2] >= -1).all())
    _, children = strategy.propose(jax.random.key(1), (), start, jnp.asarray(1e-4))
    np.testing.assert_allclose(children, jnp.repeat(start, 2, axis=0), atol=1e-3)
    _, best = strategy.choose((), genotypes(np.arange(6.0)), genotypes(np.arange(12.0) + 2.5), jnp.arange(18.0))
    np.testing.assert_array_equal(np.sort(best.outcome.reward), np.arange(12.0)[6:] + 2.5)


def test_cma_es_as_an_emitter_climbs() -> None:
    strategy = strategy_of("cma_es", MEMBERS, 2, GENES, EvaluationConfig())
    assert strategy.brood == MEMBERS
    goal = jnp.array([0.5, -0.5, 1.0])
    earned = lambda genomes: -jnp.square(genomes - goal[None]).sum(1)  # noqa: E731

    def met(genomes):
        return genotypes(jnp.zeros(MEMBERS), genomes)._replace(
            outcome=genotypes(jnp.zeros(MEMBERS)).outcome._replace(reward=earned(genomes)), genome=genomes
        )

    def step(carry, key):
        memory, members = carry
        memory, genomes = strategy.propose(key, memory, members.genome, jnp.asarray(0.3))
        brood = met(genomes)
        score = jnp.concatenate([members.outcome.reward, brood.outcome.reward])
        return strategy.choose(memory, members, brood, score), None

    @jax.jit
    def run(key):
        memory, genomes = strategy.start(key, jnp.zeros(3), jnp.asarray(0.3))
        members = met(genomes)
        begun = strategy.open(memory, members), members
        return jax.lax.scan(step, begun, jax.random.split(key, 60))[0]

    memory, members = run(jax.random.key(0))
    assert float(members.outcome.reward.max()) > -1e-4
    assert int(memory.generation) == 61  # the first members were told as well


def archive_of(behaviour: np.ndarray, capacity: int, stored: int):
    """An archive of what earned, of which the first so many are stored."""
    number = len(behaviour)
    many = genotypes(np.ones(number), behaviour=behaviour)
    known = np.ones(number, np.float32), np.ones(number, bool), np.full(number, np.inf, np.float32)
    items = Rewarded(many, *map(jnp.asarray, known))
    empty = jax.jit(lambda items: empty_archive(take(items, 0), capacity))(items)
    return append(empty, items, np.arange(number) < stored)


def novelties(behaviour: np.ndarray, k: int) -> np.ndarray:
    distances = np.linalg.norm(behaviour[:, None] - behaviour[None], axis=-1)
    return np.sort(distances, axis=1)[:, 1 : k + 1].mean(1)


@pytest.mark.parametrize("stored", [10, 150], ids=["fewer than neighbours", "many"])
def test_the_most_novel_are_found_however_stale_the_bounds(stored: int) -> None:
    behaviour = np.random.default_rng(0).normal(size=(150, 2)).astype(np.float32)
    search = jax.jit(lambda rewards, among: most_novel(rewards, among, 7, 15))
    rewards = archive_of(behaviour, 200, stored // 2)
    among = jnp.arange(200) % 2 == 0
    rewards, _ = search(rewards, among & (jnp.arange(200) < stored // 2))
    later = archive_of(behaviour, 200, stored)
    # The archive grows; what was known of the first rows is kept as their bound.
    bound = later.items.bound.at[: stored // 2].set(rewards.items.bound[: stored // 2])
    later = later._replace(items=later.items._replace(bound=bound))
    after, rows = search(later, among & (jnp.arange(200) < stored))
    expected = novelties(behaviour[:stored], 15)[::2]
    np.testing.assert_array_equal(rows[:5], 2 * np.argsort(-expected)[:5])
    if stored > 15:
        known = np.isfinite(np.asarray(after.items.bound[:stored]))
        exact = novelties(behaviour[:stored], 15)
        assert (np.asarray(after.items.bound[:stored])[known] >= exact[known] - 1e-5).all()
    else:
        assert np.isinf(after.items.bound[:stored]).all()  # a mean over few may still rise


def test_the_first_front_is_that_of_exact_novelties() -> None:
    draws = np.random.default_rng(2)
    behaviour = draws.normal(size=(120, 2)).astype(np.float32)
    improvement = np.round(draws.uniform(size=30), 1).astype(np.float32)
    ancestor, active = draws.permutation(120)[:30], draws.uniform(size=30) < 0.7
    rewards = archive_of(behaviour, 128, 120)
    find = jax.jit(lambda rewards: first_front(rewards, ancestor, improvement, active, 15))
    after, front = find(rewards)
    novelty = novelties(behaviour, 15)[ancestor]
    for i in range(30):
        no_less = (novelty >= novelty[i]) & (improvement >= improvement[i])
        more = (novelty > novelty[i]) | (improvement > improvement[i])
        assert bool(front[i]) == bool(active[i] and not (active & no_less & more).any())
    np.testing.assert_array_equal(find(after)[1], front)


def test_everybody_who_earned_is_recruited_once() -> None:
    from jaxreward.agents.quality_diversity.parts.exploration import Search

    genomes = np.random.default_rng(3).normal(size=(5, GENES))
    genomes[4] = genomes[3]
    population = genotypes(np.array([0.0, 1.0]), genomes[:2])
    offspring = genotypes(np.array([0.0, 2.0, 3.0]), genomes[2:])
    search = Search(population, offspring, (), (), (), ())  # type: ignore[arg-type]
    archive = archive_of(np.zeros((1, 2)), 8, 0)
    search, archive = recruit(search, archive, jnp.asarray(0.05))
    assert int(archive.size) == 3
    np.testing.assert_array_equal(archive.items.genotype.outcome.reward[:3], [1.0, 2.0, 3.0])
    nearest = np.delete(np.linalg.norm(genomes - genomes[1], axis=1), 1).min()
    np.testing.assert_allclose(archive.items.spread[:3], [nearest / 3, 0.05, 0.05], rtol=1e-5)
    assert bool(archive.items.waits[:3].all())
    _, again = recruit(search, archive, jnp.asarray(0.05))
    assert int(again.size) == 3


def test_the_pool_takes_as_many_as_there_is_room_for() -> None:
    from jaxreward.agents.quality_diversity.parts.emitter_set import Emitters

    one = emitter(np.arange(6.0))
    slots = jax.tree.map(lambda leaf: np.zeros((4, *leaf.shape), leaf.dtype), one)
    active = jnp.array([True, False, False, True])
    emitters = Emitters((), slots, active, jnp.asarray(0), jnp.zeros(2, jnp.int32))  # type: ignore[arg-type]
    evaluated = jax.jit(jax.vmap(lambda n: one._replace(spread=n)))(np.arange(1.0, 6.0, dtype=np.float32))
    after = jax.jit(admitted)(emitters, evaluated, np.array([False, True, False, True, True]))
    np.testing.assert_array_equal(after.active, [True] * 4)
    np.testing.assert_array_equal(after.slots.spread, [0.0, 2.0, 4.0, 0.0])
    assert int(after.refused) == 1


def test_schedulers() -> None:
    keys = jax.random.split(jax.random.key(0), 2000)
    some, none = jnp.asarray(True), jnp.asarray(False)
    begun = Scheduler(jnp.array([5.0, 5.0]), jnp.zeros(2))
    assert [bool(x) for x in decide("alternating", begun, keys[0], 0.1, some)] == [True, True]
    assert [bool(x) for x in decide("exploring", begun, keys[0], 0.1, some)] == [True, False]
    for kind, used, share in [("fixed", 0.9, 0.5), ("time", 0.25, 0.25), ("time", 1.0, 1.0)]:
        draw = jax.vmap(lambda key, kind=kind, used=used: decide(kind, begun, key, used, some))
        explores, exploits = draw(keys)
        assert bool((explores != exploits).all())
        assert abs(float(exploits.mean()) - share) < 4 * np.sqrt(share * (1 - share) / 2000) + 1e-6
        assert bool(decide(kind, new_scheduler(), keys[0], used, some)[0])  # the first is always exploring
    # Upper confidence bounds: exploring was worth -0.5 in 9 of 10 chunks, exploiting 0 in one.
    lean = Scheduler(jnp.array([9.0, 1.0]), jnp.array([-0.5, 0.0]))
    assert bool(decide("ucb", lean, keys[0], 0.1, some)[1])
    assert bool(decide("ucb", lean, keys[0], 0.1, none)[0])
    rich = Scheduler(jnp.array([9.0, 9.0]), jnp.array([0.5, 0.0]))
    assert bool(decide("ucb", rich, keys[0], 0.1, some)[0])
    after = credited(lean, none, jnp.asarray(2), jnp.asarray(3))
    np.testing.assert_allclose(after.pulls, [10.0, 1.0])
    np.testing.assert_allclose(after.value, [(-0.5 * 9 - np.tanh(1)) / 10, 0.0], rtol=1e-6)
    after = credited(lean, some, jnp.asarray(3), jnp.asarray(1))
    np.testing.assert_allclose(after.value, [-0.5, -np.tanh(2) / 2], rtol=1e-6)
    assert float(credited(new_scheduler(), some, jnp.asarray(0), jnp.asarray(0)).value[1]) == -1


def test_strategies_under_vmap_are_each_alone() -> None:
    rewards = np.random.default_rng(5).uniform(size=(4, 12)).astype(np.float32)
    first = np.random.default_rng(6).uniform(size=(4, 6)).astype(np.float32)
    many = jax.jit(jax.vmap(lambda a, b: climbed(emitter(a), b)))(first, rewards)
    for row in range(4):
        alone = climbed(emitter(first[row]), rewards[row])
        jax.tree.map(lambda a, b, i=row: np.testing.assert_array_equal(a[i], b), many, alone)
    assert join(genotypes(np.zeros(2)), genotypes(np.zeros(3))).surprise.shape == (5,)
