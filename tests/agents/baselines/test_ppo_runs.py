"""PPO through the host loop: interrupted, spread over devices, and a thousand runs at once."""

import jax
import numpy as np
import pytest
from gymnax.environments.classic_control.cartpole import CartPole

from jaxreward.agents.baselines.ppo import Config, Hyperparams, ppo
from jaxreward.environment import with_reward
from jaxreward.rewards import normalise, weighted
from jaxreward.run.train import train


def upright(transition):
    return -abs(transition.next_observation[2])


@pytest.fixture(scope="module")
def agent():
    env = with_reward(CartPole(), normalise(weighted(upright=(upright, 1.0), alive=(1.0, 0.1))))
    config = Config(num_envs=2, num_steps=8, num_epochs=1, num_minibatches=2, layers=(8,), normalise_observations=True)
    return ppo(env, env.default_params, config)


def rates(number):
    values = np.geomspace(1e-4, 1e-2, number).astype(np.float32)
    hyperparams = jax.vmap(lambda rate: Hyperparams(learning_rate=rate))(values)
    batched = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (number, *np.shape(leaf)[1:])), hyperparams)
    return batched, [{"learning_rate": float(value)} for value in values]


def same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        raw = jax.random.key_data if jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key) else np.asarray
        np.testing.assert_array_equal(raw(x), raw(y))


def test_a_resumed_run_has_the_same_bits(agent, tmp_path):
    hyperparams, population = rates(2)
    told = {"population": population, "seeds": 3, "log_every": 2, "progress": False}
    whole = train(agent, hyperparams, iterations=6, folder=tmp_path / "whole", **told)
    train(agent, hyperparams, iterations=3, folder=tmp_path / "part", **told)
    resumed = train(agent, hyperparams, iterations=6, folder=tmp_path / "part", resume=True, **told)
    same(whole.state, resumed.state)
    # Stopped within a chunk of two, the run logs iteration 3 as well; the other rows are the same.
    rows = [run.metrics.drop(columns="wall_seconds").query("iteration in (2, 6)") for run in (whole, resumed)]
    assert len(rows[0]) == 12
    assert rows[0].reset_index(drop=True).equals(rows[1].reset_index(drop=True))


def four_by_four(agent, folder, mesh=None):
    hyperparams, population = rates(4)
    told = {"population": population, "seeds": 4, "iterations": 2, "progress": False}
    return train(agent, hyperparams, folder=folder, mesh=mesh, **told)


@pytest.fixture(scope="module")
def alone(agent, tmp_path_factory):
    return four_by_four(agent, tmp_path_factory.mktemp("alone") / "one")


@pytest.mark.parametrize("axis", ["population", "seed"])
def test_runs_spread_over_devices_are_the_same_runs(agent, alone, tmp_path, axis):
    spread = four_by_four(agent, tmp_path / "four", jax.make_mesh((4,), (axis,)))
    assert len(jax.tree.leaves(spread.state.params)[0].devices()) == 4
    # A smaller batch on each device may be summed in another order.
    for x, y in zip(jax.tree.leaves(alone.state.params), jax.tree.leaves(spread.state.params), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)


def test_a_thousand_and_twenty_four_runs_in_one_program(agent, tmp_path):
    hyperparams, population = rates(32)
    result = train(
        agent, hyperparams, population=population, seeds=32, iterations=2, folder=tmp_path / "run", progress=False
    )
    assert len(result.metrics[result.metrics["iteration"] == 2]) == 1024
    kernels = [leaf for leaf in jax.tree.leaves(result.state.params) if leaf.ndim == 4]
    assert all(leaf.shape[:2] == (32, 32) for leaf in kernels)
    last = np.asarray(kernels[0]).reshape(1024, -1)
    assert len(np.unique(last, axis=0)) == 1024
