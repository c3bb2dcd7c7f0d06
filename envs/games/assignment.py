"""Who gets what: pairs of vehicles and orders whose scores sum to the most, by the Hungarian algorithm, exactly."""

from __future__ import annotations

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int


def assigned(worth: Float[Array, "n M"]) -> Int[Array, " n"]:
    """The pairs, each row and column in one at most, that are worth the most together.

    Args:
        worth: Of each row with each column, finite; what is worth 0 or less is never made a pair.

    Returns:
        The column of each row, or -1.
    """
    # With what is not to be at 0, as if left alone, the best of all complete matchings is the best of all.
    gain = jnp.where(worth > 0, worth, 0.0)
    rows, columns = optax.assignment.hungarian_algorithm(-gain)
    made = jnp.where(gain[rows, columns] > 0, columns, -1)
    return jnp.full(len(worth), -1, jnp.int32).at[rows].set(made.astype(jnp.int32))


def dealt(scores: Float[Array, "n M"], allowed: Bool[Array, "n M"]) -> Int[Array, " n"]:
    """As many pairs as there can be, and of these the ones whose scores sum to the most.

    Args:
        scores: Of each row with each column, finite where allowed.
        allowed: Which pairs may be.

    Returns:
        The column of each row, or -1.
    """
    least = jnp.min(scores, initial=jnp.inf, where=allowed)
    most = jnp.max(scores, initial=-jnp.inf, where=allowed)
    share = (scores - least) / jnp.maximum(most - least, 1e-6)
    # One pair more is worth more than all that scores can add, which is 1 a pair.
    return assigned(jnp.where(allowed, share + min(scores.shape) + 1, 0.0))
