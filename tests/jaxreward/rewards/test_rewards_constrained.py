"""Constraints whose multipliers adapt: against Adam in NumPy, and a bandit whose best mixture is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.environment import with_reward
from jaxreward.envs import make as make_env
from jaxreward.reward import Transition
from jaxreward.rewards import at_least, at_most, constrained, environment_reward, stack
from tests.jaxreward.rewards.test_rewards import random_transitions, rollout

REWARD = constrained(
    environment_reward(),
    zeal=at_most(lambda t: t.action, 0.3),
    arrived=at_least(lambda t: t.next_observation == 4, 0.5, bootstrap=True),
    learning_rate=1.0,
    every=7,
)


def softmax(z):
    return np.exp(z) / np.exp(z).sum()


def test_multipliers_follow_adam_down_the_lagrangian():
    transitions = random_transitions(0, 12, 3)
    paid, parts, memory = jax.jit(lambda key: rollout(REWARD, REWARD.init(key), transitions))(jax.random.key(0))
    reward, zeal, arrived = (
        np.asarray(x, float) for x in (transitions.reward, transitions.action, transitions.next_observation == 4)
    )
    z, first, second, updates, since, lifted = np.full(3, 0.02), np.zeros(3), np.zeros(3), 0, [], []
    for t in range(12):
        w = softmax(z)
        lifted.append(w[2] > w[0])
        np.testing.assert_allclose(paid[t], max(w[0], w[2]) * reward[t] - w[1] * zeal[t] + w[2] * arrived[t], rtol=1e-4)
        np.testing.assert_allclose(parts["weight/zeal"][t], w[1], rtol=1e-4)
        np.testing.assert_array_equal(parts["arrived"][t], arrived[t])
        since += [(-(zeal[t, n] - 0.3), arrived[t, n] - 0.5) for n in range(3)]
        if len(since) >= 7:
            slack = np.array([0.0, *np.mean(since, 0)])
            gradient = w * (slack - w @ slack)  # of a softmax
            updates, since = updates + 1, []
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            z = z - first / (1 - 0.9**updates) / (np.sqrt(second / (1 - 0.999**updates)) + 1e-8)
    assert updates == 4
    assert any(lifted)
    assert not all(lifted)
    np.testing.assert_allclose(memory.multipliers.value.logits[0], z, rtol=1e-3)


@pytest.mark.parametrize("rate", [0.2, 0.7])
def test_a_bandits_mixture_meets_the_rate_that_is_asked_for(rate):
    """One arm pays 1 and costs 1; with entropy of weight `c` the policy takes it as often as `p` says."""
    c, asked = 0.5, {"mixture": jnp.float32(rate)}

    def step(memory, _):
        w = jax.nn.softmax(memory.multipliers.value.logits)
        p = jax.nn.sigmoid((w[0] - w[1]) / c)
        never = jnp.zeros((), bool)
        return reward.step({**params, "rates": asked}, memory, Transition((), p, p, (), never, never))[0], p

    reward = constrained(environment_reward(), mixture=at_most(lambda t: t.action, 0.5), learning_rate=0.01, every=1)
    params = reward.init(jax.random.key(0))
    memory, p = jax.jit(lambda memory: jax.lax.scan(step, memory, length=3000))(reward.reset(params))
    w = jax.nn.softmax(memory.multipliers.value.logits)
    assert p[0] == 0.5
    assert p[-1] == pytest.approx(rate, abs=1e-3)
    # The closed form: w_0 - w_1 = c logit(rate), and both sum up to 1.
    assert w[0] == pytest.approx((1 + c * np.log(rate / (1 - rate))) / 2, abs=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: constrained(1.0), "needs constraints by name"),
        (lambda: constrained(1.0, falls=0.1), "falls is no constraint but 0.1"),
        (lambda: constrained(1.0, falls=at_most(1.0, 0.1), every=0), "every 1 or more steps; got every=0"),
        (
            lambda: with_reward(make_env("CartPole-v1")[0], constrained(stack(1.0, 2.0), far=at_most(1.0, 0.5))),
            "constrained is made of 2 scalars, and together they have 3 numbers",
        ),
        (lambda: at_most(1.0, 1.5), "from 0 to 1; got rate=1.5"),
        (lambda: at_least(1.0, -0.5), "from 0 to 1; got rate=-0.5"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
