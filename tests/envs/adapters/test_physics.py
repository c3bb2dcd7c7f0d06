"""The adapter's own logic, on a simulator small enough to know what it must do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from jaxreward.envs.adapters.physics import PhysicsEnv, PhysicsParams


@struct.dataclass
class CounterState:
    data: jax.Array
    obs: dict
    reward: jax.Array
    done: jax.Array
    metrics: dict
    info: dict


class Counter:
    """Adds actions up; pays what it has reached, done at 3. As careless about types and dictionaries as real ones."""

    action_size = 2
    dt = 0.5

    def reset(self, rng):
        zero = jnp.zeros(())
        return CounterState(zero, self._show(zero), zero, zero, {"reached": 0.0}, {"rng": rng, "calls": 0})

    def step(self, state, action):
        data = state.data + action.sum()
        state.metrics["reached"] = data
        state.info["calls"] += 1
        return state.replace(data=data, obs=self._show(data), reward=data, done=jnp.where(data >= 3, 1.0, 0.0))

    def _show(self, data):
        return {"state": jnp.stack([data, -data]), "privileged_state": jnp.stack([data] * 5)}


KEY = jax.random.key(0)
ONE = jnp.array([0.5, 0.5])


def counter(**kwargs):
    env = PhysicsEnv("counter", Counter(), **kwargs)
    return env, env.default_params


def roll(env, params, action, steps):
    """Rewards, terminated and truncated, `[steps]` each, and the last state."""

    def step(state, key):
        _, state, reward, terminated, _ = env.step_env(key, state, action, params)
        return state, (reward, terminated, env.is_truncated(state, params))

    state = jax.jit(env.reset_env)(KEY, params)[1]
    state, outputs = jax.jit(lambda state: jax.lax.scan(step, state, jax.random.split(KEY, steps)))(state)
    return *map(np.asarray, outputs), state


def test_time_limit_truncates_and_never_terminates():
    rewards, terminated, truncated, _ = roll(*counter(max_steps_in_episode=2), ONE, 4)
    np.testing.assert_array_equal(rewards, [1, 2, 3, 4])
    np.testing.assert_array_equal(terminated, [False, False, True, True])
    np.testing.assert_array_equal(truncated, [False, True, True, True])


def test_params_set_the_time_limit_under_vmap():
    env, _ = counter()
    limits = PhysicsParams(max_steps_in_episode=jnp.array([1, 2, 3]))
    truncated = jax.vmap(lambda params: roll_in_jit(env, params))(limits)
    np.testing.assert_array_equal(truncated, [[True, True, True], [False, True, True], [False, False, True]])


def roll_in_jit(env, params):
    def step(state, _):
        state = env.step_env(KEY, state, -ONE, params)[1]
        return state, env.is_truncated(state, params)

    return jax.lax.scan(step, env.reset_env(KEY, params)[1], length=3)[1]


@pytest.mark.parametrize(("repeat", "reward", "reached"), [(1, 1, 1), (2, 1 + 2, 2), (5, 1 + 2 + 3, 3)])
def test_repeated_action_sums_rewards_up_to_the_terminal_state(repeat, reward, reached):
    rewards, terminated, truncated, state = roll(*counter(action_repeat=repeat, max_steps_in_episode=2), ONE, 1)
    assert rewards[0] == reward
    assert state.sim.data == reached
    assert terminated[0] == (reached == 3)
    assert truncated[0] == (repeat >= 2)  # the limit counts control steps
    assert state.time == repeat


def test_agent_sees_the_chosen_entry_of_a_dictionary():
    env, params = counter()
    observation, state = env.reset_env(KEY, params)
    assert observation.shape == env.observation_space(params).shape == (2,)
    assert state.sim.obs["privileged_state"].shape == (5,)
    env, params = counter(observation_key="privileged_state")
    assert env.observation_space(params).shape == (5,)
    assert env.reset_env(KEY, params)[0].shape == (5,)


def test_unknown_entry_of_the_observation_is_refused():
    with pytest.raises(ValueError, match=r"did you mean 'state'.*privileged_state"):
        counter(observation_key="sate")


def test_no_repeat_is_refused():
    with pytest.raises(ValueError, match="at least 1; got 0"):
        counter(action_repeat=0)


def test_a_step_leaves_the_state_that_it_was_given_alone():
    env, params = counter()
    _, before, *_ = env.step_env(KEY, env.reset_env(KEY, params)[1], ONE, params)
    _, after, _, _, info = env.step_env(KEY, before, ONE, params)
    assert (before.sim.metrics["reached"], after.sim.metrics["reached"]) == (1, 2)
    assert (before.sim.info["calls"], after.sim.info["calls"]) == (1, 2)
    assert info == {"reached": 2}


def test_state_keeps_its_types_so_that_a_loop_compiles_once():
    env, params = counter()
    state = jax.eval_shape(env.reset_env, KEY, params)[1]
    stepped = jax.eval_shape(env.step_env, KEY, state, ONE, params)[1]
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(state))
    assert jax.tree.structure(state) == jax.tree.structure(stepped)
    assert jax.tree.leaves(state) == jax.tree.leaves(stepped)


def test_vmap_equals_one_at_a_time():
    env, params = counter(action_repeat=2)
    actions = jnp.array([[0.5, 0.5], [1.0, 1.0], [-1.0, 0.0]])
    state = env.reset_env(KEY, params)[1]
    step = lambda action: env.step_env(KEY, state, action, params)[2:4]  # noqa: E731
    rewards, terminated = jax.jit(jax.vmap(step))(actions)
    np.testing.assert_array_equal(rewards, [1 + 2, 2 + 4, -1 - 2])
    np.testing.assert_array_equal(terminated, [False, True, False])
