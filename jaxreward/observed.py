"""What of a reward's memory the policy sees.

A reward that remembers is no function of what is observed: where the same observation is worth one thing at first and
another later, a policy without a memory of its own can't act on it. `Observed` around a part of the memory shows that
part beside the environment's observation; `jaxreward.environment.with_reward` does the rest.
"""

from __future__ import annotations

from typing import Any, NoReturn

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from jaxtyping import Array, Float, Int, PyTree

from jaxreward.reward import Memory


@struct.dataclass
class Observed:
    """A part of a memory that the policy sees, which starts anew with each episode.

    Attributes:
        value: A number or an array of them.
        size: If positive, values are whole numbers from 0 to below it, and shown one-hot; else as they are.
    """

    value: Int[Array, "..."] | Float[Array, "..."]
    size: int = struct.field(pytree_node=False, default=0)


def is_observed(node: Any) -> bool:
    """Whether something within a memory is `Observed`."""
    return isinstance(node, Observed)


def observed(memory: Memory) -> list[Observed]:
    """The parts of a memory that the policy sees."""
    return [node for node in jax.tree.leaves(memory, is_leaf=is_observed) if is_observed(node)]


def anew(memory: Memory, fresh: Memory) -> Memory:
    """A memory in which all that the policy sees is as in a fresh one."""
    pick = lambda node, first: first if is_observed(node) else node  # noqa: E731
    return jax.tree.map(pick, memory, fresh, is_leaf=is_observed)


def shown(observation: PyTree, memory: Memory, agents: int | None = None) -> PyTree:
    """An observation with what is seen of the memory.

    The number of a state becomes that of the pair, `number * size + value`; to any other array the values are appended
    along its last axis, the same everywhere: numbers at the end of a vector, planes of an image. All agents of a game
    see them.

    Args:
        observation: The environment's.
        memory: The reward's.
        agents: How many act, if it is a game.

    Raises:
        ValueError: The observation is not one array, or is a number and what is remembered is none.
    """
    parts = observed(memory)
    if not parts:
        return observation
    array = _one_array(observation)
    if _is_number(array, agents):
        sizes, number = _sizes(parts), array.astype(jnp.int32)  # a small type may not hold the pair's
        for value, size in zip(_values(parts), sizes, strict=True):
            number = number * size + value.astype(jnp.int32)
        return number
    array = array[:, None] if agents is not None and array.ndim == 1 else jnp.atleast_1d(array)
    kind = _kind(array.dtype, parts)
    beside = _features(parts).astype(kind)
    return jnp.concatenate([array.astype(kind), jnp.broadcast_to(beside, (*array.shape[:-1], *beside.shape))], -1)


def shown_space(space: Any, memory: Memory) -> Any:
    """The space of what `shown` gives, of one agent.

    Args:
        space: The environment's observation space.
        memory: The reward's memory, or its shapes.

    Raises:
        ValueError: It is neither `Discrete` nor a `Box`.
    """
    parts = observed(memory)
    if not parts:
        return space
    if isinstance(space, spaces.Discrete):
        number = space.n
        for size in _sizes(parts):
            number *= size
        return spaces.Discrete(number)
    if not isinstance(space, spaces.Box):
        _refuse(f"space is a {type(space).__name__}")
    shape = space.shape or (1,)
    ends = [(0.0, 1.0) if part.size else (-jnp.inf, jnp.inf) for part in parts]
    width = [part.value.size * (part.size or 1) for part in parts]
    low, high = (
        jnp.concatenate(
            [jnp.broadcast_to(bound, shape), *(_filled(end[i], shape, w) for end, w in zip(ends, width, strict=True))],
            -1,
        )
        for i, bound in enumerate((space.low, space.high))
    )
    return spaces.Box(low, high, (*shape[:-1], shape[-1] + sum(width)), _kind(space.dtype, parts))


def _kind(dtype: Any, parts: list[Observed]) -> Any:
    """The type that holds an observation and what is shown beside it: pixels beside numbers become numbers."""
    return dtype if all(part.size for part in parts) else jnp.result_type(dtype, *(part.value.dtype for part in parts))


def _filled(value: float, shape: tuple[int, ...], width: int) -> Float[Array, "..."]:
    return jnp.full((*shape[:-1], width), value)


def _one_array(observation: PyTree) -> Array:
    if not hasattr(observation, "dtype"):
        _refuse(f"observation is a {type(observation).__name__}")
    return observation


def _is_number(array: Array, agents: int | None) -> bool:
    return jnp.issubdtype(array.dtype, jnp.integer) and array.ndim == (0 if agents is None else 1)


def _values(parts: list[Observed]) -> list[Array]:
    return [value for part in parts for value in part.value.reshape(-1)]


def _sizes(parts: list[Observed]) -> list[int]:
    if not all(part.size for part in parts):
        raise ValueError(
            "the environment shows the number of its state, and the reward would show numbers that are not counted; "
            "expected `Observed(value, size)` with the number of values, or an environment that shows a vector"
        )
    return [part.size for part in parts for _ in range(part.value.size)]


def _features(parts: list[Observed]) -> Float[Array, " F"]:
    of = lambda part: jax.nn.one_hot(part.value, part.size) if part.size else part.value.astype(float)  # noqa: E731
    return jnp.concatenate([of(part).reshape(-1) for part in parts])


def _refuse(what: str) -> NoReturn:
    raise ValueError(
        f"a reward shows the policy what it remembers, and the environment's {what}; expected one array, or a reward "
        "with observed=False and a policy with a memory of its own"
    )
