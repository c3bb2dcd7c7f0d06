"""Rewards for goals and whole episodes against what NumPy makes of the same transitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.rewards import (
    environment_reward,
    gated_accumulation,
    gaussian_goal,
    kinesthetic,
    route_completion,
    tiered,
)
from tests.jaxreward.rewards.test_rewards import episodes, random_transitions, rollout

STEPS, NUM_ENVS = 24, 3
TRANSITIONS = random_transitions(0, STEPS, NUM_ENVS)
SEEN, NEXT = (np.asarray(x, float) for x in (TRANSITIONS.observation, TRANSITIONS.next_observation))
PAID, ACTION = np.asarray(TRANSITIONS.reward), np.asarray(TRANSITIONS.action)

point = gaussian_goal(lambda t: jnp.stack([t.next_observation, t.action]), [2.0, 1.0], [2.0, 0.5], height=3.0)
REWARDS = {
    "point": point,
    "tiers": tiered(environment_reward(), [0.5, 1.0, 2.0], [0.0, 1.0, 3.0, 10.0]),
    "both": kinesthetic(environment_reward(), lambda t: t.action - 0.5, 4.0),
    "none": kinesthetic(environment_reward(), 0.0),
    "route": route_completion(
        lambda x: x / 4, [lambda t: 0.5 * t.action, lambda t: t.reward], lambda t: t.terminated * 1.0, 100.0, 7.0
    ),
    "hard": gated_accumulation(
        environment_reward(), lambda t: t.action, lambda t: t.next_observation, thresholds=[3.0, 2.0]
    ),
    "soft": gated_accumulation(environment_reward(), lambda t: t.action, thresholds=[3.0], sharpness=2.0),
}


SLOPED = ("point", "both", "none", "route")


def paid_by(params):
    return {name: rollout(REWARDS[name], params[name], TRANSITIONS)[0] for name in params}


@pytest.fixture(scope="module")
def values():
    params = {name: reward.init(jax.random.key(0)) for name, reward in REWARDS.items()}
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), params)

    def paid_and_slopes(params):
        sloped = {name: params[name] for name in SLOPED}
        return paid_by(params), jax.grad(lambda p: sum(value.sum() for value in paid_by(p).values()))(sloped)

    values, slopes = jax.jit(jax.vmap(paid_and_slopes))(both)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    # The goal is to be above 2 in the first coordinate by what it is behind, weighed by what is paid.
    moved = (np.asarray(values["point"][0]) * (NEXT - 2) / 4).sum()
    np.testing.assert_allclose(slopes["point"]["goal"][0, 0], moved, rtol=1e-5)
    return {name: np.asarray(value[1]) for name, value in values.items()}


def test_a_gaussian_is_highest_at_the_goal_and_falls_by_width(values):
    expected = 3 * np.exp(-(((NEXT - 2) / 2) ** 2 + ((ACTION - 1) / 0.5) ** 2) / 2)
    np.testing.assert_allclose(values["point"], expected, rtol=1e-5)
    box = gaussian_goal(lambda t: t, [5.0, 5.0], 0.5 * np.array([4.0, 2.0]))
    step = jax.jit(jax.vmap(lambda x: box.step(box.init(None), (), x)[1]))
    paid = step(jnp.array([[5.0, 5.0], [7.0, 5.0], [7.0, 6.0]]))
    np.testing.assert_allclose(paid, [1.0, 0.60653, 0.36788], atol=1e-5)  # of GUI-G2: an edge, a corner


def test_tiers_begin_at_their_edges(values):
    np.testing.assert_array_equal(values["tiers"], np.array([0, 1, 3, 10])[np.digitize(PAID, [0.5, 1.0, 2.0])])


def test_a_geometric_mean_is_negative_where_any_part_is(values):
    other = ACTION - 0.5
    size = np.abs(PAID * other * 4) ** (1 / 3)
    negative = (PAID < 0) | (other < 0)
    assert (negative & (PAID * other > 0)).any()  # two that are negative
    np.testing.assert_allclose(values["both"], np.where(negative, -size, size), rtol=1e-5)
    np.testing.assert_array_equal(values["none"], 0)


def test_a_route_is_paid_where_it_is_newly_completed(values):
    left = (1 - 0.5 * ACTION) * (1 - np.clip(PAID, 0, 1))
    expected = np.zeros_like(PAID)
    for env, steps in episodes(TRANSITIONS):
        furthest = SEEN[steps[0], env] / 4
        for t in steps:
            furthest = max(furthest, SEEN[t, env] / 4)
            expected[t, env] = 100 * (max(furthest, NEXT[t, env] / 4) - furthest) * left[t, env]
            furthest = max(furthest, NEXT[t, env] / 4)
    np.testing.assert_allclose(values["route"], expected - 7 * np.asarray(TRANSITIONS.terminated), atol=1e-4)


def test_a_clean_episode_is_worth_the_whole_route():
    reward = route_completion(lambda x: x / 4, scale=100.0)
    there = jnp.array([0.0, 1, 3, 2, 3, 4])[:, None]
    clean = random_transitions(0, 5, 1, done_rate=0.0)._replace(observation=there[:-1], next_observation=there[1:])
    np.testing.assert_allclose(
        jax.jit(lambda p: rollout(reward, p, clean)[0])(reward.init(jax.random.key(0)))[:, 0],
        [25.0, 50.0, 0.0, 0.0, 25.0],
    )


def test_levels_count_where_those_before_are_reached(values):
    hard, soft, opened = np.zeros_like(PAID), np.zeros_like(PAID), set()
    done = np.asarray(TRANSITIONS.terminated | TRANSITIONS.truncated)
    for env, steps in episodes(TRANSITIONS):
        first, second, third = (x[steps, env].sum() for x in (PAID, ACTION, NEXT))
        end = steps[-1]
        if done[end, env]:
            opened.add((first >= 3.0, second >= 2.0))
            hard[end, env] = first + (first >= 3.0) * (second + (second >= 2.0) * third)
            soft[end, env] = first + second / (1 + np.exp(-2 * (first - 3.0)))
    assert len(opened) >= 3
    np.testing.assert_allclose(values["hard"], hard, rtol=1e-5)
    np.testing.assert_allclose(values["soft"], soft, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gaussian_goal(lambda t: t, 0.0, 0.0), "positive; got width=0.0"),
        (lambda: gaussian_goal(lambda t: t, [0.0, 1.0], [1.0, -1.0]), r"positive; got width=\[1.0, -1.0\]"),
        (lambda: tiered(1.0, [0.0, 1.0], [1.0, 2.0]), "one value more"),
        (lambda: tiered(1.0, [1.0, 0.0], [1.0, 2.0, 3.0]), "rising edges"),
        (lambda: gated_accumulation(1.0, thresholds=[]), "two or more levels"),
        (lambda: gated_accumulation(1.0, 2.0, thresholds=[1.0, 2.0]), "one threshold less"),
        (lambda: route_completion(lambda x: x, of="states"), "did you mean 'state'"),
        (lambda: kinesthetic(), "at least one reward"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
