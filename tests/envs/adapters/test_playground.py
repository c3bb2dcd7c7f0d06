"""The adapter's handling of playground's registry on a stand-in, and playground itself where it is installed."""

import subprocess
import sys
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import config_dict

from jaxreward.envs.adapters import playground
from jaxreward.envs.adapters.playground import PlaygroundEnv
from tests.envs.adapters.test_physics import Counter

KEY = jax.random.key(0)


class Registry(ModuleType):
    """What the adapter uses of `mujoco_playground.registry`."""

    ALL_ENVS = ("CounterReach", "CounterWalk")

    def get_default_config(self, name):
        scales = {"upright": 1.0}
        config = {"ctrl_dt": 0.5, "episode_length": 4, "action_repeat": 2, "impl": "warp", "reward": {"scales": scales}}
        return config_dict.create(**config)

    def load(self, name, config_overrides):
        if name == "CounterWalk":
            raise subprocess.CalledProcessError(128, ["git", "clone"])
        self.config = self.get_default_config(name).lock()
        self.config.update_from_flattened_dict(config_overrides)
        return Counter()


@pytest.fixture
def registry(monkeypatch):
    package = ModuleType("mujoco_playground")
    package.registry = Registry("mujoco_playground.registry")
    monkeypatch.setitem(sys.modules, "mujoco_playground", package)
    playground._registry.cache_clear()
    yield package.registry
    playground._registry.cache_clear()


def test_time_limit_and_repeat_come_from_the_config(registry):
    env = PlaygroundEnv("CounterReach")
    assert env.name == "playground/CounterReach"
    assert env.default_params.max_steps_in_episode == 4
    assert env.action_repeat == 2
    state = env.reset_env(KEY, env.default_params)[1]
    observation, state, reward, terminated, info = env.step_env(KEY, state, jnp.array([0.5, 0.5]), env.default_params)
    np.testing.assert_array_equal(observation, [2, -2])
    assert (reward, terminated, state.time, info) == (1 + 2, False, 2, {"reached": 2})


def test_given_arguments_precede_the_config(registry):
    env = PlaygroundEnv("CounterReach", max_steps_in_episode=9, action_repeat=1, **{"reward.scales.upright": 3.0})
    assert (env.default_params.max_steps_in_episode, env.action_repeat) == (9, 1)
    assert registry.config.reward.scales.upright == 3.0
    assert registry.config.impl == "jax"
    PlaygroundEnv("CounterReach", impl="warp")
    assert registry.config.impl == "warp"


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("CounterReech", {}, "did you mean 'CounterReach'"),
        ("CounterReach", {"impl": "jacks"}, "There are: jax, warp"),
        ("CounterReach", {"reward.scales.uprigt": 1.0}, "did you mean 'reward.scales.upright'"),
        ("CounterReach", {"ctrl_dt": "fast"}, "CounterReach.*ctrl_dt"),
    ],
)
def test_what_does_not_exist(registry, name, arguments, message):
    with pytest.raises(ValueError, match=message):
        PlaygroundEnv(name, **arguments)


def test_robots_that_cannot_be_downloaded(registry):
    with pytest.raises(RuntimeError, match=r"MuJoCo Menagerie.*failed"):
        PlaygroundEnv("CounterWalk")


def test_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco_playground", None)
    playground._registry.cache_clear()
    with pytest.raises(ImportError, match=r"pip install 'jaxreward\[playground\]'"):
        PlaygroundEnv("CartpoleBalance")


def test_steps_are_playgrounds_own():
    pytest.importorskip("mujoco_playground")
    env = PlaygroundEnv("CartpoleBalance", max_steps_in_episode=3)
    params = env.default_params
    _, state = jax.jit(env.reset_env)(KEY, params)
    sim = jax.jit(env.simulator.reset)(KEY)
    step, sim_step = jax.jit(env.step_env), jax.jit(env.simulator.step)
    for count in range(1, 6):
        action = jnp.array([0.2 * count])
        observation, state, reward, terminated, info = step(KEY, state, action, params)
        sim = sim_step(sim, action)
        np.testing.assert_array_equal(observation, sim.obs)
        assert (reward, terminated) == (sim.reward, sim.done == 1)
        assert env.is_truncated(state, params) == (count >= 3)
        assert info.keys() == sim.metrics.keys()
