"""What BARFI's levels make of episodes: returns and baselines, the naive sum, discounts, by hand in NumPy."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments.environment import Environment, EnvParams
from gymnax.environments.spaces import Discrete

from jaxreward import with_reward
from jaxreward.agents.barfi.barfi import Barfi, Config, Hyperparams
from jaxreward.agents.barfi.parts.inner import Aligned, Learning, Params
from jaxreward.agents.barfi.parts.online import Config as OnlineConfig
from jaxreward.agents.barfi.parts.online import Online, learner_for
from jaxreward.agents.baselines.parts.learner import AUXILIARY, Learner, Network
from jaxreward.learning.episodes import Episodes
from jaxreward.learning.networks import head_for
from jaxreward.reward import AgentDiscount, Transition, environment_reward, markov

KEY, RNG = jax.random.key(0), np.random.default_rng(0)
STEPS, ENVS, DISCOUNT = 5, 3, 0.7
VALID = np.arange(STEPS)[:, None] < np.array([5, 2, 4])
PRIMARY = RNG.normal(size=(STEPS, ENVS)) * VALID  # paid behind no episode's end
HINT = RNG.normal(size=(STEPS, ENVS))  # but said there


class Arms(Environment):
    """Two arms, of which nothing is played here."""

    name, num_actions = "Arms", 2

    @property
    def default_params(self):
        return EnvParams(max_steps_in_episode=STEPS)

    def reset_env(self, key, params):
        return jnp.ones(2), jnp.zeros((), jnp.int32)

    def step_env(self, key, state, action, params):
        return jnp.ones(2), state + 1, jnp.zeros(()), jnp.ones((), bool), {}

    def is_truncated(self, state, params):
        return state >= params.max_steps_in_episode

    def action_space(self, params=None):
        return Discrete(2)


def following():
    """A reward with a discount that follows the agent's, and pays that much of the environment's."""
    params = {"discount": AgentDiscount(jnp.asarray(0.1)), "more": jnp.asarray(2.0)}
    return markov(lambda params, t: params["discount"].value * t.reward + params["more"], params)


def episodes():
    seen = jnp.asarray(RNG.normal(size=(STEPS, ENVS, 2)), float)
    action, flags = jnp.asarray(RNG.integers(2, size=(STEPS, ENVS))), jnp.zeros((STEPS, ENVS), bool)
    info = {AUXILIARY: jnp.asarray(HINT, float)}
    return Episodes(
        Transition(seen, action, jnp.asarray(PRIMARY, float), seen, flags, flags, info=info), action, jnp.asarray(VALID)
    )


def to_go(rewards):
    """Discounted returns of what belongs to an episode."""
    out, total = np.zeros_like(rewards), 0.0
    for t in reversed(range(STEPS)):
        total = out[t] = VALID[t] * rewards[t] + DISCOUNT * total
    return out


class Held(Barfi):
    """Its replay is the episodes it has, the newest first."""

    @property
    def buffer(self):
        return SimpleNamespace(newest=lambda held, number: jax.tree.map(lambda x: x[:, :number], held))


class Witness(Held):
    """Takes for its policy what it is to learn from."""

    def ascend(self, now, data, hyperparams):
        return (data, ()), None


def levels(kind=Held, env=None, reward=None, **options):
    """The steps of the two levels, a linear policy that reads two numbers."""
    env = env or Arms()
    learner = Learner(env, lambda seen: seen, head_for(env.action_space()), Network(2), ENVS, STEPS)
    config = Config(num_envs=ENVS, num_steps=STEPS, learned="environment" if reward else "state", **options)
    reward = reward or environment_reward()
    params = with_reward(env, reward).default_params if config.learned == "environment" else env.default_params
    return kind(learner, params, config, reward)


def learning():
    logit = jnp.log(DISCOUNT / (1 - DISCOUNT))
    return Learning(Params((), Aligned((), logit)), ((), (), ()), {})


@pytest.mark.parametrize("baseline", ["none", "mean"])
def test_returns_are_less_the_mean_of_the_steps_there_are(baseline):
    expected = to_go(PRIMARY)
    if baseline == "mean":
        expected = expected - expected[VALID].mean()
    algo = levels(baseline=baseline)
    found = algo.aligned_data(learning().params.aligned, episodes())
    np.testing.assert_allclose(found.weight[VALID], expected[VALID], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.valid, VALID)


@pytest.mark.parametrize("newest", [0, 2])
def test_the_warm_up_is_a_step_on_the_naive_sum_of_the_newest(newest):
    algo, held = levels(Witness, warm_up_batch=newest), episodes()
    data, number = algo.warm_up(learning(), held, Hyperparams()).params.policy, newest or ENVS
    np.testing.assert_allclose(data.weight, to_go(PRIMARY + HINT)[:, :number], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(data.features, held.steps.observation[:, :number])
    np.testing.assert_array_equal(data.action, held.extras[:, :number])


@pytest.mark.parametrize("newest", [0, 2])
def test_the_primary_return_is_that_of_the_newest_at_the_agents_discount(newest):
    found = levels(outer_batch=newest).primary(episodes(), DISCOUNT)
    np.testing.assert_allclose(found.weight, to_go(PRIMARY)[:, : newest or ENVS], rtol=1e-5, atol=1e-6)


def test_a_discount_within_the_learned_reward_follows_the_learned_one():
    reward = following()
    algo = levels(reward=reward)
    aligned = Aligned(reward.init(KEY), jnp.log(DISCOUNT / (1 - DISCOUNT)))
    found = algo.rewards(aligned, episodes())
    np.testing.assert_allclose(found, np.where(VALID, DISCOUNT * PRIMARY + 2, 0), rtol=1e-5, atol=1e-6)


def test_a_discount_within_the_primary_reward_follows_the_agents():
    env = with_reward(Arms(), following())
    hyperparams = Hyperparams(discount=0.3)
    for algo in (levels(env=env), levels(env=env, reward=markov(lambda t: t.reward))):
        played = algo.played_params(hyperparams)
        np.testing.assert_allclose([played.reward["discount"].value, played.reward["more"]], [0.3, 2.0])
    learner = learner_for(env, env.default_params, OnlineConfig(num_steps=STEPS))
    online = Online(learner, env.default_params, OnlineConfig(), "weight", 0.0, None, None)
    assert online.params_of_env(hyperparams).reward["discount"].value == np.float32(0.3)
