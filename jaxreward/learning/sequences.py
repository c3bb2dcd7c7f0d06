"""Batches of sequences out of a ring of steps, for networks with a memory.

Kapturowski et al., "Recurrent Experience Replay in Distributed Reinforcement Learning" (R2D2), ICLR 2019, section 3: a
sequence begins with the memory that the policy had there, which has grown stale; some rows burn it in, and those behind
them are learned from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from jaxreward.learning.n_step import Scalar, Steps, discounted
from jaxreward.learning.replay import Places, Replay, take


class Remembered(NamedTuple):
    """What a ring keeps of each step: the step, and the policy's memory before it, leaves `[capacity, N, ...]`."""

    steps: Steps
    memory: PyTree


class Sequences(NamedTuple):
    """Sequences of `K` rows, of which `L` are learned from, those from row `K - L - n + 1` on; leaves `[K, *shape]`.

    Attributes:
        observation: What was seen.
        next_observation: What followed each row, before any auto-reset.
        start: Whether a row is the first of an episode that began within the sequence.
        memory: The policy's before the first row, leaves `[*shape, ...]`.
        action: What was done, `[L, *shape]`.
        reward: Over the steps ahead of each of the `L` rows, see `jaxreward.learning.n_step.Batch`; `[L, *shape]`.
        discount: Of what follows those, 0 where they ended in a termination; `[L, *shape]`.
        weight: Of a reward rate; `[L, *shape]`.
        last: How many rows further the last of those steps is, `[L, *shape]`.
    """

    observation: PyTree
    next_observation: PyTree
    start: Bool[Array, "K *shape"]
    memory: PyTree
    action: PyTree
    reward: Float[Array, "L *shape"]
    discount: Float[Array, "L *shape"]
    weight: Float[Array, "L *shape"]
    last: Array


def rows_of(burn_in: int, length: int, n: int) -> int:
    """The rows of a sequence, `K`."""
    return burn_in + length + n - 1


def sequences(
    replay: Replay,
    places: Places,
    burn_in: int,
    length: int,
    n: int,
    discount: Scalar,
    earn: Callable[[Steps], Float[Array, "K *shape"]] | None = None,
) -> Sequences:
    """The sequences that start at some places, leaves `[K, *shape, ...]`.

    Args:
        replay: A ring of `Remembered` steps.
        places: Where they start; all rows are stored.
        burn_in: Rows before those that are learned from.
        length: How many those are, `L`.
        n: The most steps that each of them looks ahead.
        discount: Per step.
        earn: What steps are worth; what they paid when they were taken, by default.
    """
    steps: Steps = take(replay.steps.steps, places, rows_of(burn_in, length, n))
    memory = jax.tree.map(lambda leaf: leaf[0], take(replay.steps.memory, places))
    ahead = lambda x: jnp.stack([x[burn_in + k : burn_in + k + length] for k in range(n)])  # noqa: E731
    paid = steps.reward if earn is None else earn(steps)
    reward, weight, factor, last = discounted(ahead(paid), ahead(steps.terminated), ahead(steps.truncated), discount)
    start = jnp.roll(steps.terminated | steps.truncated, 1, 0).at[0].set(False)  # the memory there is of its start
    action = jax.tree.map(lambda leaf: leaf[burn_in : burn_in + length], steps.action)
    shown = steps.observation, steps.next_observation, start, memory
    return Sequences(*shown, action, reward, factor, weight, last)
