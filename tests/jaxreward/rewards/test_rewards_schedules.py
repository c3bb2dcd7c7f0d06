"""Schedules: curves at their ends and between, progress counted by hand, in training and through interruptions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.environment import with_reward
from jaxreward.envs import make
from jaxreward.learning.rollout import reset_batch, rollout
from jaxreward.reward import ENVIRONMENTS, Transition
from jaxreward.rewards import (
    cosine,
    environment_reward,
    exponential,
    linear,
    piecewise,
    schedule,
    steps,
    success_rate,
    weighted,
)
from jaxreward.run.job import Job, Setup


@pytest.mark.parametrize(
    ("curve", "values"),
    [
        (linear(2.0, 6.0), [2, 3, 4, 5, 6]),
        (linear(1.0, 0.0), [1, 0.75, 0.5, 0.25, 0]),
        (cosine(2.0, 6.0), [2, 4 - np.sqrt(2), 4, 4 + np.sqrt(2), 6]),
        (exponential(16.0, 1.0), [16, 8, 4, 2, 1]),
        (exponential(-1.0, -16.0), [-1, -2, -4, -8, -16]),
        (piecewise([(0.25, 1.0), (0.75, 3.0)]), [1, 1, 2, 3, 3]),
        (piecewise([(0.5, 7.0)]), [7, 7, 7, 7, 7]),
    ],
)
def test_curves(curve, values):
    found = jax.jit(jax.vmap(curve.value, (None, 0)))(curve.params, jnp.linspace(0, 1, 5))
    np.testing.assert_allclose(found, values, rtol=1e-6, atol=1e-6)


def happened(reward, terminated=False, valid=(), info=()):
    no, reward = jnp.zeros_like(reward), jnp.asarray(reward)
    ends = jnp.broadcast_to(jnp.asarray(terminated), reward.shape), jnp.zeros(reward.shape, bool)
    return Transition(no, no, reward, no, *ends, info=info, valid=valid)


def together(reward, params, memory, transition):
    """A step of several environments."""
    return jax.vmap(reward.step, (None, 0, 0), axis_name=ENVIRONMENTS)(params, memory, transition)


def test_all_environments_are_paid_by_the_same_progress_and_those_that_are_over_count_for_nothing():
    reward = schedule(environment_reward(), linear(0.0, 10.0), steps(10))
    params = reward.init(jax.random.key(0))
    memory = jax.vmap(lambda _: reward.reset(params))(jnp.arange(3))
    valid = jnp.array([[True, True, True], [True, False, True], [True, False, False]])
    paid, taken = [], [0]
    for row in valid:
        memory, value = together(reward, params, memory, happened(jnp.array([1.0, 2.0, 3.0]), jnp.zeros(3, bool), row))
        paid.append(value)
        taken.append(taken[-1] + int(row.sum()))
    assert taken == [0, 3, 5, 6]
    np.testing.assert_allclose(paid, np.outer(taken[:3], [1.0, 2.0, 3.0]), rtol=1e-6)  # before each step
    assert memory.progress.value.tolist() == [6, 6, 6]


def test_progress_outlives_episodes_stays_at_its_end_and_does_not_overflow():
    reward = schedule(environment_reward(), linear(1.0, 5.0), steps(2))
    params = reward.init(jax.random.key(0))
    memory, paid = reward.reset(params), []
    for _ in range(4):
        memory, value = reward.step(params, memory, happened(jnp.ones(())))
        paid.append(float(value))
        memory = reward.persist(memory, reward.reset(params))
    assert paid == [1, 3, 5, 5]
    far = steps(10)
    assert int(far.after(far.params, jnp.int32(2**31 - 1), happened(jnp.ones(())))) == 2**31 - 1


def test_a_rate_of_success_is_a_running_mean_over_episodes():
    progress = success_rate(lambda t: t.info > 0, low=0.2, high=0.6, rate=0.5)
    reward = schedule(environment_reward(), linear(0.0, 1.0), progress)
    params = reward.init(jax.random.key(0))
    memory, means, mean = reward.reset(params), [], 0.0
    for ends, won in [(False, True), (True, True), (True, False), (True, True), (False, False), (True, True)]:
        memory, value = reward.step(
            params, memory, happened(jnp.ones(()), ends, info=jnp.asarray(1.0 if won else -1.0))
        )
        np.testing.assert_allclose(value, np.clip((mean - 0.2) / 0.4, 0, 1), rtol=1e-5)
        mean = mean + 0.5 * (won - mean) if ends else mean
        means.append(mean)
    np.testing.assert_allclose(memory.progress.value, means[-1], rtol=1e-6)
    # Of several that end at once, as if they had ended one after the other where all came to the same.
    ended, valid = jnp.ones(3, bool), jnp.array([True, True, False])
    batch = jax.vmap(lambda _: reward.reset(params))(jnp.arange(3))
    batch, _ = together(reward, params, batch, happened(jnp.ones(3), ended, valid, jnp.array([1.0, 1.0, -1.0])))
    np.testing.assert_allclose(batch.progress.value, [0.75] * 3, rtol=1e-6)


def test_its_numbers_are_params_that_have_a_slope_and_batch():
    """`d/d start` of `start + (end - start) x` is `1 - x`, and `d/d number` has the sign of a slower schedule."""
    reward = schedule(environment_reward(), linear(2.0, 6.0), steps(8))
    params = reward.init(jax.random.key(0))

    def third(params):
        memory = reward.reset(params)
        for _ in range(2):
            memory, _ = reward.step(params, memory, happened(jnp.ones(())))
        return reward.step(params, memory, happened(jnp.ones(())))[1]

    slope = jax.jit(jax.grad(third))(params)
    np.testing.assert_allclose(slope["weight"]["start"], 0.75)
    np.testing.assert_allclose(slope["weight"]["end"], 0.25)
    np.testing.assert_allclose(slope["progress"]["number"], -4 * 2 / 8**2)
    several = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), params)
    np.testing.assert_allclose(jax.vmap(third)(several), [3.0, 4 + 8 * 2 / 16])


def test_a_rollout_is_paid_by_the_steps_before():
    env, _ = make("CartPole-v1")
    rewarded = with_reward(env, schedule(environment_reward(), linear(0.0, 100.0), steps(100)))
    start = reset_batch(rewarded, rewarded.default_params, 4, jax.random.key(0))
    act = lambda carry, observation, _: (carry, jnp.zeros(4, jnp.int32), ())  # noqa: E731  it falls after some ten steps
    run = jax.jit(lambda key: rollout(rewarded, rewarded.default_params, act, (), start, jnp.zeros(20), key)[2])
    trajectory = run(jax.random.key(1))
    assert trajectory.done.any()
    np.testing.assert_allclose(trajectory.reward, np.broadcast_to(4.0 * np.arange(20)[:, None], (20, 4)), rtol=1e-5)


FILE = """
from jaxreward.rewards import environment_reward, linear, schedule, steps
reward = schedule(environment_reward(), linear(1.0, 0.0), steps(512))
"""


def test_a_run_that_is_resumed_goes_on_where_it_was(tmp_path, monkeypatch):
    """Its reward fades to nothing over 512 steps: the last rows are paid 0, and as without the interruption."""
    (tmp_path / "fading.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    settings = {"num_envs": 4, "num_steps": 16, "layers": (4,), "num_minibatches": 1, "num_epochs": 1}
    setup = Setup("ppo", "CartPole-v1", "fading.py:reward", settings)
    whole = Job(setup, tmp_path / "whole", 768, log_every=2).train(progress=False).metrics
    Job(setup, tmp_path / "parts", 256, log_every=2).train(progress=False)
    parts = Job(setup, tmp_path / "parts", 768, log_every=2).train(progress=False).metrics
    assert parts.drop(columns="wall_seconds").equals(whole.drop(columns="wall_seconds"))
    paid = whole["average_reward"].to_numpy()
    expected = 1 - (np.arange(4) * 128 + (128 - 4) / 2) / 512
    np.testing.assert_allclose(paid[:4], expected, rtol=1e-5)
    np.testing.assert_array_equal(paid[4:], 0)


def test_parts_of_a_sum_follow_schedules_of_their_own():
    reward = weighted(
        task=environment_reward(), hint=schedule(lambda t: 2.0 + 0 * t.reward, linear(1.0, 0.0), steps(2))
    )
    params = reward.init(jax.random.key(0))
    memory, paid = reward.reset(params), []
    for _ in range(3):
        memory, value = reward.step(params, memory, happened(jnp.ones(())))
        paid.append(float(value))
    assert paid == [3, 2, 1]


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (lambda: steps(0), "a positive number of steps"),
        (lambda: steps(1e12), "2,147,483,647 at most"),
        (lambda: linear(0.0, np.inf), "finite numbers; got end=inf"),
        (lambda: exponential(1.0, 0.0), "numbers of one sign"),
        (lambda: exponential(-1.0, 1.0), "numbers of one sign"),
        (lambda: piecewise([]), "by rising progress"),
        (lambda: piecewise([(0.5, 1.0), (0.5, 2.0)]), "by rising progress"),
        (lambda: piecewise([(0.0, 1.0), (2.0, 2.0)]), "from 0 to 1"),
        (lambda: success_rate(lambda t: True, 0.6, 0.2), "low < high"),
        (lambda: success_rate(lambda t: True, 0.2, 0.6, 0.0), "0 < rate"),
    ],
)
def test_what_is_refused(make_it, message):
    with pytest.raises(ValueError, match=message):
        make_it()
