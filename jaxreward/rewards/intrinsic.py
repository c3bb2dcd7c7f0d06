"""Rewards for novelty, which the agent earns by exploring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Key

from jaxreward.names import check_name
from jaxreward.reward import Params, Reward, Shared, Transition, of_all_environments

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

    def init(key: Key[Array, ""]) -> Params:
        return {"bonus": jnp.asarray(bonus, float)}

    def paid(params: Params, counts: Counts, visited: Int[Array, ""]) -> Float[Array, ""]:
        return params["bonus"] / jnp.sqrt(jnp.maximum(counts[visited], 1.0))  # behind an episode's end it may be 0

    def step_of_all(params: Params, memory: Shared, transition: Transition) -> tuple[Shared, Float[Array, ""]]:
        visited = jnp.clip(index(transition), 0, size - 1)
        visits, valid = of_all_environments(visited, transition)
        counts = memory.value + jnp.zeros(size, float).at[visits].add(valid.astype(float))
        return Shared(counts), paid(params, counts, visited)

    def step_of_one(params: Params, counts: Counts, transition: Transition) -> tuple[Counts, Float[Array, ""]]:
        visited = jnp.clip(index(transition), 0, size - 1)
        counts = counts.at[visited].add(1.0)
        return counts, paid(params, counts, visited)

    none = lambda: jnp.zeros(size, float)  # noqa: E731
    if scope == "episode":
        return Reward(init, lambda _: none(), step_of_one)
    return Reward(init, lambda _: Shared(none()), step_of_all, lambda ended, _: ended)
