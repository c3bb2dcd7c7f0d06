"""What a wrapper changes is used wherever an environment is stepped, or refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax import wrappers as gymnax_wrappers
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from gymnax.wrappers import FlattenObservationWrapper, LogWrapper, StickyActionWrapper

from jaxreward import markov, with_reward
from jaxreward.agent import Policy
from jaxreward.contract.wrappers import Wrapped, as_environment
from jaxreward.environment import scalar_environment
from jaxreward.learning.episodes import play, start_memories
from jaxreward.learning.rollout import reset_batch, rollout
from jaxreward.results.evaluate import Walker
from jaxreward.rewards import count_bonus

KEY = jax.random.key(0)
LENGTH = 7


@struct.dataclass
class State:
    time: jax.Array


@struct.dataclass
class Params:
    max_steps_in_episode: int = LENGTH


class PaysForOne(Environment):
    """Pays 1 for action 1, and is cut after 7 steps."""

    default_params = Params()

    def reset_env(self, key, params):
        return jnp.zeros((2, 1)), State(jnp.zeros((), jnp.int32))

    def step_env(self, key, state, action, params):
        time = state.time + 1
        return jnp.full((2, 1), time, float), State(time), jnp.asarray(action, float), jnp.zeros((), bool), {}

    def action_space(self, params=None):
        return spaces.Discrete(2)

    def observation_space(self, params=None):
        return spaces.Box(0.0, LENGTH, (2, 1))


def taken():
    return markov(lambda t: jnp.asarray(t.action, float))


def sticky_inside():
    """The reward sees the action that was chosen."""
    return with_reward(StickyActionWrapper(PaysForOne(), 1.0), markov(lambda t: t.reward))


def sticky_outside():
    """The reward sees the action that was executed."""
    return StickyActionWrapper(with_reward(PaysForOne(), taken()), 1.0)


STICKY = {
    "alone": lambda: StickyActionWrapper(PaysForOne(), 1.0),
    "reward outside": sticky_inside,
    "reward inside": sticky_outside,
    "beneath another": lambda: FlattenObservationWrapper(LogWrapper(StickyActionWrapper(PaysForOne(), 1.0))),
}


def ones(carry, observation, noise):
    n = jax.tree.leaves(observation)[0].shape[0]
    return carry, jnp.ones(n, jnp.int32), ()


def returns_of(env, params):
    """The return of one episode, action 1 at each step, by rollout, play and evaluation."""
    policy = Policy(lambda: (), *2 * [lambda carry, observation, key: (carry, jnp.ones((), jnp.int32))])

    @jax.jit
    def all_three(key):
        noise = jnp.zeros((LENGTH, 2))
        _, _, trajectory, metrics = rollout(env, params, ones, (), reset_batch(env, params, 2, key), noise, key)
        played = play(env, params, ones, (), noise, start_memories(env, params, 2), 2, key)[2]
        return trajectory.truncated, metrics, played, Walker(env, params, policy).run(jax.random.split(key, 1))

    truncated, metrics, played, walked = all_three(KEY)
    assert truncated.sum() == truncated[-1].sum() == 2
    assert walked.lengths[0] == LENGTH
    return [float(x) for x in (metrics["episode/return"], played["episode/return"], walked.returns[0])]


def test_without_a_wrapper_each_step_pays():
    env = PaysForOne()
    assert as_environment(env) is env
    assert returns_of(env, env.default_params) == [7.0, 7.0, 7.0]


@pytest.mark.parametrize("name", STICKY)
def test_an_action_that_sticks_is_the_first_one_everywhere(name):
    env = STICKY[name]()
    assert returns_of(env, env.default_params) == [0.0, 0.0, 0.0]


def test_a_reward_outside_sees_what_was_chosen_and_one_inside_what_was_done():
    outside = with_reward(StickyActionWrapper(PaysForOne(), 1.0), taken())
    assert returns_of(outside, outside.default_params) == [7.0, 7.0, 7.0]


def test_an_observation_that_a_wrapper_flattens_is_flat_and_so_is_the_last_of_an_episode():
    env = FlattenObservationWrapper(PaysForOne())
    batch = reset_batch(env, env.default_params, 2, KEY)
    _, _, trajectory, _ = rollout(env, env.default_params, ones, (), batch, jnp.zeros((LENGTH, 2)), KEY)
    assert env.observation_space(env.default_params).shape == (2,)
    np.testing.assert_array_equal(trajectory.observation[:, 0], np.arange(LENGTH)[:, None] * np.ones(2))
    np.testing.assert_array_equal(trajectory.next_observation[-1], np.full((2, 2), LENGTH))


def test_what_a_wrapper_logs_is_of_the_whole_episode():
    env = with_reward(LogWrapper(PaysForOne()), markov(lambda t: t.info["returned_episode_returns"]))
    assert returns_of(env, env.default_params) == [7.0, 7.0, 7.0]


def test_the_state_of_a_wrapped_environment_has_the_attributes_of_the_wrappers():
    env = with_reward(LogWrapper(PaysForOne()), markov(lambda t: t.next_state.env_state.time))
    assert returns_of(env, env.default_params) == [28.0, 28.0, 28.0]


def test_the_key_of_a_step_is_that_of_the_environment_inside():
    env, state = LogWrapper(PaysForOne()), None
    wrapped = as_environment(env)
    seen = []
    wrapped.env.step_env = lambda key, *rest: (seen.append(key), PaysForOne.step_env(wrapped.env, key, *rest))[1]
    _, state = wrapped.reset_env(KEY, env.default_params)
    with jax.disable_jit():
        wrapped.step_env(jax.random.key(3), state, jnp.ones((), jnp.int32), env.default_params)
    np.testing.assert_array_equal(jax.random.key_data(seen[0]), jax.random.key_data(jax.random.key(3)))


def test_what_outlives_an_episode_does_so_within_a_wrapper():
    """What a place visited for the nth time pays falls from step to step, also over the end of an episode."""
    reward = count_bonus(lambda t: jnp.zeros((), jnp.int32), 1, scope="lifetime")
    plain, env = with_reward(PaysForOne(), reward), LogWrapper(with_reward(PaysForOne(), reward))
    noise = jnp.zeros((2 * LENGTH, 1))
    run = lambda e: rollout(  # noqa: E731
        e, e.default_params, ones, (), reset_batch(e, e.default_params, 1, KEY), noise, KEY
    )[2].reward[:, 0]
    np.testing.assert_array_equal(run(plain), run(env))
    assert (np.diff(run(env)) < 0).all()
    with pytest.raises(ValueError, match="put that reward outermost"):
        start_memories(env, env.default_params, 2)


@pytest.mark.parametrize("name", gymnax_wrappers.__all__)
def test_every_wrapper_of_gymnax_is_used_or_refused_by_name(name):
    wrapper = getattr(gymnax_wrappers, name)
    env = wrapper(PaysForOne())
    if name in ("FlattenObservationWrapper", "LogWrapper", "StickyActionWrapper"):
        assert isinstance(scalar_environment(env, env.default_params), Wrapped)
        return
    for use in (lambda: scalar_environment(env, Params()), lambda: with_reward(env, taken())):
        with pytest.raises(ValueError, match=name):
            use()


class OwnStep(PaysForOne):
    def step(self, key, state, action, params=None):
        return super().step(key, state, 0, params)


class OwnReset(LogWrapper):
    def reset(self, key, params=None):
        return super().reset(key, params)

    def reset_env(self, key, params):
        return self._env.reset_env(key, params)


@pytest.mark.parametrize("env", [OwnStep(), OwnReset(PaysForOne())])
def test_a_step_beside_step_env_is_refused(env):
    for use in (
        lambda: as_environment(env),
        lambda: with_reward(env, taken()),
        lambda: with_reward(LogWrapper(env), taken()),
    ):
        with pytest.raises(ValueError, match="would be lost: move that into `step_env` and `reset_env`"):
            use()


class Shifted(gymnax_wrappers.purerl.GymnaxWrapper):
    def step_env(self, key, state, action, params):
        observation, state, reward, terminated, info = self._env.step_env(key, state, action, params)
        return observation, state, reward + 1, terminated, info


def test_wrappers_of_either_kind_stand_in_any_order():
    beneath, above = Shifted(StickyActionWrapper(PaysForOne(), 1.0)), StickyActionWrapper(Shifted(PaysForOne()), 1.0)
    for env in (beneath, above):
        assert returns_of(env, env.default_params) == [7.0, 7.0, 7.0]
