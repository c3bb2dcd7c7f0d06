"""How good a level can be: its best policy by backward induction over the time, the cell and what objects are there."""

from __future__ import annotations

from functools import reduce

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxreward.envs.levels.grid_world import GridWorld, Level

Values = Float[Array, "S *bits"]
"""Of each cell and, an axis of length 2 for each object, whether it is there."""


def optimal_return(world: GridWorld, level: Level, discount: Float[Array, ""] | float = 1.0) -> Float[Array, ""]:
    """The highest expected return of an episode of a level (Puterman 1994, section 4.5).

    Objects return independently, so the mean over which of them do is taken one object at a time: a step costs
    `n 2^n S` in place of `4^n S`.

    Args:
        world: Whose objects stay where they are.
        level: One of its levels; may be vmapped over.
        discount: Of each later step.

    Raises:
        ValueError: If objects are placed anew, where there are too many states to list.
    """
    if world.random_objects:
        raise ValueError(f"the objects of {world.name} are placed anew, so its states can't be listed")
    cells = jnp.arange(world.side**2, dtype=jnp.int32)
    over_actions = jax.vmap(world.moved, (None, 0, None))
    leads = jax.vmap(over_actions, (0, None, None))(cells, jnp.arange(world.num_actions, dtype=jnp.int32), level)
    pays, ends = (_collected(world, level, numbers) for numbers in (level.reward, level.termination))
    goes_on = discount * (1 - jnp.minimum(ends, 1.0))

    def earlier(_: Array, value: Values) -> Values:
        arriving = pays + goes_on * _after_objects(world, level, value)
        return arriving[leads].max(1)

    zero = jnp.zeros((world.side**2, *(2,) * world.num_objects))
    value = jax.lax.fori_loop(0, level.max_steps_in_episode, earlier, zero)
    there = jnp.arange(world.num_objects, dtype=jnp.int32) < level.count
    return value[(level.start, *there.astype(jnp.int32))]


def _collected(world: GridWorld, level: Level, numbers: Float[Array, " n"]) -> Values:
    """What the objects that are collected on coming to a cell sum up to."""
    here = _on_cells(world, level)

    def of_object(i: int) -> Values:
        present = jnp.arange(2).reshape(*(2 if axis == i else 1 for axis in range(world.num_objects)))
        return _along(here[i], world.num_objects) * present[None] * numbers[i]

    return reduce(jnp.add, map(of_object, range(world.num_objects)))


def _after_objects(world: GridWorld, level: Level, value: Values) -> Values:
    """The mean value after a step's collecting and returning, by where the agent came to and what was there before."""
    here = _on_cells(world, level)
    for i in range(world.num_objects):
        gone, there = jnp.split(value, 2, axis=1 + i)
        returned = gone + jnp.where(i < level.count, level.respawn[i], 0.0) * (there - gone)
        kept = jnp.where(_along(here[i], world.num_objects), gone, there)
        value = jnp.concatenate([returned, kept], 1 + i)
    return value


def _on_cells(world: GridWorld, level: Level) -> Bool[Array, "n S"]:
    """Which cell each object is on."""
    return level.cells[:, None] == jnp.arange(world.side**2, dtype=jnp.int32)[None]


def _along(of_cells: Bool[Array, " S"], num_objects: int) -> Bool[Array, "S *ones"]:
    """With an axis of length 1 for each object."""
    return of_cells.reshape(-1, *(1,) * num_objects)
