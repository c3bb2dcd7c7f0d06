"""A robot that is put back where it falls, step for step beside brax's own that would have ended there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs import make
from jaxreward.envs.adapters.physics import PhysicsState
from jaxreward.learning.rollout import reset_batch, rollout

STEPS, COPIES, COST = 60, 3, 7.0


@pytest.fixture(scope="module")
def walk():
    """Steps of some copies with random pushes: where each was, what was done and what came of it; and the metrics."""
    env, params = make("average/brax?robot=inverted_pendulum", reset_cost=COST)
    pushes = jax.random.uniform(jax.random.key(0), (STEPS, COPIES, 1), minval=-1.0)
    keys = jax.random.split(jax.random.key(1))

    @jax.jit
    def run(batch):
        act = lambda carry, observation, noise: (carry, noise, ())  # noqa: E731
        after, _, trajectory, metrics = rollout(env, params, act, (), batch, pushes, keys[1])
        return after, trajectory, metrics

    return env, params, jax.jit(lambda: reset_batch(env, params, COPIES, keys[0]))(), run


def beside(start, pushes):
    """The same copies of brax's own environment, put back by hand."""
    own, params = make("brax/inverted_pendulum")
    step = jax.jit(jax.vmap(own.step_env, (None, 0, 0, None)))
    state = PhysicsState(time=jnp.zeros(COPIES, jnp.int32), sim=start)
    for push in pushes:
        observation, after, reward, fell, _ = step(jax.random.key(2), state, push, params)
        yield np.asarray(observation), np.asarray(reward), np.asarray(fell)
        mask = lambda leaf: fell.reshape(-1, *(1,) * (leaf.ndim - 1))  # noqa: E731
        sim = jax.tree.map(lambda first, now: jnp.where(mask(now), first, now), start, after.sim)
        state = after.replace(sim=sim)


def test_a_fall_leads_back_and_costs(walk):
    _, _, batch, run = walk
    after, trajectory, metrics = run(batch)
    start = batch.state.start
    np.testing.assert_array_equal(batch.observation, start.obs)
    steps = list(beside(start, trajectory.action))
    observation, reward, fell = (np.stack(each) for each in zip(*steps, strict=True))
    assert 3 < fell.sum() < fell.size / 2
    assert fell.any(0).all()
    # Programs are compiled differently; nothing here has grown beyond rounding in some steps.
    np.testing.assert_allclose(trajectory.reward, reward - COST * fell, atol=1e-4)
    expected = np.where(fell[..., None], np.asarray(start.obs), observation)
    np.testing.assert_allclose(trajectory.next_observation, expected, atol=1e-3)
    np.testing.assert_array_equal(after.observation, trajectory.next_observation[-1])
    assert not trajectory.done.any()
    np.testing.assert_allclose(metrics["average/resets"], -COST * fell.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["average_reward"], np.mean(trajectory.reward), rtol=1e-5)


def test_numbers_that_are_not_finite_are_a_fall(walk):
    """The first copy's are made NaN; the others go on as they do beside it."""
    _, _, batch, run = walk
    floats = lambda leaf: leaf.at[0].mul(jnp.nan) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf  # noqa: E731
    broken = batch._replace(state=batch.state.replace(sim=jax.tree.map(floats, batch.state.sim)))
    (after, trajectory, metrics), (_, whole, _) = run(broken), run(batch)
    np.testing.assert_array_equal(trajectory.next_observation[0, 0], batch.state.start.obs[0])
    assert trajectory.reward[0, 0] == -COST
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[:, 1:], y[:, 1:]), trajectory, whole)
    rates = [value for name, value in metrics.items() if name.startswith("average")]
    numbers = jax.tree.leaves((trajectory.reward, trajectory.next_observation, after.state.sim, rates))
    assert all(np.isfinite(x).all() for x in numbers)


def test_there_is_no_time_limit_and_the_cost_can_be_set(walk):
    env, params, *_ = walk
    assert env.name == "average/brax?robot=inverted_pendulum"
    assert vars(params) == {"reset_cost": COST}
    with pytest.raises(ValueError, match="no argument of environment 'average/brax' called 'max_steps_in_episode'"):
        make("average/brax?max_steps_in_episode=10")
    with pytest.raises(ValueError, match="did you mean 'hopper'"):
        make("average/brax?robot=hoper")
