"""Soft penalties against a loop over the same steps, and what they leave of a route."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.rewards import habitual_penalty, lingering_penalty, route_completion, speeding_penalty
from tests.jaxreward.rewards.test_rewards import episodes, random_transitions, rollout

TRANSITIONS = random_transitions(3, 30, 3)
SEEN, ACTION, PAID = (np.asarray(x) for x in (TRANSITIONS.observation, TRANSITIONS.action, TRANSITIONS.reward))


def first(t):
    return t.action > 0.5


def second(t):
    return t.observation == 0


SPEEDING = speeding_penalty(lambda t: t.reward, lambda t: 0.2, most=0.5)
LINGERING = lingering_penalty(first, second, steps=3, share=0.6)
HABITUAL = habitual_penalty(first, steps=2)
PENALTIES = (SPEEDING, LINGERING, HABITUAL)


@pytest.fixture(scope="module")
def values():
    params = [reward.init(jax.random.key(0)) for reward in PENALTIES]
    two = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), params)

    def paid(params):
        return [rollout(r, p, TRANSITIONS)[0] for r, p in zip(PENALTIES, params, strict=True)]

    return [np.asarray(value[1]) for value in jax.jit(jax.vmap(paid))(two)]


def test_speeding_is_penalised_by_how_far_it_is_above_the_limit(values):
    np.testing.assert_allclose(values[0], np.clip((PAID - 0.2) / 0.5, 0, 1), rtol=1e-5, atol=1e-6)
    assert {0.0, 1.0} < set(values[0].ravel().tolist())


def test_a_violation_lingers_within_its_episode_and_a_habit_is_more_than_some_steps(values):
    flags = np.stack([ACTION > 0.5, SEEN == 0], -1)
    lingering, habit = np.zeros(PAID.shape), np.zeros(PAID.shape)
    for env, steps in episodes(TRANSITIONS):
        count = 0
        for i, t in enumerate(steps):
            within = flags[list(steps)[max(0, i - 2) : i + 1], env]  # this one and the two before it
            lingering[t, env] = 0.6 * within.any(0).mean()
            count = max(count + 1 if flags[t, env, 0] else count - 1, 0)
            habit[t, env] = 0.5 * (count > 2)
    np.testing.assert_allclose(values[1], lingering, rtol=1e-5)
    np.testing.assert_array_equal(values[2], habit)
    assert set(np.unique(habit)) == {0.0, 0.5}
    assert len(np.unique(lingering.round(4))) == 3


def test_penalties_multiply_what_is_left_of_a_route():
    there = jnp.array([0.0, 1, 2, 3, 4])[:, None]
    clean = random_transitions(0, 4, 1, done_rate=0.0)._replace(
        observation=there[:-1], next_observation=there[1:], action=jnp.array([0.0, 1, 0, 0])[:, None]
    )
    lasting = lingering_penalty(first, steps=2)
    reward = route_completion(lambda x: x / 4, [lasting, lambda t: 0.2 * (t.observation >= 2)], scale=100.0)
    paid = jax.jit(lambda params: rollout(reward, params, clean)[0])(reward.init(jax.random.key(0)))[:, 0]
    np.testing.assert_allclose(paid, [25.0, 25 * 0.5, 25 * 0.5 * 0.8, 25 * 0.8], rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lingering_penalty(), "something that may be violated"),
        (lambda: lingering_penalty(first, steps=0), "steps is positive; got steps=0"),
        (lambda: habitual_penalty(first, share=1.5), "a share from 0 to 1; got share=1.5"),
        (lambda: speeding_penalty(lambda t: 1.0, lambda t: 1.0, most=-1.0), "most is positive; got most=-1.0"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
