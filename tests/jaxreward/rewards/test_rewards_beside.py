"""What stands beside a reward is shown and changes nothing."""

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward import with_reward
from jaxreward.learning.rollout import reset_batch
from jaxreward.learning.rollout import rollout as roll
from jaxreward.reward import components, episode_rewards
from jaxreward.rewards import constant, count_bonus, delay, environment_reward, markov, sparsify, weighted
from jaxreward.rewards.beside import auxiliary, beside
from tests.jaxreward.rewards.test_rewards import random_transitions, rollout

STEPS, NUM_ENVS = 12, 3
KEY = jax.random.key(0)


def double(transition):
    return 2.0 * transition.action


def test_it_pays_the_reward_alone_and_shows_the_others():
    transitions = random_transitions(0, STEPS, NUM_ENVS)
    reward = beside(environment_reward(), auxiliary=double, late=delay(double, 1))
    values, parts, _ = jax.jit(lambda p: rollout(reward, p, transitions))(reward.init(KEY))
    np.testing.assert_array_equal(values, transitions.reward)
    assert set(parts) == {"auxiliary", "late"}
    np.testing.assert_array_equal(parts["auxiliary"], 2 * transitions.action)
    alone = delay(double, 1)
    np.testing.assert_array_equal(parts["late"], rollout(alone, alone.init(KEY), transitions)[0])


def test_params_are_by_name_and_each_of_a_batch_has_its_own():
    transitions = random_transitions(1, STEPS, NUM_ENVS)
    scaled = markov(lambda params, t: params["scale"] * t.action, {"scale": 3.0})
    reward = beside(1.5, auxiliary=scaled)
    params = reward.init(KEY)
    assert params == {"reward": 1.5, "auxiliary": {"scale": 3.0}}
    scales = jnp.array([0.0, 0.5, 4.0])
    shown = jax.vmap(lambda s: rollout(reward, {**params, "auxiliary": {"scale": s}}, transitions)[1])(scales)
    np.testing.assert_array_equal(shown["auxiliary"], scales[:, None, None] * transitions.action[None])


def test_params_are_drawn_apart():
    drawn = markov(lambda params, t: params, lambda key: jax.random.normal(key))
    assert len(set(map(float, jax.tree.leaves(beside(drawn, one=drawn, two=drawn).init(KEY))))) == 3


def test_parts_of_the_reward_keep_their_names_and_those_beside_it_stand_below_theirs():
    transitions = jax.tree.map(lambda leaf: leaf[0, 0], random_transitions(2, 1, 1))
    reward = beside(weighted(goal=1.0, time=-0.25), auxiliary=weighted(left=2.0, right=3.0))
    params = reward.init(KEY)
    memory, value = reward.step(params, reward.reset(params), transitions)
    assert value == 0.75
    assert components(memory) == {
        "goal": 1.0,
        "time": -0.25,
        "auxiliary": 5.0,
        "auxiliary/left": 2.0,
        "auxiliary/right": 3.0,
    }


def test_what_outlives_an_episode_does_so_for_each():
    transitions = random_transitions(3, STEPS, NUM_ENVS)
    lifetime = count_bonus(lambda t: t.next_observation, 5)
    episode = count_bonus(lambda t: t.next_observation, 5, scope="episode")
    expected = {kind: rollout(r, r.init(KEY), transitions)[0] for kind, r in (("all", lifetime), ("one", episode))}
    reward = beside(lifetime, one=episode, all=lifetime)
    values, parts, _ = rollout(reward, reward.init(KEY), transitions)
    np.testing.assert_array_equal(values, expected["all"])
    np.testing.assert_array_equal(parts["all"], expected["all"])
    np.testing.assert_array_equal(parts["one"], expected["one"])


def test_an_episode_at_once_is_an_episode_step_by_step():
    transitions = jax.tree.map(lambda leaf: leaf[:, 0], random_transitions(4, STEPS, 1, done_rate=0.0))
    reward = beside(environment_reward(), auxiliary=double, inner=beside(constant(2.0), deep=double))
    params, valid = reward.init(KEY), jnp.ones(STEPS, bool)
    at_once = episode_rewards(reward, params, reward.reset(params), transitions, valid)[1:]
    by_steps = episode_rewards(reward._replace(episode=None), params, reward.reset(params), transitions, valid)[1:]
    assert set(at_once[1]) == {"auxiliary", "inner", "inner/deep"}
    jax.tree.map(np.testing.assert_array_equal, at_once, by_steps)


def test_an_episode_is_at_once_only_where_all_parts_are():
    assert beside(environment_reward(), auxiliary=sparsify(double)).episode is None
    assert beside(sparsify(double), auxiliary=double).episode is None


def test_an_environment_logs_what_stands_beside_its_reward():
    env = with_reward(gymnax.make("CartPole-v1")[0], beside(environment_reward(), auxiliary=double))
    params = env.default_params
    act = lambda carry, observation, noise: (carry, jnp.ones(4, jnp.int32), ())  # noqa: E731
    batch = reset_batch(env, params, 4, KEY)
    _, _, steps, metrics = jax.jit(lambda k: roll(env, params, act, (), batch, jnp.zeros(30), k))(KEY)
    assert metrics["episode/count"] > 0
    np.testing.assert_array_equal(steps.reward, 1.0)
    assert metrics["episode/auxiliary"] == 2 * metrics["episode/return"] == 2 * metrics["episode/env_return"]


def test_there_must_be_others():
    with pytest.raises(ValueError, match="beside needs others by name"):
        beside(environment_reward())


def test_a_vector_beside_a_reward_is_refused():
    with pytest.raises(ValueError, match=r"'auxiliary' has shape \(2,\)"):
        with_reward(gymnax.make("CartPole-v1")[0], beside(environment_reward(), auxiliary=jnp.ones(2)))


def test_the_auxiliary_reward_can_be_added():
    env = with_reward(gymnax.make("CartPole-v1")[0], beside(environment_reward(), auxiliary=double))
    both = with_reward(env, auxiliary(0.5))
    params = both.default_params
    _, state = both.reset_env(KEY, params)
    _, _, reward, _, info = jax.jit(both.step_env)(KEY, state, jnp.int32(1), params)
    assert reward == 1.0 + 0.5 * 2.0
    assert (info["env_reward"], info["reward/auxiliary"]) == (1.0, 2.0)
    paid = lambda scale: both.step_env(KEY, state, 1, params.replace(reward={"scale": scale}))[2]  # noqa: E731
    assert jax.grad(paid)(0.5) == 2.0


def test_adding_an_auxiliary_reward_needs_one():
    with pytest.raises(ValueError, match="'reward/auxiliary', which is not there"):
        with_reward(gymnax.make("CartPole-v1")[0], auxiliary())
