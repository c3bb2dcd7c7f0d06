"""Backward induction in a finite world for rewards of place and time."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

Table = Int[Array, "T S"]
"""What to do at each step in each place."""


def best_response(
    next_cell: Int[Array, "S A"], slip: Float[Array, ""], rewards: Float[Array, "T+1 S"], key: Key[Array, ""]
) -> Table:
    """The policy that earns most by being in places at times, by backward induction; ties at random.

    Args:
        next_cell: Where each action leads.
        slip: With which probability it is replaced by any of the actions.
        rewards: Of being in a place at a time.
        key: For ties.
    """

    def step(value: Float[Array, " S"], x: tuple[Array, Array]) -> tuple[Float[Array, " S"], Int[Array, " S"]]:
        reward, key = x
        ahead = value[next_cell]
        q = (1 - slip) * ahead + slip * ahead.mean(1, keepdims=True)
        best = q.max(1)
        order = jax.random.uniform(key, q.shape)
        action = jnp.argmax(jnp.where(q == best[:, None], order, -1.0), 1).astype(jnp.int32)
        return reward + best, action

    keys = jax.random.split(key, rewards.shape[0] - 1)
    return jax.lax.scan(step, rewards[-1], (rewards[:-1], keys), reverse=True)[1]


def distances(next_cell: Int[Array, "S A"], num_steps: int) -> Int[Array, "S S"]:
    """How many steps it takes at least from each place to each other, `num_steps + 1` if more than `num_steps`."""
    here = jnp.eye(next_cell.shape[0], dtype=bool)

    def step(now: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        within, distance = now
        within = within | within[next_cell].any(1)
        return (within, distance + ~within), None

    return jax.lax.scan(step, (here, 1 * ~here), length=num_steps)[0][1].astype(jnp.int32)
