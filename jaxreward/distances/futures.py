"""What actions are worth if some policy goes on, from samples of futures."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxreward.reward import Transition

TAIL = 0.01
"""To which share of itself what comes is discounted where a future ends."""


class Place(NamedTuple):
    """States and what is seen in them, leaves `[*batch, ...]`."""

    observation: PyTree
    state: PyTree


class World(NamedTuple):
    """What can be done, what is done, what follows, and what `K` rewards pay for it.

    Attributes:
        step: What follows an action in a place; time limits are no part of it.
        act: What is done in a place: one action of a policy.
        paid: What each reward pays for a step.
    """

    step: Callable[[Place, PyTree, Key[Array, ""]], Transition]
    act: Callable[[Place, Key[Array, ""]], PyTree]
    paid: Callable[[Transition], Float[Array, " K"]]

    def move(self, place: Place, key: Key[Array, ""]) -> Transition:
        """What follows what is done."""
        key_action, key_step = jax.random.split(key)
        return self.step(place, self.act(place, key_action), key_step)


def after(step: Transition) -> Place:
    """Where a step led to."""
    return Place(step.next_observation, step.next_state)


def steps_of(discount: float) -> int:
    """After how many steps what comes counts for `TAIL` of what it would now, at least 1."""
    return max(1, math.ceil(math.log(TAIL) / math.log(discount))) if discount > 0 else 1


def worths(world: World, place: Place, actions: PyTree, discount: float, key: Key[Array, ""]) -> Float[Array, "A K"]:
    """What first actions are worth if the policy goes on: a draw of it; pure.

    All have the same chances, so that what they have in common drops out of differences.

    Args:
        world: The world.
        place: Where they are taken.
        actions: Leaves `[A, ...]`.
        discount: In `[0, 1)`.
        key: For a future, of as many steps as are left of the discount's `TAIL`.
    """
    key_first, key_later = jax.random.split(key)
    steps = steps_of(discount)

    def begin(action: PyTree) -> tuple[Place, Bool[Array, ""], Float[Array, " K"]]:
        move = world.step(place, action, key_first)
        return after(move), ~move.terminated, world.paid(move)

    def go_on(now: tuple) -> tuple:
        number, weight, futures = now
        key_step = jax.random.fold_in(key_later, number)

        def one(future: tuple) -> tuple:
            at, going, total = future
            move = world.move(at, key_step)
            return after(move), going & ~move.terminated, total + jnp.where(going, weight * world.paid(move), 0.0)

        return number + 1, weight * discount, jax.vmap(one)(futures)

    begun = jnp.ones((), int), jnp.full((), discount), jax.vmap(begin)(actions)
    return jax.lax.while_loop(lambda now: (now[0] < steps) & now[2][1].any(), go_on, begun)[2][2]
