"""Rewards of old transitions: told again with other numbers, through several rewards, or refused."""

import jax
import numpy as np
import pytest
from gymnax.wrappers.purerl import FlattenObservationWrapper

from jaxreward.environment import with_reward
from jaxreward.learning.n_step import Steps
from jaxreward.learning.relabel import leaves_read, relabelling
from jaxreward.reward import markov
from jaxreward.rewards.transforms import normalise
from tests.probes import Counter

INNER = with_reward(Counter(), markov(lambda p, t: p * t.reward + t.truncated, 2.0))
OUTER = with_reward(INNER, markov(lambda p, t: t.reward + p * t.next_state.env.count * t.action, 3.0))


def test_a_reward_around_a_reward_is_told_with_the_numbers_of_both():
    """What is kept beside is the counter's own reward and its next count."""
    made = relabelling(OUTER, OUTER.default_params)
    assert [leaf.shape for leaf in made.empty(2)] == [(2,), (2,)]
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(4, 3, 2)).astype(np.float32)
    ends = rng.random((2, 3, 2)) < 0.5
    action = rng.integers(0, 2, (3, 2)).astype(np.int32)
    steps = Steps(numbers[0][..., None], action, np.zeros((3, 2)), *ends, numbers[1][..., None], list(numbers[2:]))
    params = OUTER.default_params.replace(reward=5.0, env=INNER.default_params.replace(reward=7.0))
    found = jax.jit(lambda params: made.rewards(params)(steps))(params)
    np.testing.assert_allclose(found, 7 * numbers[2] + ends[1] + 5 * numbers[3] * action, rtol=1e-5)


def test_what_is_recorded_is_what_rewards_read():
    made, key = relabelling(OUTER, OUTER.default_params), jax.random.key(0)

    @jax.jit
    def once(key):
        state = OUTER.reset_env(key, OUTER.default_params)[1]
        happened = OUTER.transition(key, state, 1, OUTER.default_params)
        info = OUTER.step_env(key, state, 1, OUTER.default_params)[4]
        following = state.replace(env=happened.next_state)
        return state.env.env.count, made.record(happened._replace(state=state, next_state=following, info=info))

    count, (reward, after) = once(key)
    assert (reward, after) == (count, count + 2)


def test_which_leaves_a_result_depends_on():
    assert leaves_read(lambda x: {"sum": x[0] + x[2]["c"]}, (1.0, 2.0, {"c": 3.0, "d": 4.0})) == [
        True,
        False,
        True,
        False,
    ]


def test_what_is_not_told_by_one_transition_is_refused():
    remembering = normalise(markov(lambda t: t.reward))
    for env, message in (
        (Counter(), "Counter has its own, which is not known"),
        (with_reward(Counter(), remembering), "this one has a memory"),
        (with_reward(with_reward(Counter(), remembering), markov(lambda t: t.reward)), "this one has a memory"),
        (FlattenObservationWrapper(INNER), "has its own, which is not known"),
    ):
        with pytest.raises(ValueError, match=message):
            relabelling(env, env.default_params)
