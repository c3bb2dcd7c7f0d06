"""Endings that follow training, on a counter whose every state is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agents.baselines.reinforce import Hyperparams, reinforce
from jaxreward.environment import with_reward
from jaxreward.envs.ending import terminate_when
from jaxreward.learning.rollout import reset_batch, rollout
from jaxreward.rewards import environment_reward, linear, steps, success_rate
from tests.probes import Probe

PROBE = Probe()
PARAMS = PROBE.default_params.replace(length=6, shows_time=True, constant=1.0, terminates=False)
NUM_ENVS, STEPS = 2, 14


def waited(transition):
    """How many steps there were in the episode."""
    return transition.next_observation[1]


def played(env, params):
    """`terminated`, `truncated` and the time shown before and after each step, and the last states."""

    def run(key):
        act = lambda carry, observation, noise: (carry, jnp.zeros(NUM_ENVS, jnp.int32), ())  # noqa: E731
        batch = reset_batch(env, params, NUM_ENVS, key)
        after, _, steps, _ = rollout(env, params, act, (), batch, jnp.zeros(STEPS), key)
        return after.state, steps

    state, steps = jax.jit(run)(jax.random.key(0))
    return state, np.asarray(steps.terminated), np.asarray(steps.truncated), np.asarray(steps.next_observation[..., 1])


def test_a_limit_shrinks_with_the_steps_of_all_environments():
    env = terminate_when(PROBE, waited, linear(8.0, 1.0), steps(36))
    params = env.default_params.replace(env=PARAMS)
    wrapped = with_reward(env, environment_reward())
    state, terminated, truncated, time = played(wrapped, wrapped.default_params.replace(env=params))
    now, expected = 0, []
    for t in range(STEPS):  # both environments count, and do the same
        now += 1
        limit = 8 - 7 * min(2 * t / 36, 1)
        expected.append((now, now > limit, now >= 6))
        now = 0 if now > limit or now >= 6 else now
    for env_number in range(NUM_ENVS):
        rows = zip(time[:, env_number], terminated[:, env_number], truncated[:, env_number], strict=True)
        assert list(rows) == expected
    assert any(ends for _, ends, _ in expected)
    assert any(cut and not ends for _, ends, cut in expected)
    np.testing.assert_array_equal(state.env.progress.value, 2 * STEPS)


def test_a_limit_that_stays_is_a_condition():
    env = terminate_when(PROBE, lambda t: t.next_observation[1] == 3)
    _, terminated, truncated, _ = played(env, env.default_params.replace(env=PARAMS))
    np.testing.assert_array_equal(terminated[:, 0], np.arange(1, STEPS + 1) % 3 == 0)
    assert not truncated.any()


def test_what_is_refused():
    with pytest.raises(ValueError, match="nothing is there that it follows"):
        terminate_when(PROBE, waited, linear(1.0, 0.0))
    with pytest.raises(ValueError, match=r"limit=1\.0 follows none"):
        terminate_when(PROBE, waited, 1.0, steps(10))
    with pytest.raises(ValueError, match=r"gives shape \(2,\)"):
        terminate_when(PROBE, lambda t: t.observation)
    with pytest.raises(ValueError, match=r"reads what is not there: .*obs"):
        terminate_when(PROBE, lambda t: t.obs)


def test_whole_episodes_do_not_forget_progress_in_silence():
    env = terminate_when(PROBE, waited, linear(9.0, 1.0), success_rate(lambda t: t.truncated, 0.1, 0.9))

    with pytest.raises(ValueError, match="Ending has a state of which something outlives an episode"):
        jax.eval_shape(reinforce(env, env.default_params).init, jax.random.key(0), Hyperparams())
