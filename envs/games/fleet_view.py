"""What vehicles of a fleet see of themselves and of orders, and a picture of the city."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxreward.envs.games.riding import Scalar, Vehicle, of_fleet
from jaxreward.envs.parts.painting import painted, pixel_centres, soft, to_segments

if TYPE_CHECKING:
    from jaxreward.envs.games.fleet import Orders

EARNED, MINUTES = 10.0, 40.0
"""By what incomes and times are divided."""
STREET, ORDER, GOAL, COMING = (0.85, 0.85, 0.85), (0.86, 0.24, 0.22), (0.20, 0.55, 0.30), (0.60, 0.68, 0.80)
IDLE, FULL = (0.55, 0.75, 0.95), (0.10, 0.20, 0.50)


def features(
    vehicles: Vehicle,
    income: Float[Array, " n"],
    orders: Orders,
    able: Bool[Array, "n M"],
    share: Scalar,
    speed: Scalar,
    size: tuple[int, int],
) -> Float[Array, "n M F"]:
    """What each vehicle sees, a row for each order; `F = 16 + 5 C`, ways divided by the city's sides, times by 40 min.

    The order: whether the vehicle can take it, minutes until pickup, the passenger's way, minutes waited, the way to it
    and on to where it goes (2 each): zeros if it can't. Itself: place (2), share of free seats, minutes until pickup,
    whether it may take one, share of the episode gone, its income and the fleet's mean one (8). Each seat: whether it
    is taken, the way to its goal (2), minutes until there, minutes from being accepted to being there.
    """
    sides = jnp.asarray(size, float)
    rows, columns = able.shape
    own = [_own(vehicles, income, share, sides), _aboard(vehicles, speed, sides).reshape(rows, -1)]
    self_seen = jnp.concatenate(own, -1)
    repeated = jnp.broadcast_to(self_seen[:, None], (rows, columns, self_seen.shape[-1]))
    return jnp.concatenate([_orders(vehicles, orders, able, speed, sides), repeated], -1)


def _orders(
    vehicles: Vehicle, orders: Orders, able: Bool[Array, "n M"], speed: Scalar, sides: Float[Array, "2"]
) -> Float[Array, "n M 8"]:
    to_origin = orders.origins[None] - vehicles.place[:, None]
    way = jnp.broadcast_to((orders.goals - orders.origins)[None], to_origin.shape)
    numbers = jnp.stack(
        [
            jnp.ones(able.shape),
            60 * jnp.abs(to_origin).sum(-1) / speed / MINUTES,
            jnp.abs(way).sum(-1) / sides.sum(),
            jnp.broadcast_to(orders.age[None] / MINUTES, able.shape),
        ],
        -1,
    )
    shown = jnp.concatenate([numbers, to_origin / sides[None, None], way / sides[None, None]], -1)
    return jnp.where(able[..., None], shown, 0.0)


def _own(vehicles: Vehicle, income: Float[Array, " n"], share: Scalar, sides: Float[Array, "2"]) -> Float[Array, "n 8"]:
    busy = (vehicles.pickup > 0) | vehicles.taken.all(-1)
    alike = lambda number: jnp.broadcast_to(jnp.asarray(number, float), income.shape)  # noqa: E731
    numbers = [
        1 - vehicles.taken.mean(-1),
        vehicles.pickup / MINUTES,
        1.0 - busy,
        alike(share),
        income / EARNED,
        alike(income.mean() / EARNED),
    ]
    return jnp.concatenate([vehicles.place / sides[None], jnp.stack(numbers, -1)], -1)


def _aboard(vehicles: Vehicle, speed: Scalar, sides: Float[Array, "2"]) -> Float[Array, "n C 5"]:
    left = of_fleet(vehicles, speed)
    ways = (vehicles.goals - vehicles.place[:, None]) / sides[None, None]
    times = jnp.stack([left, vehicles.elapsed + left], -1) / MINUTES
    seats = jnp.concatenate([jnp.ones((*left.shape, 1)), ways, times], -1)
    return jnp.where(vehicles.taken[..., None], seats, 0.0)


def picture(vehicles: Vehicle, orders: Orders, sides: tuple[int, int], size: int) -> Float[Array, "size size 3"]:
    """The city from above, a block's middle where streets cross.

    Vehicles are squares, pale ones without passengers, dark when full; while one is on its way to a passenger its ring
    is where that one waits. Lines lead to goals. Orders that wait are red discs, with a thin line to theirs.
    """
    scale = max(sides) / size
    points = pixel_centres(size) * scale
    inside = (points < jnp.asarray(sides)[None, None]).all(-1)
    street = jnp.abs(points - 0.5 - jnp.round(points - 0.5)).min(-1)
    image = painted(jnp.full((size, size, 3), 1.0), inside * soft((street - 0.05) / scale), STREET)

    def shown(distance: Float[Array, "size size k"], there: Array) -> Float[Array, "size size"]:
        """How thickly any of some shapes covers a pixel, each as far as it is there."""
        return (soft(distance / scale) * there[None, None]).max(-1)

    image = painted(image, 0.5 * shown(_lines(points, orders.origins, orders.goals) - 0.02, orders.waiting), ORDER)
    image = painted(
        image,
        shown(jnp.linalg.norm(points[..., None, :] - orders.origins[None, None], axis=-1) - 0.14, orders.waiting),
        ORDER,
    )
    seats = vehicles.goals.shape[1]
    ways = _lines(points, jnp.repeat(vehicles.place, seats, 0), vehicles.goals.reshape(-1, 2))
    image = painted(image, shown(ways - 0.035, vehicles.taken.reshape(-1)), GOAL)
    off = jnp.abs(points[..., None, :] - vehicles.place[None, None]).max(-1)
    bodies = jnp.maximum(off - 0.22, jnp.where((vehicles.pickup > 0)[None, None], 0.14 - off, -1.0))
    image = painted(image, shown(bodies, jnp.ones(len(vehicles.pickup))), IDLE)
    return painted(image, shown(bodies, vehicles.taken.mean(-1)), FULL)


def _lines(
    points: Float[Array, "size size 2"], starts: Float[Array, "k 2"], ends: Float[Array, "k 2"]
) -> Float[Array, "size size k"]:
    """How far each point is from lines, which may have no length."""
    return jnp.linalg.norm(to_segments(points, starts, ends + 1e-6), axis=-1)
