"""Rewards that are paid at another scale or at another time."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Key

from jaxreward.reward import Memory, Params, Reward, Shared, Transition, of_all_environments
from jaxreward.rewards.arguments import RewardLike, as_reward, discount_param, discount_value


class Statistics(NamedTuple):
    """Mean and population variance of all returns so far.

    They are of `steps` steps of all environments, of which one that some did not take counts in proportion.
    """

    steps: Float[Array, ""]
    mean: Float[Array, "..."]
    variance: Float[Array, "..."]


class NormaliseMemory(NamedTuple):
    """The statistics, which outlive the episode, its discounted return so far, and the normalised reward's memory."""

    statistics: Shared
    running: Float[Array, "..."]
    reward: Memory


def normalise(
    reward: RewardLike, discount: ArrayLike | None = None, epsilon: float = 1e-4, shape: tuple[int, ...] = ()
) -> Reward:
    """The reward divided by the running standard deviation of its discounted return (Engstrom et al. 2020).

    The return so far, `g_t = discount * g_{t-1} + r_t`, starts at zero in each episode. The statistics are of every
    `g_t` of all environments since the beginning, the present step included. Nothing is subtracted: a shift of the
    reward would change what is optimal where episodes end.

    Params: `discount`, `reward`.

    Args:
        reward: What is normalised.
        discount: A number in `[0, 1]`; by default the agent's, which it follows (and 1 until an agent binds it).
        epsilon: Up to this standard deviation nothing is divided: rewards stay as they are until returns vary.
        shape: The reward's shape, `()` or `(K,)`; each objective is normalised by itself.

    Raises:
        ValueError: If `discount` is not in `[0, 1]`.
    """
    reward = as_reward(reward)
    discount_param(discount)  # refuses a wrong discount here rather than on initialisation

    def init(key: Key[Array, ""]) -> Params:
        return {"discount": discount_param(discount), "reward": reward.init(key)}

    def reset(params: Params) -> NormaliseMemory:
        zero = jnp.zeros(shape, float)
        nothing = Shared(Statistics(jnp.zeros((), float), zero, zero))
        return NormaliseMemory(nothing, zero, reward.reset(params["reward"]))

    def step(params: Params, memory: NormaliseMemory, transition: Transition) -> tuple[NormaliseMemory, Array]:
        inner, value = reward.step(params["reward"], memory.reward, transition)
        running = discount_value(params["discount"]) * memory.running + value
        statistics = _observe(memory.statistics.value, *of_all_environments(running, transition))
        varies = statistics.variance > epsilon**2
        deviation = jnp.sqrt(jnp.where(varies, statistics.variance, 1.0))
        return NormaliseMemory(Shared(statistics), running, inner), value / deviation

    def persist(ended: NormaliseMemory, fresh: NormaliseMemory) -> NormaliseMemory:
        return NormaliseMemory(ended.statistics, fresh.running, reward.persist(ended.reward, fresh.reward))

    return Reward(init, reset, step, persist)


def _observe(old: Statistics, x: Float[Array, "N ..."], valid: Bool[Array, " N"]) -> Statistics:
    """Merges the moments of this step's `x`, where it is valid (Chan, Golub & LeVeque 1983)."""
    taken = valid.reshape(-1, *[1] * (x.ndim - 1))
    mean_of = lambda x: jnp.where(taken, x, 0.0).sum(0) / jnp.maximum(valid.sum(), 1)  # noqa: E731
    mean = mean_of(x)
    variance = mean_of((x - mean[None]) ** 2)
    weight = valid.mean()
    steps = old.steps + weight
    share = weight / jnp.where(valid.any(), steps, 1.0)
    delta = mean - old.mean
    spread = old.variance + share * (variance - old.variance) + share * (1 - share) * delta**2
    return Statistics(steps, old.mean + share * delta, spread)


class DelayMemory(NamedTuple):
    """What is still to be paid, the oldest first, and the delayed reward's memory."""

    due: Float[Array, "steps ..."]
    reward: Memory


def delay(reward: RewardLike, steps: int, shape: tuple[int, ...] = ()) -> Reward:
    """Pays what was earned `steps` steps ago, and all that is left where the episode ends: its return stays the same.

    That is the undiscounted return; what is paid later is discounted more. Params: the reward's.

    Args:
        reward: What is delayed.
        steps: For how many steps; 0 changes nothing.
        shape: The reward's shape, `()` or `(K,)`.

    Raises:
        ValueError: If `steps` is negative.
    """
    if steps < 0:
        raise ValueError(f"a reward is delayed by 0 or more steps; got steps={steps}")
    reward = as_reward(reward)

    def reset(params: Params) -> DelayMemory:
        return DelayMemory(jnp.zeros((steps, *shape), float), reward.reset(params))

    def step(params: Params, memory: DelayMemory, transition: Transition) -> tuple[DelayMemory, Array]:
        inner, value = reward.step(params, memory.reward, transition)
        due = jnp.concatenate([memory.due, value[None]])
        paid = jnp.where(_done(transition), due.sum(axis=0), due[0])
        return DelayMemory(due[1:], inner), paid

    def persist(ended: DelayMemory, fresh: DelayMemory) -> DelayMemory:
        return DelayMemory(fresh.due, reward.persist(ended.reward, fresh.reward))

    return Reward(reward.init, reset, step, persist)


class SparsifyMemory(NamedTuple):
    """What was earned since the last payment, how many steps ago that was, and the sparse reward's memory."""

    total: Float[Array, "..."]
    elapsed: Float[Array, ""]
    reward: Memory


def sparsify(reward: RewardLike, every: ArrayLike = jnp.inf, shape: tuple[int, ...] = ()) -> Reward:
    """Saves the reward up and pays it every so many steps and where the episode ends: its return stays the same.

    That is the undiscounted return; what is paid later is discounted more. Params: `every`, `reward`.

    Args:
        reward: What is made sparse.
        every: After how many steps it is paid; by default only where the episode ends.
        shape: The reward's shape, `()` or `(K,)`.

    Raises:
        ValueError: If `every` is a number below 1.
    """
    if isinstance(every, int | float) and every < 1:
        raise ValueError(f"a sparse reward is paid every 1 or more steps; got every={every}")
    reward = as_reward(reward)

    def init(key: Key[Array, ""]) -> Params:
        return {"every": jnp.asarray(every, float), "reward": reward.init(key)}

    def reset(params: Params) -> SparsifyMemory:
        return SparsifyMemory(jnp.zeros(shape, float), jnp.zeros((), float), reward.reset(params["reward"]))

    def step(params: Params, memory: SparsifyMemory, transition: Transition) -> tuple[SparsifyMemory, Array]:
        inner, value = reward.step(params["reward"], memory.reward, transition)
        total, elapsed = memory.total + value, memory.elapsed + 1
        pays = _done(transition) | (elapsed >= params["every"])
        kept = SparsifyMemory(jnp.where(pays, 0.0, total), jnp.where(pays, 0.0, elapsed), inner)
        return kept, jnp.where(pays, total, 0.0)

    def persist(ended: SparsifyMemory, fresh: SparsifyMemory) -> SparsifyMemory:
        return fresh._replace(reward=reward.persist(ended.reward, fresh.reward))

    return Reward(init, reset, step, persist)


def _done(transition: Transition) -> Bool[Array, ""]:
    return transition.terminated | transition.truncated
