"""Rewards for novelty, which the agent earns by exploring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Key

from jaxreward.names import check_name
from jaxreward.reward import ENVIRONMENTS, Params, Reward, Transition

Counts = Float[Array, " size"]
"""Visits; floats, which stop at 2**24 where integers would overflow."""


def count_bonus(
    index: Callable[[Transition], Int[Array, ""]],
    size: int,
    bonus: ArrayLike = 1.0,
    scope: Literal["lifetime", "episode"] = "lifetime",
) -> Reward:
    """`bonus / sqrt(N)` for the `N`-th visit (MBIE-EB, Strehl & Littman 2008), this step's visits included.

    Params: `bonus`.

    Args:
        index: What is visited, a number from 0 to `size - 1`, for example a grid cell of `transition.next_observation`.
            Numbers outside of the range count as the nearest within.
        size: How many things can be visited.
        bonus: The reward of a first visit.
        scope: Whether visits are counted over all environments from the beginning, `"lifetime"`, or in each one's
            present episode, `"episode"`.

    Raises:
        ValueError: If `size` is not positive or `scope` none of its choices.
    """
    if size < 1:
        raise ValueError(f"count_bonus counts visits to at least one thing; got size={size}")
    check_name("scope of counts", scope, ("lifetime", "episode"))
    lifetime = scope == "lifetime"

    def init(key: Key[Array, ""]) -> Params:
        return {"bonus": jnp.asarray(bonus, float)}

    def step(params: Params, counts: Counts, transition: Transition) -> tuple[Counts, Float[Array, ""]]:
        visited = jnp.clip(index(transition), 0, size - 1)
        visits = _of_all_environments(visited) if lifetime else visited[None]
        counts = counts + jnp.zeros(size, float).at[visits].add(1.0)
        return counts, params["bonus"] / jnp.sqrt(counts[visited])

    def persist(ended: Counts, fresh: Counts) -> Counts:
        return ended if lifetime else fresh

    return Reward(init, lambda _: jnp.zeros(size, float), step, persist)


def _of_all_environments(x: Array) -> Array:
    """`x` of each environment the agent steps together, `[N, ...]`; `[1, ...]` for a single environment."""
    try:
        return jax.lax.all_gather(x, ENVIRONMENTS)
    except NameError:  # the axis is not bound: one environment, stepped alone
        return x[None]
