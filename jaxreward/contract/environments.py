"""What is asked of environments and rewards, looked at once before anything compiles."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.contract.games import sample_action
from jaxreward.contract.indices import check_indices
from jaxreward.contract.wrappers import select
from jaxreward.lookup import is_users

EPISODES, STEPS = 8, 16
"""How many episodes are played to see what indices that depend on data come to, and their first steps."""


class Step(NamedTuple):
    """An environment's first step.

    Attributes:
        start: The observation and the state of the start.
        after: Those after the step.
        reward: What it paid.
        info: What it said beside.
    """

    start: tuple[PyTree, PyTree]
    after: tuple[PyTree, PyTree]
    reward: Array
    info: dict[str, Any]


class Moves(NamedTuple):
    """Steps about to be made, leaves `[N, ...]`."""

    key: Key[Array, " N"]
    state: PyTree
    action: PyTree


def abstract_step(env: Environment, params: PyTree) -> Step:
    """Shapes and types of an environment's first step, found without computing anything.

    Raises:
        ValueError: It lacks a function that training calls.
    """
    for name in ("reset_env", "step_env", "action_space"):
        if getattr(type(env), name, None) is getattr(Environment, name):
            raise ValueError(f"{type(env).__name__} does not define `{name}`, which training calls")

    def first(key: Key[Array, ""]) -> Step:
        start = env.reset_env(key, params)
        observation, state, reward, _, info = env.step_env(key, start[1], sample_action(env, params, key), params)
        _check_truncated(env, state, params)
        return Step(start, (observation, state), as_number(reward, env.name), info)

    return jax.eval_shape(first, jax.random.key(0))


def _check_truncated(env: Environment, state: PyTree, params: PyTree) -> None:
    try:
        env.is_truncated(state, params)
    except AttributeError as error:
        if type(env).is_truncated is not Environment.is_truncated:
            raise
        raise ValueError(
            f"{type(env).__name__} does not define `is_truncated`, and gymnax's own reads `state.time` and "
            f"`params.max_steps_in_episode`: {error}"
        ) from error


def check_environment(env: Environment, params: PyTree) -> Step:
    """Refuses an environment that can't be stepped over and over, or reads beyond an array; returns its first step.

    Raises:
        ValueError: A leaf of its observation or state is another thing after a step than before, or an index of the
            user's own environment is beyond its array.
    """
    step = abstract_step(env, params)
    for name, before, after in zip(("the observation", "the state"), step.start, step.after, strict=True):
        check_same(env.name, name, before, after)
    if any(is_users(getattr(sys.modules.get(kind.__module__), "__file__", None) or "<") for kind in _kinds(env)):
        _check_steps_once(env, params, step)
    return step


_CHECKED: weakref.WeakKeyDictionary[Environment, list[Any]] = weakref.WeakKeyDictionary()
"""Environments of the user's whose steps were looked at, and with which params: every factory asks again."""


def _check_steps_once(env: Environment, params: PyTree, step: Step) -> None:
    """Looks at an environment of the user's, which takes seconds to compile, unless it has with the same numbers."""
    numbers = _numbers(params) if type(env).__hash__ is not None else None
    if numbers is not None and numbers in _CHECKED.get(env, []):
        return
    _check_steps(env, params, step)
    if numbers is not None:
        _CHECKED.setdefault(env, []).append(numbers)


def _numbers(params: PyTree) -> tuple | None:
    """What tells params apart; nothing where they aren't all numbers that are known."""
    leaves, form = jax.tree.flatten(params)
    if not all(isinstance(leaf, jax.Array | np.ndarray | float | int) for leaf in leaves):
        return None
    if any(
        isinstance(leaf, jax.core.Tracer) or jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.extended)
        for leaf in leaves
    ):
        return None
    arrays = [np.asarray(leaf, jnp.result_type(leaf)) for leaf in leaves]
    return form, [(array.shape, str(array.dtype), array.tobytes()) for array in arrays]


def as_number(value: Any, name: str = "the reward") -> Float[Array, "..."]:
    """What a reward function returned, as floating-point numbers.

    Raises:
        ValueError: It is none: nothing, text, several values in a tuple, a complex number.
    """
    dtype = getattr(value, "dtype", type(value))
    real = dtype in (bool, int, float) or any(
        jnp.issubdtype(dtype, kind) for kind in (jnp.bool_, jnp.integer, jnp.floating)
    )
    if real:
        return jnp.asarray(value, float)
    complex_number = isinstance(value, complex) or jnp.issubdtype(dtype, jnp.complexfloating)
    what = "a complex number" if complex_number else f"a {type(value).__name__}"
    hint = " (is a `return` missing?)" if value is None else ""
    several = "; several objectives are jnp.stack([...])" if isinstance(value, tuple | list | dict) else ""
    raise ValueError(f"{name} returned {what}; expected a scalar, or an array [K]{hint}{several}")


def sample_moves(env: Environment, params: PyTree) -> Moves:
    """The first moves of some episodes with random actions; those after an episode's end repeat its last."""

    def episode(key: Key[Array, ""]) -> Moves:
        def step(now: tuple, key: Key[Array, ""]) -> tuple[tuple, Moves]:
            state, over = now
            key_action, key_step = jax.random.split(key)
            action = sample_action(env, params, key_action)
            _, following, _, terminated, _ = env.step_env(key_step, state, action, params)
            over_now = over | terminated | env.is_truncated(following, params)
            return (select(over_now, state, following), over_now), Moves(key_step, state, action)

        key_start, key_steps = jax.random.split(key)
        start = env.reset_env(key_start, params)[1], jnp.zeros((), bool)
        return jax.lax.scan(step, start, jax.random.split(key_steps, STEPS))[1]

    moves = jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), EPISODES))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), moves)


def _check_steps(env: Environment, params: PyTree, step: Step) -> None:
    """Looks at the indices of an environment of the user's."""

    def both(move: Moves) -> tuple[PyTree, PyTree]:
        stepped = env.step_env(move.key, move.state, move.action, params)
        return env.reset_env(move.key, params), (stepped, env.is_truncated(stepped[1], params))

    key = jax.eval_shape(lambda: jax.random.key(0))
    action = jax.eval_shape(lambda key: sample_action(env, params, key), key)
    check_indices(both, (Moves(key, step.start[1], action),), lambda: (sample_moves(env, params),))


def check_same(
    owner: str, name: str, before: PyTree, after: PyTree, functions: tuple[str, str] = ("reset_env", "step_env")
) -> None:
    """Refuses what a loop over steps could not carry, and names the leaf.

    Args:
        owner: Whose it is.
        name: What it is.
        before: What it begins as, abstract or not.
        after: What it is after a step.
        functions: Which functions gave them.
    """
    first, then = functions
    built: list[Any] = [jax.tree.structure(tree) for tree in (before, after)]
    if built[0] != built[1]:
        raise ValueError(
            f"{owner}: {name} is not built alike after {first} and after {then}: {built[0]} and {built[1]}"
        )
    mixed: Callable[..., Any] = lambda x, y: jnp.where(jnp.zeros((), bool), x, y)  # noqa: E731
    pairs = zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True)
    for (path, x), y in pairs:
        if jnp.shape(x) == jnp.shape(y) and jax.eval_shape(mixed, x, y).dtype == jnp.result_type(x):
            continue
        raise ValueError(
            f"{owner}: {name}{jax.tree_util.keystr(path)} is {_described(x)} after {first} and {_described(y)} after "
            f"{then}; a loop over steps needs the same of both"
        )


def _described(leaf: Any) -> str:
    return f"{jnp.result_type(leaf)}{list(jnp.shape(leaf)) if jnp.ndim(leaf) else ''}"


def _kinds(env: Any) -> list[type]:
    """The classes of an environment and of those inside it."""
    held = [value for value in getattr(env, "__dict__", {}).values() if isinstance(value, Environment)]
    return [type(env), *(kind for value in held for kind in _kinds(value))]
