"""Levels to draw: the training distributions of GROOVE and TA-LPG, and the hand-made sets of LPG.

Numbers are those of the authors' code of GROOVE (Jackson et al., NeurIPS 2023, arXiv:2310.02782, appendix C). There
the mazes are nine fixed ones; here each is drawn anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jaxreward.envs.levels.grid_world import Level, chosen_cell, free_cells
from jaxreward.envs.levels.mazes import sample_maze
from jaxreward.names import check_name

Range = tuple[int, int]


@dataclass(frozen=True)
class Distribution:
    """What levels are drawn from.

    Attributes:
        steps: The time limit, log-uniform.
        objects: How many, uniform.
        sizes: Rows and columns, uniform; the largest is the side of the world.
        walls: How many cells of the largest level are walls; a smaller level has those of them that are in it.
        maze: Whether the walls are a maze in their place.
        least_reward: Of all objects but the first, whose reward is 0 to 1; the most is 1.
    """

    steps: Range
    objects: Range
    sizes: Range
    walls: int = 0
    maze: bool = False
    least_reward: float = -1.0


MODES: dict[str, Distribution] = {
    "all": Distribution((20, 750), (1, 5), (4, 10), 15),
    "small": Distribution((20, 100), (1, 3), (4, 6), 7),
    "medium": Distribution((100, 250), (2, 4), (6, 8), 10),
    "large": Distribution((250, 750), (2, 5), (8, 10), 15),
    "mazes": Distribution((25, 50), (3, 3), (13, 13), maze=True, least_reward=0.0),
    "tiny": Distribution((5, 10), (2, 2), (3, 4), 4),
}
"""Distributions by name."""
TERMINATION, RESPAWN = (1e-2, 1.0), (1e-3, 1e-1)
"""Between which probabilities a drawn object ends the episode, and returns; log-uniform."""


@dataclass(frozen=True)
class Handmade:
    """A set of levels that differ in where things are.

    Attributes:
        size: Rows and columns.
        objects: Of each: what it pays, with which probability it ends the episode, and with which it returns.
        steps: The time limit.
        walls: The cells that are walls, as row and column.
        random_objects: Whether objects are placed anew all the time.
    """

    size: int
    objects: tuple[tuple[float, float, float], ...]
    steps: int
    walls: tuple[tuple[int, int], ...] = ()
    random_objects: bool = False


def _column(column: int, size: int, doors: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    return tuple((row, column) for row in range(size) if row not in doors)


def _row(row: int, size: int, doors: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    return tuple((row, column) for column in range(size) if column not in doors)


_DENSE = (*2 * [(1.0, 0.0, 0.05)], (-1.0, 0.5, 0.1), (-1.0, 0.0, 0.5))
_LONG = (*2 * [(1.0, 0.0, 0.01)], *2 * [(-1.0, 0.5, 1.0)])

HANDMADE: dict[str, Handmade] = {
    "dense": Handmade(11, _DENSE, 500),
    "sparse": Handmade(13, ((1.0, 1.0, 0.0), (-1.0, 1.0, 0.0)), 50),
    "long": Handmade(11, _LONG, 1000),
    "longer": Handmade(9, (*2 * [(1.0, 0.1, 0.01)], *3 * [(-1.0, 0.8, 1.0)]), 2000, _column(4, 9, (1, 7))),
    "long_dense": Handmade(11, tuple(4 * [(1.0, 0.0, 0.005)]), 2000, _column(5, 11, (0, 7)) + _row(4, 11, (2, 8))),
    "rand_dense": Handmade(11, _DENSE, 500, random_objects=True),
    "rand_long": Handmade(11, _LONG, 1000, random_objects=True),
    "rand_small": Handmade(
        7, (*2 * [(1.0, 0.0, 0.05)], *2 * [(-1.0, 0.5, 0.1)]), 500, ((1, 2), (3, 4)), random_objects=True
    ),
    "rand_sparse": Handmade(7, ((1.0, 1.0, 1.0), *2 * [(-1.0, 1.0, 1.0)]), 50, random_objects=True),
    "rand_very_dense": Handmade(11, ((1.0, 0.0, 1.0),), 2000, random_objects=True),
}
"""The sets that people made, by name. "longer" has three objects that cost, as in the code; its paper's has five."""


def sample_level(key: Key[Array, ""], mode: str) -> Level:
    """A level.

    Args:
        key: To draw it.
        mode: One of `MODES`, or of `HANDMADE`, of which the start and the places of objects are drawn.

    Raises:
        ValueError: If there is no such mode.
    """
    check_name("mode of levels", mode, [*MODES, *HANDMADE])
    return _drawn(key, MODES[mode]) if mode in MODES else _arranged(key, HANDMADE[mode])


def _drawn(key: Key[Array, ""], of: Distribution) -> Level:
    keys = jax.random.split(key, 8)
    most, side = of.objects[1], of.sizes[1]
    count, size = (
        jax.random.randint(keys[i], (), low, high + 1) for i, (low, high) in enumerate((of.objects, of.sizes))
    )
    walls = sample_maze(keys[2], side) if of.maze else _scattered(keys[2], side**2, of.walls)
    start, cells = _places(keys[3], walls, size, most)
    least = jnp.full(most, of.least_reward).at[0].set(0.0)
    return Level(
        size=size,
        walls=walls,
        start=start,
        cells=cells,
        count=count,
        reward=least + (1 - least) * jax.random.uniform(keys[4], (most,)),
        termination=_log_uniform(keys[5], most, TERMINATION),
        respawn=_log_uniform(keys[6], most, RESPAWN),
        kind=jnp.arange(most, dtype=jnp.int32),
        max_steps_in_episode=log_uniform_integer(keys[7], *of.steps),
    )


def _arranged(key: Key[Array, ""], of: Handmade) -> Level:
    walls = np.zeros((of.size, of.size), bool)
    for cell in of.walls:
        walls[cell] = True
    size, flat = jnp.asarray(of.size, jnp.int32), jnp.asarray(walls.ravel())
    start, cells = _places(key, flat, size, len(of.objects))
    kinds = list(dict.fromkeys(of.objects))
    reward, termination, respawn = (jnp.asarray(numbers, float) for numbers in zip(*of.objects, strict=True))
    return Level(
        size=size,
        walls=flat,
        start=start,
        cells=cells,
        count=jnp.asarray(len(of.objects), jnp.int32),
        reward=reward,
        termination=termination,
        respawn=respawn,
        kind=jnp.asarray([kinds.index(each) for each in of.objects], jnp.int32),
        max_steps_in_episode=jnp.asarray(of.steps, jnp.int32),
    )


def _scattered(key: Key[Array, ""], num_cells: int, number: int) -> Bool[Array, " S"]:
    """Walls on so many of the cells."""
    chosen = jax.random.choice(key, num_cells, (number,), replace=False)
    return jnp.zeros(num_cells, bool).at[chosen].set(True)


def _places(
    key: Key[Array, ""], walls: Bool[Array, " S"], size: Int[Array, ""], number: int
) -> tuple[Int[Array, ""], Int[Array, " n"]]:
    """A start and so many cells for objects, all free and no two the same."""
    numbers = jnp.arange(len(walls), dtype=jnp.int32)

    def place(room: Array, noise: Array) -> tuple[Array, Array]:
        cell = chosen_cell(noise, room)
        return room & (numbers != cell), cell

    cells = jax.lax.scan(place, free_cells(walls, size), jax.random.uniform(key, (1 + number,)))[1]
    return cells[0], cells[1:]


def _log_uniform(key: Key[Array, ""], number: int, between: tuple[float, float]) -> Float[Array, " n"]:
    low, high = np.log(between)
    return jnp.exp(jax.random.uniform(key, (number,), minval=low, maxval=high))


def log_uniform_integer(key: Key[Array, ""], low: int, high: int) -> Int[Array, ""]:
    """An integer whose logarithm is about uniform: a log-uniform number from `low` to `high + 1`, rounded down."""
    drawn = jnp.exp(jax.random.uniform(key, (), minval=np.log(low), maxval=np.log(high + 1)))
    return jnp.clip(drawn.astype(jnp.int32), low, high)
