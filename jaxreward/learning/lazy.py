"""An expensive, rarely needed update that stays a branch under `vmap`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jaxtyping import Array, Bool, PyTree

from jaxreward.agent import strong
from jaxreward.environment import select

Leaves: TypeAlias = list[Array]
Update: TypeAlias = Callable[[Leaves, Leaves], Leaves]
"""`(state, others) -> state`, all lists of arrays."""


def when(
    pred: Bool[Array, ""], update: Callable[..., PyTree], state: PyTree, *operands: PyTree, group: int | None = None
) -> PyTree:
    """`update(state, *operands)` where `pred`, the state as it is elsewhere.

    Equal to `jax.lax.cond(pred, update, lambda state, *_: state, state, *operands)`, which `vmap` turns into a select
    that runs `update` for every member, needed or not. This stays one scalar `cond`, on whether any member needs the
    update, with a select inside: under `jit`, `scan`, `vmap` and `vmap` of `vmap`, and under `shard_map`, where each
    device decides for its own members. If one member needs the update all compute it, so it pays where members need it
    together or hardly ever. Where they need it one at a time, `group` lets so many of those that do compute it at once,
    and then the next ones, and the others none.

    Its derivatives, forwards and backwards, are those of `jnp.where(pred, update(state, *operands), state)`:
    differentiated, it runs the update in any case.

    Args:
        pred: Whether the update is needed, a scalar.
        update: Returns a state of the same structure, shapes and types. It may use arrays from around it, but no
            collectives over an axis that is vmapped.
        state: A pytree of arrays, PRNG keys and integers among them.
        *operands: What else `update` is given.
        group: How many members of a batch compute it at once, of those that need it; all of the batch by default.

    Raises:
        TypeError: `update` returns a state of another structure, shape or type.
    """
    state = strong(state)
    leaves, structure = jax.tree.flatten(state)
    closed, returned = jax.make_jaxpr(update, return_shape=True)(state, *operands)
    _check_same(state, returned)

    # What `update` uses from around it becomes an argument, or `custom_vmap` could not batch it.
    def flat_update(state: Leaves, others: Leaves) -> Leaves:
        captured, given = others[: len(closed.consts)], others[len(closed.consts) :]
        return jaxpr_as_fun(ClosedJaxpr(closed.jaxpr, captured))(*state, *given)

    def where(pred: Array, state: Leaves, others: Leaves) -> Leaves:
        return select(pred, flat_update(state, others), state)

    lazy = jax.custom_jvp(_lazy(flat_update, group))  # there is no reverse mode through `custom_vmap`
    lazy.defjvp(lambda primals, tangents: jax.jvp(where, primals, tangents))
    others = [jnp.asarray(x) for x in (*closed.consts, *jax.tree.leaves(operands))]
    return jax.tree.unflatten(structure, lazy(jnp.asarray(pred, bool), leaves, others))


def _lazy(update: Update, group: int | None = None) -> Callable[[Array, Leaves, Leaves], Leaves]:
    """`when` for an update that uses nothing but its arguments."""
    call = custom_vmap(lambda pred, state, others: jax.lax.cond(pred, update, lambda x, _: x, state, others))

    @call.def_vmap
    def batched(size: int, is_batched: tuple, pred: Array, state: Leaves, others: Leaves) -> tuple[Leaves, list[bool]]:
        pred_is, state_is, others_are = is_batched
        state = [x if is_ else jnp.broadcast_to(x, (size, *x.shape)) for x, is_ in zip(state, state_is, strict=True)]
        update_all = jax.vmap(update, (0, [0 if is_ else None for is_ in others_are]), axis_size=size)
        every = [True] * len(state)
        # Lazy once more, for the next `vmap`.
        if not pred_is:
            return _lazy(update_all, group)(pred, state, others), every
        if group is not None and group < size:
            return _lazy(_in_groups(update, group, others_are), group)(pred.any(), state, [pred, *others]), every
        return _lazy(_where_needed(update_all), group)(pred.any(), state, [pred, *others]), every

    return lambda *arguments: call(*arguments)


def _where_needed(update_all: Update) -> Update:
    """An update of all members that leaves those as they are that don't need it."""

    def update(state: Leaves, others: Leaves) -> Leaves:
        needs, *others = others
        return select(needs, update_all(state, others), state)

    return update


def _in_groups(update: Update, group: int, others_are: list[bool]) -> Update:
    """An update of those members that need it, so many at a time."""
    update_group = jax.vmap(update, (0, [0 if is_ else None for is_ in others_are]))

    def update_next(carry: tuple[Leaves, Array], others: Leaves) -> tuple[Leaves, Array]:
        state, needs = carry
        # Where fewer are left than a group has, the rest is beyond the batch: read from its last member, never written.
        members = jnp.nonzero(needs, size=group, fill_value=needs.shape[0])[0]
        own = [x.at[members].get(mode="clip") if is_ else x for x, is_ in zip(others, others_are, strict=True)]
        changed = update_group([x.at[members].get(mode="clip") for x in state], own)
        state = [x.at[members].set(new, mode="drop") for x, new in zip(state, changed, strict=True)]
        return state, needs.at[members].set(False, mode="drop")

    def update_all(state: Leaves, others: Leaves) -> Leaves:
        needs, *others = others
        some_left = lambda carry: carry[1].any()  # noqa: E731
        return jax.lax.while_loop(some_left, lambda carry: update_next(carry, others), (state, needs))[0]

    return update_all


def _check_same(state: PyTree, returned: PyTree) -> None:
    expected, given = (str(jax.tree.structure(tree)) for tree in (state, returned))
    if given != expected:
        raise TypeError(f"the update must return what it is given, {expected}, not {given}")
    before, after = jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(returned)
    for (path, old), new in zip(before, after, strict=True):
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            name, was, is_ = jax.tree_util.keystr(path), old.dtype, new.dtype
            raise TypeError(
                f"the update must keep shapes and types: state{name} was {was}{list(old.shape)} and became "
                f"{is_}{list(new.shape)}"
            )
