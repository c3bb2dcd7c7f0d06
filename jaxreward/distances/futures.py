"""What actions are worth if all that follows is at random, from samples: futures, and a value that stands for the rest.

A future's sum of rewards is mostly chance, the more the longer it is. So it can be cut where a value goes on that is
fitted by least squares: what is wrong with that counts less, the later it comes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxreward.reward import Transition

TAIL = 0.01
"""To which share of itself what comes is discounted where a future ends, unless something else is said."""
STARTS, LENGTH = 1_024, 64
"""What a value is fitted to: places and steps at random from each."""
UNITS, RIDGE = 256, 1e-4
"""Functions of what is seen that are drawn for it, beside what is seen itself, and what keeps weights small."""


class Place(NamedTuple):
    """States and what is seen in them, leaves `[*batch, ...]`."""

    observation: PyTree
    state: PyTree


class World(NamedTuple):
    """What can be done, what follows, and what `K` rewards pay for it.

    Attributes:
        step: What follows an action in a place; time limits are no part of it.
        any_action: One at random.
        paid: What each reward pays for a step.
        seen: What of a place values are functions of, as one vector.
    """

    step: Callable[[Place, PyTree, Key[Array, ""]], Transition]
    any_action: Callable[[Key[Array, ""]], PyTree]
    paid: Callable[[Transition], Float[Array, " K"]]
    seen: Callable[[Place], Float[Array, " F"]]

    def move(self, place: Place, key: Key[Array, ""]) -> Transition:
        """What follows an action at random."""
        key_action, key_step = jax.random.split(key)
        return self.step(place, self.any_action(key_action), key_step)


Value = Callable[[Place], Float[Array, " K"]]
"""How much a future from a place is worth, by each reward."""


def after(step: Transition) -> Place:
    """Where a step led to."""
    return Place(step.next_observation, step.next_state)


def random_values(world: World, places: Place, discount: float, key: Key[Array, ""]) -> Value:
    """The values of acting at random, by least squares temporal differences (Bradtke and Barto 1996); pure.

    They are linear in what is seen and in sums of it that are drawn and rectified.

    Args:
        world: The world.
        places: Some of which steps begin in, leaves `[N, ...]`.
        discount: In `[0, 1)`.
        key: For functions and steps.
    """
    key_units, key_start, key_steps = jax.random.split(key, 3)
    functions = _functions(world, places, key_units)
    rows = jax.random.randint(key_start, (STARTS,), 0, len(jax.tree.leaves(places)[0]))
    start = jax.tree.map(lambda leaf: leaf[rows], places)

    def step(now: tuple, key: Key[Array, ""]) -> tuple[tuple, None]:
        place, here, going, number, left, right = now
        moves = jax.vmap(world.move)(place, jax.random.split(key, STARTS))
        goes_on = going & ~moves.terminated
        there = jnp.where(goes_on[:, None], jax.vmap(functions)(after(moves)), 0.0)
        rewards = jnp.where(going[:, None], jax.vmap(world.paid)(moves), 0.0)
        left, right = left + here.T @ (here - discount * there), right + here.T @ rewards
        return (after(moves), there, goes_on, number + going.sum(), left, right), None

    here = jax.vmap(functions)(start)
    paid = jax.eval_shape(lambda: world.paid(world.move(jax.tree.map(lambda leaf: leaf[0], start), key)))
    size = here.shape[1]
    sums = jnp.zeros(()), jnp.zeros((size, size)), jnp.zeros((size, *paid.shape))
    begun = start, here, jnp.ones(STARTS, bool), *sums
    *_, number, left, right = jax.lax.scan(step, begun, jax.random.split(key_steps, LENGTH))[0]
    weights = jnp.linalg.solve(left / number + RIDGE * jnp.eye(size), right / number)
    return lambda place: functions(place) @ weights


def _functions(world: World, places: Place, key: Key[Array, ""]) -> Callable[[Place], Float[Array, " M"]]:
    """What is seen, shifted and scaled to what is usual, 1, and sums of those, rectified."""
    every = jax.vmap(world.seen)(places)
    mean, spread = every.mean(0), every.std(0)
    spread = jnp.where(spread > 1e-6, spread, 1.0)
    width = every.shape[-1] + 1
    weights = jax.random.normal(key, (width, UNITS)) / math.sqrt(width)

    def functions(place: Place) -> Float[Array, " M"]:
        seen = jnp.append((world.seen(place) - mean) / spread, 1.0)
        return jnp.concatenate([seen, jax.nn.relu(seen @ weights)])

    return functions


def steps_of(discount: float) -> int:
    """After how many steps what comes counts for `TAIL` of what it would now, at least 1."""
    return max(1, math.ceil(math.log(TAIL) / math.log(discount))) if discount > 0 else 1


def worths(
    world: World,
    place: Place,
    actions: PyTree,
    discount: float,
    key: Key[Array, ""],
    value: Value | None = None,
    steps: int | None = None,
) -> Float[Array, "A K"]:
    """What first actions are worth if all that follows is at random: a draw of it; pure.

    All have the same chances, so that what they have in common drops out of differences.

    Args:
        world: The world.
        place: Where they are taken.
        actions: Leaves `[A, ...]`.
        discount: In `[0, 1)`.
        key: For a future.
        value: What is expected after the last step; None for nothing.
        steps: Of a future; None for as many as are left of the discount's `TAIL`.
    """
    key_first, key_later = jax.random.split(key)
    steps = steps_of(discount) if steps is None else steps

    def begin(action: PyTree) -> tuple[Place, Bool[Array, ""], Float[Array, " K"]]:
        move = world.step(place, action, key_first)
        return after(move), ~move.terminated, world.paid(move)

    def go_on(now: tuple) -> tuple:
        number, weight, futures = now
        key_action, key_step = jax.random.split(jax.random.fold_in(key_later, number))
        action = world.any_action(key_action)

        def one(future: tuple) -> tuple:
            at, going, total = future
            move = world.step(at, action, key_step)
            return after(move), going & ~move.terminated, total + jnp.where(going, weight * world.paid(move), 0.0)

        return number + 1, weight * discount, jax.vmap(one)(futures)

    begun = jnp.ones((), int), jnp.full((), discount), jax.vmap(begin)(actions)
    _, weight, (at, going, total) = jax.lax.while_loop(lambda now: (now[0] < steps) & now[2][1].any(), go_on, begun)
    rest = jax.vmap(value)(at) if value else 0.0
    return total + jnp.where(going[:, None], weight * rest, 0.0)
