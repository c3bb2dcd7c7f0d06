"""Pictures of a walk on a grid: what visits would still add, walls, and the way so far."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from PIL import Image, ImageColor, ImageDraw

from jaxreward.environment import WithRewardState
from jaxreward.envs.subrl.grid import DOWN, RIGHT, Grid, GridState
from jaxreward.envs.subrl.task import Task, TaskParams
from jaxreward.reward import Transition

_LONGER_SIDE = 420
"""Of a picture, in pixels, or a little less."""
_OVERSAMPLING = 2
"""Pillow draws hard edges; what is drawn twice as large and made smaller has soft ones."""
_LEVELS = 24
"""Shades of cells: a picture of a GIF has 256 colours, among which those of small things get lost if there are more."""
_NOTHING, _MOST = np.array([255, 255, 255]), np.array([38, 70, 120])
_INK, _WALL, _ACCENT = "#333333", "#999999", "#dd8452"


def walks(task: Task, states: WithRewardState, params: TaskParams | None = None) -> Iterator[Image.Image]:
    """The grid from above with its walls, the way so far and the walker at its end, a picture a step.

    A cell is the darker the more a visit at this step adds to what was visited before: at first that shows the density
    that is to be covered, and where the walker has been it is white.

    Args:
        task: A task on a `Grid`.
        states: Its states, leaves `[T, ...]`.
        params: Its params, which say which instance it is. Not needed where there is only one; where there are several,
            all cells are white without them.
    """
    path, world = np.asarray(states.env.cell), task.env
    added = np.zeros((len(path), world.num_places))
    if params is not None or task.num_instances == 1:
        added = np.asarray(gains(task, params or task.init_params(jax.random.key(0)), states))
    most = max(float(added.max()), np.finfo(float).tiny)
    for step in range(len(path)):
        yield _picture(world, added[max(step - 1, 0)] / most, path[: step + 1])


def gains(task: Task, params: TaskParams, states: WithRewardState) -> Float[Array, "T S"]:
    """What a visit of each cell would add to what was visited up to each state.

    Rewards count the cell an episode starts from with the first step's, so at the first state this is what each cell
    is worth if visited twice: the same as once, where repetition adds nothing.
    """
    nothing, params = jnp.zeros(()), params.reward

    def gain(memory: Array, cell: Int[Array, ""]) -> Float[Array, ""]:
        at = GridState(cell, jnp.zeros((), jnp.int32))
        transition = Transition(nothing, nothing, nothing, nothing, nothing > 0, nothing > 0, at, at)
        return task.reward.step(params, memory, transition)[1]

    cells = jnp.arange(task.env.num_places, dtype=jnp.int32)
    everywhere = jax.vmap(gain, (None, 0))
    return jax.jit(jax.vmap(everywhere, (0, None)))(states.memory, cells)


def _picture(world: Grid, shades: Float[np.ndarray, " S"], path: Int[np.ndarray, " t"]) -> Image.Image:
    """One moment: cells from white, 0, to dark, 1, walls, and the path, whose end is where the walker is."""
    size = _OVERSAMPLING * max(4, _LONGER_SIDE // max(world.rows, world.columns))
    picture = _cells(world, shades, size)
    draw = ImageDraw.Draw(picture)
    for line in _walls(world):
        draw.line([(size * x, size * y) for x, y in line], _INK, max(2, size // 8))
    middles = [(size * (cell % world.columns + 0.5), size * (cell // world.columns + 0.5)) for cell in path.tolist()]
    draw.line(middles, _ACCENT, max(2, size // 5), joint="curve")
    (x, y), radius = middles[-1], size / 3
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), _ACCENT, _INK)
    return picture.resize((picture.width // _OVERSAMPLING, picture.height // _OVERSAMPLING), Image.Resampling.LANCZOS)


def _cells(world: Grid, shades: Float[np.ndarray, " S"], size: int) -> Image.Image:
    """All cells in their shades and those that no move leaves in grey."""
    level = np.ceil(shades * _LEVELS)[:, None] / _LEVELS
    colours = _NOTHING + level * (_MOST - _NOTHING)
    shut = (world.moves == np.arange(world.num_places)[:, None]).all(axis=1)
    colours[shut] = ImageColor.getrgb(_WALL)
    cells = colours.round().astype(np.uint8).reshape(world.rows, world.columns, 3)
    shape = (size * world.columns, size * world.rows)
    return Image.fromarray(cells).resize(shape, Image.Resampling.NEAREST)


def _walls(world: Grid) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """The sides of cells, as pairs of corners (column, row), that no move crosses; the border is left out."""
    for cell, moves in enumerate(world.moves):
        row, column = divmod(cell, world.columns)
        if moves[RIGHT] == cell and column < world.columns - 1:
            yield (column + 1, row), (column + 1, row + 1)
        if moves[DOWN] == cell and row < world.rows - 1:
            yield (column, row + 1), (column + 1, row + 1)
