"""RVI-SAC: its target and its rate by hand, and the exact gain of a small world that never ends."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments.classic_control.pendulum import Pendulum

from jaxreward.agent import vmap
from jaxreward.agents.baselines.sac import Learner
from jaxreward.agents.loop.rvi_sac import RVISAC, Config, Hyperparams, rvi_sac
from jaxreward.envs.average.never_ending import ContinuingEnv
from jaxreward.learning.n_step import Batch
from jaxreward.mdp import average_policy_iteration, garnet

SEEDS = 8  # all of them succeed: with 95 % confidence at least 69 % of all seeds would
HEATS = [0.3, 1.0]
SIZES = Config(num_envs=8, num_steps=4, num_updates=8, batch_size=64, capacity=8_192, warm_up=64, layers=())


def test_what_follows_counts_less_the_rate_of_its_steps():
    algorithm = RVISAC(None, None, None)
    rewards, weights, values = np.array([1.0, -2.0]), np.array([1.0, 3.0]), np.array([4.0, 6.0])
    batch = Batch(None, None, rewards, None, np.ones(2), weights)
    learner = Learner(None, None, None, np.float64(0.5))
    np.testing.assert_allclose(algorithm.target(learner, batch, values), [1 - 0.5 + 4, -2 - 1.5 + 6])
    # A tenth of the way from 0.5 to the mean of 4 and 6.
    np.testing.assert_allclose(algorithm.rate(learner, Hyperparams(rate_step=0.1), values), 0.5 + 0.1 * (5 - 0.5))


@cache
def world():
    """Three states, two actions, and rewards that are sure."""
    mdp = garnet(jax.random.key(2), 3, 2, 2)
    mean = (mdp.transition * mdp.reward).sum(-1, keepdims=True)
    return mdp._replace(reward=jnp.broadcast_to(mean, mdp.reward.shape))


@cache
def trained():
    """Tables for policy and critics; two members have a temperature that stays, the third an entropy near none."""
    env = ContinuingEnv(world())
    agent = vmap(vmap(rvi_sac(env, env.default_params, SIZES)), population=True)
    common = {"learning_rate": 0.03, "critic_learning_rate": 0.01, "target_step": 0.05, "rate_step": 0.02}
    members = [Hyperparams(**common, temperature=heat, temperature_learning_rate=0.0) for heat in HEATS]
    members += [Hyperparams(**common, temperature=0.3, temperature_learning_rate=0.01, entropy_share=0.1)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *members)

    @jax.jit
    def run(keys, hyperparams):
        state, metrics = jax.lax.scan(lambda s, _: agent.step(s), agent.init(keys, hyperparams), length=300)
        return state.learner.params.policy, metrics

    return jax.tree.map(np.asarray, run(jax.random.split(jax.random.key(0), (len(members), SEEDS)), stacked))


def soft_gain(heat):
    """`(gain with the entropy, the policy's gain, policy)` of relative soft value iteration, in double precision."""
    transition, reward = (np.asarray(x, np.float64) for x in (world().transition, world().reward[..., 0]))
    value = np.zeros(3)
    for _ in range(2_000):
        worth = reward + transition @ value
        best = heat * np.log(np.exp(worth / heat).sum(1))
        gain, value = best[0], best - best[0]
    policy = np.exp((worth - best[:, None]) / heat)
    chain = np.einsum("sa,sat->st", policy, transition)
    stationary = np.linalg.matrix_power(chain, 10_000)[0]
    return gain, stationary @ (policy * reward).sum(1), policy


@pytest.mark.parametrize("member", range(len(HEATS)))
def test_the_rate_and_the_policy_are_the_soft_optimal_ones(member):
    policy, metrics = trained()
    gain, hard, best = soft_gain(HEATS[member])
    earned, rate = (metrics[name][-100:, member].mean(0) for name in ("average_reward", "rate"))
    # Learned from the last 8,192 steps, whose mean reward has a standard error of about 0.01.
    np.testing.assert_allclose(rate, np.full(SEEDS, gain), atol=0.03)
    # Of 3,200 steps, that are not independent: 3 to 4 standard errors.
    np.testing.assert_allclose(earned, np.full(SEEDS, hard), atol=0.06)
    layer = policy["params"]["Dense_0"]
    logits = (layer["kernel"] + layer["bias"][..., None, :])[member]
    learned = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert np.abs(learned - best).max((1, 2)).mean() < 0.1


def test_with_hardly_any_entropy_it_earns_nearly_what_there_is():
    gain = float(average_policy_iteration(world()).gain[0])
    earned = trained()[1]["average_reward"][-100:, -1].mean(0)
    standard_error = earned.std(ddof=1) / np.sqrt(SEEDS)
    assert gain - 0.03 < earned.mean() < gain + 3 * standard_error  # random actions earn -0.05


def test_an_environment_with_episodes_is_refused():
    with pytest.raises(ValueError, match="rvi_sac needs an environment that never ends, and Pendulum-v1 has episodes"):
        rvi_sac(Pendulum(), Pendulum().default_params)
