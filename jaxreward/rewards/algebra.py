"""Rewards made of rewards: sums, weights, gates, vectors and ensembles.

Wherever a reward is expected, a function of a transition or a number will do. Numbers given to a combinator become
entries of its params, a dict, so that they can be vmapped, searched and differentiated: `weighted(goal=(reach, 1.0))`
has the params `{"weights": {"goal": 1.0}, "rewards": {"goal": ...}}`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from jaxreward.observed import is_observed
from jaxreward.reward import Components, Memory, Params, Reward, Shared, Transition, as_init, is_shared
from jaxreward.rewards.arguments import RewardLike, as_reward


def transform(reward: RewardLike, fn: Callable[..., Array], **numbers: Any) -> Reward:
    """The reward passed through `fn(value, **numbers)`, for example `transform(reward, jnp.tanh)`.

    Params: each of `numbers`, and `reward`.
    """
    reward, own = as_reward(reward), as_init(numbers)

    def init(key: Key[Array, ""]) -> Params:
        return {**own(key), "reward": reward.init(key)}

    def reset(params: dict[str, Any]) -> Memory:
        return reward.reset(params["reward"])

    def step(params: dict[str, Any], memory: Memory, transition: Transition) -> tuple[Memory, Array]:
        memory, value = reward.step(params["reward"], memory, transition)
        return memory, fn(value, **{name: params[name] for name in numbers})

    return Reward(init, reset, step, reward.persist)


def scale(reward: RewardLike, weight: ArrayLike) -> Reward:
    """The reward times `weight`, a scalar or one for each objective. Params: `weight`, `reward`."""
    return transform(reward, lambda value, weight: weight * value, weight=weight)


def clip(reward: RewardLike, low: ArrayLike = -jnp.inf, high: ArrayLike = jnp.inf) -> Reward:
    """The reward kept within `[low, high]`. Params: `low`, `high`, `reward`.

    Raises:
        ValueError: If both are numbers and `low` is above `high`.
    """
    if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        raise ValueError(f"clip needs low <= high; got low={low}, high={high}")
    return transform(reward, lambda value, low, high: jnp.clip(value, low, high), low=low, high=high)


def scalarise(reward: RewardLike, weights: ArrayLike, utility: Callable[[Array, Array], Array] = jnp.dot) -> Reward:
    """One number for the `K` of a vector reward: `utility(weights, value)`, by default their weighted sum.

    A utility that is not linear is one of each step's rewards, not of their return. Params: `weights` `[K]`, `reward`.
    """
    return transform(reward, lambda value, weights: utility(weights, value), weights=weights)


def add(*rewards: RewardLike) -> Reward:
    """The sum of rewards of equal shape. Params: a tuple of theirs."""
    return _joined("add", rewards, lambda values: functools.reduce(operator.add, values))


def stack(*rewards: RewardLike) -> Reward:
    """The rewards side by side, a vector `[K]` of objectives; vectors are joined. Params: a tuple of theirs."""
    return _joined("stack", rewards, lambda values: jnp.concatenate([jnp.atleast_1d(value) for value in values]))


def gate(reward: RewardLike, predicate: RewardLike) -> Reward:
    """The reward where `predicate` holds, 0 elsewhere.

    Both see every transition, whether the gate is open or not. Params: a pair, the reward's and the predicate's.

    Args:
        reward: What is gated, a scalar or `[K]`.
        predicate: A function from a transition to a bool, or a scalar reward that is 0 where the gate is closed and 1
            where it is open; what lies between multiplies, so that a gate can be soft.
    """
    return _joined("gate", (reward, predicate), lambda values: _gated(*values))


def _gated(value: Float[Array, "..."], opening: Float[Array, ""]) -> Float[Array, "..."]:
    # not the product alone: what is gated may be infinite or NaN where the gate is closed
    return jnp.where(opening == 0, 0.0, opening * value)


def kinesthetic(*rewards: RewardLike) -> Reward:
    """The geometric mean of rewards' sizes, negative where any of them is: all are to be high at once.

    `sign * |r_1 * ... * r_n|**(1/n)`, Lucy-SKG's kinesthetic combination (arXiv:2305.15801). The sign is 1 where all
    are 0 or more and -1 elsewhere, so two that are negative don't make up for each other. Params: a tuple of theirs.
    """
    return _joined("kinesthetic", rewards, _geometric)


def _geometric(values: list[Float[Array, "..."]]) -> Float[Array, "..."]:
    size = jnp.abs(functools.reduce(operator.mul, values))
    root = jnp.where(size > 0, size, 1.0) ** (1 / len(values))  # at 0 a root has no derivative
    sign = jnp.where(functools.reduce(operator.and_, [value >= 0 for value in values]), 1.0, -1.0)
    return jnp.where(size > 0, sign * root, 0.0)


def _joined(name: str, rewards: tuple[RewardLike, ...], join: Callable[[list[Array]], Array]) -> Reward:
    """Several rewards at once, `join` of their values; params and memory are tuples."""
    if not rewards:
        raise ValueError(f"{name} needs at least one reward; got none")
    parts = tuple(map(as_reward, rewards))

    def init(key: Key[Array, ""]) -> Params:
        return tuple(part.init(k) for part, k in zip(parts, jax.random.split(key, len(parts)), strict=True))

    def reset(params: Params) -> Memory:
        return tuple(part.reset(p) for part, p in zip(parts, params, strict=True))

    def step(params: Params, memory: Memory, transition: Transition) -> tuple[Memory, Array]:
        steps = [part.step(p, m, transition) for part, p, m in zip(parts, params, memory, strict=True)]
        return tuple(m for m, _ in steps), join([value for _, value in steps])

    def persist(ended: Memory, fresh: Memory) -> Memory:
        return tuple(part.persist(e, f) for part, e, f in zip(parts, ended, fresh, strict=True))

    return Reward(init, reset, step, persist)


def weighted(**rewards: RewardLike | tuple[RewardLike, ArrayLike]) -> Reward:
    """The weighted sum of named scalar rewards: `weighted(goal=(reach_goal, 1.0), energy=(torque, -0.1))`.

    Each part's contribution, its weight included, is logged under its name; they add up to the reward.

    Params: `weights` and `rewards`, dicts by name.

    Args:
        **rewards: By name a reward and its weight, or a reward alone with weight 1.

    Raises:
        ValueError: If there are no rewards, or when traced, if one is a vector.
    """
    if not rewards:
        raise ValueError(
            "weighted needs at least one named reward, for example weighted(goal=(reach_goal, 1.0)); got none"
        )
    pairs = {name: _with_weight(name, given) for name, given in rewards.items()}
    return _weighted({name: part for name, (part, _) in pairs.items()}, as_init({n: w for n, (_, w) in pairs.items()}))


def _weighted(parts: dict[str, Reward], weights: Callable[[Key[Array, ""]], Params]) -> Reward:
    def init(key: Key[Array, ""]) -> Params:
        keys = dict(zip(parts, jax.random.split(key, len(parts)), strict=True))
        return {"weights": weights(key), "rewards": {name: part.init(keys[name]) for name, part in parts.items()}}

    def reset(params: Params) -> Memory:
        memories = {name: part.reset(params["rewards"][name]) for name, part in parts.items()}
        return Components({name: jnp.zeros((), float) for name in parts}, memories)

    def step(params: Params, memory: Components, transition: Transition) -> tuple[Memory, Array]:
        steps = {n: part.step(params["rewards"][n], memory.memories[n], transition) for n, part in parts.items()}
        values = {name: params["weights"][name] * _scalar(name, value) for name, (_, value) in steps.items()}
        return Components(values, {name: m for name, (m, _) in steps.items()}), functools.reduce(
            operator.add, values.values()
        )

    def persist(ended: Components, fresh: Components) -> Memory:
        kept = {name: part.persist(ended.memories[name], fresh.memories[name]) for name, part in parts.items()}
        return Components(fresh.values, kept)

    return Reward(init, reset, step, persist)


def _with_weight(name: str, given: Any) -> tuple[Reward, Any]:
    pair = (given, 1.0) if isinstance(given, Reward) or not isinstance(given, tuple) else given
    if len(pair) != 2:
        raise ValueError(f"{name} is a reward or a pair (reward, weight); got a tuple of {len(pair)}")
    return as_reward(pair[0]), pair[1]


def _scalar(name: str, value: Float[Array, "..."]) -> Float[Array, ""]:
    if jnp.ndim(value):
        raise ValueError(
            f"weighted sums scalar rewards; {name!r} has shape {jnp.shape(value)}: "
            f"scalarise it first, or use add and scale, which take vectors"
        )
    return value


def ensemble(reward: RewardLike, size: int, reduce: Callable[..., Array] = jnp.mean) -> Reward:
    """Many rewards that differ in their params alone, reduced to one, by their mean, minimum, a quantile.

    Named parts within the members are not logged. Params and memory: the reward's, with a leading axis `[size]`.

    Args:
        reward: The reward whose params are drawn `size` times.
        size: How many members.
        reduce: `reduce(values, axis=0)` of the members' values `[size, ...]`, for example `jnp.min`.

    Raises:
        ValueError: If there are no members.
    """
    if size < 1:
        raise ValueError(f"an ensemble has at least one member; got size={size}")
    member = _unnamed(as_reward(reward))

    def init(key: Key[Array, ""]) -> Params:
        return jax.vmap(member.init)(jax.random.split(key, size))

    def reset(params: Params) -> Memory:
        return jax.vmap(member.reset, axis_size=size)(params)

    def step(params: Params, memory: Memory, transition: Transition) -> tuple[Memory, Array]:
        step = jax.vmap(member.step, in_axes=(0, 0, None), axis_size=size)
        memory, values = step(params, memory, transition)
        return memory, reduce(values, axis=0)

    return Reward(init, reset, step, jax.vmap(member.persist, axis_size=size))


def _unnamed(reward: Reward) -> Reward:
    """The reward with its memory as a plain list of arrays, shared or not, in which no named parts are found."""

    def named(unnamed: list[Memory]) -> Memory:
        memory = jax.eval_shape(lambda key: reward.reset(reward.init(key)), jax.random.key(0))
        return jax.tree.unflatten(jax.tree.structure(memory), jax.tree.leaves(unnamed))

    def step(params: Params, memory: list[Memory], transition: Transition) -> tuple[Memory, Array]:
        after, value = reward.step(params, named(memory), transition)
        return _leaves(after), value

    return Reward(
        reward.init,
        lambda params: _leaves(reward.reset(params)),
        step,
        lambda ended, fresh: _leaves(reward.persist(named(ended), named(fresh))),
    )


def _leaves(memory: Memory) -> list[Memory]:
    """All arrays of a memory, each `Shared` that is within something shared, and what is observed as it is."""
    apart = lambda node: jax.tree.map(Shared, node.value) if is_shared(node) else node  # noqa: E731
    kept = lambda node: is_shared(node) or is_observed(node)  # noqa: E731
    return jax.tree.leaves(jax.tree.map(apart, memory, is_leaf=kept), is_leaf=kept)
