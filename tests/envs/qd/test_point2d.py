"""The point in the square against its rules in plain Python, and its picture against one drawn pixel by pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.envs.parts.painting import painted
from jaxreward.envs.qd.discs import NO_AREA
from jaxreward.envs.qd.point2d import AREAS, Point2D, Point2DState

WORLD = Point2D()
PARAMS = WORLD.default_params
KEY = jax.random.key(0)


@jax.jit
def walk(actions, params=PARAMS):
    """Positions, areas, rewards and whether the episode is over, all `[T, ...]`."""

    def step(state, action):
        _, state, reward, terminated, info = WORLD.step_env(KEY, state, action, params)
        return state, (info["descriptor"], info["area"], reward, terminated, WORLD.is_truncated(state, params))

    return jax.lax.scan(step, WORLD.reset_env(KEY, params)[1], actions)[1]


def walk_by_the_rules(actions):
    position, locked, positions, areas, rewards = np.zeros(2), NO_AREA, [], [], []
    for action in actions:
        position, reward = np.clip(position + 0.05 * action, -1, 1), 0
        for index, ((left, low), (right, high)) in enumerate(AREAS):
            if left <= position[0] <= right and low <= position[1] <= high and locked in (NO_AREA, index):
                locked, reward = index, 1
        positions.append(position)
        areas.append(locked)
        rewards.append(reward)
    return np.array(positions), np.array(areas), np.array(rewards)


def straight(start, end, steps):
    return np.tile((np.array(end) - np.array(start)) / (0.05 * steps), (steps, 1))


def middle(area):
    return np.mean(AREAS[area], axis=0)


@pytest.mark.parametrize("area", range(4))
def test_a_straight_walk_to_an_area_is_paid_for_each_step_there(area):
    actions = np.concatenate([straight((0, 0), middle(area), 20), np.zeros((30, 2))])
    positions, areas, rewards, terminated, truncated = walk(actions)
    np.testing.assert_allclose(positions[19:], np.tile(middle(area), (31, 1)), atol=1e-6)
    assert rewards.sum() == 31  # the 20th step and the 30 that rest there; the 19th is 0.036 or more away
    assert areas.tolist() == [NO_AREA] * 19 + [area] * 31
    assert not terminated.any()
    assert truncated.tolist() == [False] * 49 + [True]


def test_only_the_area_that_was_entered_first_pays():
    actions = np.concatenate(
        [straight((0, 0), middle(2), 15), straight(middle(2), middle(3), 20), straight(middle(3), middle(2), 15)]
    )
    positions, areas, rewards, *_ = walk(actions)
    np.testing.assert_allclose(positions[34], middle(3), atol=1e-6)
    assert rewards.nonzero()[0].tolist() == [14, 49]
    assert areas[14:].tolist() == [2] * 36


def test_random_walks_are_as_the_rules_tell():
    rng = np.random.default_rng(0)
    drift = np.repeat([middle(area) / (0.05 * 25) for area in range(4)], 50, axis=0)
    actions = drift[:, None] + rng.normal(size=(200, 50, 2)) / 3
    positions, areas, rewards, *_ = jax.vmap(walk)(actions)
    expected = [np.stack(part) for part in zip(*map(walk_by_the_rules, actions), strict=True)]
    np.testing.assert_allclose(positions, expected[0], atol=1e-6)
    np.testing.assert_array_equal(areas, expected[1])
    np.testing.assert_array_equal(rewards, expected[2])
    assert set(np.unique(expected[1])) == {NO_AREA, 0, 1, 2, 3}
    assert (np.abs(expected[0]) == 1).any()  # the border was reached too


def test_areas_may_be_vmapped_over():
    moved = PARAMS.areas[None] + jnp.array([0.0, 0.2])[:, None, None, None]
    actions = np.concatenate([straight((0, 0), middle(0), 20), np.zeros((30, 2))])
    in_world = lambda areas: walk(actions, PARAMS.replace(areas=areas))[2].sum()  # noqa: E731
    assert jax.vmap(in_world)(moved).tolist() == [31, 0]


def picture(position, size):
    """Inclusive rectangles between rounded corners, then all pixels nearer than 2 of 64 to the point."""
    image = np.zeros((size, size, 3))
    for low, high in AREAS:
        (top, left), (bottom, right) = (
            np.round((np.array(corner) + 1) * size / 2).astype(int) for corner in (low, high)
        )
        image[top : bottom + 1, left : right + 1] = (1, 0, 0)
    for row in range(size):
        for column in range(size):
            if np.hypot(row - (position[0] + 1) * size / 2, column - (position[1] + 1) * size / 2) < size / 32:
                image[row, column] = (0, 0, 1)
    return image


@pytest.mark.parametrize("size", [64, 32])
def test_pictures_are_as_drawn_pixel_by_pixel(size):
    positions = np.random.default_rng(1).uniform(-1, 1, (6, 2))
    draw = jax.jit(jax.vmap(lambda position: WORLD.image(Point2DState(position, 0, 0), PARAMS, size)))
    images = draw(positions.astype(np.float32))
    np.testing.assert_array_equal(images, [picture(position, size) for position in positions])


def test_the_picture_of_the_start():
    image = np.asarray(WORLD.image(WORLD.reset_env(KEY, PARAMS)[1], PARAMS))
    assert image.shape == (64, 64, 3)
    rows, columns = image[..., 2].nonzero()
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {
        (r, c) for r in (31, 32, 33) for c in (31, 32, 33)
    }
    red = image[..., 0]
    for pixels in (red[56:59, 56:59], red[1:3, 61:63], red[32:35, 8:11], red[8:11, 30:33]):
        assert pixels.all()
    assert red.sum() == 9 + 4 + 9 + 9
    assert not image[..., 1].any()


def test_paint_covers_by_its_opacity():
    image = painted(jnp.ones((1, 3, 3)), jnp.array([[0.0, 0.25, 1.0]]), (1.0, 0.0, 0.5))
    np.testing.assert_allclose(image[0], [(1, 1, 1), (1, 0.75, 0.875), (1, 0, 0.5)])
