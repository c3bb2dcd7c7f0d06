"""The newest transitions, in a ring that is written a block at a time."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key


class Transitions(NamedTuple):
    """Steps that were taken.

    Attributes:
        observation: `[B, F]`.
        action: `[B]`.
        reward: `[B]`.
        next_observation: `[B, F]`.
        written: How many were ever stored; the newest `B` of them are here.
    """

    observation: Float[Array, "B F"]
    action: Int[Array, " B"]
    reward: Float[Array, " B"]
    next_observation: Float[Array, "B F"]
    written: Int[Array, ""]


def no_transitions(observation: Float[Array, " F"], size: int) -> Transitions:
    """Room for `size` of them."""
    many = jnp.zeros((size, *observation.shape), observation.dtype)
    return Transitions(many, jnp.zeros(size, jnp.int32), jnp.zeros(size), many, jnp.zeros((), jnp.int32))


def stored(
    ring: Transitions,
    observation: Float[Array, "b F"],
    action: Int[Array, " b"],
    reward: Float[Array, " b"],
    next_observation: Float[Array, "b F"],
) -> Transitions:
    """With a block of others in place of the oldest; blocks of one length that divides the ring's."""
    start = ring.written % ring.reward.shape[0]
    block = (observation, action, reward, next_observation)
    write = lambda old, new: jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), start, 0)  # noqa: E731
    before, done, paid, after = (write(old, new) for old, new in zip(ring[:4], block, strict=True))
    return Transitions(before, done, paid, after, ring.written + reward.shape[0])


def sampled(ring: Transitions, key: Key[Array, ""], size: int) -> Transitions:
    """So many of those that are stored, with repetition; there must be one."""
    index = jax.random.randint(key, (size,), 0, jnp.minimum(ring.written, ring.reward.shape[0]))
    observation, action, reward, following = (leaf[index] for leaf in ring[:4])
    return Transitions(observation, action, reward, following, jnp.asarray(size, jnp.int32))
