"""Jumanji's worlds: the package's own steps, actions of several parts as one, and how episodes end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.contract.environments import check_environment
from jaxreward.envs import make
from jaxreward.envs.adapters.foreign import lenient

with lenient():
    jumanji = pytest.importorskip("jumanji")
from jaxreward.envs.adapters.jumanji import jumanji_names


def test_steps_are_those_of_the_package_and_an_end_of_the_world_is_no_time_limit():
    env, params = make("jumanji/Snake-v1", observation_key="grid", max_steps_in_episode=6)
    world = jumanji.make("Snake-v1", time_limit=6)

    def walk(key):
        keys = jax.random.split(key, 7)
        seen, state = env.reset_env(keys[0], params)
        theirs, start = world.reset(keys[0])

        def both(carry, key):
            state, theirs, over = carry
            action = jax.random.randint(key, (), 0, 4)
            seen, after, reward, terminated, _ = env.step_env(key, state, action, params)
            theirs, timestep = world.step(theirs, action)
            truncated = env.is_truncated(after, params)
            same = (seen == timestep.observation.grid).all() & (reward == timestep.reward)
            same &= timestep.last() == (terminated | truncated)
            return (after, theirs, over | terminated), (same | over, terminated & ~over, truncated & ~over)

        return (seen == start.observation.grid).all(), jax.lax.scan(
            both, (state, theirs, jnp.zeros((), bool)), keys[1:]
        )[1]

    with lenient():
        first, (same, terminated, truncated) = jax.jit(jax.vmap(walk))(jax.random.split(jax.random.key(0), 32))
    assert first.all()
    assert same.all()
    assert terminated.any()
    np.testing.assert_array_equal(truncated[:, -1], ~np.asarray(terminated).any(axis=1))
    assert not truncated[:, :-1].any()


def test_an_action_of_several_parts_is_numbered_with_the_last_part_fastest():
    env, params = make("jumanji/RubiksCube-v0")
    world = jumanji.make("RubiksCube-v0")
    assert env.num_actions == 18  # 6 faces, 1 depth, 3 directions
    with lenient():
        _, state = env.reset_env(jax.random.key(0), params)
        seen, _, _, _, _ = jax.jit(env.step_env)(jax.random.key(1), state, jnp.int32(3 * 4 + 2), params)
        inner, _ = world.reset(jax.random.key(0))
        _, after = jax.jit(world.step)(inner, jnp.array([4, 0, 2]))
    np.testing.assert_array_equal(seen, [*np.ravel(after.observation.cube), 1])


@pytest.mark.slow
def test_all_that_are_listed_can_be_stepped():
    for name in jumanji_names():
        env, params = make(f"jumanji/{name}")
        step = check_environment(env, params)
        space = env.observation_space(params)
        assert (step.after[0].shape, step.after[0].dtype) == (space.shape, space.dtype), name


def test_a_world_without_a_time_limit_has_none():
    assert make("jumanji/Game2048-v1")[1].max_steps_in_episode == 0


def test_what_is_left_out_says_why():
    with pytest.raises(ValueError, match="left out: each agent is paid its own"):
        make("jumanji/Connector-v3")
    with pytest.raises(ValueError, match="did you mean 'grid'"):
        make("jumanji/Snake-v1", observation_key="gird")
