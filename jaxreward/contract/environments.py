"""What is asked of environments and rewards, looked at once before anything compiles."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Key, PyTree

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
    """Shapes and types of an environment's first step, found without computing anything."""

    def first(key: Key[Array, ""]) -> Step:
        start = env.reset_env(key, params)
        observation, state, reward, _, info = env.step_env(key, start[1], env.action_space(params).sample(key), params)
        return Step(start, (observation, state), jnp.asarray(reward), info)

    return jax.eval_shape(first, jax.random.key(0))


def check_environment(env: Environment, params: PyTree) -> Step:
    """Refuses an environment that can't be stepped over and over, or reads beyond an array; returns its first step.

    Raises:
        ValueError: A leaf of its observation or state is another thing after a step than before, or an index of the
            user's own environment is beyond its array.
    """
    step = abstract_step(env, params)
    for name, before, after in zip(("observation", "state"), step.start, step.after, strict=True):
        _check_same(env, name, before, after)
    if any(is_users(getattr(sys.modules.get(kind.__module__), "__file__", None) or "<") for kind in _kinds(env)):
        _check_steps(env, params, step)
    return step


def sample_moves(env: Environment, params: PyTree) -> Moves:
    """The first moves of some episodes with random actions; those after an episode's end repeat its last."""

    def episode(key: Key[Array, ""]) -> Moves:
        def step(now: tuple, key: Key[Array, ""]) -> tuple[tuple, Moves]:
            state, over = now
            key_action, key_step = jax.random.split(key)
            action = env.action_space(params).sample(key_action)
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
    action = jax.eval_shape(env.action_space(params).sample, key)
    check_indices(both, (Moves(key, step.start[1], action),), lambda: (sample_moves(env, params),))


def _check_same(env: Environment, name: str, before: PyTree, after: PyTree) -> None:
    """Refuses what a loop over steps could not carry."""
    mixed: Callable[..., Any] = lambda x, y: jnp.where(jnp.zeros((), bool), x, y)  # noqa: E731
    if jax.tree.structure(before) != jax.tree.structure(after):
        raise ValueError(
            f"{env.name}: the {name} is not built alike after reset_env and after step_env: "
            f"{jax.tree.structure(before)} and {jax.tree.structure(after)}"
        )
    pairs = zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True)
    for (path, x), y in pairs:
        if x.shape == y.shape and (x.dtype == y.dtype or jax.eval_shape(mixed, x, y).dtype == x.dtype):
            continue
        leaf = "".join((name, jax.tree_util.keystr(path)))
        raise ValueError(
            f"{env.name}: {leaf} is {_described(x)} after reset_env and {_described(y)} after step_env; both must be "
            f"the same, such as jnp.asarray(..., {y.dtype}) in reset_env"
        )


def _described(leaf: jax.ShapeDtypeStruct) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}" if leaf.shape else str(leaf.dtype)


def _kinds(env: Any) -> list[type]:
    """The classes of an environment and of those inside it."""
    held = [value for value in getattr(env, "__dict__", {}).values() if isinstance(value, Environment)]
    return [type(env), *(kind for value in held for kind in _kinds(value))]
