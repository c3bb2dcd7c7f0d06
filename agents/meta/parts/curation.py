"""A buffer of levels from which those come again on which an agent has most to learn (GROOVE).

Jackson et al., Discovering General Reinforcement Learning Algorithms with Adversarial Environment Design, NeurIPS 2023
(arXiv:2310.02782, algorithm 1), after prioritised level replay (Jiang et al., ICML 2021, arXiv:2010.03934). A level's
score is given when the life in it is over; a level that is lived in is not chosen for another life.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.names import check_name

CURATIONS = ("none", "rank", "proportional")
NEW = -1
"""The place of a level that is in no buffer."""


class Buffer(NamedTuple):
    """`B` levels.

    Attributes:
        world: Params of the environment, leaves `[B, ...]`.
        total: How long lives in it are.
        score: Minus infinity where there is none yet.
        active: Whether it is lived in.
    """

    world: PyTree
    total: Int[Array, " B"]
    score: Float[Array, " B"]
    active: Bool[Array, " B"]


class Over(NamedTuple):
    """Lives that may be over, leaves `[L, ...]`.

    Attributes:
        over: Whether one is.
        place: Of its level in the buffer, or `NEW`.
        world: Its level.
        total: How long it was.
        score: What its level is worth.
    """

    over: Bool[Array, " L"]
    place: Int[Array, " L"]
    world: PyTree
    total: Int[Array, " L"]
    score: Float[Array, " L"]


def empty(world: PyTree, total: Int[Array, ""], size: int) -> Buffer:
    """A buffer without levels.

    Args:
        world: A level; its numbers are not looked at.
        total: How long a life is, likewise.
        size: `B`.
    """
    worlds = jax.tree.map(lambda leaf: jnp.zeros((size, *jnp.shape(leaf)), jnp.result_type(leaf)), world)
    totals = jnp.zeros(size, jnp.result_type(total))
    return Buffer(worlds, totals, jnp.full(size, -jnp.inf), jnp.zeros(size, bool))


def returned(buffer: Buffer, lives: Over) -> Buffer:
    """The buffer with the scores of lives that are over, and their levels.

    A level that came from the buffer goes back to its place. Another takes that of the level with the lowest score that
    no one lives in, if its own is higher. A score that is no number is the lowest.
    """

    def put(buffer: Buffer, life: Over) -> tuple[Buffer, None]:
        score = jnp.where(jnp.isnan(life.score), -jnp.inf, life.score)
        lowest = jnp.argmin(jnp.where(buffer.active, jnp.inf, buffer.score))
        is_new = life.place == NEW
        place = jnp.where(is_new, lowest, life.place)
        better = ~buffer.active[lowest] & (score > buffer.score[lowest])
        kept = life.over & (~is_new | better)
        put_in = Buffer(life.world, life.total, score, jnp.zeros((), bool))
        # Only the one place is looked at, so that no buffer is copied.
        only = lambda all_, one: all_.at[place].set(jnp.where(kept, one, all_[place]))  # noqa: E731
        return jax.tree.map(only, buffer, put_in), None

    return jax.lax.scan(put, buffer, lives)[0]


def chosen(
    buffer: Buffer,
    over: Bool[Array, " L"],
    key: Key[Array, ""],
    curation: str,
    replay: Float[Array, ""] | float,
    temperature: Float[Array, ""] | float,
) -> tuple[Buffer, Int[Array, " L"]]:
    """Where those who are born live next: in a level of the buffer, with some probability, or in a new one.

    Args:
        buffer: The levels.
        over: Who makes room for another; nobody else's place is meant by what is returned.
        key: To choose.
        curation: "rank", the highest score first, or "proportional", with probability `softmax(score / temperature)`.
        replay: With which probability it is a level of the buffer, where there is one that no one lives in.
        temperature: See above.

    Returns:
        The buffer, in which the levels chosen are lived in, and the places, `NEW` for a new one.

    Raises:
        ValueError: If there is no such curation.
    """
    check_name("curation", curation, CURATIONS)

    def choose(buffer: Buffer, x: tuple[Array, Array]) -> tuple[Buffer, Array]:
        over, key = x
        key_replay, key_level = jax.random.split(key)
        score = jnp.where(buffer.active, -jnp.inf, buffer.score)
        noise = jax.random.gumbel(key_level, score.shape) if curation == "proportional" else jnp.zeros(score.shape)
        best = jnp.argmax(score / temperature + noise)
        again = over & (score[best] > -jnp.inf) & (jax.random.uniform(key_replay) < replay)
        active = buffer.active.at[best].set(buffer.active[best] | again)
        return buffer._replace(active=active), jnp.where(again, best, NEW).astype(jnp.int32)

    return jax.lax.scan(choose, buffer, (over, jax.random.split(key, len(over))))
