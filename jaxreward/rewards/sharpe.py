"""Rewards for return by its risk: the Sharpe ratio of what each step pays, step by step and of a whole episode."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from jaxreward.reward import Memory, Params, Reward, Transition
from jaxreward.rewards.arguments import RewardLike, as_reward, check_scalars


class SharpeMemory(NamedTuple):
    """Two statistics of the rewards so far, how many there were, and the memory of what pays them."""

    first: Float[Array, ""]
    second: Float[Array, ""]
    steps: Float[Array, ""]
    reward: Memory


Statistics = tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]


def differential_sharpe(reward: RewardLike, rate: ArrayLike = 0.01, warm_up: ArrayLike = 10.0) -> Reward:
    """How a reward moves the Sharpe ratio of a moving average (Moody & Saffell 2001, IEEE Trans. Neural Networks 12).

    With moving averages `A` of the rewards and `B` of their squares, both by `rate` and 0 where an episode starts,
    `D_t = (B dA - A dB / 2) / (B - A**2)**1.5`, where `dA = r_t - A`, `dB = r_t**2 - B`: the derivative of
    `A / sqrt(B - A**2)` in the rate, at 0. Where nothing has varied yet there is no ratio, and 0 is paid; so it is for
    the first steps of an episode, which is ours: after a first reward near 0 the second one may move the ratio by any
    amount.

    Params: `rate`, `warm_up`, `reward`.

    Args:
        reward: What pays the returns, a scalar.
        rate: Of the moving averages, above 0 and at most 1.
        warm_up: For how many steps of an episode nothing is paid; 1 for the formula alone.

    Raises:
        ValueError: If the rate is a number and not so, or `warm_up` is one and less than 1.
    """
    if isinstance(rate, int | float) and not 0 < rate <= 1:
        raise ValueError(f"the rate of a moving average is above 0 and at most 1; got rate={rate}")
    if isinstance(warm_up, int | float) and warm_up < 1:
        raise ValueError(f"the first step moves no ratio, so warm_up is 1 or more; got warm_up={warm_up}")

    def step(params: Params, known: Statistics, value: Array, ends: Array) -> tuple[Statistics, Float[Array, ""]]:
        mean, square, steps = known
        to_mean, to_square = value - mean, value**2 - square
        variance = square - mean**2
        varies = variance > 1e-6 * square  # less is what rounding leaves
        slope = (square * to_mean - mean * to_square / 2) / jnp.where(varies, variance, 1.0) ** 1.5
        after = (mean + params["rate"] * to_mean, square + params["rate"] * to_square, steps + 1)
        return after, jnp.where(varies & (steps >= params["warm_up"]), slope, 0.0)

    return _of_returns(reward, {"rate": rate, "warm_up": warm_up}, step)


def terminal_sharpe(reward: RewardLike, periods: ArrayLike = 252.0) -> Reward:
    """`sqrt(periods) * mean / deviation` of an episode's rewards, paid where it ends; 0 where they do not vary.

    The deviation is that of the population. Params: `periods`, `reward`.

    Args:
        reward: What pays the returns, a scalar.
        periods: Steps of a year, 252 of trading days: by them the ratio is annual. 1 for the ratio of steps.

    Raises:
        ValueError: If there is no positive number of periods.
    """
    if isinstance(periods, int | float) and not periods > 0:
        raise ValueError(f"a year has a positive number of periods; got periods={periods}")

    def step(params: Params, known: Statistics, value: Array, ends: Array) -> tuple[Statistics, Float[Array, ""]]:
        mean, squares, steps = known
        away, steps = value - mean, steps + 1
        mean = mean + away / steps
        squares = squares + away * (value - mean)
        varies = squares > 1e-12 * steps * mean**2
        ratio = mean / jnp.sqrt(jnp.where(varies, squares, 1.0) / steps)
        return (mean, squares, steps), jnp.where(ends & varies, jnp.sqrt(params["periods"]) * ratio, 0.0)

    return _of_returns(reward, {"periods": periods}, step)


def _of_returns(
    reward: RewardLike,
    numbers: dict[str, ArrayLike],
    pay: Callable[[Params, Statistics, Array, Array], tuple[Statistics, Float[Array, ""]]],
) -> Reward:
    """A reward by running statistics of another one's values, which begin anew with each episode."""
    reward = as_reward(reward)

    def init(key: Key[Array, ""]) -> Params:
        return {name: jnp.asarray(value, float) for name, value in numbers.items()} | {"reward": reward.init(key)}

    def reset(params: Params) -> SharpeMemory:
        zero = jnp.zeros((), float)
        return SharpeMemory(zero, zero, zero, reward.reset(params["reward"]))

    def step(params: Params, memory: SharpeMemory, transition: Transition) -> tuple[SharpeMemory, Float[Array, ""]]:
        inner, value = reward.step(params["reward"], memory.reward, transition)
        check_scalars("a Sharpe ratio", jnp.atleast_1d(value), 1)
        known, paid = pay(params, memory[:3], value, transition.terminated | transition.truncated)
        return SharpeMemory(*known, inner), paid

    def persist(ended: SharpeMemory, fresh: SharpeMemory) -> SharpeMemory:
        return fresh._replace(reward=reward.persist(ended.reward, fresh.reward))

    return Reward(init, reset, step, persist)
