"""Scripted players of the games, for demonstrations and to compare with: joint policies that act on observations."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jaxreward.agent import Policy
from jaxreward.envs.games.crossing import ACCESS, LENGTHS, along_of, length_of, pose
from jaxreward.envs.games.intersection import SPEEDS, TURNS
from jaxreward.envs.games.kitchen import DIRECTIONS, FACED, FLOOR, ONIONS, PLATES, POT, SERVING, WALKED
from jaxreward.envs.games.overcooked import FULL, INTERACT, NOTHING, ONION

Scalar = Float[Array, ""] | float


def scripted(act: Callable[[Float[Array, "n F"], Key[Array, ""]], Int[Array, " n"]]) -> Policy:
    """A policy without memory, whose mode is as random as its actions."""
    plays = lambda carry, observation, key: (carry, act(observation, key))  # noqa: E731
    return Policy(lambda: (), plays, plays)


def gems_expert(slack: Scalar = 0.0, size: int = 15) -> Policy:
    """Two collectors of `games/gems`, which see its features.

    Each heads for the purple gem that is nearest to it, and waits there. But it takes its nearest gem of its own first
    if the way to that one, and on to the purple gem nearest to it, is no longer than the longer of both agents' ways to
    their purple gems, and `slack` more. It goes along a row or a column with probabilities in proportion to how far
    there is to go.

    Args:
        slack: How many moves later than the other it may come.
        size: Rows of the grid.
    """

    def act(observation: Float[Array, "2 42"], key: Key[Array, ""]) -> Int[Array, "2"]:
        ways = jnp.round(observation[:, :20] * ((size - 1) / 2)).reshape(2, 10, 2)
        return jax.vmap(_collect, (0, 0, None))(ways, jax.random.uniform(key, (2,)), slack)

    return scripted(act)


def _collect(ways: Float[Array, "10 2"], noise: Float[Array, ""], slack: Scalar) -> Int[Array, ""]:
    """What one of them does, given ways to its gems, to purple ones, to its partner, and from that to purple ones."""
    own, purple, from_partner = ways[0], ways[3:6], ways[7:10]
    length = lambda way: jnp.abs(way).sum(-1)  # noqa: E731
    over = length(own) + length(purple - own[None]).min()
    longer = jnp.maximum(length(purple).min(), length(from_partner).min())
    way = jnp.where(over <= longer + slack, own, purple[0])
    in_rows = noise * length(way) < jnp.abs(way[0])
    move = jnp.where(in_rows, jnp.where(way[0] > 0, 1, 3), jnp.where(way[1] > 0, 0, 2))
    return jnp.where(length(way) == 0, 4, move)


def overcooked_expert(noise: Scalar = 0.15) -> Policy:
    """Two cooks of `games/overcooked`.

    With empty hands a cook fetches an onion, or, once the pot is full and the other holds neither plate nor soup, a
    plate; if both have empty hands that is cook 1. What it holds it brings where it belongs, by the shortest way as if
    it were alone; with an onion that does not fit into the pot any more it goes anywhere, and so leaves the pot.

    Args:
        noise: How likely a cook goes anywhere at other times too, so that they get past each other.
    """

    def act(observation: Float[Array, "2 27"], key: Key[Array, ""]) -> Int[Array, "2"]:
        return jax.random.categorical(key, jnp.log(overcooked_odds(observation, noise))).astype(jnp.int32)

    return scripted(act)


def overcooked_odds(observation: Float[Array, "2 27"], noise: Scalar = 0.15) -> Float[Array, "2 6"]:
    """How likely `overcooked_expert` has each cook do what.

    Args:
        observation: What the cooks see.
        noise: See there.
    """
    planned, idle = jax.vmap(_cook)(observation, jnp.arange(2))
    share = jnp.where(idle, 1.0, noise)[:, None]
    anywhere = jnp.arange(INTERACT + 1) < len(DIRECTIONS)
    return (1 - share) * jax.nn.one_hot(planned, INTERACT + 1) + share * anywhere[None] / len(DIRECTIONS)


def _cook(seen: Float[Array, "27"], cook: Int[Array, ""]) -> tuple[Int[Array, ""], Bool[Array, ""]]:
    """What one of them would do, and whether there is nothing to do."""
    cell = (jnp.asarray(FLOOR, float) == seen[None, :2]).all(-1).argmax()
    facing = (jnp.asarray(DIRECTIONS, float) == seen[None, 23:25]).all(-1).argmax()
    held, others = (jnp.where(hand.any(), hand.argmax() + 1, NOTHING) for hand in (seen[4:7], seen[7:10]))
    serves = (seen[20] == FULL) & ((others == ONION) | ((others == NOTHING) & (cook == 1)))
    goal = jnp.array([0, POT, POT, SERVING])[held]
    goal = jnp.where(held == NOTHING, jnp.where(serves, PLATES, ONIONS), goal)
    return jnp.asarray(_WAYS)[goal, cell, facing], (held == ONION) & (seen[20] == FULL)


def _ways_to(thing: int) -> Int[np.ndarray, "6 4"]:
    """What to do in each cell, facing each way, to interact with a thing soonest; found backwards from there."""
    action = np.where(thing == FACED, INTERACT, -1).astype(np.int32)
    reached = deque(map(tuple, np.argwhere(action == INTERACT)))
    while reached:
        place = reached.popleft()
        for before in np.argwhere(action < 0):
            facing = place[1]
            if WALKED[before[0], facing] == place[0]:
                action[tuple(before)] = facing
                reached.append(tuple(before))
    return action


_WAYS = np.stack([_ways_to(thing) if thing else np.zeros((6, 4), np.int32) for thing in range(SERVING + 1)])


def intersection_expert(gap: Scalar = 1.5, turns: tuple[int, ...] = TURNS) -> Policy:
    """Four cars of `games/intersection` that go by who comes first.

    A car slows down while one whose way comes too near to its own is ahead of it, in metres to the box, by less than
    `gap` seconds at 9 m/s, and has not arrived; otherwise it goes faster.

    Args:
        gap: How long it lets others be gone, in seconds.
        turns: Where each goes, as in the game's params.
    """
    conflicts, ways = jnp.asarray(conflicting(turns)), jnp.asarray(turns)

    def act(observation: Float[Array, "4 28"], key: Key[Array, ""]) -> Int[Array, "4"]:
        positions = observation[:, 1:3] * 100
        along = jax.vmap(along_of)(positions, ways, jnp.arange(len(turns)))
        ahead = along[None] - along[:, None]
        first = (ahead > 0) | ((ahead == 0) & (jnp.arange(len(turns))[None] < jnp.arange(len(turns))[:, None]))
        in_the_way = conflicts & first & (ahead < gap * SPEEDS[-1]) & (along < ACCESS + length_of(ways) + 25)[None]
        return jnp.where(in_the_way.any(-1), 0, 2)

    return scripted(act)


def conflicting(turns: tuple[int, ...], nearer: float = 3.0) -> Bool[np.ndarray, "n n"]:
    """Which cars' ways come nearer to each other than so many metres on the box, or end in the same lane."""
    on_box = jax.jit(jax.vmap(jax.vmap(pose, (0, None, None)), (None, 0, 0)))
    along = ACCESS + np.linspace(0.0, max(LENGTHS), 64, dtype=np.float32)
    with jax.ensure_compile_time_eval():  # a program may be traced around a player
        points = np.asarray(on_box(along, jnp.asarray(turns), jnp.arange(len(turns)))[0])
    distance = np.linalg.norm(points[:, None, :, None] - points[None, :, None], axis=-1)
    return (distance.min((2, 3)) < nearer) & ~np.eye(len(turns), dtype=bool)
