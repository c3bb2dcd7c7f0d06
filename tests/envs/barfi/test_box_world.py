"""The box world against its rules by hand, and against a walk in plain Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs.barfi.box_world import DOWN, LEFT, RIGHT, UP, BoxWorld, BoxWorldState, inside

WORLD = BoxWorld(slip=0.0)
PARAMS = WORLD.default_params
KEY = jax.random.key(0)
AT = 0.125 + 0.045 * np.arange(-2, 20)  # where one can be, in x and in y


@jax.jit
def step(position, action, key=KEY, params=PARAMS):
    state = BoxWorldState(jnp.asarray(position, float), jnp.zeros((), jnp.int32))
    return WORLD.step_env(key, state, action, params)


def steps_of(position, action):
    """A step as the rules tell it: final position, sub-steps made, whether the goal was entered."""
    motion = {UP: (0, 1), RIGHT: (1, 0), DOWN: (0, -1), LEFT: (-1, 0)}[action]
    position, made = np.array(position, float), 0
    for _ in range(4):
        there = position + 0.045 * np.array(motion)
        if there.min() < 0 or there.max() > 1:
            break
        position, made = there, made + 1
        if there.min() >= 0.75 and there.max() <= 0.99:
            return position, made, True
    return position, made, False


def test_every_step_from_everywhere_is_as_the_rules_tell():
    x, y, actions = (a.ravel() for a in np.meshgrid(AT, AT, np.arange(4), indexing="ij"))
    positions = np.stack([x, y], -1)
    outside = ~np.asarray(inside(jnp.asarray(positions, float), PARAMS.goal))
    positions, actions = positions[outside], actions[outside]
    reached, state, reward, terminated, info = jax.vmap(step)(positions, actions)
    expected, made, entered = zip(*map(steps_of, positions, actions.tolist()), strict=True)
    np.testing.assert_allclose(reached, np.stack(expected), atol=1e-6)
    np.testing.assert_array_equal(reached, state.position)
    np.testing.assert_array_equal(info["taken"], np.arange(4)[None] < np.array(made)[:, None])
    np.testing.assert_array_equal(terminated, entered)
    np.testing.assert_allclose(reward, np.where(entered, 99.9, -0.1), rtol=1e-6)
    assert np.sum(entered) == 48  # 6 rows from the left and 6 columns from below, from up to 4 sub-steps away


def test_four_up_and_four_right_reach_the_goal():
    def walk(state, action):
        _, state, reward, terminated, _ = WORLD.step_env(KEY, state, action, PARAMS)
        return state, (state.position, reward, terminated, WORLD.is_truncated(state, PARAMS))

    observation, start = WORLD.reset_env(KEY, PARAMS)
    np.testing.assert_array_equal(observation, jnp.array([0.125, 0.125]))
    actions = jnp.array([UP] * 4 + [RIGHT] * 4)
    positions, rewards, terminated, truncated = jax.jit(lambda a: jax.lax.scan(walk, start, a)[1])(actions)
    # up 16 sub-steps; right 12, and the second of the last action, at 0.755, is in the goal
    np.testing.assert_allclose(positions[3], [0.125, 0.845], atol=1e-6)
    np.testing.assert_allclose(positions[6:], [[0.665, 0.845], [0.755, 0.845]], atol=1e-6)
    assert terminated.tolist() == [False] * 7 + [True]
    assert not truncated.any()
    np.testing.assert_allclose(rewards.sum(), 100 - 0.8, rtol=1e-6)


def test_the_border_is_refused_and_ends_the_step():
    # 0.08 and 0.035 are in the square, -0.01 is not
    position, _, reward, terminated, info = step((0.125, 0.5), LEFT)
    np.testing.assert_allclose(position, [0.035, 0.5], atol=1e-6)
    assert info["taken"].tolist() == [True, True, False, False]
    assert (float(reward), bool(terminated)) == (float(np.float32(-0.1)), False)
    position, _, _, _, info = step((0.98, 0.5), RIGHT)
    np.testing.assert_allclose(position, [0.98, 0.5], atol=1e-7)
    assert not info["taken"].any()


def test_the_goal_stops_a_step_that_would_have_passed_it():
    params = PARAMS.replace(goal=jnp.array([[0.4, 0.4], [0.45, 0.6]]))
    position, _, reward, terminated, info = step((0.35, 0.5), RIGHT, params=params)  # 0.395, 0.44, 0.485, 0.53
    np.testing.assert_allclose(position, [0.44, 0.5], atol=1e-6)
    assert info["taken"].tolist() == [True, True, False, False]
    np.testing.assert_allclose(reward, 99.9, rtol=1e-6)
    assert terminated


def test_no_episode_that_ends_earlier_is_possible():
    """A breadth-first search over all walks: the goal is 8 steps away."""
    reached = {(0.125, 0.125)}
    for steps in range(1, 9):
        ends = [steps_of(position, action) for position in reached for action in range(4)]
        assert any(entered for *_, entered in ends) == (steps == 8)
        reached = {tuple(np.round(position, 6)) for position, *_ in ends}


def test_the_time_limit_truncates():
    times = jnp.array([49, 50])
    state = BoxWorldState(jnp.zeros((2, 2)) + 0.125, times)
    assert jax.vmap(WORLD.is_truncated, (0, None))(state, PARAMS).tolist() == [False, True]
    assert not jax.vmap(WORLD.is_terminated, (0, None))(state, PARAMS).any()


def test_slips_are_uniform_and_as_frequent_as_said():
    keys, slips = jax.random.split(KEY, 4000), jnp.array([0.0, 0.1, 1.0])
    in_world = lambda slip, key: step((0.5, 0.5), RIGHT, key, PARAMS.replace(slip=slip))  # noqa: E731
    position, *_, info = jax.vmap(jax.vmap(in_world, (None, 0)), (0, None))(slips, keys)
    for slip, executed in zip(slips, info["executed_action"], strict=True):
        share = np.bincount(executed, minlength=4) / len(keys)
        expected = slip / 4 + (1 - slip) * np.eye(4)[RIGHT]
        assert (np.abs(share - expected) <= 5 * np.sqrt(expected * (1 - expected) / len(keys)) + 1e-6).all()
    moves = np.array([(0, 0.18), (0.18, 0), (0, -0.18), (-0.18, 0)])
    np.testing.assert_allclose(position, 0.5 + moves[info["executed_action"]], atol=1e-6)


def test_it_slips_one_time_in_ten_unless_told_otherwise():
    assert BoxWorld().default_params.slip == np.float32(0.1)
    with pytest.raises(ValueError, match=r"slip is a probability, from 0 to 1; got 1\.5"):
        BoxWorld(1.5)
