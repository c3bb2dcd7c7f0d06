"""Evolving LPG's objective: what a lifetime is, whose it is, and that agents come to earn more."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agent import vmap
from jaxreward.agents.meta.lpg import Hyperparams as Inner
from jaxreward.agents.meta.lpg_es import Config, Hyperparams, lpg_es
from jaxreward.envs import make
from jaxreward.run.spec import resolve
from tests.as_users import AS_USERS

NAME = "levels/tiny?observation=index"
SMALL = {"num_envs": 8, "num_steps": 10, "width": 16, "lifetimes": (4, 16), "predictions": 3}
SETTINGS = {**SMALL, "population_size": 32, "generation_parts": 2, "learning_rate": 0.05}
GENERATIONS = 48


@pytest.fixture(scope="module")
def lifetimes():
    """What the outer loop judges by; no outer loop."""
    return lpg_es(*make(NAME), Config(**SMALL)).step.__self__.problem.live.__self__


@pytest.fixture(scope="module")
def live(lifetimes):
    """Lifetimes under some params, of several tasks at once."""
    return jax.jit(jax.vmap(lambda params, key: lifetimes.live(params, key, Hyperparams()), (None, 0)))


KEYS = jax.random.split(jax.random.key(2), 6)


def test_a_lifetime_is_as_long_as_its_task_says_also_beside_longer_ones(lifetimes, live):
    params = lifetimes.lives.objective.init(jax.random.key(0))
    lived = live(params, KEYS)
    totals = jax.vmap(lambda key: lifetimes.length(key, Hyperparams()))(KEYS)
    assert len(set(totals.tolist())) > 2
    assert totals.min() >= 4
    assert totals.max() <= 16
    np.testing.assert_array_equal(lived.metrics["env_steps"], 8 * (10 * totals + 10))
    # The same task among others: with another batch, whose longest lifetime is another.
    shortest = int(jnp.argmin(totals))
    alone = live(params, jnp.stack([KEYS[shortest]] * 6))
    np.testing.assert_allclose(alone.left[0], lived.left[shortest], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(alone.fitness, alone.fitness[0])
    np.testing.assert_array_equal(lived.metrics["episode/count"], 8)


def test_under_an_objective_of_zeros_a_policy_dies_as_it_was_born(lifetimes, live):
    zeros = lifetimes.init(jax.random.key(0), Hyperparams())
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(zeros))
    born = jax.vmap(lambda key: lifetimes.task(key, Hyperparams()).life.params.policy)(KEYS)
    np.testing.assert_array_equal(live(zeros, KEYS).left, born)


def test_tasks_differ_in_world_agent_and_length(lifetimes):
    tasks = jax.vmap(lambda key: lifetimes.task(key, Hyperparams()))(KEYS)
    for leaf in (tasks.world.cells, tasks.life.params.policy, tasks.total[:, None]):
        assert len(np.unique(np.asarray(leaf).reshape(6, -1), axis=0)) > 2


def test_agents_come_to_earn_more():
    """Mean fitness of the last quarter against the first, 4 seeds from zeros."""
    experiment = resolve("lpg_es", NAME, settings=SETTINGS)
    agent = vmap(experiment.agent)

    def generation(state, _):
        return agent.step(state)

    run = jax.jit(
        lambda keys, h: jax.lax.scan(generation, agent.init(keys, h), length=GENERATIONS), compiler_options=AS_USERS
    )
    state, metrics = run(jax.random.split(jax.random.key(0), 4), experiment.member(0))
    fitness = np.asarray(metrics["fitness/mean"])
    first, last = fitness[: GENERATIONS // 4].mean(0), fitness[-GENERATIONS // 4 :].mean(0)
    assert (last > first).sum() >= 3
    assert last.mean() > first.mean() + 0.05
    assert (metrics["fitness/broken"] == 0).all()
    assert (metrics["env_steps"] <= Config(**SMALL, population_size=32, judged_steps=10).steps_per_iteration).all()
    observation = jnp.array([0, 0], jnp.int32)
    one = jax.tree.map(lambda leaf: leaf[0], state)
    assert experiment.agent.policy(one).mode((), observation, jax.random.key(0))[1].shape == ()


def test_what_does_not_fit_is_refused():
    env, params = make(NAME)
    with pytest.raises(ValueError, match="did you mean 'zeros'"):
        lpg_es(env, params, Config(initial="zero"))
    with pytest.raises(ValueError, match="population_size=3 is odd"):
        lpg_es(env, params, Config(population_size=3))
    with pytest.raises(ValueError, match="would be lost"):
        lpg_es(env, params.replace(count=jnp.int32(1)))
    with pytest.raises(ValueError, match="lifetimes are drawn"):
        resolve("lpg_es", NAME, settings={"inner.lifetime": 5})
    with pytest.raises(ValueError, match=r"inner.objective is set by the outer loop"):
        lpg_es(env, params).init(jax.random.key(0), Hyperparams(inner=Inner(objective={})))
    with pytest.raises(ValueError, match="never ends, and a life is judged"):
        lpg_es(*make("average/river_swim"))
    assert Config().for_env(*make("levels/all")).judged_steps == 750
    assert Config().for_env(*make("CartPole-v1")).judged_steps == 500
    assert Config(judged_steps=9).for_env(env, params).judged_steps == 9
