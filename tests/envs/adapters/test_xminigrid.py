"""XLand-MiniGrid's worlds: the package's own steps, what a goal pays, and how episodes end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.contract.environments import check_environment
from jaxreward.envs import make

xminigrid = pytest.importorskip("xminigrid")


def test_steps_are_those_of_the_package_and_a_goal_pays_by_its_formula():
    env, params = make("xminigrid/MiniGrid-Empty-5x5")
    check_environment(env, params)
    world, limits = xminigrid.make("MiniGrid-Empty-5x5")

    def walk(key):
        actions = jax.random.randint(key, (64,), 0, 3)  # forward, right, left
        seen, state = env.reset_env(key, params)
        start = world.reset(limits, key)

        def both(carry, action):
            state, theirs = carry
            seen, after, reward, terminated, _ = env.step_env(key, state, action, params)
            after_theirs = world.step(limits, theirs, action)
            same = (seen == after_theirs.observation).all() & (reward == after_theirs.reward)
            return (after, after_theirs), (same, reward, terminated, env.is_truncated(after, params))

        return (seen == start.observation).all(), jax.lax.scan(both, (state, start), actions)[1]

    first, (same, reward, terminated, truncated) = jax.jit(jax.vmap(walk))(jax.random.split(jax.random.key(0), 16))
    assert first.all()
    assert same.all()
    assert terminated.any()
    run, step = np.argwhere(np.asarray(terminated))[0]
    assert reward[run, step] == pytest.approx(1 - 0.9 * (step + 1) / limits.max_steps, rel=1e-6)
    assert (np.asarray(reward)[~np.asarray(terminated)] == 0).all()
    assert not (np.asarray(truncated) & np.asarray(terminated)).any()


def test_a_time_limit_truncates():
    env, params = make("xminigrid/MiniGrid-Empty-5x5", max_steps_in_episode=2)
    _, state = env.reset_env(jax.random.key(0), params)
    ends = []
    step = jax.jit(env.step_env)
    for _ in range(2):
        _, state, _, terminated, _ = step(jax.random.key(1), state, jnp.int32(1), params)
        ends.append((bool(terminated), bool(env.is_truncated(state, params))))
    assert ends == [(False, False), (False, True)]
    space = env.observation_space(params)
    assert (space.shape, env.action_space(params).n) == ((7, 7, 2), 6)
