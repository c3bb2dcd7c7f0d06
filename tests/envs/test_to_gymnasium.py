"""Our environments as gymnasium's: its own checker, the same numbers step by step, and what is refused."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

import jaxreward
from jaxreward.environment import WithRewardParams, with_reward
from jaxreward.envs.registry import make
from jaxreward.envs.to_gymnasium import as_gymnasium
from jaxreward.reward import AgentDiscount, Reward, markov
from jaxreward.rewards.algebra import stack


def upright(transition):
    return 1.0 - jnp.abs(transition.next_observation[2])


@pytest.fixture(scope="module")
def pole():
    env, params = make("CartPole-v1", max_steps_in_episode=5)
    reward = markov(upright)
    return with_reward(env, reward), WithRewardParams(params, reward.init(jax.random.key(0)))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of what no environment outside gymnasium's registry has
@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "subrl/gorilla", "levels/dense", "Breakout-MinAtar"])
def test_gymnasiums_own_checker_finds_nothing(name):
    check_env(as_gymnasium(*make(name)), skip_render_check=True)


def test_steps_and_rewards_are_those_of_the_environment(pole):
    env, params = pole
    given = as_gymnasium(env, params, render_mode="rgb_array")
    assert isinstance(given, gymnasium.Env)
    assert jaxreward.as_gymnasium is as_gymnasium
    seen, info = given.reset(seed=3)
    assert (seen.dtype, info) == (np.float32, {})
    state, step = given._now[1], jax.jit(env.step_env)
    for number in range(5):
        action = given.action_space.sample()
        key = jax.random.split(given._key)[1]
        expected = step(key, state, jnp.asarray(action), params)
        seen, reward, terminated, truncated, info = given.step(action)
        state = expected[1]
        np.testing.assert_array_equal(seen, expected[0])
        assert reward == pytest.approx(1 - abs(float(seen[2])), rel=1e-6)
        assert info["env_reward"] == 1.0
        assert (terminated, truncated) == (False, number == 4)
    assert given.render().shape[2] == 3
    with pytest.raises(ResetNeeded, match="has ended"):
        given.step(0)
    again = [given.reset(seed=3)[0], *(given.step(1)[0] for _ in range(2))]
    once_more = [given.reset(seed=3)[0], *(given.step(1)[0] for _ in range(2))]
    np.testing.assert_array_equal(again, once_more)
    assert not np.array_equal(given.reset()[0], given.reset()[0])


def test_a_reward_that_follows_a_discount_wants_one():
    env, params = make("CartPole-v1")
    reward = markov(lambda params, transition: params.value, lambda _: AgentDiscount(jnp.ones(())))
    both = with_reward(env, reward), WithRewardParams(params, reward.init(jax.random.key(0)))
    with pytest.raises(ValueError, match=r"follows the discount of an agent: give discount=0.99"):
        as_gymnasium(*both)
    given = as_gymnasium(*both, discount=0.5)
    given.reset(seed=0)
    assert given.step(0)[1] == pytest.approx(0.5)


def test_what_outlives_an_episode_is_kept_until_there_is_a_seed():
    env, params = make("CartPole-v1", max_steps_in_episode=1)
    counting = Reward(
        lambda key: (),
        lambda params: jnp.zeros(()),
        lambda params, memory, transition: (memory + 1, memory),
        persist=keep,
    )
    given = as_gymnasium(with_reward(env, counting), WithRewardParams(params, ()))
    given.reset(seed=0)
    rewards = [given.step(0)[1]]
    for seed in (None, None, 0):
        given.reset(seed=seed)
        rewards.append(given.step(0)[1])
    assert rewards == [0.0, 1.0, 2.0, 0.0]


def keep(ended, fresh):
    return ended


def test_what_can_not_be_one_is_refused(pole):
    env, params = make("games/random_game")
    with pytest.raises(ValueError, match="is a game of 2 agents"):
        as_gymnasium(env, params)
    base, base_params = make("CartPole-v1")
    both = stack(upright, upright)
    with pytest.raises(ValueError, match=r"reward.*has shape \(2,\); use `scalarise`"):
        as_gymnasium(with_reward(base, both), WithRewardParams(base_params, both.init(jax.random.key(0))))
    with pytest.raises(ValueError, match="render_mode must be 'rgb_array' or None, not 'human'"):
        as_gymnasium(*pole, render_mode="human")
    given = as_gymnasium(*pole)
    with pytest.raises(ResetNeeded, match="no episode has begun"):
        given.step(0)
    with pytest.raises(ValueError, match="has no options for a reset"):
        given.reset(seed=0, options={"gravity": 3})
    given.reset(seed=0)
    with pytest.raises(ValueError, match=r"7 is no action of .*whose actions are Discrete\(2\)"):
        given.step(7)
