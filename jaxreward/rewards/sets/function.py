"""Set functions by their marginal gains, and the reward that pays an episode what it visited.

A `SetFunction` is `F: 2^V -> R` with `F({}) = 0`, as pure functions of explicit params. `marginal_gains` pays at each
step what the place just reached adds to what the episode visited before, so that returns are `F` of all of it: the
objective of submodular reinforcement learning (Prajapat et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key, PyTree

from jaxreward.learning.lazy import when
from jaxreward.reward import Components, Memory, Params, Reward, Transition, as_init, markov

Item: TypeAlias = PyTree
"""An element of the ground set: a number, a position, or any small pytree of arrays."""


class SetFunction(NamedTuple):
    """`F` as pure functions of explicit params and of a memory that stands for a set.

    Attributes:
        init: `(key) -> params`, the numbers that may be learned, searched or differentiated; `()` if there are none.
        empty: `(params) -> memory` of the empty set.
        add: `(params, memory, item) -> (memory, gain)`, where `gain` is `F(A + item) - F(A)`, a scalar.
        single: `(params, item) -> F({item})`.
        sequence: `(params, items [T, ...]) -> gains [T]` of adding the items one after another to the empty set.
    """

    init: Callable[[Key[Array, ""]], Params]
    empty: Callable[[Params], Memory]
    add: Callable[[Params, Memory, Item], tuple[Memory, Float[Array, ""]]]
    single: Callable[[Params, Item], Float[Array, ""]]
    sequence: Callable[[Params, Item], Float[Array, " T"]]


def set_function(
    init: Any,
    empty: Callable[[Params], Memory],
    add: Callable[[Params, Memory, Item], tuple[Memory, Float[Array, ""]]],
    single: Callable[[Params, Item], Float[Array, ""]] | None = None,
    sequence: Callable[[Params, Item], Float[Array, " T"]] | None = None,
) -> SetFunction:
    """A `SetFunction` from the gain of one more item.

    Args:
        init: The params, or a function `(key) -> params` that draws them.
        empty: `(params) -> memory` of the empty set, of the structure, shapes and types that `add` returns.
        add: `(params, memory, item) -> (memory, gain)`.
        single: What one item alone is worth, where that is cheaper than to add it to the empty set.
        sequence: All gains of a sequence, where that is faster than to add its items one by one.
    """

    def add_to_empty(params: Params, item: Item) -> Float[Array, ""]:
        return add(params, empty(params), item)[1]

    def scan(params: Params, items: Item) -> Float[Array, " T"]:
        return jax.lax.scan(lambda memory, item: add(params, memory, item), empty(params), items)[1]

    return SetFunction(as_init(init), empty, add, single or add_to_empty, sequence or scan)


def marginal_gains(function: SetFunction, place: Callable[[PyTree], Item]) -> Reward:
    """What each step's place adds to the set of places the episode visited before.

    The place an episode starts from is part of its first reward, so the return of an episode is `F` of all places it
    visited. What the same places are worth one by one, `F({place})`, is logged beside as `modular`: the reward of a
    learner that knows nothing of diminishing returns (ModPO).

    Params: those of `function`.

    Args:
        function: `F`.
        place: What a state adds to the set, `place(transition.next_state)`.
    """

    def reset(params: Params) -> Memory:
        memories = {"visited": function.empty(params), "started": jnp.zeros((), bool)}
        return Components({"modular": jnp.zeros(())}, memories)

    def step(params: Params, memory: Memory, transition: Transition) -> tuple[Memory, Float[Array, ""]]:
        visited, started = memory.memories["visited"], memory.memories["started"]

        def visit(now: tuple, item: Item) -> tuple:
            visited, gain, modular = now
            visited, more = function.add(params, visited, item)
            return visited, gain + more, modular + function.single(params, item)

        now = (visited, jnp.zeros(()), jnp.zeros(()))
        now = when(~started, visit, now, place(transition.state))  # environments mostly start together
        visited, gain, modular = visit(now, place(transition.next_state))
        memories = {"visited": visited, "started": jnp.ones((), bool)}
        return Components({"modular": modular}, memories), gain

    def episode(params: Params, transitions: Transition) -> tuple[Float[Array, " T"], dict[str, Float[Array, " T"]]]:
        start = place(jax.tree.map(lambda x: x[0], transitions.state))
        reached = jax.vmap(place)(transitions.next_state)
        items = jax.tree.map(lambda x, xs: jnp.concatenate([jnp.asarray(x)[None], xs]), start, reached)
        modular = jax.vmap(lambda item: function.single(params, item))(items)
        return _fold_start(function.sequence(params, items)), {"modular": _fold_start(modular)}

    return Reward(function.init, reset, step, episode=episode)


def _fold_start(values: Float[Array, " T+1"]) -> Float[Array, " T"]:
    """The value of the place an episode starts from, counted into that of the first step."""
    return values[1:].at[0].add(values[0])


def modular(share: ArrayLike = 1.0) -> Reward:
    """What ModPO maximises: the sum of what the visited places are worth one by one, `F({place})`.

    For environments whose reward is `marginal_gains`, or which put such a value into `info["reward/modular"]`.

    Params: `share` between the environment's own reward, 0, and the modular one, 1.
    """

    def mixed(params: Params, transition: Transition) -> Float[Array, ""]:
        alone = transition.info["reward/modular"]
        return (1 - params["share"]) * transition.reward + params["share"] * alone

    return markov(mixed, {"share": share})
