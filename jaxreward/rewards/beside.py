"""A reward with others beside it: shown and logged, and no part of what is paid."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from jaxreward.reward import Components, Memory, Params, Reward, Transition, markov
from jaxreward.rewards.arguments import RewardLike, as_reward

_MAIN = "reward"


class BesideMemory(NamedTuple):
    """The reward's own memory, with its own named parts, and what stands beside it."""

    reward: Memory
    others: Components


def beside(reward: RewardLike, **others: RewardLike) -> Reward:
    """The value of `reward`; others are computed beside it, and only shown.

    Under `with_reward` each one is found in `info["reward/NAME"]` and logged as `episode/NAME`, for example an
    auxiliary reward of which an agent decides itself what to make.

    Params: `reward`, and each of the others by its name.

    Args:
        reward: What is paid, a scalar or `[K]`.
        **others: Scalar rewards by name.

    Raises:
        ValueError: If there are no others, or when traced, if one of them is a vector.
    """
    if not others:
        raise ValueError("beside needs others by name, for example beside(goal, auxiliary=speed); got none")
    parts = {_MAIN: as_reward(reward)} | {name: as_reward(other) for name, other in others.items()}

    def init(key: Key[Array, ""]) -> Params:
        keys = jax.random.split(key, len(parts))
        return {name: part.init(k) for (name, part), k in zip(parts.items(), keys, strict=True)}

    def reset(params: dict[str, Any]) -> BesideMemory:
        memories = {name: part.reset(params[name]) for name, part in parts.items()}
        return _memory({name: jnp.zeros((), float) for name in others}, memories)

    def step(params: dict[str, Any], memory: BesideMemory, transition: Transition) -> tuple[BesideMemory, Array]:
        before = _by_name(memory)
        steps = {name: part.step(params[name], before[name], transition) for name, part in parts.items()}
        values = {name: _scalar(name, steps[name][1]) for name in others}
        return _memory(values, {name: after for name, (after, _) in steps.items()}), steps[_MAIN][1]

    def persist(ended: BesideMemory, fresh: BesideMemory) -> BesideMemory:
        old, new = _by_name(ended), _by_name(fresh)
        return _memory(fresh.others.values, {name: part.persist(old[name], new[name]) for name, part in parts.items()})

    return Reward(init, reset, step, persist, _episode(parts))


def _memory(values: dict[str, Array], memories: dict[str, Memory]) -> BesideMemory:
    others = {name: memory for name, memory in memories.items() if name != _MAIN}
    return BesideMemory(memories[_MAIN], Components(values, others))


def _by_name(memory: BesideMemory) -> dict[str, Memory]:
    return {_MAIN: memory.reward, **memory.others.memories}


def _scalar(name: str, value: Float[Array, "..."]) -> Float[Array, ""]:
    if jnp.ndim(value):
        raise ValueError(f"what stands beside a reward is a scalar; {name!r} has shape {jnp.shape(value)}")
    return value


def _episode(parts: dict[str, Reward]) -> Any:
    """All steps of an episode at once, where each part can do that."""
    at_once = {name: part.episode for name, part in parts.items() if part.episode is not None}
    if len(at_once) < len(parts):
        return None

    def episode(params: dict[str, Any], transitions: Transition) -> tuple[Array, dict[str, Array]]:
        earned = {name: of_all(params[name], transitions) for name, of_all in at_once.items()}
        rewards, shown = earned.pop(_MAIN)
        for name, (values, inner) in earned.items():
            shown = shown | {name: values} | {f"{name}/{part}": value for part, value in inner.items()}
        return rewards, shown

    return episode


def auxiliary(scale: ArrayLike = 1.0) -> Reward:
    """The environment's own reward plus its auxiliary one: their naive sum, which may have other optimal policies.

    For environments that show an auxiliary reward in `info["reward/auxiliary"]`, see `beside`.

    Params: `scale` of the auxiliary reward.
    """

    def total(params: Params, transition: Transition) -> Float[Array, ""]:
        return transition.reward + params["scale"] * transition.info["reward/auxiliary"]

    return markov(total, {"scale": scale})


def proxy() -> Reward:
    """The proxy that an environment shows in `info["reward/proxy"]`, its own reward being the true one.

    Any other reward is a proxy of the environment's own in the same way: that stays in `info["env_reward"]`. Where
    the true reward is another one, `beside(proxy, true=...)` carries it.
    """

    def shown(transition: Transition) -> Array:
        if "reward/proxy" not in transition.info:
            raise ValueError("the environment shows no proxy of its reward, as those called hacking/... do")
        return transition.info["reward/proxy"]

    return markov(shown)
