"""Sharpe ratios against the derivative they are of, and against NumPy's mean and deviation."""

import jax
import numpy as np
import pytest

from jaxreward.rewards import differential_sharpe, environment_reward, terminal_sharpe
from tests.jaxreward.rewards.test_rewards import episodes, random_transitions, rollout

RATE = 0.1
TRANSITIONS = random_transitions(0, 24, 3)
PAID = np.asarray(TRANSITIONS.reward, np.float64)
REWARDS = {
    "step": differential_sharpe(environment_reward(), RATE, warm_up=1),
    "later": differential_sharpe(environment_reward(), RATE, warm_up=3),
    "episode": terminal_sharpe(environment_reward()),
    "same": terminal_sharpe(1.3),
}


@pytest.fixture(scope="module")
def values():
    def paid(key):
        return {name: rollout(reward, reward.init(key), TRANSITIONS)[0] for name, reward in REWARDS.items()}

    return {
        name: np.asarray(value[1])
        for name, value in jax.jit(jax.vmap(paid))(jax.random.split(jax.random.key(0))).items()
    }


def ratio(mean, square):
    return mean / np.sqrt(square - mean**2)


def test_a_step_is_paid_the_derivative_of_the_ratio_in_the_rate(values):
    h, expected, later = 1e-6, np.zeros_like(PAID), np.zeros_like(PAID, bool)
    for env, steps in episodes(TRANSITIONS):
        mean = square = 0.0
        later[steps[3:], env] = True
        for t in steps:
            towards = np.array([PAID[t, env] - mean, PAID[t, env] ** 2 - square])
            if t > steps[0]:  # by finite differences, in double precision
                above, below = (ratio(*(np.array([mean, square]) + e * towards)) for e in (h, -h))
                expected[t, env] = (above - below) / (2 * h)
            mean, square = np.array([mean, square]) + RATE * towards
    assert (np.abs(expected) > 0.1).sum() > 20
    np.testing.assert_allclose(values["step"], expected, rtol=1e-3, atol=1e-3)
    assert later.any()
    np.testing.assert_array_equal(values["later"], np.where(later, values["step"], 0.0))


def test_an_episode_is_paid_its_ratio_where_it_ends(values):
    expected, done = np.zeros_like(PAID), np.asarray(TRANSITIONS.terminated | TRANSITIONS.truncated)
    for env, steps in episodes(TRANSITIONS):
        of_episode = PAID[steps, env]
        if done[steps[-1], env] and len(steps) > 1:
            expected[steps[-1], env] = np.sqrt(252) * of_episode.mean() / of_episode.std()
    assert (expected != 0).sum() >= 3
    np.testing.assert_allclose(values["episode"], expected, rtol=1e-4)
    np.testing.assert_array_equal(values["same"], 0)


def test_what_is_refused():
    with pytest.raises(ValueError, match="above 0 and at most 1; got rate=0"):
        differential_sharpe(1.0, 0)
    with pytest.raises(ValueError, match="1 or more; got warm_up=0"):
        differential_sharpe(1.0, warm_up=0)
    with pytest.raises(ValueError, match="positive number of periods; got periods=-1"):
        terminal_sharpe(1.0, -1)
