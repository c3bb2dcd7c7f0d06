"""What is guaranteed of SubPO, `J(pi) >= (1 - c) J(pi*)` with the curvature `c`, on random instances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward import vmap
from jaxreward.agents.subpo.parts.planners import exhaustive
from jaxreward.agents.subpo.subpo import Config, Hyperparams, subpo
from jaxreward.envs.subrl.grid import Grid
from jaxreward.envs.subrl.task import Task
from jaxreward.rewards.sets import information_gain, marginal_gains, table

ROWS, COLUMNS, HORIZON, INSTANCES, NOISE = 2, 3, 5, 8, 4.0
PLACES = ROWS * COLUMNS


def random_covariances():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(INSTANCES, PLACES, 4)) * rng.uniform(0.2, 2, (INSTANCES, PLACES, 1))
    return features @ features.swapaxes(1, 2)


COVARIANCES = random_covariances()
GAIN = marginal_gains(information_gain(table(COVARIANCES[0]), HORIZON, NOISE), lambda state: state.cell)
PARAMS = {"kernel": jnp.asarray(COVARIANCES, float), "noise": jnp.full(INSTANCES, NOISE)}
TASK = Task("measuring", Grid(ROWS, COLUMNS, HORIZON), GAIN, PARAMS)


def information(covariance, times):
    """F of so many measurements of each place."""
    noise = np.repeat(np.arange(PLACES), times)
    return 0.5 * np.linalg.slogdet(np.eye(len(noise)) + covariance[np.ix_(noise, noise)] / NOISE)[1]


def curvature(covariance):
    """Of pairs of time and place: what the last measurement of a place tells, as share of the first."""
    everything = np.full(PLACES, HORIZON)
    single = [information(covariance, np.eye(PLACES, dtype=int)[p]) for p in range(PLACES)]
    last = [
        information(covariance, everything) - information(covariance, everything - np.eye(PLACES, dtype=int)[p])
        for p in range(PLACES)
    ]
    return 1 - min(np.array(last) / np.array(single))


@pytest.fixture(scope="module")
def trained():
    """Returns of all instances before and after training, by one program."""
    agent = subpo(TASK, TASK.default_params, Config(num_envs=64, num_steps=HORIZON - 1, layers=(16,)))
    params = [TASK.default_params.replace(instance=jnp.asarray(i)) for i in range(INSTANCES)]
    hyperparams = Hyperparams(learning_rate=0.03, env_params=jax.tree.map(lambda *x: jnp.stack(x), *params))
    numbers = lambda x: jnp.broadcast_to(jnp.asarray(x, float), (INSTANCES,))  # noqa: E731
    hyperparams = hyperparams.replace(
        **{name: numbers(value) for name, value in vars(hyperparams).items() if name != "env_params"}
    )
    many = vmap(agent, population=True)
    state = jax.jit(many.init)(jax.random.split(jax.random.key(0), INSTANCES), hyperparams)
    _, metrics = jax.jit(lambda s: jax.lax.scan(lambda s, _: many.step(s), s, None, 80))(state)
    return np.asarray(metrics["episode/return"])


@pytest.fixture(scope="module")
def optimum():
    find = lambda i: exhaustive(TASK, TASK.default_params.replace(instance=i), jax.random.key(0), HORIZON - 1).value  # noqa: E731
    return np.asarray(jax.lax.map(find, jnp.arange(INSTANCES)))


def test_the_guarantee_holds(trained, optimum):
    bound = np.array([1 - curvature(covariance) for covariance in COVARIANCES])
    assert ((bound > 0) & (bound < 1)).all()
    assert (trained[-1] >= bound * optimum).all()
    assert (trained[-1] <= optimum * (1 + 1e-5)).all()


def test_and_what_is_found_is_far_better(trained, optimum):
    """Most of what lies between the first policy and the optimum, on average over the instances."""
    assert (trained[0] < 0.9 * optimum).all()
    assert np.mean((trained[-1] - trained[0]) / (optimum - trained[0])) > 0.8
