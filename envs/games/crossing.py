"""The ways over a crossing of two roads: where a car on one is, which cars touch, and a picture.

The measures are those of `intersection-v0` in highway-env (Leurent 2018): lanes 4 m wide, 100 m before the box and
behind it, arcs of 9 m to the right and 13 m to the left. Positions are in metres from the middle, headings in rad; car
0 comes from where `y` is large, and each next one a quarter turn on.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreward.envs.parts.painting import painted, pixel_centres, soft

RIGHT, STRAIGHT, LEFT = range(3)
ACCESS = 100.0
"""How long the way to the box is."""
BOX, LANE = 11.0, 2.0
"""How far the box reaches from the middle, and the middle of a lane from the middle of its road."""
INNER, OUTER = 9.0, 13.0
"""The radii of arcs to the right and to the left."""
LENGTHS = (INNER * math.pi / 2, 2 * BOX, OUTER * math.pi / 2)
"""Of the ways over the box: to the right, straight, to the left."""
CAR = (5.0, 2.0)
"""How long and how wide a car is."""

Pose = tuple[Float[Array, "2"], Float[Array, ""]]

_ROAD, _LINE = (0.45, 0.46, 0.48), (0.95, 0.95, 0.95)
_COLOURS = ((0.86, 0.24, 0.22), (0.20, 0.40, 0.75), (0.90, 0.65, 0.15), (0.25, 0.60, 0.35))


def length_of(turn: Int[Array, ""]) -> Float[Array, ""]:
    """Of the way over the box."""
    return jnp.asarray(LENGTHS)[turn]


def pose(along: Float[Array, ""], turn: Int[Array, ""], approach: Int[Array, ""]) -> Pose:
    """Where a car is, and where it heads.

    Args:
        along: How far it has come on its way, which begins `ACCESS` before the box.
        turn: `RIGHT`, `STRAIGHT` or `LEFT`.
        approach: From where it comes, in quarter turns.
    """
    within = jnp.clip(along - ACCESS, 0.0, length_of(turn))
    angles = jnp.stack([within / INNER, jnp.zeros_like(within), -within / OUTER])
    on_box = jnp.stack(
        [
            jnp.stack([BOX - INNER * jnp.cos(angles[RIGHT]), BOX - INNER * jnp.sin(angles[RIGHT])]),
            jnp.stack([jnp.full_like(within, LANE), BOX - within]),
            jnp.stack([-BOX + OUTER * jnp.cos(angles[LEFT]), BOX + OUTER * jnp.sin(angles[LEFT])]),
        ]
    )
    heading = angles[turn] - math.pi / 2
    beyond = jnp.minimum(along - ACCESS, 0.0) + jnp.maximum(along - ACCESS - length_of(turn), 0.0)
    ahead = jnp.stack([jnp.cos(heading), jnp.sin(heading)])
    return turned(on_box[turn] + beyond * ahead, approach), heading + approach * (math.pi / 2)


def along_of(position: Float[Array, "2"], turn: Int[Array, ""], approach: Int[Array, ""]) -> Float[Array, ""]:
    """How far a car on its way has come: the inverse of `pose`."""
    x, y = turned(position, -approach)
    right = jnp.where(x > BOX, LENGTHS[RIGHT] + x - BOX, INNER * jnp.arctan2(BOX - y, BOX - x))
    left = jnp.where(x < -BOX, LENGTHS[LEFT] - BOX - x, OUTER * jnp.arctan2(BOX - y, x + BOX))
    return ACCESS + jnp.where(y > BOX, BOX - y, jnp.stack([right, BOX - y, left])[turn])


def turned(vector: Float[Array, "2"], quarters: Int[Array, ""]) -> Float[Array, "2"]:
    """A vector turned by quarter turns, exactly."""
    x, y = vector
    return jnp.stack([jnp.stack([x, y]), jnp.stack([-y, x]), jnp.stack([-x, -y]), jnp.stack([y, -x])])[quarters % 4]


def touching(positions: Float[Array, "n 2"], headings: Float[Array, " n"]) -> Bool[Array, " n"]:
    """Which cars touch another one: no side of either parts the two (separating axes)."""
    ahead = jnp.stack([jnp.cos(headings), jnp.sin(headings)], -1)
    sides = jnp.stack([ahead, jnp.stack([-ahead[:, 1], ahead[:, 0]], -1)], 1)
    halves = jnp.asarray(CAR) / 2
    # Along each side `k` of car `i`: how far `j` is, and how far each of the two reaches.
    apart = jnp.abs(jnp.einsum("ikd,ijd->ijk", sides, positions[None] - positions[:, None]))
    reach = halves[None, None] + jnp.abs(jnp.einsum("ikd,jld->ijkl", sides, sides)) @ halves
    inside = (apart <= reach).all(-1)
    return (inside & inside.T & ~jnp.eye(len(headings), dtype=bool)).any(-1)


def picture(
    positions: Float[Array, "n 2"], headings: Float[Array, " n"], size: int, across: float = 120.0
) -> Float[Array, "size size 3"]:
    """The crossing from above, `across` metres wide, with the cars."""
    unit = size / across
    points = pixel_centres(size) / unit - across / 2
    near, far = jnp.abs(points).min(-1), jnp.abs(points).max(-1)
    image = painted(jnp.full((size, size, 3), 0.78), soft((near - 2 * LANE) * unit), _ROAD)
    image = painted(image, soft((near - 0.15) * unit) * (far > BOX), _LINE)
    for number, colour in zip(range(len(headings)), _COLOURS, strict=False):
        ahead = jnp.stack([jnp.cos(headings[number]), jnp.sin(headings[number])])
        off = points - positions[number][None, None]
        local = jnp.stack([off @ ahead, off @ jnp.stack([-ahead[1], ahead[0]])], -1)
        outside = (jnp.abs(local) - (jnp.asarray(CAR) / 2)[None, None]).max(-1)
        image = painted(image, soft(outside * unit), colour)
    return image


def poses(along: Float[Array, " n"], turns: Int[Array, " n"]) -> tuple[Float[Array, "n 2"], Float[Array, " n"]]:
    """Where all cars are and head, each coming from its own side."""
    return jax.vmap(pose)(along, turns, jnp.arange(len(along)))
