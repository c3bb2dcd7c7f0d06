"""Worlds of other packages: how episodes end, and what is said where a package or a name is missing."""

import importlib.util
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces

from jaxreward.contract.environments import check_environment
from jaxreward.envs import list_envs, make, registry
from jaxreward.envs.adapters.worlds import WorldEnv
from jaxreward.learning.episodes import episode_limit

EXAMPLES = {
    "xminigrid": ("xminigrid", "MiniGrid-Empty-5x5"),
    "navix": ("navix", "Navix-Empty-5x5-v0"),
    "craftax": ("craftax", "Craftax-Classic-Symbolic-v1"),
    "jumanji": ("jumanji", "Snake-v1"),
}
"""The module and a name of each optional extra."""


class Walk(WorldEnv):
    """A place that grows by the action, paid as it is; place 3 is the end. It starts weakly typed."""

    def __init__(self, limit):
        super().__init__("walk", 2, spaces.Box(0, 9, (1,), jnp.float32), limit)

    def begin(self, key):
        return jnp.zeros((1,), jnp.int32), jnp.asarray(0)

    def advance(self, key, inner, action):
        place = inner + action
        return place[None], place, place, place == 3


def test_the_world_terminates_and_the_time_limit_truncates_unless_both_come_at_once():
    env = Walk(3)
    params = env.default_params
    check_environment(env, params)

    def walk(actions):
        def step(state, action):
            seen, state, reward, terminated, _ = env.step_env(jax.random.key(0), state, action, params)
            told = env.is_terminated(state, params)
            return state, (seen[0], reward, terminated, told, env.is_truncated(state, params))

        return jax.lax.scan(step, env.reset_env(jax.random.key(0), params)[1], actions)[1]

    actions = jnp.array([[1, 1, 1], [1, 1, 0], [0, 0, 0]])
    seen, reward, terminated, told, truncated = jax.jit(jax.vmap(walk))(actions)
    np.testing.assert_array_equal(seen, [[1, 2, 3], [1, 2, 2], [0, 0, 0]])
    np.testing.assert_array_equal(reward, seen)
    np.testing.assert_array_equal(terminated[:, -1], [True, False, False])
    np.testing.assert_array_equal(told, terminated)
    np.testing.assert_array_equal(truncated[:, -1], [False, True, True])
    assert not np.asarray(terminated | truncated)[:, :-1].any()


def test_a_limit_of_0_is_none():
    env = Walk(0)
    with pytest.raises(ValueError, match="walk has no time limit"):
        episode_limit(env, env.default_params)
    state = env.reset_env(jax.random.key(0), env.default_params)[1]
    _, state, _, _, _ = env.step_env(jax.random.key(0), state, jnp.int32(0), env.default_params)
    assert not env.is_truncated(state, env.default_params)


def test_what_is_shown_and_held_is_of_the_types_that_are_declared():
    env = Walk(3)
    seen, state = jax.eval_shape(env.reset_env, jax.random.key(0), env.default_params)
    assert (seen.shape, seen.dtype) == ((1,), jnp.float32)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(state))


def test_a_package_that_cannot_be_imported_hides_no_other(monkeypatch):
    def broken():
        raise ImportError("no libGL")

    adapter = SimpleNamespace(broken_names=broken, sound_names=lambda: ["world"])
    packages = {name: registry._Package("json", "Env") for name in ("broken", "sound")}
    monkeypatch.setattr(registry, "_PACKAGES", packages)
    monkeypatch.setattr(registry, "_adapter", lambda prefix: adapter)
    names = list_envs()
    assert "sound/world" in names
    assert not any(name.startswith("broken/") for name in names)


def test_an_older_python_than_navix_takes_is_told(monkeypatch):
    monkeypatch.setattr("jaxreward.envs.adapters.navix.sys", SimpleNamespace(version_info=(3, 11, 4)))
    with pytest.raises(
        ImportError, match=r"Python 3.12 or later, and this is 3.11: .*pip install 'jaxreward\[navix\]'"
    ):
        make("navix/Navix-Empty-5x5-v0")


@pytest.mark.parametrize("extra", list(EXAMPLES))
def test_without_the_package_it_says_what_to_install(extra):
    module, name = EXAMPLES[extra]
    if importlib.util.find_spec(module):
        pytest.skip("it is installed")
    with pytest.raises(ImportError, match=rf"pip install 'jaxreward\[{extra}\]'"):
        make(f"{extra}/{name}")


@pytest.mark.parametrize("extra", list(EXAMPLES))
def test_with_the_package_it_is_listed_and_what_is_not_there_is_refused(extra):
    module, name = EXAMPLES[extra]
    if not importlib.util.find_spec(module):
        pytest.skip(f"{module} is not installed")
    assert f"{extra}/{name}" in list_envs()
    with pytest.raises(ValueError, match=f"did you mean '{name}'"):
        make(f"{extra}/{name[:-3]}{name[-2:]}")
    with pytest.raises(ValueError, match="max_steps_in_episode must be positive"):
        make(f"{extra}/{name}", max_steps_in_episode=0)
    env, params = make(f"{extra}/{name}", max_steps_in_episode=7)
    assert params.max_steps_in_episode == 7
    check_environment(env, params)
