"""MAP-Elites against a Python dict, the disc its arm can reach, and the distributions children are drawn from."""

import dataclasses
import itertools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxreward.agent import vmap
from jaxreward.agents.quality_diversity.map_elites import Config, Hyperparams, MapElites, make_illumination, map_elites
from jaxreward.agents.quality_diversity.parts.evaluation import Outcome
from jaxreward.envs.qd.planar_arm import PlanarArm
from jaxreward.quality_diversity import empty_grid, insert

ARM = PlanarArm(3)
PARAMS = ARM.default_params
SMALL = Config(controller="constant", genome_low=0.0, genome_high=1.0, chunk_size=120, batch=40, bins=5)
SEEDS = 3


def algorithm(config, env=ARM):
    return MapElites(make_illumination(env, env.default_params, config), config, env.default_params)


def cell_of(descriptor, bins):
    """Of the unit square, the second coordinate varying fastest."""
    row, column = np.clip(np.floor(np.asarray(descriptor, np.float32) * bins), 0, bins - 1).astype(int)
    return row * bins + column


@pytest.mark.parametrize(("joints", "ties_replace"), [(3, False), (1, True)])
def test_a_generation_is_what_a_loop_over_its_children_gives(key, joints, ties_replace):
    """The posture of a single joint costs nothing, so that all are equally good."""
    config = dataclasses.replace(SMALL, ties_replace=ties_replace, chunk_size=40, worst_reward=-2.0)
    search = algorithm(config, PlanarArm(joints))
    hyperparams = Hyperparams(mutation=jnp.asarray(0.2))
    state = jax.jit(search.init)(key, hyperparams)
    step = jax.jit(search.step)

    @jax.jit
    def born(state):
        genomes = search.children(
            state.elites.grid, jax.random.split(jax.random.split(state.key)[1], 1)[0], hyperparams
        )
        outcome = search.illumination.evaluated(state.elites, genomes, PARAMS)[1].outcome
        return genomes, outcome.reward, outcome.descriptor

    held = dict(enumerate(zip(*jax.device_get(grid_of(state)), strict=True)))
    for _ in range(3):
        for genome, reward, descriptor in zip(*jax.device_get(born(state)), strict=True):
            best = held[cell_of(descriptor, 5)][0]
            if reward > best or (ties_replace and reward == best):
                held[cell_of(descriptor, 5)] = (reward, genome)
        state, metrics = step(state)
    fitness, genomes = jax.device_get(grid_of(state))
    # Two programs that do the same may round differently, once in a gene and some more in a reward.
    np.testing.assert_allclose(genomes, [held[cell][1] for cell in range(25)], atol=2.0**-23)
    np.testing.assert_allclose(fitness, [held[cell][0] for cell in range(25)], atol=2.0**-22)
    filled = [best for best, _ in held.values() if best > -np.inf]
    assert metrics["archive/size"] == len(filled) == state.elites.grid.occupied.size
    np.testing.assert_allclose(metrics["qd_score"], np.sum(filled) + 2 * len(filled), rtol=1e-6)
    assert metrics["evaluations"] == 4 * 40  # three generations and the random genomes before them
    assert metrics["env_steps"] == 40  # of the last one, an episode being one step


def grid_of(state):
    return state.elites.grid.fitness, state.elites.grid.items


@pytest.fixture(scope="module")
def seeds_on_the_arm():
    """The states of three seeds after each of four iterations."""
    agent = vmap(map_elites(ARM, PARAMS, SMALL))
    states = [jax.jit(agent.init)(jax.random.split(jax.random.key(1), SEEDS), Hyperparams())]
    step = jax.jit(agent.step)
    for _ in range(4):
        states.append(step(states[-1])[0])
    return states


def test_elites_never_get_worse_and_are_where_they_belong(seeds_on_the_arm):
    for before, after in itertools.pairwise(seeds_on_the_arm):
        assert (after.elites.grid.fitness >= before.elites.grid.fitness).all()
        assert (after.elites.grid.occupied.size >= before.elites.grid.occupied.size).all()
    fitness, genomes = jax.device_get(grid_of(seeds_on_the_arm[-1]))
    for seed in range(SEEDS):
        cells = np.flatnonzero(fitness[seed] > -np.inf)
        held = genomes[seed, cells].astype(np.float64)
        np.testing.assert_allclose(fitness[seed, cells], -held.std(1), atol=1e-6)
        tip = 0.5 + 0.5j + np.exp(1j * np.cumsum(2 * np.pi * held - np.pi, axis=1)).sum(1) / 6
        centre = (np.stack(np.unravel_index(cells, (5, 5)), 1) + 0.5) / 5
        assert (np.abs(np.stack([tip.real, tip.imag], 1) - centre) <= 0.1 + 1e-6).all()


@pytest.fixture(scope="module")
def one_seed():
    """The second of these seeds alone: the agent and its state after four iterations."""
    agent = map_elites(ARM, PARAMS, SMALL)
    state = jax.jit(agent.init)(jax.random.split(jax.random.key(1), SEEDS)[1], Hyperparams())
    step = jax.jit(agent.step)
    for _ in range(4):
        state, _ = step(state)
    return agent, state


def test_a_seed_among_others_is_the_seed_alone(seeds_on_the_arm, one_seed):
    among = jax.tree.map(lambda leaf: leaf[1], seeds_on_the_arm[-1])
    for alone, other in zip(jax.tree.leaves(one_seed[1].elites), jax.tree.leaves(among.elites), strict=True):
        if jnp.issubdtype(alone.dtype, jax.dtypes.prng_key):
            alone, other = jax.random.key_data(alone), jax.random.key_data(other)
        np.testing.assert_allclose(alone, other, rtol=1e-6, atol=1e-6)  # batches are fused otherwise
        assert alone.dtype == other.dtype


def test_the_policy_is_the_elite_that_earned_most(one_seed):
    agent, state = one_seed
    policy = agent.policy(state)
    _, action = policy.act(policy.reset(), jnp.zeros(3), jax.random.key(0))
    best = state.elites.grid.fitness.max()
    assert best > -0.1
    np.testing.assert_allclose(-np.std(np.asarray(action, np.float64)), best, atol=2.0**-22)


def test_the_state_keeps_its_types(seeds_on_the_arm):
    types = [[(x.shape, x.dtype) for x in jax.tree.leaves(state)] for state in seeds_on_the_arm[:2]]
    assert types[0] == types[1]
    assert not any(getattr(x, "weak_type", False) for x in jax.tree.leaves(seeds_on_the_arm[0]))


def test_everything_within_reach_is_found(key):
    """An arm of half the square's side reaches a disc: what is inside is filled, what is outside cannot be."""
    env = PlanarArm()
    config = Config(
        controller="constant", genome_low=0.0, genome_high=1.0, chunk_size=200 * 1024, batch=1024, variation="iso_line"
    )
    agent = map_elites(env, env.default_params, config)
    state = jax.jit(agent.init)(key, Hyperparams(iso=0.05, line=0.1))
    state, metrics = jax.jit(agent.step)(state)
    filled = np.asarray(state.elites.grid.fitness > -np.inf).reshape(50, 50)
    corners = np.abs(np.arange(51) / 50 - 0.5)
    nearest = np.where(np.arange(50) < 25, corners[1:], corners[:-1])
    farthest = np.where(np.arange(50) < 25, corners[:-1], corners[1:])
    assert filled[np.hypot(farthest[:, None], farthest[None]) < 0.5 - 0.01].all()
    assert not filled[np.hypot(nearest[:, None], nearest[None]) > 0.5 + 1e-6].any()
    assert metrics["coverage"] == pytest.approx(filled.mean())
    # The straight arm is the best posture of all, and costs nothing.
    assert float(state.elites.grid.fitness[50 * 49 + 25 - 1 : 50 * 49 + 25 + 1].max()) > -0.02


@jax.jit
def grid_with(genomes):
    """Nine cells, some of which hold these."""
    grid = empty_grid(jnp.zeros(genomes.shape[1]), 9)
    return insert(grid, genomes, jnp.zeros(len(genomes)), jnp.arange(len(genomes)) + 2)


def children_of(genomes, key, variation, **hyperparams):
    """4000 of them, in float64; the program is compiled once for all."""
    grid = grid_with(jnp.asarray(genomes, float))
    return np.asarray(MAKE[variation](grid, key, Hyperparams(**hyperparams)), np.float64)


MANY = dataclasses.replace(SMALL, batch=4000)
MAKE = {
    name: jax.jit(algorithm(dataclasses.replace(MANY, variation=name)).children) for name in ("gaussian", "iso_line")
}


def test_a_child_is_a_parent_with_normal_noise_within_limits(key):
    """A fair draw fails for one seed in 10,000."""
    parents = [[0.3, 0.5, 0.7], [0.7, 0.3, 0.5]]
    children = children_of(parents, key, "gaussian", mutation=0.02)
    is_first = children[:, 0] < children[:, 2]
    assert stats.binomtest(int(is_first.sum()), 4000).pvalue > 1e-4
    noise = children - np.where(is_first[:, None], *np.array(parents)[:, None])
    assert stats.kstest(noise.ravel() / 0.02, "norm").pvalue > 1e-4
    wild = children_of(parents, key, "gaussian", mutation=9.0)
    assert (wild.min(), wild.max()) == (0.0, 1.0)


def test_a_child_lies_on_the_line_through_two_parents(key):
    one, other = np.array([0.4, 0.5, 0.6]), np.array([0.5, 0.5, 0.5])
    on_line = children_of([one, other], key, "iso_line", iso=0.0, line=0.5)
    along = (on_line - one) @ (other - one) / ((other - one) @ (other - one))
    np.testing.assert_allclose(on_line, one + along[:, None] * (other - one), atol=1e-6)
    # Both parents are the same one half of the time; otherwise the step is from either end.
    moved = np.abs(along - np.round(along)) > 1e-5
    assert stats.binomtest(int((~moved).sum()), 4000).pvalue > 1e-4
    mixture = lambda t: (stats.norm.cdf(t / 0.5) + stats.norm.cdf((t - 1) / 0.5)) / 2  # noqa: E731
    assert stats.kstest(along[moved], mixture).pvalue > 1e-4
    wild = children_of([one, other], key, "iso_line", iso=9.0, line=0.5)
    assert (wild.min(), wild.max()) == (0.0, 1.0)
    noise = children_of([one, one], key, "iso_line", iso=0.03, line=0.5) - one
    assert stats.kstest(noise.ravel() / 0.03, "norm").pvalue > 1e-4


def test_cells_of_centroids(key):
    config = dataclasses.replace(SMALL, cells="cvt", num_cells=12)
    search = algorithm(config)
    state = jax.jit(search.init)(key, Hyperparams())
    grid, centroids = state.elites.grid, np.asarray(state.elites.centroids, np.float64)
    assert grid.fitness.shape == (12,)
    cells = np.flatnonzero(grid.fitness > -np.inf)
    genomes = np.asarray(grid.items, np.float64)[cells]
    tip = 0.5 + 0.5j + np.exp(1j * np.cumsum(2 * np.pi * genomes - np.pi, axis=1)).sum(1) / 6
    distances = np.hypot(tip.real[:, None] - centroids[:, 0], tip.imag[:, None] - centroids[:, 1])
    np.testing.assert_array_equal(distances.argmin(1), cells)
    assert len(cells) > 1
    broken = jnp.array([[0.1, jnp.nan, 0.3], [0.1, 0.2, 0.3]])
    evaluated = jax.jit(search.illumination.evaluated)(state.elites, broken, PARAMS)[1]
    assert (evaluated.cell < 0).tolist() == [True, False]


def test_what_is_no_number_has_no_cell(key):
    descriptor = jnp.array([[0.1, 0.1], [jnp.nan, 0.1], [0.1, 0.1]])
    outcome = Outcome(jnp.zeros(3), jnp.zeros(3, int), descriptor, jnp.ones(3, int), ())
    whole = algorithm(dataclasses.replace(SMALL, cells="cvt", num_cells=4)).illumination  # where some is the nearest
    scripted = dataclasses.replace(whole, evaluator=SimpleNamespace(evaluate=lambda *_: outcome))
    found = scripted.evaluated(whole.init(key), jnp.array([[0.1], [0.2], [jnp.inf]]), PARAMS)[1]
    assert (found.cell < 0).tolist() == [False, True, True]


def test_a_generation_needs_no_memory_that_grows_with_the_cells():
    def memory(bins):
        search = algorithm(dataclasses.replace(SMALL, bins=bins))
        state = jax.eval_shape(search.init, jax.random.key(0), Hyperparams())
        genomes = jax.ShapeDtypeStruct((40, 3), jnp.float32)
        compiled = jax.jit(search.enter, donate_argnums=0).lower(state.elites, genomes, PARAMS).compile()
        return compiled.memory_analysis().temp_size_in_bytes, compiled.cost_analysis()["flops"]

    assert memory(10) == memory(300)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="iso_line"):
        map_elites(ARM, PARAMS, Config(controller="constant", variation="isoline"))
    with pytest.raises(ValueError, match="cvt"):
        map_elites(ARM, PARAMS, Config(controller="constant", cells="cvts"))
    for name in ("batch", "chunk_size", "bins", "num_cells"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1; got 0"):
            map_elites(ARM, PARAMS, dataclasses.replace(SMALL, **{name: 0}))
