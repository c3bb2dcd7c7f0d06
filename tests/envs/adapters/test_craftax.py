"""Craftax: the package's own steps, death and the time limit apart, and its rules as arguments.

The smaller game is compiled here, which takes a while: these run by name, `-m slow`.
"""

import jax
import jax.numpy as jnp
import pytest

from jaxreward.envs import make
from jaxreward.envs.adapters.foreign import lenient

with lenient():
    pytest.importorskip("craftax")
    from craftax.craftax_env import make_craftax_env_from_name

NAME = "Craftax-Classic-Symbolic-v1"


@pytest.mark.slow
def test_steps_are_those_of_the_package_and_a_death_terminates_where_a_late_step_truncates():
    env, params = make(f"craftax/{NAME}", max_steps_in_episode=4)
    with lenient():
        world = make_craftax_env_from_name(NAME, auto_reset=False)
    limits = world.default_params.replace(max_timesteps=4)

    def walk(key, health):
        keys = jax.random.split(key, 5)
        seen, state = env.reset_env(keys[0], params)
        theirs_seen, theirs = world.reset_env(keys[0], limits)
        state = state.replace(inner=state.inner.replace(player_health=health))
        theirs = theirs.replace(player_health=health)

        def both(carry, key):
            state, theirs = carry
            seen, after, reward, terminated, _ = env.step_env(key, state, jnp.int32(5), params)
            theirs_seen, after_theirs, theirs_reward, done, _ = world.step_env(key, theirs, 5, limits)
            same = (seen == theirs_seen).all() & (reward == theirs_reward)
            truncated = env.is_truncated(after, params)
            return (after, after_theirs), (same & (done == (terminated | truncated)), terminated, truncated)

        return (seen == theirs_seen).all(), jax.lax.scan(both, (state, theirs), keys[1:])[1]

    with lenient():
        first, (same, terminated, truncated) = jax.jit(jax.vmap(walk, (0, 0)))(
            jax.random.split(jax.random.key(0), 2), jnp.array([9, 0])
        )
    assert first.all()
    assert same.all()
    assert terminated.tolist() == [[False] * 4, [True] * 4]
    assert truncated.tolist() == [[False, False, False, True], [False] * 4]


def test_rules_are_arguments_and_the_time_limit_is_none_of_them():
    env, params = make(f"craftax/{NAME}", always_diamond=False, day_length=100)
    assert (env.rules.always_diamond, env.rules.day_length, params.max_steps_in_episode) == (False, 100, 10_000)
    assert env.rules.max_timesteps == 2**31 - 1  # out of reach: its end is a death
    assert (env.observation_space(params).shape, env.num_actions) == ((1345,), 17)
    with pytest.raises(ValueError, match="did you mean 'day_length'"):
        make(f"craftax/{NAME}", day_lenght=100)
    with pytest.raises(ValueError, match="did you mean 'max_steps_in_episode'"):
        make(f"craftax/{NAME}", max_steps_in_episod=100)
    with pytest.raises(ValueError, match="max_timesteps, is max_steps_in_episode here"):
        make(f"craftax/{NAME}", max_timesteps=100)
