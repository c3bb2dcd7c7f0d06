"""Several objectives at once: fronts and crowding of NSGA-II (Deb, Pratap, Agarwal & Meyarivan 2002).

Objectives are maximised. Infinite ones are compared as numbers are, and NaN counts as minus infinity.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def nsga2_order(objectives: Float[Array, "n m"], exists: Bool[Array, " n"] | None = None) -> Int[Array, " n"]:
    """The rows from best to worst: earlier fronts first, and of one front those less crowded.

    Its first `k` are what NSGA-II selects of `n`. Equals stay in their order; what does not exist comes last.

    Args:
        objectives: `[n, m]`.
        exists: Which rows count; all of them by default.
    """
    rank = non_dominated_rank(objectives, exists)
    return jnp.lexsort((-crowding_distance(objectives, rank), rank)).astype(jnp.int32)


def non_dominated_rank(objectives: Float[Array, "n m"], exists: Bool[Array, " n"] | None = None) -> Int[Array, " n"]:
    """The front each row is in, from 0; `n` for rows that do not exist.

    A row dominates another if it is nowhere worse and somewhere better. In front 0 is what nothing dominates, in the
    next what nothing dominates once this is taken away, and so on. Memory is `n^2` booleans.

    Args:
        objectives: `[n, m]`.
        exists: Which rows count; all of them by default.
    """
    objectives = _without_nan(objectives)
    number = objectives.shape[0]
    exists = jnp.ones(number, bool) if exists is None else exists
    one, other = objectives[:, None], objectives[None]
    dominates = (one >= other).all(-1) & (one > other).any(-1)

    def peel(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        rank, left, front = carry
        dominated = (dominates & left[:, None]).any(0)
        return jnp.where(left & ~dominated, front, rank), left & dominated, front + 1

    start = (jnp.full(number, number, jnp.int32), exists, jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(lambda carry: carry[1].any(), peel, start)[0]


def crowding_distance(objectives: Float[Array, "n m"], rank: Int[Array, " n"]) -> Float[Array, " n"]:
    """How far apart the neighbours of each row are within its front, summed over objectives.

    In each objective a front is sorted, equals staying in their order; its first and its last row get infinity, the
    others the difference of the two beside them, over the range of the front's finite values. Where one of these two
    is infinite so is the difference, between equals it is 0.

    Args:
        objectives: `[n, m]`.
        rank: The front of each row, from 0 to `n`.
    """
    return jax.vmap(_gaps, (1, None))(_without_nan(objectives), rank).sum(0)


def _gaps(values: Float[Array, " n"], rank: Int[Array, " n"]) -> Float[Array, " n"]:
    """The crowding distance of one objective."""
    fronts = values.size + 1
    order = jnp.lexsort((values, rank))
    along, front = values[order], rank[order]
    border, changes = jnp.ones(1, bool), front[1:] != front[:-1]
    outermost = jnp.concatenate([border, changes]) | jnp.concatenate([changes, border])
    after, before = jnp.roll(along, -1), jnp.roll(along, 1)
    gap = jnp.where(after == before, 0.0, after - before)
    finite = jnp.isfinite(values)
    highest = jax.ops.segment_max(jnp.where(finite, values, -jnp.inf), rank, fronts)
    lowest = jax.ops.segment_min(jnp.where(finite, values, jnp.inf), rank, fronts)
    counted = jnp.isfinite(gap) & (gap > 0)  # else the range may be 0, or of nothing
    scaled = jnp.where(counted, gap / (highest - lowest)[front], gap)
    return jnp.zeros_like(values).at[order].set(jnp.where(outermost, jnp.inf, scaled))


def _without_nan(objectives: Float[Array, "n m"]) -> Float[Array, "n m"]:
    objectives = jnp.asarray(objectives, float)
    return jnp.where(jnp.isnan(objectives), -jnp.inf, objectives)
