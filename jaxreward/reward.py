"""The reward function as a value: three pure functions, composed like optax transformations.

A `Reward` sees one `Transition` at a time. What it may learn or be searched over is its *params*, what it remembers
within an episode is its *memory*. `jaxreward.environment.with_reward` gives an environment a new reward; no agent
knows that it was.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxreward.contract.environments import as_number

Params: TypeAlias = PyTree
Memory: TypeAlias = PyTree

ENVIRONMENTS = "environments"
"""Name of the vmapped axis over an agent's environments, for rewards that share statistics between them."""


class Transition(NamedTuple):
    """One environment step, everything a reward may look at.

    Attributes:
        observation: What the agent saw, `[...]`.
        action: What it did, `[...]`.
        reward: The environment's own reward, scalar.
        next_observation: What followed, before any auto-reset, `[...]`.
        terminated: The episode ended in a state of no further reward; nothing is bootstrapped from it.
        truncated: The episode was cut, by a time limit; its value goes on.
        state: The environment's state before the step, for privileged rewards.
        next_state: The environment's state after it, before any auto-reset.
        info: The environment's info.
        valid: Whether the step belongs to an episode; `()` where all do. One behind an episode's end means nothing.
    """

    observation: PyTree
    action: PyTree
    reward: Float[Array, ""]
    next_observation: PyTree
    terminated: Bool[Array, ""]
    truncated: Bool[Array, ""]
    state: PyTree = ()
    next_state: PyTree = ()
    info: PyTree = ()
    valid: Bool[Array, ""] | tuple[()] = ()


def forget(ended: Memory, fresh: Memory) -> Memory:
    """Keeps nothing of an ended episode: what `Reward.persist` is by default."""
    del ended
    return fresh


class Reward(NamedTuple):
    """A reward function as pure functions of explicit params and memory.

    Attributes:
        init: `(key) -> params`, the numbers that may be learned, searched or meta-learned; `()` if there are none.
        reset: `(params) -> memory` at the start of an episode; `()` when Markov.
        step: `(params, memory, Transition) -> (memory, reward)`, the reward a scalar or `[K]` for several objectives.
        persist: `(ended, fresh) -> memory`, what of an ended episode's memory outlives it (running statistics, counts).
            `fresh` is what `reset` gave; the default keeps nothing else.
        episode: `(params, transitions) -> (rewards, parts)`, what all steps of an episode earn, leaves `[T, ...]`,
            where that is faster at once than one by one; parts are what `components` finds at each step. None
            otherwise, and for rewards of which anything outlives an episode.
    """

    init: Callable[[Key[Array, ""]], Params]
    reset: Callable[[Params], Memory]
    step: Callable[[Params, Memory, Transition], tuple[Memory, Float[Array, "..."]]]
    persist: Callable[[Memory, Memory], Memory] = forget
    episode: Callable[[Params, Transition], tuple[Float[Array, "T ..."], dict[str, Float[Array, " T"]]]] | None = None


def markov(fn: Callable[..., Float[Array, "..."]], init: Any = ()) -> Reward:
    """Lifts a function of a single transition to a `Reward`.

    Args:
        fn: `fn(transition)` or, when the reward has params, `fn(params, transition)`; returns a scalar or `[K]`.
        init: The params, or a function `(key) -> params` that draws them.

    Raises:
        TypeError: If `fn` is no function, or takes neither one nor two positional arguments.
    """
    if not callable(fn):
        raise TypeError(f"a Markov reward is a function, fn(transition) or fn(params, transition), not {fn!r}")
    arity = _positional_arity(fn)
    if arity not in (1, 2):
        raise TypeError(
            f"a Markov reward is fn(transition) or fn(params, transition); "
            f"{getattr(fn, '__name__', fn)!s} takes {arity} positional arguments"
        )
    call = fn if arity == 2 else lambda _, transition: fn(transition)

    def step(params: Params, memory: Memory, transition: Transition) -> tuple[Memory, Array]:
        return memory, _number(fn, call(params, transition))

    def episode(params: Params, transitions: Transition) -> tuple[Float[Array, "T ..."], dict[str, Array]]:
        return jax.vmap(lambda transition: _number(fn, call(params, transition)))(transitions), {}

    return Reward(as_init(init), lambda _: (), step, episode=episode)


def episode_rewards(
    reward: Reward, params: Params, memory: Memory, transitions: Transition, valid: Bool[Array, " T"]
) -> tuple[Memory, Float[Array, "T ..."], dict[str, Float[Array, " T"]]]:
    """What the steps of one episode earn.

    Args:
        reward: The reward.
        params: Its params.
        memory: Its memory where the episode starts.
        transitions: The episode, leaves `[T, ...]`.
        valid: Which steps belong to it: all up to its end.

    Returns:
        The memory where the episode ended, the reward of each step, and the value of each named part at each step, see
        `components`. What is said of steps that don't belong to the episode means nothing.
    """
    if reward.episode is not None:
        return memory, *reward.episode(params, transitions)

    def step(memory: Memory, x: tuple) -> tuple[Memory, tuple[Array, dict[str, Array]]]:
        transition, valid = x
        now, value = reward.step(params, memory, transition._replace(valid=valid))
        now = _advanced(valid, now, memory)
        return now, (value, components(now))

    memory, (rewards, parts) = jax.lax.scan(step, memory, (transitions, valid))
    return memory, rewards, parts


def _advanced(valid: Bool[Array, ""], now: Memory, before: Memory) -> Memory:
    """What a memory becomes by a step: nothing else if the episode had ended, but that what is shared goes on."""
    keep = lambda new, old: new if is_shared(new) else jnp.where(valid, new, old)  # noqa: E731
    return jax.tree.map(keep, now, before, is_leaf=is_shared)


def _number(fn: Callable, value: Any) -> Float[Array, "..."]:
    return as_number(value, getattr(fn, "__name__", "the reward"))


def environment_reward() -> Reward:
    """The environment's own reward, to be combined with others."""
    return markov(lambda transition: transition.reward)


def as_init(init: Any) -> Callable[[Key[Array, ""]], Params]:
    """A function that draws params, from itself or from the params themselves, whose numbers become float arrays."""
    if callable(init):
        return init
    return lambda _: jax.tree.map(lambda leaf: jnp.asarray(leaf, float), init)


def _positional_arity(fn: Callable) -> int:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in inspect.signature(fn).parameters.values() if p.kind in kinds and p.default is p.empty]
    return len(required)


class AgentDiscount(NamedTuple):
    """A discount among a reward's params that follows the agent's (potential shaping, return-based normalisation).

    Agents call `bind_discount` on their environment params, so the two cannot drift apart, even vmapped over discounts.
    """

    value: Float[Array, ""]


def bind_discount(params: PyTree, discount: Float[Array, ""] | float) -> PyTree:
    """Sets every `AgentDiscount` within `params` to `discount`."""

    def bind(node: Any) -> Any:
        if not isinstance(node, AgentDiscount):
            return node
        return AgentDiscount(jnp.broadcast_to(discount, jnp.shape(node.value)))

    return jax.tree.map(bind, params, is_leaf=lambda node: isinstance(node, AgentDiscount))


class Components(NamedTuple):
    """Memory of a reward with named parts: its parts' memories and the last value of each, which get logged."""

    values: dict[str, Float[Array, ""]]
    memories: dict[str, Memory]


def components(memory: Memory) -> dict[str, Float[Array, ""]]:
    """The last value of each named part anywhere within `memory`.

    A part of a part is `outer/inner`; parts of the same name side by side are added up.
    """
    found: dict[str, Array] = {}
    for node in jax.tree.leaves(memory, is_leaf=lambda n: isinstance(n, Components)):
        for name, value in _parts(node).items() if isinstance(node, Components) else ():
            found[name] = found[name] + value if name in found else value
    return found


def _parts(node: Components) -> dict[str, Float[Array, ""]]:
    inner = {name: components(memory) for name, memory in node.memories.items()}
    return node.values | {f"{name}/{part}": value for name, parts in inner.items() for part, value in parts.items()}


class _Nameless:
    """A step of a pytree's path that `path_name` leaves out."""

    def __str__(self) -> str:
        return ""


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True)
class Shared:
    """What of a memory is the same in all environments that an agent steps together, such as counts of all visits.

    It changes with each step of any of them, also where the own episode has ended. A reward makes its new value of
    `of_all_environments`, by which all of them come to the same.
    """

    value: PyTree

    def tree_flatten_with_keys(self) -> tuple[tuple[tuple[_Nameless, PyTree]], None]:
        """For jax. What is shared has the path of what is not, so that checkpoints from before there was this fit."""
        return ((_Nameless(), self.value),), None

    @classmethod
    def tree_unflatten(cls, _: None, children: Iterable[PyTree]) -> Self:
        """For jax."""
        return cls(*children)


def is_shared(node: Any) -> bool:
    """Whether something within a memory is `Shared`."""
    return isinstance(node, Shared)


def of_all_environments(x: PyTree, transition: Transition) -> tuple[PyTree, Bool[Array, " N"]]:
    """What all environments that an agent steps together bring to what they share.

    Args:
        x: What this one brings, leaves `[...]`.
        transition: This one's step.

    Returns:
        What each brings, leaves `[N, ...]`, and whose step belongs to an episode: what the others bring means nothing,
        and may be NaN. `N` is 1 for an environment that is stepped alone.
    """
    brought = x, jnp.asarray(True if isinstance(transition.valid, tuple) else transition.valid)
    try:
        return jax.lax.all_gather(brought, ENVIRONMENTS)
    except NameError:  # the axis is not bound: one environment, stepped alone
        return jax.tree.map(lambda leaf: leaf[None], brought)


def outlives(reward: Reward, memory: Memory) -> bool:
    """Whether anything of an episode's memory is in that of the next.

    Args:
        reward: The reward.
        memory: What it remembers, or its shapes.
    """
    jaxpr = jax.make_jaxpr(reward.persist)(memory, memory).jaxpr
    ended = jaxpr.invars[: len(jax.tree.leaves(memory))]
    read = [*jaxpr.outvars, *(x for equation in jaxpr.eqns for x in equation.invars)]
    return any(x is last for x in read for last in ended)
