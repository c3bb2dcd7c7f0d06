"""A bonus for places that are new on a map of landmarks, which grows as one goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Key, PyTree

from jaxreward.learning.networks import flatten
from jaxreward.names import check_name
from jaxreward.reward import Params, Reward, Transition, forget


class Landmarks(NamedTuple):
    """Places on the map; those from `number` on are none yet."""

    places: Float[Array, "capacity d"]
    number: Int[Array, ""]


def landmark_bonus(
    size: int,
    radius: ArrayLike,
    capacity: int = 64,
    of: Callable[[Transition], PyTree] = lambda transition: transition.next_observation,
    bonus: ArrayLike = 1.0,
    scope: Literal["lifetime", "episode"] = "episode",
) -> Reward:
    """`bonus` where one comes further than `radius` from all landmarks, and that place becomes one.

    The map's nodes are those of topological exploration, the idea of TopoNav (2024), whose subgoals and
    hierarchy are not here. No two landmarks are nearer than `radius`, so in a bounded space there are only
    so many, and then nothing is paid any more. Each environment has a map of its own. A full map stays as it is.

    Params: `radius`, `bonus`.

    Args:
        size: How many numbers a place is, `d`.
        radius: Euclidean distance between what counts as different places.
        capacity: The most landmarks.
        of: The place, any arrays, `d` numbers in all.
        bonus: Of a new landmark.
        scope: Whether the map is of the present `"episode"`, or of all of the environment's, `"lifetime"`.

    Raises:
        ValueError: If a size is not positive, a radius is a number and negative, or `scope` none of its choices.
    """
    check_name("scope of landmarks", scope, ("lifetime", "episode"))
    if min(size, capacity) < 1:
        raise ValueError(f"a map has places of 1 number or more and room for 1 or more; got {size=}, {capacity=}")
    if isinstance(radius, int | float) and radius < 0:
        raise ValueError(f"the radius of a landmark is 0 or more; got radius={radius}")

    def init(key: Key[Array, ""]) -> Params:
        return {"radius": jnp.asarray(radius, float), "bonus": jnp.asarray(bonus, float)}

    def reset(params: Params) -> Landmarks:
        return Landmarks(jnp.zeros((capacity, size), float), jnp.zeros((), jnp.int32))

    def step(params: Params, known: Landmarks, transition: Transition) -> tuple[Landmarks, Float[Array, ""]]:
        place = flatten(of(transition), 0)
        if place.shape != (size,):
            raise ValueError(f"a landmark is a place of {place.size} numbers, and size={size}; set size={place.size}")
        there = jnp.arange(capacity) < known.number
        away = jnp.where(there, jnp.square(known.places - place[None]).sum(-1), jnp.inf).min()
        new = (away > jnp.square(params["radius"])) & (known.number < capacity)
        places = known.places.at[known.number].set(jnp.where(new, place, 0.0), mode="drop")
        return Landmarks(places, known.number + new), jnp.where(new, params["bonus"], 0.0)

    return Reward(init, reset, step, forget if scope == "episode" else lambda ended, _: ended)
