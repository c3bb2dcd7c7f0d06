"""AURORA: how far behaviours keep from each other, when the space is learned, what is held."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward import vmap
from jaxreward.agents.quality_diversity.aurora import Aurora, Config, Hyperparams, aurora, controlled, first_distance
from jaxreward.agents.quality_diversity.parts.evaluation import make_evaluator
from jaxreward.agents.quality_diversity.parts.space import Space
from jaxreward.envs import make

KEY = jax.random.key(0)
ENV, PARAMS = make("qd/point2d")
SMALL = Config(
    num_steps=5, chunk_size=24, batch=8, target_size=12, neighbours=3, rebuild=3, interval=2,
    image_size=16, channels=(2,), code=2, images=16, epochs=2,
)  # fmt: skip


def algorithm(**settings):
    """The steps of the algorithm in a space that is given and, when learned, is wider by how many it learns from."""
    config = Config(**{**vars(SMALL), **settings})
    place = lambda scale, outcome, _: (scale * outcome.descriptor, jnp.zeros(len(outcome.reward)))  # noqa: E731
    learn = lambda scale, key, outcome, exists, _: scale + exists.sum()  # noqa: E731
    space = Space(None, lambda _: (), lambda _: jnp.ones(()), place, learn)
    return Aurora(make_evaluator(ENV, PARAMS, config), space, config, PARAMS)


def generations(algo, number, hyperparams=Hyperparams()):
    """Searches after 0, 1, ... generations."""
    state = jax.jit(algo.init)(KEY, hyperparams)
    step = jax.jit(lambda search, key: algo.generation(search, key, state.hyperparams))
    searches = [state.search]
    for i in range(number):
        searches.append(step(searches[-1], jax.random.fold_in(KEY, i)))
    return jax.device_get([search._replace(start=None) for search in searches])


def test_the_first_distance_is_that_of_a_grid_in_the_box_around_all():
    """A box of 4 by 1, turned by 30 degrees, of which 16 cells are half a unit wide."""
    corners = jnp.array([[2.0, 0.5], [2.0, -0.5], [-2.0, 0.5], [-2.0, -0.5]])
    turn = jnp.array([[np.cos(np.pi / 6), -np.sin(np.pi / 6)], [np.sin(np.pi / 6), np.cos(np.pi / 6)]])
    points = jnp.concatenate([corners @ turn + 7, jnp.full((3, 2), 1e3)])
    found = jax.jit(first_distance, static_argnums=2)(points, jnp.arange(7) < 4, 16)
    np.testing.assert_allclose(found, 0.5 * np.sqrt(4 / 16), rtol=1e-4)


def test_behaviours_that_are_all_one_keep_no_distance():
    assert first_distance(jnp.ones((4, 3)), jnp.ones(4, bool), 16) == 0


def test_the_distance_grows_with_too_many_and_shrinks_with_too_few():
    distance = jnp.asarray(2.0)
    np.testing.assert_allclose(controlled(distance, jnp.int32(1200), 1000, 5e-6), 2 * 1.001)
    np.testing.assert_allclose(controlled(distance, jnp.int32(900), 1000, 5e-6), 2 * 0.9995)
    assert controlled(distance, jnp.int32(1000), 1000, 5e-6) == 2


@pytest.fixture(scope="module")
def searches():
    return generations(algorithm(), 12, Hyperparams(mutation=1.0, gain=0.01))


def test_all_random_genomes_enter_and_all_are_learned_from_at_trainings_ever_farther_apart(searches):
    """After generation 1, then 2 * 2 later, then 3 * 2; the next would be after generation 19."""
    assert searches[0].repertoire.size == 8
    held = {after: int(searches[after - 1].repertoire.size) for after in (1, 5, 11)}
    np.testing.assert_array_equal(
        np.diff([search.space for search in searches]), [held.get(i, 0) for i in range(1, 13)]
    )
    assert searches[-1].training == 19


def test_whoever_is_held_is_in_its_place_as_fit_as_it_is(searches):
    for search in searches:
        held, size = search.repertoire, int(search.repertoire.size)
        place = search.space * held.items.outcome.descriptor[:size]
        np.testing.assert_allclose(held.behaviour[:size], place, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(held.fitness[:size], held.items.outcome.reward[:size])
        assert len(np.unique(held.items.genome[:size], axis=0)) == size


def test_the_distance_follows_the_size(searches):
    for before, after in list(itertools.pairwise(searches))[1:]:
        expected = before.distance * (1 - 0.01 * (12 - before.repertoire.size))
        np.testing.assert_allclose(after.distance, expected, rtol=1e-5)


REBUILT = {
    "nothing is due": ((4, 11, 6), 0.5, 3),
    "it is time": ((6, 11, 6), 0.5, 2),
    "the space was learned": ((5, 11, 6), 0.5, 2),
    "near, within tolerance": ((6, 11, 6), 0.7, 3),
}
"""Generation, that of the next training and the pause before it, how near three are, and how many of them stay."""


def test_it_is_rebuilt_when_it_is_time_with_some_tolerance():
    """The distance is 1, of which a rebuilt repertoire keeps 0.6; the third replaces nobody, as no one is fitter."""
    algo = algorithm(tolerance=0.4)
    begun = jax.jit(algo.init)(KEY, Hyperparams()).search

    def stay(times, gap):
        places = jnp.zeros_like(begun.repertoire.behaviour).at[:3, 0].set(gap * jnp.arange(3))
        same = jnp.zeros_like(begun.repertoire.fitness)
        held = begun.repertoire._replace(behaviour=places, fitness=same, size=jnp.int32(3))
        times = dict(zip(("generation", "training", "pause"), times, strict=True))
        return algo.spaced(begun._replace(repertoire=held, distance=jnp.float32(1), **times), 0.0).repertoire.size

    times, gaps, expected = (jnp.asarray(column) for column in zip(*REBUILT.values(), strict=True))
    np.testing.assert_array_equal(jax.jit(jax.vmap(stay))(times, gaps), expected)


def test_behaviours_keep_their_distance_once_it_is_time():
    """Without tolerance nobody is nearer to another than the distance when it was rebuilt last or at any time since."""
    searches = generations(algorithm(tolerance=0.0), 9, Hyperparams(mutation=1.0, gain=0.01))
    for last in range(1, 10):
        since = [g for g in range(1, last + 1) if g % 3 == 0 or g in (1, 5, 11)][-1]
        least = min(search.distance for search in searches[since : last + 1])
        size = int(searches[last].repertoire.size)
        place = searches[last].repertoire.behaviour[:size]
        gaps = np.sqrt(np.square(place[:, None] - place[None]).sum(-1)) + 9 * np.eye(size)
        assert gaps.min() >= least * (1 - 1e-5)
        assert size > 2


def test_a_seed_among_others_is_what_it_is_alone(searches):
    algo, hyperparams = algorithm(), Hyperparams(mutation=1.0, gain=0.01)
    generation = lambda search, key: algo.generation(search, key, hyperparams)  # noqa: E731

    def run(key):
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(6))
        begun = algo.init(key, hyperparams).search
        return jax.lax.scan(lambda search, key: (generation(search, key), None), begun, keys)[0].repertoire

    many, alone = jax.jit(jax.vmap(run))(jnp.stack([jax.random.key(1), KEY])), searches[6].repertoire
    assert many.size[1] == alone.size
    held = slice(int(alone.size))
    np.testing.assert_allclose(many.items.genome[1, held], alone.items.genome[held], atol=1e-6)
    np.testing.assert_allclose(many.behaviour[1, held], alone.behaviour[held], rtol=1e-5)


def test_seeds_with_an_autoencoder_count_what_they_try_and_follow_the_best():
    """Without a training, which would only take longer to compile."""
    agent = vmap(aurora(ENV, PARAMS, Config(**{**vars(SMALL), "encoder": "untrained"})))
    state = jax.jit(agent.init)(jax.random.split(KEY, 2), Hyperparams())
    step = jax.jit(agent.step)
    for generations, tried in ((3, 8 + 24), (6, 24)):
        state, metrics = step(state)
        np.testing.assert_array_equal(metrics["evaluations"], 8 + 8 * generations)
        np.testing.assert_array_equal(metrics["env_steps"], tried * 5)
    np.testing.assert_array_equal(metrics["archive/size"], state.search.repertoire.size)
    assert (metrics["archive/distance"] > 0).all()
    assert all(np.isfinite(value).all() for value in metrics.values())
    repertoire = state.search.repertoire
    repertoire = repertoire._replace(
        fitness=repertoire.fitness.at[:, 1].set(5.0).at[:, -1].set(9.0)
    )  # the last is empty
    policy = agent.policy(state._replace(search=state.search._replace(repertoire=repertoire)))
    seen = jnp.full((2, 2), 0.3)
    found = policy.mode(policy.reset(), seen, jax.random.split(KEY, 2))[1]
    act = algorithm().evaluator.controller.act
    np.testing.assert_allclose(found, jax.vmap(act)(repertoire.items.genome[:, 1], seen), rtol=1e-5)


def test_it_is_said_what_does_not_fit():
    with pytest.raises(ValueError, match=r"capacity=10 is too small .* at least 20"):
        aurora(ENV, PARAMS, Config(target_size=20, batch=4, capacity=10))
    with pytest.raises(ValueError, match="rebuild must be at least 1; got 0"):
        aurora(ENV, PARAMS, Config(rebuild=0))
