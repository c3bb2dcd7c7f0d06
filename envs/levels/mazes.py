"""Mazes drawn at random: a spanning tree of rooms on every other cell, with some more openings so that ways differ."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Key


def sample_maze(key: Key[Array, ""], side: int, openings: float = 0.1) -> Bool[Array, " S"]:
    """The walls of a maze whose free cells are all connected, `[side^2]`.

    Rooms are the cells of even row and column. The tree is that of least weight (Prim 1957) for random weights of what
    is between two rooms; of what it leaves closed, some is opened.

    Args:
        key: For the weights and the openings.
        side: Rows and columns, odd.
        openings: With which probability a wall between two rooms that need not be open is.

    Raises:
        ValueError: If the side is even, or too small for two rooms.
    """
    if side % 2 == 0 or side < 3:
        raise ValueError(f"a maze has rooms on every other cell, so its side is odd and 3 or more; got {side}")
    pairs, between = _doors(side)
    key_tree, key_open = jax.random.split(key)
    weights = jax.random.uniform(key_tree, (len(pairs),))
    first, second = jnp.asarray(pairs).T

    def grow(now: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        reached, is_open = now
        leads_out = reached[first] != reached[second]
        door = jnp.argmin(jnp.where(leads_out, weights, jnp.inf))
        return (reached.at[first[door]].set(True).at[second[door]].set(True), is_open.at[door].set(True)), None

    rooms = ((side + 1) // 2) ** 2
    begin = jnp.zeros(rooms, bool).at[0].set(True), jnp.zeros(len(pairs), bool)
    is_open = jax.lax.scan(grow, begin, length=rooms - 1)[0][1]
    is_open |= jax.random.uniform(key_open, (len(pairs),)) < openings
    number = np.arange(side**2)
    room = (number // side % 2 == 0) & (number % side % 2 == 0)
    return jnp.asarray(~room).at[jnp.asarray(between)].set(~is_open)


def _doors(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Which two rooms each possible door joins, `[D, 2]`, and the cell it is in, `[D]`."""
    rooms = np.arange(((side + 1) // 2) ** 2).reshape((side + 1) // 2, -1)
    cells = np.arange(side**2).reshape(side, side)
    across = np.stack([rooms[:, :-1].ravel(), rooms[:, 1:].ravel()], 1), cells[::2, 1::2].ravel()
    down = np.stack([rooms[:-1].ravel(), rooms[1:].ravel()], 1), cells[1::2, ::2].ravel()
    return np.concatenate([across[0], down[0]]), np.concatenate([across[1], down[1]])
