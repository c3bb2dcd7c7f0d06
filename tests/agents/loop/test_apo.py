"""PPO for the reward rate, and its rewards less their mean."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.agent import vmap
from jaxreward.agents.baselines import ppo
from jaxreward.agents.loop import apo
from jaxreward.envs import make
from jaxreward.envs.average.never_ending import ContinuingEnv
from jaxreward.mdp import two_state

SIZES = {"num_envs": 4, "num_steps": 16, "num_minibatches": 2, "num_epochs": 2, "layers": (8,)}
LEARNER = apo.Config(num_envs=8, num_steps=40, num_minibatches=2, layers=(16,))


@pytest.fixture(scope="module")
def world():
    """Moving pays 1 in state 0 and costs 3 in state 1, staying pays nothing in state 0 and -0.5 in state 1."""
    env = ContinuingEnv(two_state([[0.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], [-0.5, -3.0]]))
    return env, env.default_params


@pytest.fixture(scope="module")
def raised(world):
    """The same with 100 more for each step."""
    env, params = world
    return env, params.replace(mdp=params.mdp._replace(reward=params.mdp.reward + 100.0))


def after(world, iterations, **hyperparams):
    agent = vmap(apo.apo(*world, apo.Config(**SIZES)))
    state = jax.jit(agent.init)(jax.random.split(jax.random.key(0), 2), apo.Hyperparams(**hyperparams))
    step = jax.jit(agent.step)
    for _ in range(iterations):
        state, metrics = step(state)
    return state, metrics


def test_what_is_added_to_all_rewards_changes_nothing(world, raised):
    (state, metrics), (same, more) = after(world, 3), after(raised, 3)
    # Numbers near 100 are 8e-6 apart in float32, which is what rewards are off by.
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-3), state.params, same.params)
    np.testing.assert_allclose(more["rate"] - metrics["rate"], 100.0, atol=1e-3)
    discounted = ppo.ppo(*raised, ppo.Config(**SIZES))
    plain = jax.jit(discounted.step)(discounted.init(jax.random.key(0), ppo.Hyperparams()))[1]
    assert plain["loss/value"] > 100 * more["loss/value"].max()


def test_the_rate_is_the_mean_reward(world):
    _, metrics = after(world, 1)
    np.testing.assert_allclose(metrics["rate"], metrics["average_reward"], rtol=1e-5)


def test_a_value_is_moved_towards_advantages_of_centred_rewards_and_away_from_the_mean_value(world):
    config = apo.Config(**SIZES)
    hyperparams = apo.Hyperparams(value_bias=0.5, rate_step=0.3)
    built = apo.apo(*world, config)
    state = jax.jit(built.init)(jax.random.key(1), hyperparams)
    algorithm = built.step.__self__
    trajectory = algorithm.collect(state, *jax.random.split(jax.random.key(2)))[2]
    batch, centre = jax.jit(algorithm.advantages)(state, trajectory)
    outputs = [
        algorithm.forward(state.params, (), algorithm.features(state, x, 2))[2]
        for x in (trajectory.observation, trajectory.next_observation)
    ]
    value, following = map(np.asarray, outputs)
    delta = np.asarray(trajectory.reward) - np.asarray(trajectory.reward).mean() + following - value
    advantage = np.zeros_like(delta)
    running = np.zeros(4)
    for t in reversed(range(16)):
        advantage[t] = running = delta[t] + 0.95 * running
    np.testing.assert_allclose(batch.advantage, advantage, atol=1e-5)
    np.testing.assert_allclose(batch.value, value - 0.5 * value.mean(), atol=1e-6)
    np.testing.assert_allclose(centre.value.value, value.mean(), rtol=1e-4)


def test_the_reward_rate_is_learned_where_a_discount_would_mislead():
    """Of two loops of five steps, one pays 1 at once and the other 2 at its end: 0.2 and 0.4 a step.

    With a discount of 0.5 the first is worth more. Of 8 seeds 7 must tell them apart: that all but one do by chance has
    a probability of 9 / 256 for each discount.
    """
    agent = vmap(vmap(apo.apo(*make("average/two_choice"), LEARNER)), population=True)
    hyperparams = [apo.Hyperparams(learning_rate=1e-2, discount=discount) for discount in (1.0, 0.5)]
    hyperparams = jax.tree.map(lambda *each: jnp.stack([jnp.asarray(x, float) for x in each]), *hyperparams)
    state = jax.jit(agent.init)(jax.random.split(jax.random.key(3), (2, 8)), hyperparams)
    _, metrics = jax.jit(lambda state: jax.lax.scan(lambda s, _: agent.step(s), state, length=60))(state)
    patient, hasty = np.asarray(metrics["average_reward"][-10:]).mean(0)
    assert (patient > 0.35).sum() >= 7
    assert (hasty < 0.25).sum() >= 7


def test_what_has_episodes_is_refused():
    for name, instead in {
        "CartPole-v1": "see average/",
        "Pendulum-v1": "version is average/pendulum$",
        "brax/reacher": r"version is average/brax\?robot=reacher$",
    }.items():
        with pytest.raises(ValueError, match=f"apo needs .* {name} has episodes; .*{instead}"):
            apo.apo(*make(name))
    with pytest.raises(ValueError, match=r"centring=True needs .* has episodes"):
        ppo.ppo(*make("CartPole-v1"), ppo.Config(centring=True))
    with pytest.raises(ValueError, match="use the agent ppo"):
        apo.apo(*make("average/two_choice"), apo.Config(centring=False))
