"""A vehicle's passengers, and its way: along the streets of a grid, to all of them by the shortest order."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

Scalar = Float[Array, ""] | float


@struct.dataclass
class Vehicle:
    """One vehicle with `C` seats; of a fleet, leaves have a leading axis.

    Attributes:
        place: Where it is, in km; while it is on its way to a passenger already where that one is.
        pickup: Minutes until that passenger is on board; 0 if there is none.
        goals: Where each seat's passenger goes, in km.
        taken: Which seats are.
        elapsed: Minutes since the passenger of each was accepted.
    """

    place: Float[Array, "2"]
    pickup: Float[Array, ""]
    goals: Float[Array, "C 2"]
    taken: Bool[Array, " C"]
    elapsed: Float[Array, " C"]


def apart(a: Float[Array, "*batch 2"], b: Float[Array, "*batch 2"]) -> Float[Array, "*batch"]:
    """How far two places are from each other along the streets."""
    return jnp.abs(a - b).sum(-1)


def route(vehicle: Vehicle) -> tuple[Int[Array, " C"], Float[Array, " C"]]:
    """The order of seats in which all are soonest at their goals, and how far each is then on the way, in km.

    All orders are tried, 6 for 3 seats. Seats that nobody sits in are passed over.
    """
    orders = np.array(list(itertools.permutations(range(len(vehicle.taken)))))
    place, far, reached = vehicle.place[None], jnp.zeros(len(orders)), []
    for seat in orders.T:
        goal, there = vehicle.goals[seat], vehicle.taken[seat]
        far = far + jnp.where(there, apart(place, goal), 0.0)
        place = jnp.where(there[:, None], goal, place)
        reached.append(far)
    best = jnp.argmin(far)
    by_seat = jnp.stack(reached, -1)[best][jnp.asarray(np.argsort(orders, -1))[best]]
    return jnp.asarray(orders, jnp.int32)[best], by_seat


def remaining(vehicle: Vehicle, speed: Scalar) -> Float[Array, " C"]:
    """Minutes until each passenger is where it goes; 0 for empty seats."""
    return jnp.where(vehicle.taken, vehicle.pickup + 60 * route(vehicle)[1] / speed, 0.0)


def drive(vehicle: Vehicle, speed: Scalar) -> Vehicle:
    """A minute of its way at so many km/h; who is where it goes gets off."""
    left = jnp.maximum(1 - vehicle.pickup, 0) * speed / 60
    place, taken = vehicle.place, vehicle.taken
    order = route(vehicle)[0]
    for stop in range(len(vehicle.taken)):
        seat = order[stop]
        goal = jnp.where(taken[seat], vehicle.goals[seat], place)
        place, left = _towards(place, goal, left)
        there = (place == goal).all() & (vehicle.pickup <= 1)  # on the way to a pickup it is not at its place yet
        taken = taken.at[seat].set(taken[seat] & ~there)
    return dataclasses.replace(
        vehicle, place=place, taken=taken, pickup=jnp.maximum(vehicle.pickup - 1, 0), elapsed=vehicle.elapsed + 1.0
    )


def _towards(
    place: Float[Array, "2"], goal: Float[Array, "2"], left: Float[Array, ""]
) -> tuple[Float[Array, "2"], Float[Array, ""]]:
    """Along the first axis, then along the second, and how much of the way that may be gone is left."""
    first, second = goal - place
    first_part = jnp.clip(first, -left, left)
    left = left - jnp.abs(first_part)
    second_part = jnp.clip(second, -left, left)
    there = (first_part == first) & (second_part == second)
    # Rounding must not keep it from where it is.
    return jnp.where(there, goal, place + jnp.stack([first_part, second_part])), left - jnp.abs(second_part)


def accept(
    vehicle: Vehicle, origin: Float[Array, "2"], goal: Float[Array, "2"], speed: Scalar, limit: Scalar
) -> tuple[Vehicle, dict[str, Float[Array, ""]]]:
    """The vehicle, which has a free seat and no pickup before it, with another passenger, and what that comes to.

    Returns:
        It, and `distance`, the passenger's way, in km; `pickup`, minutes until it is on board; `delay`, minutes by
        which those on board come later and the passenger is on its way longer than alone; `late`, how many of all
        will be there more than `limit` minutes after they were accepted.
    """
    seat, before = jnp.argmin(vehicle.taken), remaining(vehicle, speed)
    distance = apart(origin, goal)
    pickup = 60 * apart(vehicle.place, origin) / speed
    after = dataclasses.replace(
        vehicle,
        place=origin,
        pickup=pickup,
        goals=vehicle.goals.at[seat].set(goal),
        taken=vehicle.taken.at[seat].set(True),
        elapsed=vehicle.elapsed.at[seat].set(0.0),
    )
    minutes = remaining(after, speed)
    alone = before.at[seat].set(pickup + 60 * distance / speed)
    late = after.taken & (after.elapsed + minutes > limit)
    told = {"distance": distance, "pickup": pickup, "delay": (minutes - alone).sum(), "late": late.sum().astype(float)}
    return after, told


def of_fleet(vehicles: Vehicle, speed: Scalar) -> Float[Array, "n C"]:
    """`remaining`, of each vehicle."""
    return jax.vmap(remaining, (0, None))(vehicles, speed)
