"""When to explore and when to exploit: the schedulers of STAX (arXiv:2111.01919)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

Kind = Literal["alternating", "fixed", "time", "ucb", "exploring"]


class Scheduler(NamedTuple):
    """What a scheduler remembers; index 0 is exploring, 1 exploiting.

    Attributes:
        pulls: How often each was done.
        value: The mean of what each was worth.
    """

    pulls: Float[Array, "2"]
    value: Float[Array, "2"]


def new_scheduler() -> Scheduler:
    """Nothing done yet."""
    return Scheduler(jnp.zeros(2), jnp.zeros(2))


def decide(
    kind: Kind, scheduler: Scheduler, key: Key[Array, ""], used: Float[Array, ""], any_work: Bool[Array, ""]
) -> tuple[Bool[Array, ""], Bool[Array, ""]]:
    """Whether an iteration explores, and whether it exploits.

    Args:
        kind: "alternating", both, one after the other; "exploring", never exploiting. Otherwise one of them, at first
            exploring: "fixed", by the toss of a coin; "time", exploring with the probability of the budget that is
            left; "ucb", the one with the higher upper confidence bound (UCB1, Auer et al. 2002), exploring while there
            is no emitter.
        scheduler: What it remembers.
        key: For what is drawn.
        used: The share of the budget that is used up.
        any_work: Whether there is an emitter, or one waits.
    """
    if kind == "alternating":
        return jnp.ones((), bool), jnp.ones((), bool)
    if kind == "exploring":
        return jnp.ones((), bool), jnp.zeros((), bool)
    if kind == "ucb":
        untried = jnp.where(scheduler.pulls > 0, 0.0, jnp.inf)
        width = jnp.sqrt(jnp.log(jnp.maximum(scheduler.pulls.sum(), 1.0)) / jnp.maximum(scheduler.pulls, 1.0))
        exploits = any_work & (jnp.argmax(scheduler.value + width + untried) == 1)
    else:
        exploits = jax.random.bernoulli(key, 0.5 if kind == "fixed" else used) & (scheduler.pulls.sum() > 0)
    return ~exploits, exploits


def credited(
    scheduler: Scheduler, exploits: Bool[Array, ""], emitters_before: Array, emitters_after: Array
) -> Scheduler:
    """The scheduler after one of the two was done.

    Exploring is worth the less, exploiting the more, the more emitters there are than before, `tanh` of it; exploiting
    without any is worth -1.

    Args:
        scheduler: Before.
        exploits: Which one it was.
        emitters_before: How many emitters there were, waiting or active.
        emitters_after: How many there are.
    """
    change = jnp.tanh((emitters_after - emitters_before).astype(float))
    worth = jnp.where(exploits, jnp.where(emitters_before > 0, change, -1.0), -change)
    arm = exploits.astype(jnp.int32)
    pulls = scheduler.pulls.at[arm].add(1.0)
    return Scheduler(pulls, scheduler.value.at[arm].add((worth - scheduler.value[arm]) / pulls[arm]))
