"""navix's worlds: the package's own steps, what a goal pays, and how episodes end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs import make
from jaxreward.envs.adapters.foreign import lenient

with lenient():
    navix = pytest.importorskip("navix")


def test_steps_are_those_of_the_package_and_the_last_state_is_that_of_the_end():
    env, params = make("navix/Navix-Empty-5x5-v0", max_steps_in_episode=20)
    with lenient():
        world = navix.make("Navix-Empty-5x5-v0", disable_autoreset=True, max_steps=20)

    def walk(key):
        actions = jax.random.randint(key, (20,), 0, 3)  # left, right, forward
        seen, state = env.reset_env(key, params)
        start = world.reset(key)

        def both(carry, action):
            state, theirs, over = carry
            seen, after, reward, terminated, _ = env.step_env(key, state, action, params)
            after_theirs = world.step(theirs, action)
            same = (seen == after_theirs.observation).all() & (reward == after_theirs.reward)
            ends = (terminated == after_theirs.is_termination()) & (
                env.is_truncated(after, params) == after_theirs.is_truncation()
            )
            told = (same & ends) | over, jnp.where(over, 0.0, reward), terminated & ~over
            truncated = env.is_truncated(after, params) & ~over
            return (after, after_theirs, over | terminated), (*told, truncated)

        return (seen == start.observation).all(), jax.lax.scan(both, (state, start, jnp.zeros((), bool)), actions)[1]

    with lenient():
        first, (same, reward, terminated, truncated) = jax.jit(jax.vmap(walk))(jax.random.split(jax.random.key(0), 32))
    assert first.all()
    assert same.all()
    assert isinstance(jax.eval_shape(env.reset_env, jax.random.key(0), params)[1].inner, navix.states.State)
    assert terminated.any()
    np.testing.assert_array_equal(reward, terminated)  # 1 at the goal, which is the end
    np.testing.assert_array_equal(truncated[:, -1], ~np.asarray(terminated).any(axis=1))
    assert not truncated[:, :-1].any()


def test_observations_are_chosen_by_name_and_are_within_their_space():
    for observation, shape in (("symbolic_first_person", (7, 7, 3)), ("categorical", (5, 5))):
        env, params = make(f"navix/Navix-Empty-5x5-v0?observation={observation}")
        seen, _ = jax.jit(env.reset_env)(jax.random.key(0), params)
        space = env.observation_space(params)
        assert seen.shape == space.shape == shape
        assert seen.dtype == space.dtype
        assert bool(space.contains(seen))
    with pytest.raises(ValueError, match="did you mean 'symbolic'"):
        make("navix/Navix-Empty-5x5-v0", observation="symbolc")
