"""TAXONS: who is stored, who is replaced, when the space is learned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward import vmap
from jaxreward.agents.quality_diversity.parts.evaluation import make_evaluator
from jaxreward.agents.quality_diversity.parts.fitting import Fitting
from jaxreward.agents.quality_diversity.parts.space import Space
from jaxreward.agents.quality_diversity.taxons import Config, Hyperparams, Taxons, taxons
from jaxreward.envs import make

KEY = jax.random.key(0)
ENV, PARAMS = make("qd/point2d")
SMALL = Config(
    num_steps=5, chunk_size=36, population_size=12, best=2, neighbours=4, interval=2, novelty_first=2, capacity=30,
    image_size=16, channels=(2,), code=2, images=16, epochs=1,
)  # fmt: skip


def algorithm(learn=None, **settings):
    """The steps of the algorithm in a space that is given, and surprises by how far from the middle one ends."""
    config = Config(**{**vars(SMALL), **settings})

    def place(phase, outcome, _):
        behaviour = outcome.descriptor + phase
        return behaviour, jnp.square(outcome.descriptor).sum(1) + phase

    space = Space(None, lambda _: (), lambda _: jnp.zeros(()), place, learn)
    return Taxons(make_evaluator(ENV, PARAMS, config), space, config, PARAMS)


def count_learned_from(phase, key, outcomes, exists, env_params):
    """Behaviours move by how many were learned from."""
    return phase + exists.sum()


def generations(algo, number, key=KEY, hyperparams=Hyperparams()):
    """Searches after 0, 1, ... generations."""
    state = jax.jit(algo.init)(key, hyperparams)
    step = jax.jit(lambda search, key: algo.generation(search, key, state.hyperparams))
    searches = [state.search]
    for i in range(number):
        searches.append(step(searches[-1], jax.random.fold_in(key, i)))
    return jax.device_get([search._replace(start=None) for search in searches])


@pytest.mark.parametrize("criterion", ["novelty", "surprise"])
def test_the_best_are_stored_and_copied_over_the_worst(criterion):
    """Without mutation it is all seen: twelve, of whom the two worst become the two best."""
    algo = algorithm(criterion=criterion, neighbours=3)
    before, after = generations(algo, 1, hyperparams=Hyperparams(mutates=0.0))
    place, genomes = before.population.behaviour, before.population.genome
    gaps = np.sort(np.sqrt(np.square(place[:, None] - place[None]).sum(-1)), axis=1)
    merit = {"novelty": gaps[:, 1:4].mean(1), "surprise": np.square(place).sum(1)}[criterion]
    order = np.argsort(-merit, kind="stable")
    np.testing.assert_array_equal(after.archive.items.genome[:2], genomes[order[:2]])
    expected = genomes.copy()
    expected[order[-2:]] = genomes[order[:2]]
    np.testing.assert_array_equal(after.population.genome, expected)
    assert set(np.flatnonzero(after.stored)) == set(order[:2])


def test_who_has_not_changed_is_not_stored_again_but_a_copy_is():
    """The first is as good as its copy, and they are the best: only the copy is new."""
    searches = generations(algorithm(criterion="surprise"), 2, hyperparams=Hyperparams(mutates=0.0))
    assert [int(search.archive.size) for search in searches] == [0, 2, 3]
    best = np.argmax(searches[0].population.surprise)
    np.testing.assert_array_equal(searches[2].archive.items.genome[2], searches[0].population.genome[best])


def test_who_mutates_may_be_stored_again_and_who_finds_no_room_is_counted():
    searches = generations(algorithm(criterion="surprise", capacity=5), 4, hyperparams=Hyperparams(mutates=1.0))
    assert [(int(s.archive.size), int(s.archive.refused)) for s in searches] == [(0, 0), (2, 0), (4, 0), (5, 1), (5, 3)]
    assert not searches[-1].stored.any()


def test_mutation_changes_some_genes_of_most():
    algo = algorithm(population_size=400)
    genomes = jnp.zeros((400, 48))
    mutated, who = jax.jit(algo.mutated)(genomes, KEY, Hyperparams(mutation=0.05))
    changed = mutated != 0
    assert (changed.any(1) == who).mean() > 0.999  # all genes of one may stay
    tolerance = 4 * np.sqrt(0.09 / 400)
    assert abs(who.mean() - 0.9) < tolerance
    assert abs(changed[who].mean() - 0.2) < 4 * np.sqrt(0.16 / 48 / 360)
    assert abs(mutated[changed].std() - 0.05) < 4 * 0.05 / np.sqrt(2 * changed.sum())


def test_it_is_novelty_at_first_and_then_one_of_both_by_a_coin():
    algo = algorithm(criterion="both", novelty_first=3)
    search = jax.jit(algo.init)(KEY, Hyperparams()).search
    surprise = search.population.surprise

    @jax.jit
    def share(generation):
        merit = jax.vmap(lambda key: algo.merit(search._replace(generation=generation), key))(
            jax.random.split(KEY, 400)
        )
        return (merit == surprise[None]).all(1).mean()

    assert share(jnp.int32(2)) == 0
    assert abs(share(jnp.int32(3)) - 0.5) < 4 * 0.5 / 20


@pytest.fixture(scope="module")
def searches():
    return generations(algorithm(count_learned_from), 7, hyperparams=Hyperparams(mutates=1.0))


def test_the_space_is_learned_from_all_since_the_last_time_and_the_archive_and_places_move(searches):
    """Interval 2: after generations 0, 1, 2 and then each two; populations of 12, 2 stored in each."""
    learned = np.diff([float(search.space) for search in searches])
    np.testing.assert_array_equal(learned, [0, 0, 36 + 6, 0, 24 + 10, 0, 24 + 14])
    for search in searches:
        stored = search.archive.items
        held = slice(int(search.archive.size))
        np.testing.assert_allclose(
            stored.behaviour[held], stored.outcome.descriptor[held] + search.space, rtol=1e-6, atol=1e-6
        )
        expected = np.square(stored.outcome.descriptor[held]).sum(1) + search.space
        np.testing.assert_allclose(stored.surprise[held], expected, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(
            search.population.behaviour, search.population.outcome.descriptor + search.space, rtol=1e-6, atol=1e-6
        )


def test_novelty_is_measured_to_the_population_and_all_that_is_stored(searches):
    merit = jax.jit(algorithm(criterion="novelty").merit)
    for search in searches[:3]:
        stored = search.archive.items.behaviour[: int(search.archive.size)]
        here = search.population.behaviour
        gaps = np.sort(np.linalg.norm(here[:, None] - np.concatenate([here, stored])[None], axis=-1), axis=1)
        np.testing.assert_allclose(merit(search, KEY), gaps[:, 1:5].mean(1), rtol=1e-4)


@pytest.fixture(scope="module")
def seeds():
    """Two seeds after two iterations."""
    many = vmap(taxons(ENV, PARAMS, SMALL))
    state = jax.jit(many.init)(jax.random.split(KEY, 2), Hyperparams())
    step = jax.jit(many.step)
    return step(step(state)[0])


def test_an_iteration_counts_what_it_tried(seeds):
    state, metrics = seeds
    np.testing.assert_array_equal(metrics["env_steps"], 3 * 12 * 5)
    np.testing.assert_array_equal(metrics["evaluations"], 12 + 6 * 12)
    assert (metrics["archive/size"] <= 12).all()
    assert (metrics["archive/size"] > 6).all()
    assert (metrics["archive/refused"] == 0).all()
    cells = np.floor((np.array(state.search.archive.items.outcome.descriptor) + 1) * 25).astype(int)
    for i, size in enumerate(metrics["archive/size"].astype(int)):
        covered = len({tuple(cell) for cell in cells[i, :size]})
        np.testing.assert_allclose(metrics["archive/coverage"][i], covered / 2500, rtol=1e-6)
    assert all(np.isfinite(value).all() for value in metrics.values())


def test_a_seed_among_others_is_what_it_is_alone(searches):
    algo, alone, hyperparams = algorithm(count_learned_from), searches[3], Hyperparams(mutates=1.0)

    def run(key):
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(3))
        generation = lambda search, key: (algo.generation(search, key, hyperparams), None)  # noqa: E731
        return jax.lax.scan(generation, algo.init(key, hyperparams).search, keys)[0]

    many = jax.jit(jax.vmap(run))(jnp.stack([jax.random.key(1), KEY]))
    assert many.space[1] == alone.space > 36
    np.testing.assert_allclose(many.population.genome[1], alone.population.genome, atol=1e-6)
    np.testing.assert_allclose(many.archive.items.behaviour[1], alone.archive.items.behaviour, rtol=1e-5, atol=1e-6)


def test_its_policy_is_the_best_it_keeps():
    algo = algorithm()
    state = jax.jit(algo.init)(KEY, Hyperparams())
    population = state.search.population
    population = population._replace(outcome=population.outcome._replace(reward=jnp.arange(12.0).at[3].set(99)))
    items = state.search.archive.items
    items = items._replace(
        genome=items.genome.at[1].set(1.0), outcome=items.outcome._replace(reward=jnp.arange(30.0) * 100)
    )
    seen = jnp.array([0.3, -0.2])
    for stored, genome in ((1, population.genome[3]), (2, items.genome[1])):
        archive = state.search.archive._replace(items=items, size=jnp.int32(stored))
        policy = algo.policy(state._replace(search=state.search._replace(population=population, archive=archive)))
        expected = algo.evaluator.controller.act(genome, seen)
        np.testing.assert_allclose(policy.mode(policy.reset(), seen, KEY)[1], expected, rtol=1e-6)


def test_nothing_is_held_back_from_a_training():
    learned = taxons(ENV, PARAMS, SMALL).step.__self__.space.learn.__self__
    assert learned.fitting == Fitting(epochs=1, batch_size=16, validation=0.0)


def test_it_is_said_what_does_not_fit():
    with pytest.raises(ValueError, match=r"best=7 of population_size=12 .* at most 6"):
        taxons(ENV, PARAMS, Config(population_size=12, best=7))
    with pytest.raises(ValueError, match="interval must be at least 1; got 0"):
        taxons(ENV, PARAMS, Config(interval=0))
    with pytest.raises(ValueError, match="surprise"):
        taxons(ENV, PARAMS, Config(criterion="surprize"))
    with pytest.raises(ValueError, match="untrained"):
        taxons(ENV, PARAMS, Config(encoder="untraind"))
