"""CMA-ES step for step against the `cmaes` package, its agents against scripted cases."""

import functools
import itertools

import cmaes
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxreward.agent import vmap
from jaxreward.agents.quality_diversity import cma_es as es
from jaxreward.agents.quality_diversity import cma_me as me
from jaxreward.agents.quality_diversity.parts.cma import CMA
from jaxreward.envs.qd.planar_arm import PlanarArm
from jaxreward.quality_diversity import insert

ARM = PlanarArm(3)
PARAMS = ARM.default_params
SETTINGS = dict(controller="constant", genome_low=0.0, genome_high=1.0)


def ellipsoid(size, condition):
    """A rotated one in a numpy function of rows; its minimum, 0, is at 1."""
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))[0]
    scales = condition ** (np.arange(size) / (size - 1))
    return lambda x: (((x - 1) @ rotation) ** 2) @ scales


def package(size, population, mean, sigma, seed=1):
    bounds = np.array([[-5.0, 5.0]] * size)
    return cmaes.CMA(mean=mean.copy(), sigma=sigma, bounds=bounds, seed=seed, population_size=population)


@pytest.mark.parametrize(("size", "population"), [(1, 6), (5, 6), (48, 6), (93, 11), (574, 6)])
def test_constants_are_those_of_the_package(size, population):
    ours, theirs = CMA(size, population).constants, package(size, population, np.zeros(size), 1.0)
    np.testing.assert_allclose(ours.weights, theirs._weights, rtol=1e-12)
    names = dict(c_1="c1", c_mu="cmu", c_c="cc", mu_eff="mu_eff", c_sigma="c_sigma", d_sigma="d_sigma")
    for name, theirs_name in names.items():
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, "_" + theirs_name), rtol=1e-12)
    assert ours.expected == theirs._chi_n
    assert CMA(size, population).memory == theirs._funhist_term


def product_of(state):
    """What the eigenvectors and eigenvalues are of."""
    axes = np.asarray(state.axes, np.float64)
    return (axes * np.asarray(state.lengths, np.float64) ** 2) @ axes.T


def test_step_for_step_as_the_package_until_both_stop():
    """In float64, told of the package's own genomes."""
    size = 5
    fitness, mean = ellipsoid(size, 1e3), np.random.default_rng(1).normal(size=size)
    theirs = package(size, 6, mean, 0.5)
    with jax.enable_x64(True):
        strategy = CMA(size, 6, -5.0, 5.0)
        ours, tell, stop = strategy.init(mean, 0.5), jax.jit(strategy.tell), jax.jit(strategy.should_stop)
        for _ in range(600):
            genomes = np.stack([theirs.ask() for _ in range(6)])
            costs = fitness(genomes)
            theirs.tell(list(zip(genomes, costs, strict=True)))
            ours = tell(ours, genomes, -costs)
            close = functools.partial(np.testing.assert_allclose, rtol=1e-7, atol=1e-10)
            close(ours.mean, theirs.mean)
            close(ours.sigma, theirs._sigma)
            close(ours.covariance, theirs._C)
            close(ours.path_sigma, theirs._p_sigma)
            close(ours.path_covariance, theirs._pc)
            close(product_of(ours), ours.covariance)
            assert bool(stop(ours)) == theirs.should_stop()
            if theirs.should_stop():
                break
    assert theirs.should_stop()
    assert costs.min() < 1e-12


@pytest.mark.parametrize("size", [1, 2])
def test_the_path_of_the_covariance_rests_when_that_of_the_package_does(size):
    """Many searches up a slope, in the first generations, where it matters how much of a path there is yet."""
    searches = [package(size, 6, np.zeros(size), 0.5, seed) for seed in range(200)]
    of_all = lambda name: np.array([getattr(search, name) for search in searches])  # noqa: E731
    rests = []
    with jax.enable_x64(True):
        strategy = CMA(size, 6, -5.0, 5.0)
        tell = jax.jit(jax.vmap(strategy.tell))
        ours = jax.vmap(lambda _: strategy.init(np.zeros(size), 0.5))(jnp.arange(200))
        for generation in (1, 2, 3):
            genomes = np.array([[search.ask() for _ in range(6)] for search in searches])
            costs = -genomes.sum(-1)
            for search, *told in zip(searches, genomes, costs, strict=True):
                search.tell(list(zip(*told, strict=True)))
            ours = tell(ours, genomes, -costs)
            np.testing.assert_allclose(ours.path_sigma, of_all("_p_sigma"), rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(ours.path_covariance, of_all("_pc"), rtol=1e-9, atol=1e-12)
            length = np.linalg.norm(of_all("_p_sigma"), axis=1) / searches[0]._chi_n
            grown = [1 - (1 - searches[0]._c_sigma) ** (2 * (generation + more)) for more in (0, 1)]
            rests.append([length / np.sqrt(each) >= 1.4 + 2 / (size + 1) for each in grown])
    early, right = np.array(rests).swapaxes(0, 1)
    assert (early != right).sum() > 3  # to count one generation less would make a difference


def generations_to(target, fitness, strategy, keys):
    """How many each seed needs to find a genome this good, `inf` if more than 600."""

    def generation(state, key):
        genomes = strategy.ask(state, key)
        costs = jnp.stack([fitness(genome) for genome in genomes])
        return strategy.tell(state, genomes, -costs), costs.min()

    def run(key):
        return jax.lax.scan(generation, strategy.init(jnp.zeros(strategy.size), 0.5), jax.random.split(key, 600))[1]

    found = np.asarray(jax.jit(jax.vmap(run))(keys)) < target
    return np.where(found.any(1), found.argmax(1), np.inf)


def package_generations_to(target, fitness, size, population, seed):
    strategy = package(size, population, np.zeros(size), 0.5, seed)
    for generation in itertools.count():
        genomes = [strategy.ask() for _ in range(population)]
        costs = [fitness(genome) for genome in genomes]
        if min(costs) < target:
            break
        strategy.tell(list(zip(genomes, costs, strict=True)))
    return generation


def test_a_rotated_ellipsoid_takes_as_many_generations_as_the_package_needs(key):
    """In float32. Were both the same, one key in 10,000 would fail."""
    fitness = ellipsoid(4, 1e4)
    ours = generations_to(1e-8, fitness, CMA(4, 8, -5.0, 5.0), jax.random.split(key, 64))
    theirs = [package_generations_to(1e-8, fitness, 4, 8, seed) for seed in range(1, 13)]
    assert np.isfinite(ours).all()
    assert stats.mannwhitneyu(ours, theirs).pvalue > 1e-4
    assert abs(ours.mean() / np.mean(theirs) - 1) < 0.25


def test_genomes_are_drawn_from_the_distribution(key):
    """Squared Mahalanobis distances are chi-squared; a fair draw fails for one key in 10,000."""
    root = np.random.default_rng(0).normal(size=(3, 3))
    covariance = root @ root.T
    values, vectors = np.linalg.eigh(covariance)
    strategy = CMA(3, 3000)
    state = strategy.init(jnp.array([1.0, -2.0, 30.0]), 0.1)
    state = state._replace(axes=jnp.asarray(vectors, float), lengths=jnp.sqrt(jnp.asarray(values, float)))
    steps = (np.asarray(jax.jit(strategy.ask)(state, key), np.float64) - [1.0, -2.0, 30.0]) / 0.1
    squared = (steps @ np.linalg.inv(covariance) * steps).sum(1)
    assert stats.kstest(squared, stats.chi2(3).cdf).pvalue > 1e-4
    assert stats.kstest(steps[:, 0] / np.sqrt(covariance[0, 0]), "norm").pvalue > 1e-4


def test_what_is_out_of_bounds_is_drawn_again_and_at_last_clipped(key):
    strategy = CMA(1, 3000, -5.0, 5.0)
    ask = jax.jit(jax.vmap(strategy.ask, (0, None)))
    states = jax.vmap(strategy.init)(jnp.array([[5.0], [100.0], [-5.3]]), jnp.array([0.1, 0.1, 0.1]))
    drawn = np.asarray(ask(states, key))[..., 0]
    # At the bound: half of a normal distribution, with nothing at the bound itself.
    assert stats.kstest((5.0 - drawn[0]) / 0.1, "halfnorm").pvalue > 1e-4
    assert (drawn[1] == 5.0).all()
    # Three deviations away: inside with probability 0.00135 each time, and clipped after 101 of them.
    clipped = (1 - stats.norm.sf(3)) ** 101
    assert stats.binomtest(int((drawn[2] == -5.0).sum()), 3000, clipped).pvalue > 1e-4
    assert (drawn[2] >= -5.0).all()


def test_it_stops_for_each_of_its_reasons():
    strategy = CMA(3, 6)
    fresh = strategy.init(jnp.ones(3), 0.1)._replace(generation=jnp.asarray(100))
    fresh = fresh._replace(extremes=fresh.extremes.at[0].set(1.0))
    changes = [
        ({}, False),
        ({"extremes": jnp.zeros((strategy.memory, 2))}, True),
        ({"extremes": jnp.zeros((strategy.memory, 2)), "generation": jnp.asarray(strategy.memory)}, False),
        ({"mean": jnp.zeros(3), "sigma": jnp.asarray(1e-14)}, True),
        ({"mean": jnp.zeros(3), "sigma": jnp.asarray(1e-14), "path_covariance": jnp.full(3, -100.0)}, False),
        ({"sigma": jnp.asarray(2e4)}, True),
        ({"sigma": jnp.asarray(jnp.nan)}, True),
        ({"lengths": jnp.array([2e5, 1e5, 1e5])}, True),
        ({"sigma": jnp.asarray(1e-8)}, True),
        ({"lengths": jnp.array([1.0, 1.0, 1e-4])}, True),
        ({"lengths": jnp.array([1.0, 1.0, 1e-3])}, False),
    ]
    states = [fresh._replace(**change) for change, _ in changes]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    assert jax.jit(jax.vmap(strategy.should_stop))(stacked).tolist() == [stops for _, stops in changes]


def test_eigenvectors_are_computed_when_it_is_time():
    """With 100 genes every third generation, and then they are those of the covariance."""
    strategy = CMA(100, 6)
    k = strategy.constants
    assert strategy.interval == int(1 / (1000 * (k.c_1 + k.c_mu))) == 3
    tell, state = jax.jit(strategy.tell), strategy.init(jnp.zeros(100), 0.5)
    for generation in range(1, 7):
        before = state
        genomes = jax.random.normal(jax.random.key(generation), (6, 100))
        state = tell(state, genomes, genomes[:, 0])
        if generation % 3:
            np.testing.assert_array_equal(state.axes, before.axes)
        else:
            np.testing.assert_allclose(product_of(state), state.covariance, atol=1e-5)


@pytest.mark.parametrize("size", [3, 48])
def test_rewards_stagnate_as_in_a_list_that_keeps_all_of_them(size):
    """Rising, falling and noisy ones, and more of them than there is room for, against the rule in plain Python."""
    rng = np.random.default_rng(size)
    trend = np.concatenate([np.linspace(0, 3, 3000), np.linspace(3, 2, 1500), np.linspace(2, 9, 7500)])
    rewards = (trend + 0.3 * rng.normal(size=trend.size)).astype(np.float32).reshape(-1, 6)
    kept = es.Rewards(jnp.zeros(2000), jnp.zeros((), jnp.int32))

    def tell(kept, generation):
        kept = es.remembered(kept, generation)
        return kept, es.stagnates(kept, size, 6)

    stops = np.asarray(jax.jit(lambda: jax.lax.scan(tell, kept, rewards)[1])())
    for step in range(1, len(rewards) + 1):
        window, values = int(20 * size / 6 + 120 + 0.2 * step), rewards[:step].ravel()
        expected = False
        if step > window:
            values = values[-min(window, 2000) :]
            no_median = np.median(values[:20]) >= np.median(values[-20:])
            expected = no_median or values[:20].max() >= values[-20:].max()
        assert stops[step - 1] == expected
    assert 0 < stops.mean() < 1


def test_equal_rewards_restart_the_search_from_its_first_genome(key):
    """One joint costs nothing: 15 generations and one more, and CMA-ES starts again where it found the best."""
    env = PlanarArm(1)
    agent = es.cma_es(env, env.default_params, es.Config(**SETTINGS, chunk_size=6 * 16))
    step, state = jax.jit(agent.step), jax.jit(agent.init)(key, es.Hyperparams(mean=0.4))
    strategy = CMA(1, 6, 0.0, 1.0)
    assert strategy.memory == 15
    first = strategy.ask(strategy.init(jnp.array([0.4]), 0.05), jax.random.split(jax.random.split(state.key)[1], 16)[0])
    for restarts in (1, 2):
        state, metrics = step(state)
        assert metrics["restarts"] == restarts
        np.testing.assert_array_equal(state.ascent.genome, first[0])
        np.testing.assert_array_equal(state.ascent.strategy.mean, first[0])
        assert state.ascent.strategy.generation == state.ascent.rewards.number == 0
        assert state.ascent.strategy.sigma == np.float32(0.05)
    assert metrics["evaluations"] == 2 * 6 * 16


@functools.cache
def programs(name):
    """Of one agent and of several: init and step, which is one generation. And the agent and its hyperparams."""
    module = {"cma_es": es, "cma_me": me}[name]
    few = dict(bins=6, emitters=4) if name == "cma_me" else {}
    agent = getattr(module, name)(ARM, PARAMS, module.Config(**SETTINGS, chunk_size=6, **few))
    compiled = [(jax.jit(each.init), jax.jit(each.step)) for each in (agent, vmap(agent))]
    return *compiled, agent, module.Hyperparams(sigma=0.1)


@pytest.mark.parametrize("name", ["cma_es", "cma_me"])
def test_a_seed_among_others_is_the_seed_alone_and_climbs(name):
    """Rounding is another, and is multiplied in every generation, so three of them are compared."""
    (init, step), (init_many, step_many), agent, hyperparams = programs(name)
    keys = jax.random.split(jax.random.key(5), 3)
    among, alone = init_many(keys, hyperparams), init(keys[1], hyperparams)
    types = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), among)
    for _ in range(3):
        (among, _), (alone, _) = step_many(among), step(alone)
    for one, other in zip(jax.tree.leaves(alone), jax.tree.leaves(among), strict=True):
        if not jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            np.testing.assert_allclose(one, other[1], rtol=1e-4, atol=1e-5)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), among) == types
    assert not any(getattr(leaf, "weak_type", False) for leaf in jax.tree.leaves((among, alone)))
    for _ in range(197):
        alone, metrics = step(alone)
    _, action = agent.policy(alone).act((), jnp.zeros(3), keys[0])
    assert np.std(action) < 0.02  # equal angles are best
    assert metrics["evaluations"] == 1200


@pytest.fixture
def search():
    """CMA-ME with four emitters of which 7, 2, 5 and 2 genomes were stored."""
    (init, step), _, _, hyperparams = programs("cma_me")
    state = init(jax.random.key(2), hyperparams)
    return state._replace(emitters=state.emitters._replace(stored=jnp.array([7, 2, 5, 2]))), step


def others_are_the_same(emitters, before):
    for one, other in zip(jax.tree.leaves(emitters.strategies), jax.tree.leaves(before.strategies), strict=True):
        np.testing.assert_array_equal(np.delete(one, 1, 0), np.delete(other, 1, 0))
    assert np.delete(emitters.stored, 1).tolist() == [7, 5, 2]


def test_the_emitter_with_the_fewest_stored_goes_on_and_learns(search):
    before, step = search
    after, metrics = step(before)
    others_are_the_same(after.emitters, before.emitters)
    key = jax.random.split(jax.random.split(before.key)[1], 1)[0]
    emitter, strategy = CMA(3, 6, 0.0, 1.0), jax.tree.map(lambda leaf: leaf[1], before.emitters.strategies)
    genomes = jax.jit(emitter.ask)(strategy, jax.random.split(key)[0])
    tip = np.exp(1j * np.cumsum(2 * np.pi * np.asarray(genomes) - np.pi, axis=1)).sum(1) / 6
    cells = [(int(6 * (0.5 + each.real)), int(6 * (0.5 + each.imag))) for each in tip]
    rewards, held, stored = -np.std(np.asarray(genomes), axis=1), {}, 0
    for cell, reward in zip(cells, rewards, strict=True):
        if reward >= held.get(cell, -np.inf):
            held[cell], stored = reward, stored + 1
    assert after.emitters.stored[1] == 2 + stored
    assert metrics["restarts"] == 0
    assert metrics["archive/size"] == len(held)
    told = jax.jit(emitter.tell)(strategy, genomes, jnp.asarray(rewards))
    for one, other in zip(jax.tree.leaves(after.emitters.strategies), jax.tree.leaves(told), strict=True):
        np.testing.assert_allclose(one[1], other, atol=1e-5)


def test_an_emitter_of_which_nothing_is_stored_starts_again_from_an_elite(search):
    """All cells hold something that cannot be beaten."""
    before, step = search
    genomes = jnp.arange(36.0)[:, None] / jnp.array([[40.0, 50.0, 60.0]])
    grid = jax.jit(insert)(before.elites.grid, genomes, jnp.ones(36), jnp.arange(36))
    after, metrics = step(before._replace(elites=before.elites._replace(grid=grid)))
    others_are_the_same(after.emitters, before.emitters)
    np.testing.assert_array_equal(after.elites.grid.items, genomes)
    strategy = jax.tree.map(lambda leaf: leaf[1], after.emitters.strategies)
    assert (np.asarray(strategy.mean) == np.asarray(genomes)).all(1).sum() == 1
    assert strategy.sigma == strategy.first_sigma == np.float32(0.1)
    assert strategy.generation == 0
    np.testing.assert_array_equal(strategy.covariance, np.eye(3))
    assert (after.emitters.stored[1], metrics["restarts"]) == (0, 1)


def test_what_is_only_as_good_is_not_stored_where_ties_do_not_replace(key):
    """One joint costs nothing: all earn 0, as all do that cells hold."""
    env = PlanarArm(1)
    agent = me.cma_me(
        env, env.default_params, me.Config(**SETTINGS, chunk_size=6, bins=2, emitters=2, ties_replace=False)
    )
    state = jax.jit(agent.init)(key, me.Hyperparams())
    grid = insert(state.elites.grid, jnp.full((4, 1), 0.5), jnp.zeros(4), jnp.arange(4))
    after, metrics = jax.jit(agent.step)(state._replace(elites=state.elites._replace(grid=grid)))
    assert (after.emitters.stored[0], metrics["restarts"], metrics["env_steps"]) == (0, 1, 6)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="a population of at least 4 and at least 1 gene; got 3 and 8"):
        CMA(8, 3)
    with pytest.raises(ValueError, match="population_size must be at least 4; got 3"):
        es.cma_es(PlanarArm(), PARAMS, es.Config(**SETTINGS, population_size=3))
    with pytest.raises(ValueError, match="emitters must be at least 1; got 0"):
        me.cma_me(ARM, PARAMS, me.Config(**SETTINGS, emitters=0))
    with pytest.raises(ValueError, match="chunk_size must be at least 1; got 0"):
        es.cma_es(ARM, PARAMS, es.Config(**SETTINGS, chunk_size=0))
