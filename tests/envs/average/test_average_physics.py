"""The pendulum, the puck and the falling balls, each step of a long walk, against the rules in NumPy."""

from functools import partial

import jax
import numpy as np
import pytest

from jaxreward.envs import make
from jaxreward.envs.average.pendulum import PendulumState
from tests.as_users import AS_USERS

STEPS = 10_000


def walk(name, **params_of):
    """States before and after each of many random steps, and what was done, shown and paid."""
    env, params = make(f"average/{name}", **params_of)

    def step(state, key):
        key_action, key_step = jax.random.split(key)
        action = env.action_space(params).sample(key_action)
        shown, following, reward, terminated, _ = env.step_env(key_step, state, action, params)
        return following, (state, action, following, shown, reward, terminated | env.is_truncated(following, params))

    @partial(jax.jit, compiler_options=AS_USERS)
    def run(key):
        key_start, key_steps = jax.random.split(key)
        return jax.lax.scan(step, env.reset_env(key_start, params)[1], jax.random.split(key_steps, STEPS))[1]

    before, action, after, shown, reward, ended = jax.device_get(run(jax.random.key(0)))
    assert not ended.any()
    space = env.observation_space(params)
    assert (shown >= np.asarray(space.low)).all()
    assert (shown <= np.asarray(space.high)).all()
    return before, action, after, shown, reward


def test_pendulum():
    before, action, after, shown, reward = walk("pendulum", torque=5.0)  # enough to get it up by chance
    angle, velocity = (np.asarray(leaf, np.float64) for leaf in (before.angle, before.velocity))
    for _ in range(4):
        velocity = velocity + 0.05 * (5.0 * (action - 1.0) - 0.1 * velocity - 9.81 * np.sin(angle))
        angle = angle + 0.05 * velocity
    # Speeds reach some 10 a second, of which float32 keeps 1e-6; four substeps each add as much.
    np.testing.assert_allclose(after.velocity, velocity, atol=2e-5)
    np.testing.assert_allclose(np.exp(1j * after.angle), np.exp(1j * angle), atol=2e-5)
    assert np.abs(after.angle).max() <= np.pi + 1e-6
    np.testing.assert_allclose(shown, np.stack([np.cos(angle), np.sin(angle), velocity], -1), atol=2e-5)
    up = -np.cos(angle)
    sure = np.abs(up - np.cos(np.pi / 6)) > 1e-4
    np.testing.assert_array_equal(reward[sure], (up > np.cos(np.pi / 6))[sure])
    assert 0.05 < reward.mean() < 0.95
    assert before.angle[0] == before.velocity[0] == 0


def test_a_continuous_torque_is_that_of_the_three_where_they_are_and_between_them_elsewhere():
    (one, params), (three, _) = make("average/pendulum", continuous=True), make("average/pendulum")
    state = PendulumState(jax.numpy.float32(0.7), jax.numpy.float32(-1.0))
    step = lambda env, action: env.step_env(jax.random.key(0), state, action, params)[1]  # noqa: E731
    for action, share in enumerate((-1.0, 0.0, 1.0)):
        jax.tree.map(np.testing.assert_array_equal, step(one, np.array([share], np.float32)), step(three, action))
    ends = [float(step(one, np.array([share], np.float32)).velocity) for share in (0.0, 0.5, 1.0, 3.0)]
    assert ends[0] < ends[1] < ends[2] == ends[3]


def test_puck_world():
    before, action, after, shown, reward = walk("puck_world", acceleration=2.0)  # so strong that it meets the walls
    towards = np.array([[0, -1], [-1, 0], [0, 1], [1, 0]])[action]
    position, velocity = (np.asarray(leaf, np.float64) for leaf in (before.position, before.velocity))
    for _ in range(4):
        velocity = velocity + 0.05 * (2.0 * towards - 0.5 * velocity)
        position = position + 0.05 * velocity
    out = (position < 0.5) | (position > 4.5)
    near = np.minimum(np.abs(position - 0.5), np.abs(position - 4.5)) < 1e-5  # rounding may say either
    np.testing.assert_allclose(after.position, np.clip(position, 0.5, 4.5), atol=5e-6)
    np.testing.assert_allclose(after.velocity[~near], np.where(out, -0.5 * velocity, velocity)[~near], atol=5e-6)
    assert out[1:].sum() > 20
    moved = (after.goal != before.goal).any(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(moved) + 1, np.arange(300, STEPS + 1, 300))
    goals = after.goal[moved]
    assert ((goals >= 0) & (goals <= 5)).all()
    assert (np.abs(goals.mean(0) - 2.5) < 5 * 5 / np.sqrt(12 * len(goals))).all()
    np.testing.assert_allclose(reward, -np.linalg.norm(after.position - after.goal, axis=1), rtol=1e-6)
    np.testing.assert_array_equal(shown, np.concatenate([after.position, after.velocity, after.goal], axis=1))


@pytest.mark.parametrize("spawn", [0.1, 0.6])
def test_catch(spawn):
    before, action, after, shown, reward = walk("catch", spawn_probability=spawn)
    balls, fallen = before.balls, after.balls
    np.testing.assert_array_equal(after.paddle, np.clip(before.paddle + action - 1, 0, 4))
    np.testing.assert_array_equal(fallen[:, 1:9], balls[:, :8])
    assert not fallen[:, 9].any()
    landing = balls[:, 8]
    caught = landing[np.arange(STEPS), after.paddle]
    np.testing.assert_array_equal(reward, np.where(caught, 1, np.where(landing.any(1), -1, 0)))
    assert (before.balls[0].sum(), before.balls[0, 0].sum(), before.paddle[0]) == (1, 1, 2)
    top = fallen[:, 0]
    assert top.sum(1).max() == 1
    assert abs(top.any(1).mean() - spawn) < 5 * np.sqrt(spawn * (1 - spawn) / STEPS)
    assert (np.abs(top.mean(0) - spawn / 5) < 5 * np.sqrt(spawn / 5 / STEPS)).all()
    board = fallen.copy()
    board[np.arange(STEPS), 9, after.paddle] = True
    np.testing.assert_array_equal(shown, board)
