"""Who gets what: pairs of vehicles and orders whose scores sum to the most."""

from __future__ import annotations

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int


def assigned(scores: Float[Array, "n M"], allowed: Bool[Array, "n M"]) -> Int[Array, " n"]:
    """The pairs, each row and column in one at most, whose scores sum to the most; exactly, by the Hungarian algorithm.

    A pair that isn't allowed, or whose score isn't positive, is never made.

    Args:
        scores: Of each row with each column, finite where allowed and positive.
        allowed: Which pairs may be.

    Returns:
        The column of each row, or -1.
    """
    # With what is not to be at 0, as if left alone, the best of all complete matchings is the best of all.
    worth = jnp.where(allowed & (scores > 0), scores, 0.0)
    rows, columns = optax.assignment.hungarian_algorithm(-worth)
    made = jnp.where(worth[rows, columns] > 0, columns, -1)
    return jnp.full(len(scores), -1, jnp.int32).at[rows].set(made.astype(jnp.int32))
