"""Rewards whose weight changes while an agent trains: with the steps it has taken, or with how often it succeeds.

How far training is, is a memory that outlives episodes and is shared by all environments that an agent steps together.
So no agent knows of it, a run that is resumed goes on where it was, and what a schedule is made of are params of the
reward: they may be searched, and differentiated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Key, PyTree

from jaxreward.reward import Memory, Params, Reward, Shared, Transition, of_all_environments
from jaxreward.rewards.arguments import RewardLike, as_reward

MOST_STEPS = 2**31 - 1
"""Where a count of steps stays: an integer within the program can't be more."""


class Curve(NamedTuple):
    """A weight as a function of progress, which goes from 0 to 1.

    Attributes:
        params: The numbers it is made of, by name.
        value: `(params, progress) -> weight`.
    """

    params: dict[str, Float[Array, "..."]]
    value: Callable[[dict[str, Array], Float[Array, ""]], Float[Array, ""]]


class Progress(NamedTuple):
    """What is counted as progress.

    Attributes:
        params: The numbers it is made of, by name.
        start: What is known of it before the first step.
        after: `(params, known, transition) -> known` behind a step of all environments.
        value: `(params, known) -> progress`, from 0 to 1.
    """

    params: dict[str, Float[Array, ""]]
    start: PyTree
    after: Callable[[dict[str, Array], PyTree, Transition], PyTree]
    value: Callable[[dict[str, Array], PyTree], Float[Array, ""]]


class ScheduleMemory(NamedTuple):
    """What is known of progress, and the scheduled reward's memory."""

    progress: Shared
    reward: Memory


def schedule(reward: RewardLike, weight: Curve, progress: Progress) -> Reward:
    """The reward times a weight that follows progress.

    A step is paid by the progress before it. Where all environments are stepped together, all are paid by the same
    progress. An episode that is played for itself, as to evaluate a policy, is paid as at the beginning of training.

    Params: `weight`, `progress`, the numbers of each by name, and `reward`.

    Args:
        reward: What is scheduled.
        weight: By `linear`, `cosine`, `exponential` or `piecewise`.
        progress: By `steps` or `success_rate`.
    """
    reward = as_reward(reward)

    def init(key: Key[Array, ""]) -> Params:
        return {"weight": weight.params, "progress": progress.params, "reward": reward.init(key)}

    def reset(params: Params) -> ScheduleMemory:
        return ScheduleMemory(Shared(progress.start), reward.reset(params["reward"]))

    def step(params: Params, memory: ScheduleMemory, transition: Transition) -> tuple[ScheduleMemory, Array]:
        known = memory.progress.value
        factor = weight.value(params["weight"], progress.value(params["progress"], known))
        inner, value = reward.step(params["reward"], memory.reward, transition)
        known = progress.after(params["progress"], known, transition)
        return ScheduleMemory(Shared(known), inner), factor * value

    def persist(ended: ScheduleMemory, fresh: ScheduleMemory) -> ScheduleMemory:
        return ScheduleMemory(ended.progress, reward.persist(ended.reward, fresh.reward))

    return Reward(init, reset, step, persist)


def linear(start: ArrayLike, end: ArrayLike) -> Curve:
    """From `start` to `end`, evenly. Params: `start`, `end`."""
    return Curve(_ends(start, end), lambda p, x: p["start"] + (p["end"] - p["start"]) * x)


def cosine(start: ArrayLike, end: ArrayLike) -> Curve:
    """From `start` to `end` along half a cosine, level at both. Params: `start`, `end`."""
    return Curve(_ends(start, end), lambda p, x: p["end"] + (p["start"] - p["end"]) * (1 + jnp.cos(jnp.pi * x)) / 2)


def exponential(start: ArrayLike, end: ArrayLike) -> Curve:
    """From `start` to `end` by equal factors in equal parts. Params: `start`, `end`.

    Raises:
        ValueError: If they are numbers and not of one sign.
    """
    if isinstance(start, int | float) and isinstance(end, int | float) and not start * end > 0:
        raise ValueError(f"an exponential curve goes between numbers of one sign; got start={start}, end={end}")
    return Curve(_ends(start, end), lambda p, x: p["start"] * (p["end"] / p["start"]) ** x)


def piecewise(points: Sequence[tuple[float, float]]) -> Curve:
    """Linear between points `(progress, weight)`, level before the first and behind the last. Params: `weights`.

    Args:
        points: At least one, by rising progress from 0 to 1.

    Raises:
        ValueError: If they are not.
    """
    places = np.asarray([place for place, _ in points], float)
    if not len(places) or (np.diff(places) <= 0).any() or places[0] < 0 or places[-1] > 1:
        raise ValueError(f"points are (progress, weight) by rising progress from 0 to 1; got {list(points)}")
    weights = jnp.asarray([weight for _, weight in points], float)
    return Curve({"weights": weights}, lambda p, x: jnp.interp(x, jnp.asarray(places, x.dtype), p["weights"]))


def steps(number: ArrayLike) -> Progress:
    """Environment steps of all environments so far, as a share of `number`; 1 from there on. Params: `number`.

    Raises:
        ValueError: If it is a number and not positive, or more than can be counted.
    """
    if isinstance(number, int | float) and not 0 < number <= MOST_STEPS:
        raise ValueError(f"progress is a share of a positive number of steps, {MOST_STEPS:,} at most; got {number}")

    def after(params: dict[str, Array], taken: Int[Array, ""], transition: Transition) -> Int[Array, ""]:
        valid = of_all_environments((), transition)[1].sum(dtype=jnp.int32)
        return jnp.where(taken > MOST_STEPS - valid, MOST_STEPS, taken + valid)

    def value(params: dict[str, Array], taken: Int[Array, ""]) -> Float[Array, ""]:
        return jnp.minimum(taken / params["number"], 1.0)

    return Progress({"number": jnp.asarray(number, float)}, jnp.zeros((), jnp.int32), after, value)


def success_rate(
    success: Callable[[Transition], Bool[Array, ""]], low: ArrayLike, high: ArrayLike, rate: ArrayLike = 0.01
) -> Progress:
    """How often episodes succeed: 0 up to the rate `low`, 1 from `high` on, evenly between.

    The rate is a running mean over the episodes of all environments, 0 before the first, which each episode that ends
    moves by `rate` towards 1 or 0. Progress may fall again. Params: `low`, `high`, `rate`.

    Args:
        success: Whether an episode that ends with a transition has succeeded.
        low: A rate of success.
        high: A higher one.
        rate: Of the running mean, above 0 and at most 1.

    Raises:
        ValueError: If numbers are not so.
    """
    numbers = {"low": low, "high": high, "rate": rate}
    plain = [value for value in numbers.values() if isinstance(value, int | float)]
    if len(plain) == len(numbers) and not (0 <= plain[0] < plain[1] <= 1 and 0 < plain[2] <= 1):
        raise ValueError(f"success_rate needs 0 <= low < high <= 1 and 0 < rate <= 1; got {numbers}")

    def after(params: dict[str, Array], mean: Float[Array, ""], transition: Transition) -> Float[Array, ""]:
        ends = transition.terminated | transition.truncated
        (ended, succeeded), valid = of_all_environments((ends, jnp.asarray(success(transition), bool)), transition)
        number, won = (ended & valid).sum(), (ended & valid & succeeded).sum()
        kept = (1 - params["rate"]) ** number  # as if one after the other
        return mean * kept + (1 - kept) * won / jnp.maximum(number, 1)

    def value(params: dict[str, Array], mean: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.clip((mean - params["low"]) / (params["high"] - params["low"]), 0.0, 1.0)

    return Progress({name: jnp.asarray(v, float) for name, v in numbers.items()}, jnp.zeros(()), after, value)


def _ends(start: ArrayLike, end: ArrayLike) -> dict[str, Float[Array, ""]]:
    for name, value in {"start": start, "end": end}.items():
        if isinstance(value, int | float) and not math.isfinite(value):
            raise ValueError(f"a schedule goes between finite numbers; got {name}={value}")
    return {"start": jnp.asarray(start, float), "end": jnp.asarray(end, float)}
