"""Rewards of whole episodes in which one level counts only where those before it were reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from jaxreward.reward import Memory, Params, Reward, Transition
from jaxreward.rewards.algebra import stack
from jaxreward.rewards.arguments import RewardLike, check_scalars


class AccumulationMemory(NamedTuple):
    """What each level has summed up to in the episode, and the levels' memories."""

    totals: Float[Array, " L"]
    levels: Memory


def gated_accumulation(
    *levels: RewardLike, thresholds: Sequence[float] | Float[Array, " L-1"], sharpness: ArrayLike = jnp.inf
) -> Reward:
    """`S_0 + sum_l S_l * prod_{m < l} gate(S_m - thresholds[m])`, paid where the episode ends.

    `S_l` is what level `l` sums up to over the episode. Immediate rewards that come after an outcome can't be earned
    in place of it: below its threshold they count for nothing, so they neither help nor mislead. With two levels and a
    hard gate it is gated reward accumulation, `R + 1[R >= threshold] sum_t r_t`; with a sharpness `k` the gate is
    `sigmoid(k (R - threshold))`, as TourPlanner has it. Thresholds and sharpness of neither are known to us.

    Params: `thresholds` `[L-1]`, `sharpness`, and `levels`, a tuple of theirs.

    Args:
        *levels: Scalar rewards, what matters most first.
        thresholds: What each level but the last is to reach for those behind it to count.
        sharpness: Of the gates; infinity to open them at once, where a threshold is reached.

    Raises:
        ValueError: If there are less than two levels, or not one threshold less than there are.
    """
    if len(levels) < 2 or len(thresholds) != len(levels) - 1:
        raise ValueError(
            f"gated_accumulation takes two or more levels and one threshold less; got {len(levels)} levels and "
            f"{len(thresholds)} thresholds"
        )
    parts = stack(*levels)

    def init(key: Key[Array, ""]) -> Params:
        numbers = {"thresholds": thresholds, "sharpness": sharpness}
        return {name: jnp.asarray(value, float) for name, value in numbers.items()} | {"levels": parts.init(key)}

    def reset(params: Params) -> AccumulationMemory:
        return AccumulationMemory(jnp.zeros(len(levels), float), parts.reset(params["levels"]))

    def step(params: Params, memory: AccumulationMemory, transition: Transition) -> tuple[AccumulationMemory, Array]:
        inner, values = parts.step(params["levels"], memory.levels, transition)
        check_scalars("gated_accumulation", values, len(levels))
        totals = memory.totals + values
        ends = transition.terminated | transition.truncated
        paid = jnp.where(ends, accumulated(totals, params["thresholds"], params["sharpness"]), 0.0)
        return AccumulationMemory(totals, inner), paid

    def persist(ended: AccumulationMemory, fresh: AccumulationMemory) -> AccumulationMemory:
        return AccumulationMemory(fresh.totals, parts.persist(ended.levels, fresh.levels))

    return Reward(init, reset, step, persist)


def accumulated(
    totals: Float[Array, " L"], thresholds: Float[Array, " L-1"], sharpness: Float[Array, ""]
) -> Float[Array, ""]:
    """What an episode is worth whose levels sum up to `totals`, see `gated_accumulation`."""
    above = totals[:-1] - thresholds
    soft = jnp.isfinite(sharpness)
    gates = jnp.where(soft, jax.nn.sigmoid(jnp.where(soft, sharpness, 1.0) * above), above >= 0)
    return totals[0] + (totals[1:] * jnp.cumprod(gates)).sum()
