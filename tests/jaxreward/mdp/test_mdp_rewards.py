"""The table of rewards against what steps pay and numbers by hand; gaps against the gains of policies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.environment import with_reward, world
from jaxreward.envs import make
from jaxreward.mdp import (
    TabularEnv,
    average_policy_iteration,
    deterministic_policies,
    expected_reward,
    gain_and_bias,
    gap,
    garnet,
    relative_value_iteration,
    reward_table,
    river_swim,
    stationary_occupancy,
    tabular_mdp,
    two_state,
)
from jaxreward.reward import Reward, markov
from jaxreward.rewards import add, scale

weighed = markov(lambda w, t: w * t.next_observation[2] - 0.5 * t.action + t.reward * t.observation[0], 3.0)
privileged = markov(lambda t: t.info["env_reward"] + 10.0 * t.next_state.env.index + 0.1 * t.state.env.index)

inside = markov(lambda t: 10.0 * t.next_state.index + t.terminated)


@pytest.fixture(scope="module")
def mdp():
    random = garnet(jax.random.key(0), 4, 2, 4)
    return tabular_mdp(random.transition, random.reward, terminal=np.arange(4) == 3)


def test_a_table_under_two_rewards_is_what_they_say(mdp):
    env = with_reward(with_reward(TabularEnv(mdp), weighed), privileged)
    params = env.default_params
    s, a, t = np.indices((4, 2, 4))
    own = np.asarray(mdp.reward)
    # `env_reward` is the innermost: what the MDP pays
    expected = own + 10.0 * t + 0.1 * s
    np.testing.assert_allclose(reward_table(env, params), np.where(s == 3, 0, expected), rtol=1e-6)
    inner = np.where(s == 3, 0, 3.0 * (t == 2) - 0.5 * a + own * (s == 0))
    np.testing.assert_allclose(reward_table(env.env, params.env), inner, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(reward_table(env.env.env, params.env.env), own)


def test_it_is_what_steps_pay(mdp):
    env = with_reward(TabularEnv(mdp), add(scale(weighed, 2.0), inside))
    params = env.default_params
    keys, starts = jax.random.split(jax.random.key(1), 64), jax.random.split(jax.random.key(2), 64)

    @jax.jit
    def pay(params):
        def step(key, key_start):
            _, state = env.reset_env(key_start, params)
            action = env.action_space(params).sample(key)
            _, following, reward, _, _ = env.step_env(key, state, action, params)
            return state.env.index, action, following.env.index, reward

        return jax.vmap(step)(keys, starts), reward_table(env, params)

    (s, a, t, paid), table = pay(params)
    assert len(set(zip(s.tolist(), a.tolist(), t.tolist(), strict=True))) > 15  # of the 24 there are
    np.testing.assert_allclose(np.asarray(table)[s, a, t], paid, rtol=1e-6, atol=1e-6)


def test_the_best_gain_of_each_member_of_a_vmapped_reward():
    """Two states that can be stayed in: staying where it pays more is best, and the pay is the reward's."""
    stay_or_move = TabularEnv(two_state([[0.0, 1.0], [0.0, 1.0]], np.zeros(2)))
    env = with_reward(stay_or_move, markov(lambda w, t: w @ t.observation, jnp.ones(2)))
    params = env.default_params

    @jax.jit
    @jax.vmap
    def best(pay):
        mine = params.replace(reward=pay)
        return relative_value_iteration(
            world(env, mine)[1].mdp._replace(reward=reward_table(env, mine)), max_iterations=500
        ).gain[0]

    pays = jnp.asarray([[1.0, 2.0], [4.0, 0.0], [-1.0, -3.0]])
    np.testing.assert_allclose(best(pays), [2.0, 4.0, -1.0], rtol=1e-5)


def counting():
    return Reward(lambda _: (), lambda _: jnp.zeros(()), lambda _, memory, t: (memory + 1, memory))


def test_what_has_no_table_is_refused(mdp):
    env = TabularEnv(mdp)
    refused = {
        "remembers 1 array within": with_reward(env, counting()),
        "reads the clock": with_reward(env, markov(lambda t: t.next_state.time * 0.1)),
        r"vector of \(2,\)": with_reward(env, markov(lambda t: jnp.stack([t.reward, t.reward]))),
        "is a CartPole": make("CartPole-v1")[0],
    }
    for message, each in refused.items():
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(lambda params, each=each: reward_table(each, params), each.default_params)


@pytest.mark.parametrize("solve", [relative_value_iteration, average_policy_iteration])
def test_the_gain_of_every_policy_is_the_best_less_the_mean_of_its_gaps(solve):
    with jax.enable_x64(True):
        mdp = garnet(jax.random.key(3), 3, 2, 3)
        solution = jax.jit(solve)(mdp)
        lost = np.asarray(gap(mdp, solution))
        assert np.min(lost) > -1e-12
        np.testing.assert_allclose(np.min(lost, axis=1), 0, atol=1e-12)
        policies = deterministic_policies(mdp)
        gains = jax.jit(jax.vmap(gain_and_bias, (None, 0)))(mdp, policies)[0][:, 0]
        shares = np.asarray(jax.jit(jax.vmap(stationary_occupancy, (None, 0)))(mdp, policies))
        np.testing.assert_allclose(solution.gain[0] - np.sum(shares * lost, axis=(1, 2)), gains, atol=1e-12)
        assert np.ptp(gains) > 0.1


def test_gaps_of_river_swim():
    """Always right: drifting from state 1 gives up `J* + V(1) - V(0)` with the values of its recursion by hand."""
    with jax.enable_x64(True):
        mdp = river_swim(3)
        solution = jax.jit(relative_value_iteration)(mdp)
        gain, value = np.asarray(solution.gain[0]), np.asarray(solution.bias)
        lost = np.asarray(gap(mdp, solution))
        np.testing.assert_allclose(lost[:, 1], 0, atol=1e-12)
        np.testing.assert_allclose(lost[:, 0], [gain - 0.005, gain + value[1] - value[0], gain + value[2] - value[1]])
        assert expected_reward(mdp)[0, 0] == 0.005
