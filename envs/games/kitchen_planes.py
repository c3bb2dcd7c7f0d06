"""What the cooks of the cramped room see as planes: the observation of JaxMARL's `Overcooked`."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt8

from jaxreward.envs.games.kitchen import FLOOR, PLAN, looks

PLANES = 26
_ROOM = {10: "P", 11: "#", 12: "O", 14: "D", 15: "S"}
"""What is where for good, by plane."""
_HELD = ((), ((23, 1),), ((22, 1),), ((18, 3), (21, 1)))
"""What a cook adds where it is, by what it holds: nothing, an onion, a plate or soup; the plane, and how much."""


def _static() -> UInt8[np.ndarray, "4 5 26"]:
    room = np.array([list(row) for row in PLAN])
    return np.stack([room == _ROOM.get(plane, "") for plane in range(PLANES)], -1).astype(np.uint8)


def _of_cooks(where: int, looks: int) -> UInt8[np.ndarray, "4 4 26"]:
    """What a cook adds to each plane where it is, by where it looks and what it holds."""
    added = np.zeros((4, 4, PLANES), np.uint8)
    added[..., where] = 1
    for facing, held in np.ndindex(4, 4):
        added[facing, held, looks + facing] = 1
        for plane, amount in _HELD[held]:
            added[facing, held, plane] = amount
    return added


def _where_they_are(added: UInt8[np.ndarray, "4 4 26"]) -> UInt8[np.ndarray, "96 4 5 26"]:
    """What each way to be of a cook shows, see `looks`."""
    cells = np.zeros((len(FLOOR), len(PLAN), len(PLAN[0])), np.uint8)
    cells[np.arange(len(FLOOR)), FLOOR[:, 1], FLOOR[:, 0]] = 1
    return np.einsum("cyx,fhp->cfhyxp", cells, added).reshape(-1, *cells.shape[1:], PLANES)


_STATIC = _static()
_ITSELF, _OTHER = _where_they_are(_of_cooks(0, 2)), _where_they_are(_of_cooks(1, 6))


def planes(
    cells: Int[Array, "2"],
    facing: Int[Array, "2"],
    held: Int[Array, "2"],
    onions: Int[Array, ""],
    left: Int[Array, ""],
    is_late: Bool[Array, ""],
) -> UInt8[Array, "2 4 5 26"]:
    """What each cook sees, rows by columns; what JaxMARL shows on counters is missing, since nothing can be there.

    Planes 0 and 1 are where it and the other are, 2 to 5 and 6 to 9 the same in the plane of where they look, 10 to 15
    pot, counters, onions, (tomatoes,) plates and serving; 16 the onions of a pot that does not cook yet, 18 those of
    soups in the pot and in hands, 20 the steps a soup has still to cook, 21 where soups are ready, 22 and 23 plates and
    onions in hands, 25 whether the time limit is near. 13, 17, 19 and 24 are tomatoes, of which there are none.

    Args:
        cells: Where each cook is.
        facing: Where each looks.
        held: What each holds: 0 nothing, 1 an onion, 2 a plate, 3 soup.
        onions: In the pot.
        left: Steps until the soup is ready.
        is_late: Whether the last plane is on.
    """
    rows = looks(cells, facing, held)
    everywhere = _one_hot(25) * is_late.astype(jnp.uint8)
    pot = jnp.asarray(_STATIC[..., 10:11]) * _of_pot(onions, left)[None, None]
    room = jnp.asarray(_STATIC) + pot + everywhere[None, None]
    of = lambda cook: room + jnp.asarray(_ITSELF)[rows[cook]] + jnp.asarray(_OTHER)[rows[1 - cook]]  # noqa: E731
    return jnp.stack([of(0), of(1)])


def _of_pot(onions: Int[Array, ""], left: Int[Array, ""]) -> UInt8[Array, "26"]:
    """What the pot adds to each plane where it is."""
    full = onions == 3
    added = {16: jnp.where(full, 0, onions), 18: jnp.where(full, 3, 0), 20: left, 21: full & (left == 0)}
    return sum((_one_hot(plane) * amount.astype(jnp.uint8) for plane, amount in added.items()), _one_hot(PLANES))


def _one_hot(plane: int) -> UInt8[Array, "26"]:
    """Zeros, but for one plane."""
    return jnp.asarray((np.arange(PLANES) == plane).astype(np.uint8))
