"""Set functions of a user's own, and sums and differences of set functions."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Key, PyTree

from jaxreward.reward import Memory, Params, as_init
from jaxreward.rewards.sets.function import Item, SetFunction, set_function


class Listed(NamedTuple):
    """A set as a list of its items, and what it is worth."""

    items: PyTree
    size: Int[Array, ""]
    value: Float[Array, ""]


def from_function(
    function: Callable[[Params, PyTree, Bool[Array, " capacity"]], Float[Array, ""]],
    capacity: int,
    item: PyTree,
    init: Any = (),
) -> SetFunction:
    """A set function from a function of a whole set, which is called for every gain.

    Items come in the order in which they are added, repeated ones again: what a repetition is worth is `function`'s to
    say. What is added to a full list gains nothing.

    Params: what `init` gives.

    Args:
        function: `(params, items [capacity, ...], mask [capacity]) -> F`; what is not masked in is to be ignored. The
            value of the empty set is taken off.
        capacity: The most items a set can have.
        item: An example of an item, for its shape and type.
        init: The params, or a function `(key) -> params` that draws them.

    Raises:
        ValueError: If there is room for no item.
    """
    if capacity < 1:
        raise ValueError(f"a set has room for at least one item; got capacity={capacity}")

    def empty(params: Params) -> Listed:
        items = jax.tree.map(lambda x: jnp.zeros((capacity, *jnp.shape(x)), jnp.asarray(x).dtype), item)
        value = function(params, items, jnp.zeros(capacity, bool))
        return Listed(items, jnp.zeros((), jnp.int32), jnp.asarray(value, float))

    def add(params: Params, listed: Listed, item: Item) -> tuple[Listed, Float[Array, ""]]:
        items = jax.tree.map(lambda xs, x: xs.at[listed.size].set(x, mode="drop"), listed.items, item)
        size = jnp.minimum(listed.size + 1, capacity)
        value = jnp.asarray(function(params, items, jnp.arange(capacity) < size), float)
        return Listed(items, size, value), value - listed.value

    return set_function(init, empty, add)


def mixture(**functions: SetFunction | tuple[SetFunction, ArrayLike]) -> SetFunction:
    """The weighted sum of named set functions of the same items: `mixture(area=(covered, 1.0), alike=(twins, -0.1))`.

    Neither sub- nor supermodular in general: the objectives of Global RL (De Santi et al. 2024).

    Params: `weights` and `functions`, dicts by name.

    Args:
        **functions: By name a set function and its weight, or a set function alone with weight 1.

    Raises:
        ValueError: If there are none, or one is something else.
    """
    if not functions:
        raise ValueError("a mixture needs at least one named set function; got none")
    pairs = {name: _with_weight(name, given) for name, given in functions.items()}
    parts = {name: part for name, (part, _) in pairs.items()}
    weights = as_init({name: weight for name, (_, weight) in pairs.items()})

    def init(key: Key[Array, ""]) -> Params:
        keys = dict(zip(parts, jax.random.split(key, len(parts)), strict=True))
        return {"weights": weights(key), "functions": {name: part.init(keys[name]) for name, part in parts.items()}}

    def total(params: Params, values: dict[str, Float[Array, "*T"]]) -> Float[Array, "*T"]:
        return functools.reduce(operator.add, [params["weights"][name] * values[name] for name in parts])

    def empty(params: Params) -> Memory:
        return {name: part.empty(params["functions"][name]) for name, part in parts.items()}

    def add(params: Params, memory: Memory, item: Item) -> tuple[Memory, Float[Array, ""]]:
        added = {name: part.add(params["functions"][name], memory[name], item) for name, part in parts.items()}
        return {name: m for name, (m, _) in added.items()}, total(params, {name: g for name, (_, g) in added.items()})

    def single(params: Params, item: Item) -> Float[Array, ""]:
        return total(params, {name: part.single(params["functions"][name], item) for name, part in parts.items()})

    def sequence(params: Params, items: Item) -> Float[Array, " T"]:
        return total(params, {name: part.sequence(params["functions"][name], items) for name, part in parts.items()})

    return set_function(init, empty, add, single, sequence)


def _with_weight(name: str, given: Any) -> tuple[SetFunction, ArrayLike]:
    pair = (given, 1.0) if isinstance(given, SetFunction) else given
    if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], SetFunction):
        raise ValueError(f"{name} is a set function or a pair (set function, weight); got {type(given).__name__}")
    return pair
