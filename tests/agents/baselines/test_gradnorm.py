"""Rewards weighed by the norms of their policy gradients: closed forms, and two tasks of which one is louder."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward import vmap
from jaxreward.agents.baselines import gradnorm, ppo
from jaxreward.agents.baselines.parts.on_policy import Batch
from jaxreward.environment import with_reward
from jaxreward.envs import make
from jaxreward.learning.centring import Average
from jaxreward.learning.estimators import gae
from jaxreward.learning.rollout import Trajectory
from jaxreward.mdp import TabularEnv, tabular_mdp
from jaxreward.reward import markov
from jaxreward.rewards import add, stack

RNG = np.random.default_rng(0)
BY_CHANCE = tabular_mdp(np.full((2, 2, 2), 0.5), np.zeros(2))
"""Two states, of which chance says which is next."""


TINY = {"num_envs": 4, "num_steps": 8, "num_epochs": 1, "num_minibatches": 1, "layers": ()}


def loud(t):
    return 10.0 * ((t.state.index == 0) & (t.action == 1))


def soft(t):
    return 0.1 * ((t.state.index == 1) & (t.action == 0))


def made(module, reward, **sizes):
    env = with_reward(TabularEnv(BY_CHANCE, max_steps_in_episode=20), reward)
    return getattr(module, module.__name__.rpartition(".")[2])(env, env.default_params, module.Config(**sizes))


class PaysTwo(TabularEnv):
    """An environment whose own reward is a vector."""

    def step_env(self, key, state, action, params):
        observation, following, reward, terminated, info = super().step_env(key, state, action, params)
        return observation, following, jnp.stack([reward, -reward]), terminated, info


class Bandit(gradnorm.GradNorm):
    """Two arms, whose logits are all of the params."""

    def forward(self, params, memory, features):
        return memory, jnp.broadcast_to(params, (len(features), 2)), jnp.zeros((len(features), 2))


def test_norms_of_a_bandit_are_those_of_the_closed_form():
    """`sqrt(2) f (1 - f) |A_k(0) - A_k(1)|` with an arm's share `f` of the batch, as centred advantages sum to 0.

    Whatever the policy, which has the arms at other shares here: of advantages that are not centred it would matter.
    """
    template = made(gradnorm, stack(loud, soft)).step.__self__
    bandit = Bandit(**vars(template))
    actions, of_arms = jnp.array([0, 1, 1, 1]), jnp.array([[3.0, -0.5], [-2.0, 0.25]])
    nothing = jnp.zeros(4)
    batch = Batch(jnp.zeros((4, 1)), actions, nothing, nothing, of_arms[actions], nothing, ())
    norms = jax.jit(bandit.norms)(jnp.log(jnp.array([0.6, 0.4])), batch)
    np.testing.assert_allclose(norms, np.sqrt(2) * 3 / 16 * np.array([5.0, 0.75]), rtol=1e-5)


def test_weights_bring_all_norms_to_one_and_leave_what_is_never_paid_within_bounds():
    of = lambda *norms: np.asarray(gradnorm.balanced(Average(jnp.array(norms), jnp.ones(())), 0.001))  # noqa: E731
    np.testing.assert_allclose(of(1.0, 4.0), [1.6, 0.4], rtol=1e-6)
    three = np.array([0.2, 5.0, 1.0])
    np.testing.assert_allclose(of(*three) * three, np.full(3, 3 / (1 / three).sum()), rtol=1e-6)
    np.testing.assert_allclose(of(0.0, 1.0), [2000 / 1001, 2 / 1001], rtol=1e-5)
    np.testing.assert_array_equal(of(0.0, 0.0), [1, 1])
    np.testing.assert_array_equal(of(7.0), [1])


def test_each_reward_has_its_own_advantage_and_the_policy_ascends_their_weighted_sum():
    algorithm = made(gradnorm, stack(loud, soft)).step.__self__
    reward, value, following = RNG.normal(size=(3, 6, 4, 2)).astype(np.float32)
    terminated, truncated = RNG.random((2, 6, 4)) < 0.2
    trajectory = Trajectory((), (), (), jnp.asarray(reward), terminated, truncated, ())
    numbers = gradnorm.Hyperparams(discount=0.9, gae_lambda=0.8)
    each = algorithm.estimated(trajectory, jnp.asarray(value), jnp.asarray(following), numbers)
    for k in range(2):
        alone = gae(*(x[..., k] for x in (reward, value, following)), terminated, truncated, 0.9, 0.8)
        np.testing.assert_allclose(each[..., k], alone, rtol=1e-5)
    nothing = jnp.zeros(())
    batch = Batch(nothing, nothing, nothing, nothing, each, nothing, ())
    weighed = dataclasses.replace(algorithm, weights=jnp.array([0.5, 1.5])).advantage_of(batch)
    np.testing.assert_allclose(weighed, 0.5 * each[..., 0] + 1.5 * each[..., 1], rtol=1e-5)


def seen(shape):
    """A rollout of 8 steps of 4 environments by a uniform policy, with rewards of a shape."""
    observation, following = jnp.eye(2)[RNG.integers(2, size=(2, 8, 4))]
    action = jnp.asarray(RNG.integers(2, size=(8, 4)))
    terminated, truncated = jnp.asarray(RNG.random((2, 8, 4)) < 0.2)
    reward = jnp.asarray(RNG.normal(size=(8, 4, *shape)), float)
    return Trajectory(observation, action, (action, jnp.zeros((8, 4, 2))), reward, terminated, truncated, following)


def test_weights_balance_the_norms_of_the_step_before_and_of_one_reward_it_is_ppo():
    """Learning twice, in one program; of one reward params are those of PPO, but for the order of sums."""
    kinds = (gradnorm, stack(loud, soft)), (gradnorm, add(loud)), (ppo, add(loud))
    two, one, plain = (made(*kind, **TINY).step.__self__ for kind in kinds)
    vectors, scalars = seen((2,)), seen(())

    def learned(learner, state, rollout):
        return jax.lax.scan(lambda now, key: learner.learn(now, rollout, key), state, jax.random.split(state.key))

    @jax.jit
    def run(key):
        state = one.init(key, gradnorm.Hyperparams())
        of_two = learned(two, two.init(key, gradnorm.Hyperparams()), vectors)
        return of_two, learned(one, state, scalars), learned(plain, state._replace(judge=()), scalars)

    (_, told), (one, told_of_one), (plain, told_plain) = run(jax.random.key(1))
    of = lambda name: np.stack([told[f"{name}/{k}"] for k in range(2)], -1)  # noqa: E731
    norms, weights = of("gradient_norm"), of("weight")
    assert norms.min() > 0
    np.testing.assert_array_equal(weights[0], [1, 1])
    np.testing.assert_allclose(weights[1], 2 / norms[0] / (1 / norms[0]).sum(), rtol=1e-5)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)  # noqa: E731, a step is of 3e-4
    jax.tree.map(close, one.params, plain.params)
    assert {"value/explained_variance/0", "value/explained_variance/1"} <= set(told)
    assert set(told_of_one) == set(told_plain) | {"gradient_norm/0", "weight/0"}


@pytest.mark.slow
def test_what_is_a_hundred_times_louder_does_not_drown_the_other():
    """In one state a reward of 10 asks for action 1, in the other one of 0.1 for action 0."""

    def certain(module, reward):
        """How often each seed does what is asked for, `[seed, state]`."""
        agent = made(module, reward, num_envs=8, num_steps=40, layers=(8,))
        many, numbers = vmap(agent), module.Hyperparams(learning_rate=1e-3, discount=0.9, entropy_coefficient=0.0)
        run = jax.jit(lambda keys: jax.lax.fori_loop(0, 60, lambda _, s: many.step(s)[0], many.init(keys, numbers)))
        state = run(jax.random.split(jax.random.key(0), 8))
        forward = agent.step.__self__.forward
        chance = jax.vmap(lambda params: jax.nn.softmax(forward(params, (), jnp.eye(2))[1]))(state.params)
        return np.stack([chance[:, 0, 1], chance[:, 1, 0]], 1)

    assert (certain(gradnorm, stack(loud, soft)) > 0.9).all()
    assert (certain(ppo, add(loud, soft))[:, 1] < 0.5).all()


def test_what_is_refused():
    with pytest.raises(ValueError, match="takes no centring=True"):
        made(gradnorm, stack(loud, soft), centring=True)
    with pytest.raises(ValueError, match="game"):
        gradnorm.gradnorm(*make("games/gems"))
    itself = PaysTwo(BY_CHANCE)
    with pytest.raises(ValueError, match=r"itself pays 2 rewards, .* give gradnorm several as the reward"):
        gradnorm.gradnorm(itself, itself.default_params)
    one = with_reward(itself, markov(lambda t: t.reward.sum()))
    gradnorm.gradnorm(one, one.default_params)
