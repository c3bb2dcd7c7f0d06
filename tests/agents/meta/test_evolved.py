"""The outer loop on problems whose solution is known: whose lifetime is whose, and that nothing depends on where."""

import importlib.util
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import rankdata

from jaxreward import Agent, shard, vmap
from jaxreward.agent import Policy
from jaxreward.agents.meta.parts.evolved import Config, Hyperparams, Life, Problem, evolved
from tests.as_users import AS_USERS

CONFIG = Config(population_size=16)
SETTINGS = Hyperparams(sigma=0.1, learning_rate=0.05, sigma_decay=1.0, learning_rate_decay=1.0, b1=0.9)
GOAL = jnp.asarray([1.0, -2.0])


def far(params):
    """A distance that isn't symmetric, from any place to the goal."""
    return -jnp.square(params["a"] - GOAL).sum() - jnp.abs(params["b"]).sum()


def length(key, hyperparams):
    return jax.random.randint(key, (), 1, 9)


def problem(fitness=lambda params, key: far(params), lengths=None):
    """A lifetime as long as its task says, which leaves its params behind."""

    def live(params, key, hyperparams):
        steps = lengths(key, hyperparams) if lengths else 1
        lived = jax.lax.while_loop(lambda n: n < steps, lambda n: n + 1, jnp.zeros((), jnp.int32))
        earned = fitness(params, key)
        metrics = {"env_steps": lived, "episode/count": jnp.ones(()), "episode/return": earned}
        return Life(earned, metrics, params)

    policy = Policy(lambda: (), lambda *_: ((), 0), lambda *_: ((), 0))
    start = lambda key, hyperparams: {"a": jnp.zeros(2), "b": jnp.ones((2, 3))}  # noqa: E731
    return Problem(start, live, lambda left, hyperparams: policy, lengths)


def run(agent, generations, settings=SETTINGS, key=jax.random.key(0), options=None):
    """With `AS_USERS` for options where programs that do the same otherwise are to have the same bits."""

    def generation(state, _):
        return agent.step(state)

    grown = lambda key: jax.lax.scan(generation, agent.init(key, settings), length=generations)  # noqa: E731
    return jax.jit(grown, compiler_options=options)(key)


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(bits, one), jax.tree.map(bits, other))


def bits(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


@pytest.mark.parametrize("more", [{}, {"shaping": "pairwise"}, {"shaping": "z_score"}, {"rank": 1}])
def test_it_climbs(more):
    """From a distance of 11: a step of Adam is 0.05 at most for each number, so it takes 40 generations at least."""
    state, metrics = run(evolved(problem(), replace(CONFIG, **more)), 120)
    assert metrics["fitness/mean"][0] < -9
    assert (metrics["fitness/tied"] == 0).all()
    assert far(state.params) > -1.5
    np.testing.assert_allclose(state.params["a"], GOAL, atol=0.5)


def test_a_generation_is_a_step_of_adam_along_the_estimated_gradient():
    """By what each candidate was, told by its lifetime, and the ranks of what it earned."""
    seen = []

    def live(params, key, hyperparams):
        life = problem().live(params, key, hyperparams)
        flat = jnp.concatenate([params["a"], params["b"].reshape(-1)])
        jax.debug.callback(lambda *told: seen.append(jax.tree.map(np.array, told)), flat, life.fitness)
        return life

    state, _ = run(evolved(problem()._replace(live=live), CONFIG), 1)
    jax.effects_barrier()
    candidates, fitness = (np.array(part) for part in zip(*seen, strict=True))
    start = np.asarray([0, 0, 1, 1, 1, 1, 1, 1.0])
    gradient = ((rankdata(fitness) - 1) / 15 - 0.5) @ (candidates - start) / (16 * 0.1**2)
    moved = np.concatenate([state.params["a"], state.params["b"].reshape(-1)]) - start
    np.testing.assert_allclose(moved, 0.05 * np.sign(gradient), rtol=1e-3)
    centred = candidates - start
    opposite = np.abs(centred[:, None] + centred[None]).max(-1).argmin(1)
    np.testing.assert_allclose(centred[opposite], -centred, atol=1e-6)


def test_both_of_a_pair_meet_the_same_task():
    """Fitness is the task's own number, whatever the params: in each pair it is the same, among pairs it is not."""
    drawn = lambda params, key: jax.random.normal(key)  # noqa: E731
    state, metrics = run(evolved(problem(drawn), replace(CONFIG, shaping="pairwise")), 3)
    np.testing.assert_array_equal(state.params["a"], 0)  # nobody was better than the other
    np.testing.assert_array_equal(metrics["fitness/tied"], 1)
    assert (metrics["fitness/deviation"] > 0.3).all()
    assert len(set(metrics["fitness/mean"].tolist())) == 3
    together = run(evolved(problem(drawn), replace(CONFIG, same_task=True)), 3)[1]
    np.testing.assert_allclose(together["fitness/deviation"], 0, atol=1e-6)
    assert len(set(together["fitness/mean"].tolist())) == 3


@cache
def alone(lengths, as_users=False):
    return run(evolved(problem(noisy, lengths), CONFIG), 5, options=AS_USERS if as_users else None)


def noisy(params, key):
    return far(params) + jax.random.normal(key)


@pytest.mark.parametrize("lengths", [None, length])
@pytest.mark.parametrize(("parts", "devices"), [(1, 8), (8, 1), (2, 4)])
def test_the_numbers_do_not_depend_on_parts_and_devices(parts, devices, lengths):
    config = replace(CONFIG, generation_parts=parts, num_devices=devices)
    same(run(evolved(problem(noisy, lengths), config), 5, options=AS_USERS), alone(lengths, as_users=True))


def test_lifetimes_of_their_own_lengths_have_those():
    """And what lives together is of similar length: the longest of each part, and not of all, is what a part takes."""
    metrics = alone(length)[1]
    key = jax.random.key(0)
    for generation in range(2):
        key = jax.random.split(key, 3)[0]
        _, _, key_task = jax.random.split(key, 3)
        lengths = jax.vmap(lambda i, k=key_task: length(jax.random.fold_in(k, i), ()))(jnp.arange(8))
        assert metrics["env_steps"][generation] == 2 * lengths.sum()
    algorithm = evolved(problem(noisy, length), replace(CONFIG, generation_parts=4)).step.__self__
    order = algorithm.order(key_task, ())
    assert jnp.sort(order.reshape(-1)).tolist() == list(range(8))
    assert (jnp.diff(lengths[order.reshape(-1)]) >= 0).all()


def test_the_fittest_leaves_what_is_shown():
    state, metrics = run(evolved(problem(), replace(CONFIG, generation_parts=2)), 1)
    np.testing.assert_allclose(far(state.left), metrics["fitness/best"][0], rtol=1e-6)
    before = evolved(problem(), CONFIG).init(jax.random.key(0), SETTINGS)
    np.testing.assert_array_equal(before.left["b"], 0)


def test_broken_lifetimes_are_the_worst_and_do_not_spoil_the_others():
    """Where the first number is positive nothing comes of a lifetime: it becomes negative, though the goal is not."""
    broken = lambda params, key: jnp.where(params["a"][0] > 0, jnp.nan, far(params))  # noqa: E731
    state, metrics = run(evolved(problem(broken), replace(CONFIG, shaping="z_score")), 60)
    assert metrics["fitness/broken"][0] == 0.5
    assert metrics["fitness/broken"][-10:].mean() < 0.3
    assert all(jnp.isfinite(leaf).all() for leaf in (*jax.tree.leaves(state.params), metrics["fitness/mean"]))
    assert jnp.isfinite(far(state.left))


def test_resumed_it_goes_on_to_the_same_bits():
    agent = evolved(problem(noisy, length), CONFIG)
    half, _ = run(agent, 3)
    grown = lambda state: jax.lax.scan(lambda s, _: agent.step(s), state, length=2)  # noqa: E731
    rest, _ = jax.jit(grown)(half)
    same(rest, alone(length)[0])


def test_seeds_are_runs_of_their_own():
    agent = evolved(problem(noisy), CONFIG)
    keys = jax.random.split(jax.random.key(0), 2)
    both, _ = run(vmap(agent), 3, key=keys)
    for index in range(2):
        one = run(agent, 3, key=keys[index])[0]
        np.testing.assert_allclose(both.params["a"][index], one.params["a"], rtol=1e-5)
    assert isinstance(agent, Agent)


def test_a_run_is_not_spread_twice():
    """Seeds of a run that is spread are the same as alone; those that are spread themselves can't be."""
    keys = jax.random.split(jax.random.key(0), 2)
    spread = vmap(evolved(problem(noisy), replace(CONFIG, num_devices=4)))
    together = vmap(evolved(problem(noisy), CONFIG))
    same(*(run(agent, 2, key=keys, options=AS_USERS) for agent in (spread, together)))
    with pytest.raises(ValueError, match="num_devices=4 spreads one run, and runs are spread over devices already"):
        run(shard(spread, jax.make_mesh((2,), ("seed",))), 2, key=keys)


@pytest.mark.parametrize(("options", "message"), [
    ({"population_size": 7}, "population_size=7 is odd"),
    ({"generation_parts": 3}, "generation_parts=3 does not divide population_size / 2=8; the nearest that does is 2"),
    ({"generation_parts": 2, "num_devices": 8}, "num_devices=8 does not divide the pairs of a part=4.* is 4"),
    ({"population_size": 32, "num_devices": 16}, "num_devices=16, and there are 8"),
    ({"shaping": "rank"}, "no fitness shaping 'rank'"),
    ({"strategy": "cma"}, "no strategy 'cma'"),
    ({"strategy": "evosax/SNES", "rank": 1}, "shaping=centred and rank=1 are options of strategy=open_es"),
])  # fmt: skip
def test_what_cannot_work_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        evolved(problem(), replace(CONFIG, **options))


@pytest.mark.skipif(not importlib.util.find_spec("evosax"), reason="evosax is not installed")
def test_evosaxs_strategies_climb_too():
    with jax.numpy_rank_promotion("allow"):
        config = replace(CONFIG, strategy="evosax/SNES", generation_parts=2)
        state, metrics = run(evolved(problem(), config), 60, SETTINGS.replace(sigma=0.5))
    assert metrics["fitness/mean"][0] < -9
    assert far(state.params) > -0.5
