"""Pictures of walks on a grid, against what the objective says of each cell."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxreward import with_reward
from jaxreward.agents.subpo.parts.planners import replay
from jaxreward.envs import make
from jaxreward.envs.render import render
from jaxreward.envs.subrl.grid import DOWN, LEFT, RIGHT, STAY, UP, Grid
from jaxreward.envs.subrl.grid_drawing import gains, walks
from jaxreward.envs.subrl.task import Task
from jaxreward.rewards.sets import coverage, marginal_gains
from jaxreward.rewards.sets.function import modular

WHITE, DARK, GREY = (255, 255, 255), (38, 70, 120), (153, 153, 153)
WEIGHTS = np.array([[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]], float)
PATH = jnp.array([RIGHT, DOWN, STAY])


def small_task(weights=WEIGHTS):
    """Two rows of three cells, each covering itself."""
    reward = marginal_gains(coverage(np.arange(6)[:, None], weights[0]), lambda state: state.cell)
    return Task("small", Grid(2, 3, len(PATH) + 1), reward, jnp.asarray(weights))


def walked(task, params, actions=PATH):
    """The states of a walk, leaves `[T + 1]`."""
    return replay(task, params, jax.random.key(0), actions)[1]


def of_instance(task, instance):
    return task.default_params.replace(instance=jnp.asarray(instance, jnp.int32))


def middle(picture, row, column, size):
    return picture.getpixel((round((column + 0.5) * size), round((row + 0.5) * size)))


@pytest.mark.parametrize("instance", [0, 1])
def test_gains_are_the_weights_of_what_is_not_yet_covered(instance):
    task = small_task()
    params = of_instance(task, instance)
    visited = [[], [0, 1], [0, 1, 4], [0, 1, 4]]
    expected = np.repeat(WEIGHTS[None, instance], 4, axis=0)
    for row, cells in zip(expected, visited, strict=True):
        row[cells] = 0
    np.testing.assert_allclose(gains(task, params, walked(task, params)), expected, rtol=1e-6)


def test_gains_of_a_building_are_what_its_discs_would_cover():
    task, params = make("subrl/two_rooms")
    states = walked(task, params, jnp.full(39, STAY))
    at_first, after = np.asarray(gains(task, params, states))[:2].reshape(2, 7, 14)
    # A disc has four cells, two at a border or wall below or at the right, one in a corner.
    assert (at_first[0, 0], at_first[0, 3], at_first[6, 0], at_first[6, 13], at_first[3, 4]) == (4, 2, 2, 1, 2)
    # The start's disc is (2, 6), (2, 7), (3, 6), (3, 7): all of it is gone, and of those around it what they share.
    assert (after[2, 6], after[2, 5], after[3, 6], after[2, 8], after[0, 0]) == (0, 2, 0, 4, 4)


def test_cells_are_dark_for_what_they_add_and_white_once_visited():
    task = small_task()
    pictures = list(walks(task, walked(task, task.default_params), of_instance(task, 0)))
    assert len(pictures) == 4
    assert pictures[0].size == (420, 280)
    assert middle(pictures[0], 1, 2, 140) == DARK  # the heaviest
    light = [middle(pictures[0], row, column, 140)[0] for row, column in ((0, 1), (0, 2), (1, 0), (1, 1), (1, 2))]
    assert light == sorted(light, reverse=True)
    assert light[0] == pytest.approx(255 - 217 * 2 / 6, abs=217 / 24 + 1)  # one level of shades
    corner = lambda picture, row, column: picture.getpixel((column * 140 + 20, row * 140 + 20))  # noqa: E731
    assert [corner(pictures[2], *cell) for cell in ((0, 0), (0, 1))] == [WHITE] * 2
    # The walker's own cell shows what it has just gained, and a step later that nothing is left.
    assert corner(pictures[2], 1, 1) == corner(pictures[0], 1, 1) != WHITE == corner(pictures[3], 1, 1)


def test_the_way_ends_at_the_walker():
    task = small_task(np.zeros((1, 6)))
    pictures = list(walks(task, walked(task, task.default_params)))
    orange = [np.argwhere(np.abs(np.asarray(p, int) - (221, 132, 82)).max(axis=-1) < 20) for p in pictures]
    first, last = orange[0], orange[-1]
    np.testing.assert_allclose(first.mean(axis=0), (70, 70), atol=1)
    assert len(first) < len(last)
    np.testing.assert_allclose(last.max(axis=0), (210 + 140 / 3, 210 + 140 / 3), atol=3)


def test_walls_are_lines_and_what_no_move_leaves_is_grey():
    task, params = make("subrl/two_rooms")
    *_, picture = walks(task, walked(task, params, jnp.array([LEFT] * 3 + [UP] * 36)))
    assert picture.size == (14 * 30, 7 * 30)
    assert middle(picture, 0, 5, 30) == middle(picture, 6, 9, 30) == GREY
    assert middle(picture, 1, 1, 30) != GREY
    ink = lambda x, y: max(picture.getpixel((x, y))) < 100  # noqa: E731
    assert ink(4 * 30, 15)
    assert not ink(4 * 30, 2 * 30 + 15)  # the way into the corridor
    assert ink(4 * 30 + 15, 2 * 30)


def test_an_instance_that_is_not_known_is_not_drawn():
    task = small_task()
    picture = next(walks(task, walked(task, task.default_params)))
    assert middle(picture, 1, 2, 140) == WHITE


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_walk_is_rendered_under_any_reward(tmp_path, wrapped):
    task = small_task()
    env = with_reward(task, modular()) if wrapped else task
    params = env.default_params
    states = walked(env, params)
    path = render(env, states, np.zeros((4, 3)), tmp_path / "walk", params)
    assert path.suffix == ".gif"
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.info["duration"], gif.size) == (4, 120, (420, 296))
