"""Novelty search, its relatives, and random search."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import ttest_ind

from jaxreward.agent import Agent, vmap
from jaxreward.agents.quality_diversity.novelty_search import Config, Hyperparams, State, novelty_search
from jaxreward.agents.quality_diversity.parts.evaluation import Outcome
from jaxreward.agents.quality_diversity.parts.genotypes import Genotypes
from jaxreward.agents.quality_diversity.parts.selection import Merits, Reference, merits, order
from jaxreward.agents.quality_diversity.random_search import Config as RandomConfig
from jaxreward.agents.quality_diversity.random_search import Hyperparams as RandomHyperparams
from jaxreward.agents.quality_diversity.random_search import random_search
from jaxreward.envs import make
from tests.as_users import AS_USERS

SEEDS = jnp.arange(16)


def keys(seeds: jax.Array = SEEDS) -> jax.Array:
    return jax.vmap(jax.random.key)(seeds)


def run(agent: Agent, state: State, iterations: int, options: dict | None = None) -> tuple[State, dict[str, jax.Array]]:
    steps = lambda state: jax.lax.scan(lambda s, _: agent.step(s), state, length=iterations)  # noqa: E731
    return jax.jit(steps, compiler_options=options)(state)


@cache
def golden() -> tuple[State, dict[str, jax.Array]]:
    """Sixteen seeds with the authors' settings, ten thousand evaluations each."""
    agent = vmap(novelty_search(*make("qd/point2d"), Config(budget=10_000)))
    return run(agent, jax.jit(agent.init)(keys(), Hyperparams()), 11, AS_USERS)


def test_coverage_of_point2d_is_that_of_the_authors_code() -> None:
    """Theirs, three seeds: 0.934 to 0.942 after 10,100 evaluations; a port of it, eight seeds: 0.926 to 0.956."""
    coverage = golden()[1]["coverage"]
    assert bool(((coverage[9] > 0.92) & (coverage[9] < 0.96)).all())
    theirs = [0.5888, 0.5872, 0.5988, 0.5844]  # four seeds of their code, 3,100 evaluations
    assert ttest_ind(coverage[2], theirs, equal_var=False).pvalue > 0.01


def test_the_budget_and_the_archive_to_the_last_evaluation() -> None:
    state, told = golden()
    counted = 100 + 1000 * np.arange(1, 11)
    np.testing.assert_array_equal(told["evaluations"][:10], np.repeat(counted[:, None], 16, 1))
    np.testing.assert_array_equal(told["evaluations"][10], told["evaluations"][9])  # the budget is spent
    np.testing.assert_array_equal(told["env_steps"][:, 0], [1100 * 50, *[1000 * 50] * 9, 0])
    np.testing.assert_array_equal(told["archive/size"][:10], np.repeat(25.0 * np.arange(1, 11)[:, None], 16, 1))
    assert int(state.search.archive.refused.sum()) == 0
    assert state.search.archive.items.genome.shape[1] >= 250
    np.testing.assert_array_equal(state.search.statistics.visits.sum(1), np.full(16, 10_100))


def test_what_is_stored_stays() -> None:
    agent = novelty_search(*make("qd/point2d"), Config(budget=1000, population_size=10, chunk_size=40))
    step = jax.jit(agent.step)
    before, _ = step(jax.jit(agent.init)(jax.random.key(1), Hyperparams()))
    after, _ = step(before)
    size = int(before.search.archive.size)
    assert size == 10
    assert int(after.search.archive.size) == 20
    for old, new in zip(*map(jax.tree.leaves, (before.search.archive.items, after.search.archive.items)), strict=True):
        np.testing.assert_array_equal(old[:size], new[:size])
    stored = np.asarray(after.search.archive.items.genome[:20])
    assert len(np.unique(stored, axis=0)) == 20  # drawn without replacement, and no child is another's


def test_a_generation_is_the_one_by_brute_force() -> None:
    env, params = make("qd/point2d")
    agent = novelty_search(env, params, Config(budget=1000, population_size=10, chunk_size=20))
    begun = jax.jit(agent.init)(jax.random.key(2), Hyperparams())
    begun, _ = jax.jit(agent.step)(begun)
    after, _ = jax.jit(agent.step)(begun)
    population, offspring = begun.search.population, after.search.offspring
    # Children stem from each parent in turn, and differ by little.
    moved = np.abs(np.asarray(offspring.genome) - np.repeat(np.asarray(population.genome), 2, axis=0))
    assert 0 < moved.max() < 0.05 * 5.5
    known = np.concatenate(
        [
            population.behaviour,
            offspring.behaviour,
            begun.search.archive.items.behaviour[: int(begun.search.archive.size)],
        ]
    )
    distances = np.linalg.norm(known[:30, None] - known[None], axis=-1)
    novelty = np.sort(distances, axis=1)[:, 1:16].mean(1)
    best = np.argsort(-novelty)[:10]
    genomes = np.concatenate([population.genome, offspring.genome])
    assert {tuple(g) for g in genomes[best]} == {tuple(g) for g in np.asarray(after.search.population.genome)}


def test_one_seed_alone_is_its_slice_of_all() -> None:
    agent = novelty_search(
        *make("qd/point2d"), Config(budget=600, population_size=10, chunk_size=100, selection="nsga2")
    )
    together, _ = run(vmap(agent), jax.jit(vmap(agent).init)(keys(jnp.arange(3)), Hyperparams()), 3)
    alone, _ = run(agent, jax.jit(agent.init)(jax.random.key(2), Hyperparams()), 3)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[2], b, rtol=1e-5, atol=1e-5),
        *(
            (s.search.population.genome, s.search.archive.items, s.search.statistics.visits, s.search.statistics.best)
            for s in (together, alone)
        ),
    )


def some(number: int) -> tuple[Genotypes, Reference]:
    draws = np.random.default_rng(number)
    rewards = np.maximum(draws.normal(size=number), 0).astype(np.float32)
    behaviour = draws.normal(size=(number + 20, 2)).astype(np.float32)
    flags, zeros = jnp.zeros(number, bool), jnp.zeros(number, jnp.int32)
    outcome = Outcome(jnp.asarray(rewards), zeros, jnp.asarray(behaviour[:number]), zeros, ())
    surprise = jnp.asarray(draws.uniform(size=number), jnp.float32)
    everybody = Genotypes(jnp.zeros((number, 1)), outcome, jnp.asarray(behaviour[:number]), surprise, flags)
    earned = jnp.concatenate([outcome.reward, jnp.full(20, 0.7)])
    return everybody, Reference(jnp.asarray(behaviour), earned, jnp.arange(number + 20) < number + 10)


def test_novelty_and_local_competition_by_brute_force() -> None:
    everybody, reference = some(25)
    found = jax.jit(merits, static_argnums=2)(everybody, reference, 4)
    exists = np.asarray(reference.exists)
    points = np.asarray(reference.behaviour)[exists]
    rewards = np.asarray(reference.reward)[exists]
    distances = np.linalg.norm(points[:25, None] - points[None], axis=-1)
    np.fill_diagonal(distances[:, :25], np.inf)
    nearest = np.argsort(distances, axis=1)[:, :4]
    np.testing.assert_allclose(found.novelty, np.take_along_axis(distances, nearest, 1).mean(1), rtol=1e-5)
    np.testing.assert_array_equal(found.beaten, (rewards[nearest] < rewards[:25, None]).sum(1))


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a >= b).all() and (a > b).any())


@pytest.mark.parametrize("selection", ["nsga2", "nslc", "novelty_and_surprise"])
def test_who_is_dominated_comes_after_who_is_not(selection: str) -> None:
    everybody, reference = some(25)
    known = merits(everybody, reference, 4)
    second = {
        "nsga2": everybody.outcome.reward,
        "nslc": known.beaten,
        "novelty_and_surprise": everybody.surprise,
    }[selection]
    points = np.stack([known.novelty, second], 1)
    found = np.asarray(order(selection, jax.random.key(0), everybody, known))  # type: ignore[arg-type]
    assert sorted(found) == list(range(25))
    place = np.argsort(found)
    pairs = [(i, j) for i in range(25) for j in range(25) if dominates(points[i], points[j])]
    assert pairs
    assert all(place[i] < place[j] for i, j in pairs)


def test_one_criterion_or_the_toss_of_a_coin() -> None:
    everybody, _ = some(25)
    known = Merits(jnp.asarray(np.random.default_rng(0).uniform(size=25)), jnp.zeros(25))
    by = {"novelty": np.argsort(-known.novelty), "surprise": np.argsort(-everybody.surprise)}
    for name, expected in by.items():
        np.testing.assert_array_equal(order(name, jax.random.key(0), everybody, known), expected)  # type: ignore[arg-type]
    tosses = [
        np.asarray(order("novelty_or_surprise", jax.random.key(seed), everybody, known)).tolist() for seed in range(20)
    ]
    assert {tuple(t) for t in tosses} == {tuple(expected.tolist()) for expected in by.values()}


def test_with_reward_as_an_objective_more_is_earned_than_without() -> None:
    """Sixteen seeds each: the sum over areas of the best reward is higher with NSGA-II, one-sided Welch's t, 0.01."""
    agent = vmap(novelty_search(*make("qd/point2d"), Config(budget=10_000, selection="nsga2")))
    _, told = run(agent, jax.jit(agent.init)(keys(), Hyperparams()), 10)
    earned = [np.sum([t[f"best/area_{area}"][9] for area in range(4)], 0) for t in (told, golden()[1])]
    assert ttest_ind(*earned, equal_var=False, alternative="greater").pvalue < 0.01
    assert float(told["coverage"][9].mean()) < float(golden()[1]["coverage"][9].mean())


def test_its_policy_is_the_best_of_all_it_keeps() -> None:
    env, params = make("qd/point2d")
    agent = novelty_search(env, params, Config(budget=10_000))
    state = jax.tree.map(lambda leaf: leaf[0], golden()[0])
    policy = agent.policy(state)
    archive, search = state.search.archive, state.search
    best = max(float(part.outcome.reward.max()) for part in (search.population, search.offspring, archive.items))
    observation, env_state = env.reset_env(jax.random.key(0), params)
    total, step, act = 0.0, jax.jit(env.step_env), jax.jit(lambda seen: policy.mode((), seen, jax.random.key(0))[1])
    for _ in range(50):
        observation, env_state, reward, _, _ = step(jax.random.key(0), env_state, act(observation), params)
        total += float(reward)
    assert total == best > 0


def test_its_policy_may_be_one_of_the_last_children_or_one_that_is_stored() -> None:
    agent = novelty_search(*make("qd/point2d"), Config(budget=1000, population_size=10, controller="constant"))
    search = (state := jax.jit(agent.init)(jax.random.key(0), Hyperparams())).search
    richest = lambda part, at, most: part._replace(  # noqa: E731
        genome=part.genome.at[at].set(most / 100),
        outcome=part.outcome._replace(reward=part.outcome.reward.at[at].set(most)),
    )
    offspring, items = richest(search.offspring, 3, 50.0), richest(search.archive.items, 1, 70.0)
    for stored, expected in ((1, 0.5), (2, 0.7)):
        archive = search.archive._replace(items=items, size=jnp.int32(stored))
        policy = agent.policy(state._replace(search=search._replace(offspring=offspring, archive=archive)))
        np.testing.assert_allclose(policy.mode((), jnp.zeros(2), jax.random.key(0))[1], expected)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"selection": "noveltyy"}, "novelty"),
        ({"selection": "novelty_and_surprise"}, "learned space"),
        ({"population_size": 0}, "population_size must be at least 1"),
        ({"archived": 201}, "at most 200"),
        ({"behaviour": "samples", "samples": 50}, "1 to 49"),
    ],
    ids=["name", "surprise", "zero", "archived", "samples"],
)
def test_what_does_not_fit_is_refused(settings: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        novelty_search(*make("qd/point2d"), Config(**settings))


def test_random_search_tries_what_nobody_selected() -> None:
    env, params = make("qd/point2d")
    agent = random_search(env, params, RandomConfig(budget=1500))
    state, told = run(agent, jax.jit(agent.init)(jax.random.key(0), RandomHyperparams()), 2)
    np.testing.assert_array_equal(told["evaluations"], [1100, 1500])
    np.testing.assert_array_equal(told["archive/size"], [50, 70])
    genomes = np.asarray(state.search.offspring.genome)
    assert abs(genomes.mean()) < 4 / np.sqrt(genomes.size)
    assert abs(genomes.std() - 1) < 4 / np.sqrt(2 * genomes.size)
    assert float(told["coverage"][-1]) < 0.5 * float(golden()[1]["coverage"][1].mean())
