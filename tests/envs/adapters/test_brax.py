"""Against brax itself: its environments, its episode wrapper, its viewer's data."""

import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs.adapters.brax import BACKENDS, BraxEnv, brax_names
from jaxreward.envs.adapters.foreign import lenient

with lenient():
    from brax.envs import get_environment
    from brax.envs.fast import ObservationMode
    from brax.envs.wrappers.training import EpisodeWrapper

KEY = jax.random.key(3)


def brax_rollout(env, actions):
    """Observation, reward and done, `[T, ...]` each, by brax's own `step`."""

    def run(key):
        def step(state, action):
            new = env.step(state, action)
            new = jax.tree.map(lambda x, ref: jnp.asarray(x, ref.dtype), new, state)
            return new, (new.obs, new.reward, new.done)

        start = jax.tree.map(lambda x: jnp.asarray(x, jnp.asarray(x).dtype), env.reset(key))
        return jax.lax.scan(step, start, actions)[1]

    with lenient():
        return jax.jit(run)(KEY)


def our_rollout(env, params, actions):
    """Observation, reward, terminated and truncated, `[T, ...]` each, through the adapter."""

    def run(key):
        def step(state, action):
            observation, state, reward, terminated, _ = env.step_env(key, state, action, params)
            return state, (observation, reward, terminated, env.is_truncated(state, params))

        return jax.lax.scan(step, env.reset_env(key, params)[1], actions)[1]

    return jax.jit(run)(KEY)


@pytest.mark.parametrize("backend", ["spring", pytest.param("positional", marks=pytest.mark.slow)])
def test_twenty_steps_are_brax_own_bit_for_bit(backend):
    actions = jnp.linspace(0.2, 1.0, 20)[:, None]
    with lenient():
        original = get_environment("inverted_pendulum", backend=backend)
    observations, rewards, dones = brax_rollout(original, actions)
    env = BraxEnv("inverted_pendulum", backend)
    ours = our_rollout(env, env.default_params, actions)
    np.testing.assert_array_equal(ours[0], observations)
    np.testing.assert_array_equal(ours[1], rewards)
    np.testing.assert_array_equal(ours[2], dones == 1)
    assert ours[2].any()  # the pole has fallen
    assert not ours[2][0]
    assert not ours[3].any()


@pytest.mark.parametrize("repeat", [1, 3])
def test_time_limit_and_repeat_are_those_of_brax_episode_wrapper(repeat):
    wrapped = EpisodeWrapper(get_environment("fast"), episode_length=7, action_repeat=repeat)
    env = BraxEnv("fast", max_steps_in_episode=7, action_repeat=repeat)
    until_the_limit = math.ceil(7 / repeat)
    _, ours = env.reset_env(KEY, env.default_params)
    state = wrapped.reset(jax.random.PRNGKey(3))
    for count in range(1, until_the_limit + 1):
        with lenient():
            state = wrapped.step(state, jnp.ones(1))
        observation, ours, reward, terminated, _ = env.step_env(KEY, ours, jnp.ones(1), env.default_params)
        # The wrapper's steps are in a loop, which is compiled: it fuses products with sums, and rounds once less.
        np.testing.assert_allclose(observation, state.obs, rtol=1e-6)
        np.testing.assert_allclose(reward, state.reward, rtol=1e-6)
        assert not terminated
        truncated = env.is_truncated(ours, env.default_params)
        assert truncated == (state.info["truncation"] == 1) == (count == until_the_limit)


QUICK = ("ant", "fast", "inverted_double_pendulum")
"""Environments to trace each time; all others are traced with the slow tests."""


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in brax_names()])
def test_an_environment_traces_and_keeps_its_types(name):
    env = BraxEnv(name, "spring")
    params = env.default_params
    observation, state = jax.eval_shape(env.reset_env, KEY, params)
    action = env.action_space(params).sample(KEY)
    next_observation, next_state, reward, terminated, _ = jax.eval_shape(env.step_env, KEY, state, action, params)
    assert observation.shape == next_observation.shape == env.observation_space(params).shape
    assert jax.tree.leaves(state) == jax.tree.leaves(next_state)
    assert (reward.shape, reward.dtype, terminated.dtype) == ((), jnp.float32, bool)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_traces(backend):
    env = BraxEnv("inverted_pendulum", backend)
    state = jax.eval_shape(env.reset_env, KEY, env.default_params)[1]
    jax.eval_shape(env.step_env, KEY, state, jnp.zeros(1), env.default_params)
    assert env.backend == backend


def test_metrics_are_in_info_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = BraxEnv("halfcheetah")
    state = jax.eval_shape(env.reset_env, KEY, env.default_params)[1]
    info = jax.eval_shape(env.step_env, KEY, state, jnp.zeros(6), env.default_params)[4]
    assert set(info) == {"reward_ctrl", "reward_run", "x_position", "x_velocity"}
    assert not list(tmp_path.iterdir())  # MuJoCo warns of this model, and would log it here


def test_dictionary_observation():
    env = BraxEnv("fast", obs_mode=ObservationMode.DICT_STATE, asymmetric_obs=True)
    observation, state = env.reset_env(KEY, env.default_params)
    assert observation.shape == (2,)
    assert state.sim.obs["privileged_state"].shape == (4,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("anti",), "did you mean 'ant'"),
        (("ant", "sprin"), "did you mean 'spring'"),
        (("swimmer",), "does not run"),
    ],
)
def test_names_that_do_not_exist(arguments, message):
    with pytest.raises(ValueError, match=message):
        BraxEnv(*arguments)


def test_arguments_that_do_not_exist():
    with pytest.raises(ValueError, match="did you mean 'healthy_reward'"):
        BraxEnv("ant", healty_reward=2.0)


def test_brax_is_imported_late_and_silently():
    program = """
import sys
from jaxreward.envs import make
assert "brax" not in sys.modules
env, params = make("brax/inverted_pendulum?backend=mjx")
import jax
state = jax.eval_shape(env.reset_env, jax.random.key(0), params)[1]
jax.eval_shape(env.step_env, jax.random.key(0), state, env.action_space(params).sample(jax.random.key(0)), params)
"""
    result = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
