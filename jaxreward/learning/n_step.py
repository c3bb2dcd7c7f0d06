"""Batches of n-step transitions out of a ring of steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from jaxreward.learning.replay import Places, Replay, take, wrapped

Scalar = Float[Array, ""] | float


class Steps(NamedTuple):
    """What a ring keeps of each step, leaves `[capacity, N, ...]`.

    Attributes:
        observation: What was seen.
        action: What was done.
        reward: What it paid.
        terminated: The episode ended; nothing is bootstrapped.
        truncated: The episode was cut; bootstrap from `next_observation`.
        next_observation: What followed, before any auto-reset.
        beside: What else is read again, such as what a reward looks at; `()` if nothing.
    """

    observation: PyTree
    action: PyTree
    reward: Float[Array, "*batch"]
    terminated: Bool[Array, "*batch"]
    truncated: Bool[Array, "*batch"]
    next_observation: PyTree
    beside: PyTree = ()


class Batch(NamedTuple):
    """Transitions over `m` steps each, `m` the lesser of `n` and the steps to the episode's end, leaves `[B, ...]`.

    The return estimate is `reward + discount * V(next_observation)`, or `reward - rate * weight + ...` of rewards less
    a rate.

    Attributes:
        observation: What was seen at first.
        action: What was done then.
        reward: `sum_{k < m} discount**k * reward_{t+k}`.
        next_observation: What followed the last of the steps, before any auto-reset.
        discount: `discount**m`, 0 where the last step terminated the episode.
        weight: `sum_{k < m} discount**k`.
    """

    observation: PyTree
    action: PyTree
    reward: Float[Array, "*batch"]
    next_observation: PyTree
    discount: Float[Array, "*batch"]
    weight: Float[Array, "*batch"]


def n_step(
    replay: Replay,
    places: Places,
    n: int,
    discount: Scalar,
    earn: Callable[[Steps], Float[Array, "n *shape"]] | None = None,
) -> Batch:
    """The n-step transitions (Sutton and Barto 2018, equation 7.1) that start at some places, leaves `[*shape, ...]`.

    Args:
        replay: A ring of `Steps`.
        places: Where sequences of `n` rows start, all of them stored.
        n: The most steps of each.
        discount: Per step.
        earn: What steps `[n, *shape, ...]` are worth; what they paid when they were taken, by default.
    """
    steps: Steps = replay.steps
    if earn is None:
        paid, terminated, truncated = take((steps.reward, steps.terminated, steps.truncated), places, n)
    else:
        sequences: Steps = take(steps, places, n)
        paid, terminated, truncated = earn(sequences), sequences.terminated, sequences.truncated
    observation, action = _first(take((steps.observation, steps.action), places))
    reward, weight, factor, last = discounted(paid, terminated, truncated, discount)
    next_observation = _first(take(steps.next_observation, _later(places, last, replay)))
    return Batch(observation, action, reward, next_observation, factor, weight)


def discounted(
    reward: Float[Array, "n *batch"],
    terminated: Bool[Array, "n *batch"],
    truncated: Bool[Array, "n *batch"],
    discount: Scalar,
) -> tuple[Array, Array, Array, Array]:
    """Of sequences of steps `Batch.reward`, `Batch.weight`, `Batch.discount`, and which step is the last, `m - 1`."""
    n, dtype = reward.shape[0], reward.dtype
    goes_on = 1 - jnp.asarray((terminated | truncated)[:-1], dtype)
    reached = jnp.concatenate([jnp.ones_like(reward[:1]), jnp.cumprod(goes_on, 0)])
    power = jnp.asarray(discount, dtype) ** jnp.arange(n, dtype=dtype).reshape(-1, *[1] * (reward.ndim - 1))
    last = reached.sum(0)
    over = jnp.take_along_axis(terminated, last.astype(jnp.int32)[None] - 1, 0)[0]
    factor = jnp.where(over, 0.0, jnp.asarray(discount, dtype) ** last)
    return (power * reached * reward).sum(0), (power * reached).sum(0), factor, last.astype(jnp.int32) - 1


def _later(places: Places, steps: Array, replay: Replay) -> Places:
    """The places some steps later."""
    capacity = jax.tree.leaves(replay.steps)[0].shape[0]
    return Places(wrapped(places.row + steps, capacity), places.env)


def _first(sequences: PyTree) -> PyTree:
    """The first step of each sequence."""
    return jax.tree.map(lambda leaf: leaf[0], sequences)
