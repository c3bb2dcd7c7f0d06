"""Evolution strategies against closed forms."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import rankdata

from jaxreward.learning.evolution import SHAPINGS, Settings, antithetic_gradient, centred_ranks, everyone, open_es
from jaxreward.learning.evosax_strategies import evosax_strategy

RNG = np.random.default_rng(0)
MATRIX, SLOPE, MEAN = RNG.normal(size=(3, 3)), RNG.normal(size=3), RNG.normal(size=3)
SYMMETRIC = MATRIX + MATRIX.T
GRADIENT = SYMMETRIC @ MEAN + SLOPE
SIGMA = 0.3
HYPERPARAMS = Settings(sigma=SIGMA, learning_rate=0.1, weight_decay=0.2)


def quadratic(x):
    return 0.5 * np.einsum("pi,ij,pj->p", x, SYMMETRIC, x) + x @ SLOPE


def estimated(noise, even=lambda noise: 0.0):
    pairs = np.concatenate([noise, -noise])
    fitness = jnp.asarray(quadratic(MEAN + SIGMA * pairs) + even(pairs))
    return antithetic_gradient(fitness, lambda pair: jnp.asarray(noise)[pair], SIGMA)


def test_the_gradient_of_a_quadratic_is_exact_along_the_noise():
    """A pair's difference is `2 sigma e . grad f`, whatever sigma, so the estimate is `mean(e e^T) grad f`."""
    noise = RNG.normal(size=(4, 3))
    np.testing.assert_allclose(estimated(noise), noise.T @ noise @ GRADIENT / 4, rtol=1e-5, atol=1e-5)


def test_orthogonal_noise_gives_the_gradient_itself():
    np.testing.assert_allclose(estimated(np.sqrt(3) * np.eye(3)), GRADIENT, rtol=1e-5)


def test_what_is_even_cancels_in_a_pair():
    noise = RNG.normal(size=(4, 3))
    even = lambda noise: 5 + 7 * np.square(noise).sum(-1)  # noqa: E731
    np.testing.assert_allclose(estimated(noise, even), estimated(noise), rtol=1e-4, atol=1e-4)


def test_ranks_are_centred_and_shared_and_do_not_change_with_a_monotone_transformation():
    fitness = RNG.normal(size=5)
    monotone = [fitness, np.exp(fitness), fitness**3, 1e6 * fitness - 3]
    others = [-fitness, np.ones(5), [2.0, 1.0, 2.0, np.nan, 3.0]]  # what is no number is the worst
    ranks = jax.jit(jax.vmap(centred_ranks))(np.asarray([*monotone, *others], np.float32))
    np.testing.assert_allclose(ranks[0], (rankdata(fitness) - 1) / 4 - 0.5, atol=1e-7)
    np.testing.assert_array_equal(ranks[1:4], np.tile(ranks[0], (3, 1)))
    np.testing.assert_allclose(ranks[4:], [-ranks[0], np.zeros(5), [0.125, -0.25, 0.125, -0.5, 0.5]], atol=1e-7)


def test_a_generation_is_one_step_of_adam_on_centred_ranks():
    """The noise that is drawn again is the noise that was asked with; Adam's first step is the gradient's sign."""
    solution = {"a": jnp.asarray(MEAN[:1]), "b": jnp.asarray(MEAN[1:])}
    strategy = open_es(solution, 6)

    @jax.jit
    def generation(key):
        state = strategy.init(key, solution, HYPERPARAMS)
        asked = strategy.ask(key, state, HYPERPARAMS)
        population = everyone(strategy, key, asked, HYPERPARAMS)
        fitness = -jnp.square(population["b"]).sum(-1)
        state = strategy.tell(key, state, asked, fitness, HYPERPARAMS)
        return population, fitness, strategy.mean(state)

    population, fitness, mean = jax.tree.map(np.asarray, generation(jax.random.key(0)))
    asked = np.concatenate([population["a"], population["b"]], -1)
    noise = (asked - MEAN) / SIGMA
    np.testing.assert_allclose(noise[:3], -noise[3:], atol=1e-5)
    ranks = (rankdata(fitness) - 1) / 5 - 0.5
    gradient = ranks @ noise / (6 * SIGMA) - 0.2 * MEAN
    moved = np.concatenate([mean["a"], mean["b"]]) - MEAN
    np.testing.assert_allclose(moved, 0.1 * gradient / (np.abs(gradient) + 1e-8), rtol=1e-3)


def test_an_odd_population_is_refused():
    with pytest.raises(ValueError, match=r"population_size=5 is odd.*try 6"):
        open_es(MEAN, 5)


@pytest.mark.skipif(not importlib.util.find_spec("evosax"), reason="evosax is not installed")
def test_evosax_climbs_too():
    """Fitness is `-|x - 1|^2`, from 0: downhill from there it would never come back."""
    like = {"x": jnp.zeros(3)}
    with jax.numpy_rank_promotion("allow"):
        strategy = evosax_strategy("SNES", like, 16)

        @jax.jit
        def search(key):
            def generation(state, key):
                population = strategy.ask(key, state, HYPERPARAMS)
                fitness = -jnp.square(population["x"] - 1).sum(-1).at[0].set(-jnp.nan)  # the worst, not the best
                return strategy.tell(key, state, population, fitness, HYPERPARAMS), fitness[1:].mean()

            state = strategy.init(key, like, HYPERPARAMS)
            state, fitness = jax.lax.scan(generation, state, jax.random.split(key, 60))
            return strategy.mean(state)["x"], fitness

        mean, fitness = search(jax.random.key(0))
        assert fitness[-5:].mean() > -0.1 > fitness[0]
        np.testing.assert_allclose(mean, 1.0, atol=0.1)
        with pytest.raises(ValueError, match=r"SNAS.*SNES"):
            evosax_strategy("SNAS", like, 4)


def test_without_evosax_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "evosax.algorithms.distribution_based", None)
    with pytest.raises(ImportError, match=r"strategy=evosax/SNES needs evosax: pip install 'jaxreward\[evosax\]'"):
        evosax_strategy("SNES", {}, 4)


def test_a_gradient_in_parts_is_the_gradient_at_once(monkeypatch):
    noise = RNG.normal(size=(12, 3))
    whole = estimated(noise)
    monkeypatch.setattr("jaxreward.learning.evolution.MOST_AT_ONCE", 8)  # two pairs of three numbers each
    np.testing.assert_allclose(estimated(noise), whole, rtol=1e-4, atol=1e-5)


def test_only_who_is_better_counts_in_a_pair():
    fitness = jnp.asarray([1.0, 5.0, 2.0, np.nan, np.nan, 3.0, -5.0, 2.0, 0.0, np.nan])
    expected = [0, 1, 0, 0, 0, 1, 0, 0, 1, 0]
    np.testing.assert_array_equal(jax.jit(SHAPINGS["pairwise"])(fitness), expected)
    np.testing.assert_array_equal(SHAPINGS["pairwise"](jnp.exp(fitness)), expected)


def test_z_scores_have_mean_0_and_deviation_1_and_what_is_broken_is_the_worst():
    scores = jax.jit(SHAPINGS["z_score"])(jnp.asarray([1.0, np.nan, 4.0, -2.0, np.inf]))
    plain = np.asarray([1.0, -2.0, 4.0, -2.0, -2.0])
    np.testing.assert_allclose(scores, (plain - plain.mean()) / plain.std(), rtol=1e-5)
    np.testing.assert_array_equal(SHAPINGS["z_score"](jnp.full(4, jnp.nan)), 0)


@pytest.mark.parametrize("rank", [1, 3])
def test_noise_of_low_rank(rank):
    """Of that rank on matrices, and of mean 0 and variance 1.

    The mean square over 4000 matrices is within 0.1 of 1: a square's variance is at most 8, and that of a mean over one
    matrix no larger.
    """
    like = {"bias": jnp.zeros(3), "matrix": jnp.zeros((4, 3))}
    strategy = open_es(like, 8000, rank=rank)
    settings = Settings(sigma=1.0)
    key = jax.random.key(0)
    drawn = everyone(strategy, key, strategy.ask(key, strategy.init(key, like, settings), settings), settings)
    assert (jnp.linalg.matrix_rank(drawn["matrix"][:50]) == rank).all()
    np.testing.assert_array_equal(drawn["matrix"][:4000], -drawn["matrix"][4000:])
    for leaf in (drawn["matrix"][:4000], drawn["bias"][:4000]):
        np.testing.assert_allclose(jnp.square(leaf).mean(), 1, atol=0.1)
        np.testing.assert_allclose(leaf.mean(), 0, atol=0.05)


def test_sigma_and_step_fall_to_their_floors():
    """Adam's update is 1 at first, and nearly that where the gradient goes on in one direction."""
    settings = Settings(sigma=0.4, sigma_decay=0.5, sigma_least=0.15, learning_rate=1.0, learning_rate_decay=0.1)
    settings = settings.replace(learning_rate_least=0.05)
    strategy, key = open_es(jnp.zeros(1), 2, shaping="pairwise"), jax.random.key(0)

    @jax.jit
    def run():
        def generation(state, _):
            asked = strategy.ask(key, state, settings)
            fitness = everyone(strategy, key, asked, settings)[:, 0]
            after = strategy.tell(key, state, asked, fitness, settings)
            return after, (asked.sigma, after.mean - state.mean)

        return jax.lax.scan(generation, strategy.init(key, jnp.zeros(1), settings), length=3)[1]

    sigmas, moved = run()
    np.testing.assert_allclose(sigmas, [0.4, 0.2, 0.15], rtol=1e-6)
    np.testing.assert_allclose(moved[:, 0], [1.0, 0.1, 0.05], rtol=0.05)


def test_a_shaping_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="no fitness shaping 'pairwize'; did you mean 'pairwise'"):
        open_es(MEAN, 4, shaping="pairwize")
