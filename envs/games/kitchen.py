"""The cramped room of two cooks: its plan, what cooks see of it, and a picture."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from gymnax.environments import spaces
from jaxtyping import Array, Bool, Float, Int

from jaxreward.envs.parts.painting import painted, pixel_centres, soft, to_point

PLAN = ("##P##", "O0 1O", "#   #", "#D#S#")
"""`P` is the pot, `O` are onions, `D` dishes, `S` where soup is served, `#` counters, and cooks start at 0 and 1."""
ONIONS, PLATES, POT, SERVING = range(1, 5)
"""What a cook may face, beside nothing that it could interact with, 0."""
DIRECTIONS = np.array([(0, -1), (0, 1), (1, 0), (-1, 0)])
"""Up, down, right and left, as `x`, `y`, with `y` pointing down."""
FLOOR = np.array([(x, y) for y, row in enumerate(PLAN) for x, cell in enumerate(row) if cell in " 01"])
"""Where each cell of the floor is, `[6, 2]`."""

_THINGS = {"O": ONIONS, "D": PLATES, "P": POT, "S": SERVING}
_SHOWN = ("O", "D", "S", "P")
"""The order in which an observation tells where things are."""
_COLOURS = {
    "#": (0.80, 0.72, 0.60), "O": (0.95, 0.80, 0.25), "D": (0.85, 0.90, 0.95), "S": (0.55, 0.75, 0.50),
    "P": (0.35, 0.35, 0.38), " ": (0.97, 0.96, 0.94),
}  # fmt: skip
_COOKS = ((0.86, 0.24, 0.22), (0.20, 0.40, 0.75))
_HELD = ((0.0, 0.0, 0.0), (0.95, 0.80, 0.25), (1.0, 1.0, 1.0), (0.80, 0.45, 0.15))


def _at(place: Int[np.ndarray, "2"]) -> str:
    return PLAN[place[1]][place[0]]


def _number(place: Int[np.ndarray, "2"], otherwise: int) -> int:
    """The number of a cell of the floor."""
    found = np.flatnonzero((place == FLOOR).all(1))
    return int(found[0]) if len(found) else otherwise


WALKED = np.array([[_number(place + way, cell) for way in DIRECTIONS] for cell, place in enumerate(FLOOR)], np.int32)
"""Where a step in each direction leads from each cell, `[6, 4]`: to itself where there is no floor."""
FACED = np.array([[_THINGS.get(_at(place + way), 0) for way in DIRECTIONS] for place in FLOOR], np.int32)
"""What is next to each cell in each direction, `[6, 4]`."""
STARTS = np.array([_number(place, 0) for cook in "01" for place in FLOOR if _at(place) == cook], np.int32)
"""Where each cook starts."""
PLACES = np.array(
    [(x, y) for thing in _SHOWN for y, row in enumerate(PLAN) for x, cell in enumerate(row) if cell == thing],
    np.float32,
).ravel()
"""Where onions (two), dishes, serving and the pot are, `[10]`."""


def looks(cells: Int[Array, "*n"], facing: Int[Array, "*n"], held: Int[Array, "*n"]) -> Int[Array, "*n"]:
    """The number of where a cook is, where it looks and what it holds, of 96: a row of tables of what that shows."""
    return (cells * len(DIRECTIONS) + facing) * len(_HELD) + held


def _shows(where: int, hands: int, ways: int) -> Float[np.ndarray, "96 27"]:
    """What each way to be adds to what is seen: its place, what is held, and the direction, from those columns on."""
    table = np.zeros((len(FLOOR), len(DIRECTIONS), len(_HELD), 27), np.float32)
    table[..., where : where + 2] = FLOOR[:, None, None]
    table[..., hands : hands + 3] = np.eye(len(_HELD))[:, 1:]
    table[..., ways : ways + 2] = DIRECTIONS[:, None]
    return table.reshape(-1, 27)


_ITSELF, _OTHER = _shows(0, 4, 23), _shows(2, 7, 25)
_SAME = np.zeros(27, np.float32)
_SAME[10:20] = PLACES
_POT = np.eye(27, dtype=np.float32)[20:23]


def seen(
    cells: Int[Array, "2"], facing: Int[Array, "2"], held: Int[Array, "2"], pot: Int[Array, "3"]
) -> Float[Array, "2 27"]:
    """What each cook sees, itself before the other.

    Where both are (4), what they hold, one-hot of onion, plate, soup (6), where things are (10), the pot's onions,
    since how many steps it cooks and whether it does (3), where both look (4); all as they are, not scaled.
    """
    # Rows of small tables, summed, for one cook and then the other: to put 27 numbers one after the other, or to take
    # rows for both at once, takes longer.
    rows = looks(cells, facing, held)
    amounts = jnp.asarray(pot, float)
    same = sum((amounts[k] * jnp.asarray(_POT[k]) for k in range(len(_POT))), jnp.asarray(_SAME))
    of = lambda cook: same + jnp.asarray(_ITSELF)[rows[cook]] + jnp.asarray(_OTHER)[rows[1 - cook]]  # noqa: E731
    return jnp.stack([of(0), of(1)])


def seen_space(cook_time: Int[Array, ""] | int) -> spaces.Box:
    """Within what `seen` is."""
    low = np.concatenate([np.ones(4), np.zeros(6), PLACES, np.zeros(3), -np.ones(4)]).astype(np.float32)
    high = np.concatenate([[3, 2, 3, 2], np.ones(6), PLACES, [3, 0, 1], np.ones(4)]).astype(np.float32)
    return spaces.Box(low, jnp.asarray(high).at[21].set(cook_time), (27,))


def picture(
    cells: Int[Array, "2"],
    facing: Int[Array, "2"],
    held: Int[Array, "2"],
    onions: Int[Array, ""],
    cooking: Bool[Array, ""],
    size: int,
) -> Float[Array, "size size 3"]:
    """The room from above, five cells wide: things in colours, cooks as discs, what they hold before them."""
    unit = size / len(PLAN[0])
    points = pixel_centres(size) / unit - jnp.array([[[0.0, 0.5]]])
    plan = np.array([[_COLOURS[" " if cell in "01" else cell] for cell in row] for row in PLAN], np.float32)
    at = jnp.floor(points).astype(jnp.int32)
    inside = (at[..., 1] >= 0) & (at[..., 1] < len(PLAN))
    image = jnp.where(inside[..., None], jnp.asarray(plan)[jnp.clip(at[..., 1], 0, 3), at[..., 0]], 1.0)
    pot = jnp.asarray(FLOOR[1] - np.array([0, 1]), float) + 0.5
    for number in range(3):
        middle = pot + jnp.array([0.25 * (number - 1), 0.0])
        image = painted(image, (onions > number) * soft((to_point(points, middle) - 0.1) * unit), _HELD[1])
    image = painted(image, 0.4 * cooking * soft((to_point(points, pot) - 0.35) * unit), (1.0, 0.2, 0.0))
    for cook, colour in enumerate(_COOKS):
        place = jnp.asarray(FLOOR, float)[cells[cook]] + 0.5
        before = place + 0.35 * jnp.asarray(DIRECTIONS, float)[facing[cook]]
        image = painted(image, soft((to_point(points, place) - 0.35) * unit), colour)
        image = painted(image, soft((to_point(points, before) - 0.08) * unit), _HELD[0])
        disc = soft((to_point(points, before) - 0.14) * unit)[..., None]
        shown = jnp.asarray(_HELD, float)[held[cook]]
        image = image + (held[cook] > 0) * disc * (jnp.broadcast_to(shown, image.shape) - image)
    return image
