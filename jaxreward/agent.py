"""The contract every algorithm meets, and the transformations that turn one agent into many.

An `Agent` is three pure functions. Seeds, populations and devices are obtained by transforming it: `vmap(agent)` is an
agent over a batch of keys, `vmap(vmap(agent), population=True)` one over populations of seeds, `shard(agent, mesh)`
one spread over devices. The axes of a batched state are `[population, seed, ...]`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun
from jax.sharding import AxisType, Mesh, PartitionSpec
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.reward import Reward

State: TypeAlias = PyTree
Hyperparams: TypeAlias = PyTree
Carry: TypeAlias = PyTree

SUMMED = ("env_steps", "episode/count")
"""The metrics of an agent that are counts; all others are means."""


class Policy(NamedTuple):
    """How to act with what an agent has learned.

    Attributes:
        reset: `() -> carry`, the memory at the start of an episode; `()` for a memoryless policy.
        act: `(carry, observation, key) -> (carry, action)` for one observation `[...]`.
        mode: As `act` without noise: the most likely action, for evaluation; the key is unused.
    """

    reset: Callable[[], Carry]
    act: Callable[[Carry, PyTree, Key[Array, ""]], tuple[Carry, PyTree]]
    mode: Callable[[Carry, PyTree, Key[Array, ""]], tuple[Carry, PyTree]]


class Agent(NamedTuple):
    """A learning algorithm bound to its environment.

    Attributes:
        init: `(key, hyperparams) -> state`; the state carries its hyperparams, its key and its counters.
        step: `(state) -> (state, metrics)`, one iteration, pure and jit-able; metrics is a flat dict of scalars.
            `env_steps` is how many environment steps the iteration took, `episode/count` how many episodes ended in
            it, any other `episode/*` a mean over those episodes (NaN when there were none).
        policy: `(state) -> Policy`.
        reward: `(state) -> Reward`, the reward that it takes demonstrators to have been after; None of an agent that
            infers none.
    """

    init: Callable[[Key[Array, ""], Hyperparams], State]
    step: Callable[[State], tuple[State, dict[str, Float[Array, ""]]]]
    policy: Callable[[State], Policy]
    reward: Callable[[State], Reward] | None = None


def vmap(agent: Agent, *, population: bool = False) -> Agent:
    """An agent over a batch: every function gains a leading axis.

    Args:
        agent: The agent to batch.
        population: Whether hyperparams are batched too. By default only the keys are: seeds of one configuration.
    """
    init = jax.vmap(agent.init, in_axes=(0, 0 if population else None))
    return Agent(init, jax.vmap(agent.step), lambda state: _batched_policy(agent, state))


def _batched_policy(agent: Agent, state: State) -> Policy:
    reset = lambda: jax.vmap(lambda s: agent.policy(s).reset())(state)  # noqa: E731
    act = lambda *args: jax.vmap(lambda s, *rest: agent.policy(s).act(*rest))(state, *args)  # noqa: E731
    mode = lambda *args: jax.vmap(lambda s, *rest: agent.policy(s).mode(*rest))(state, *args)  # noqa: E731
    return Policy(reset, act, mode)


def shard(agent: Agent, mesh: Mesh, *, population: bool = False) -> Agent:
    """An agent whose batch axes are spread over the devices of a mesh; runs never talk to each other.

    Args:
        agent: A batched agent (see `vmap`).
        mesh: Of a population of seeds, its axis "seed" spreads the second batch axis. All others spread the leading
            one, several as if they were one.
        population: Whether the leading axis is one of hyperparams too, as in `vmap(agent, population=True)`.

    Raises:
        ValueError: When a batch axis is not divided by the number of devices it is spread over.
    """
    init, step = (spread(fn, mesh, population=population) for fn in (agent.init, agent.step))
    return Agent(init, step, agent.policy)


def spread(fn: Callable, mesh: Mesh, *, population: bool = False) -> Callable:
    """A batched function, spread over the devices of a mesh as `shard` spreads an agent.

    Args:
        fn: Its first argument and its result have the batch axes; a second one is of hyperparams, with the leading axis
            of a population alone.
        mesh: As in `shard`.
        population: As in `shard`.

    Raises:
        ValueError: See `shard`.
    """
    mesh, axes = with_auto_axes(mesh), _axes(mesh, population)
    runs, members = PartitionSpec(*axes), PartitionSpec(*axes[:1] if population else ())

    def call(*args: PyTree) -> PyTree:
        _check_divides(args[0], mesh, axes)
        return over_devices(fn, mesh, (runs, members)[: len(args)], runs)(*args)

    return call


def over_devices(fn: Callable, mesh: Mesh, in_specs: tuple[PartitionSpec, ...], out_specs: PartitionSpec) -> Callable:
    """`jax.shard_map` of a function, of which arrays without elements stay outside.

    XLA (jaxlib 0.11.2) ends with a segmentation fault when it compiles one that crosses to several devices or back. In
    its place goes an array over its batch axes, from which the other side makes it again; what the function closes over
    crosses too, and is made there.

    Args:
        fn: From pytrees of arrays to one.
        mesh: Its devices.
        in_specs: How the leading axes of each argument are spread.
        out_specs: The same of the result.
    """

    def on_device(*outlined: PyTree) -> PyTree:
        return _outlined(_with_own_constants(fn, *map(_filled, outlined)), out_specs)

    crossing = jax.shard_map(on_device, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
    return lambda *args: _filled(crossing(*map(_outlined, args, in_specs)))


@partial(jax.tree_util.register_dataclass, data_fields=["batch"], meta_fields=["rest", "dtype"])
@dataclass(frozen=True)
class _Outline:
    """An array without elements, by its batch axes.

    Attributes:
        batch: An array of those.
        rest: The other axes, with a 0 among them.
        dtype: What its elements would be.
    """

    batch: Array
    rest: tuple[int, ...]
    dtype: jnp.dtype


def _outlined(tree: PyTree, spec: PartitionSpec) -> PyTree:
    """A tree whose arrays without elements are outlines."""

    def outline(leaf: Array) -> Array | _Outline:
        batch, rest = jnp.shape(leaf)[: len(spec)], jnp.shape(leaf)[len(spec) :]
        return leaf if math.prod(rest) else _Outline(jnp.zeros(batch, bool), rest, leaf.dtype)

    return jax.tree.map(outline, tree)


def _filled(tree: PyTree) -> PyTree:
    """A tree whose outlines are arrays without elements again."""

    def fill(leaf: Array | _Outline) -> Array:
        return jnp.zeros((*leaf.batch.shape, *leaf.rest), leaf.dtype) if isinstance(leaf, _Outline) else leaf

    return jax.tree.map(fill, tree, is_leaf=lambda leaf: isinstance(leaf, _Outline))


def _with_own_constants(fn: Callable, *args: PyTree) -> PyTree:
    """What a function returns, its constants without elements made in the program and not closed over."""
    traced, shape = jax.make_jaxpr(fn, return_shape=True)(*args)
    constants = [leaf if leaf.size else jnp.zeros(leaf.shape, leaf.dtype) for leaf in traced.consts]
    leaves = jaxpr_as_fun(traced.replace(consts=constants))(*jax.tree.leaves(args))
    return jax.tree.unflatten(jax.tree.structure(shape), leaves)


def _axes(mesh: Mesh, population: bool) -> tuple[tuple[str, ...], ...]:
    """The axes of a mesh that each batch axis is spread over."""
    seeds = tuple(name for name in mesh.axis_names if population and name == "seed")
    members = tuple(name for name in mesh.axis_names if name not in seeds)
    return (members, seeds) if seeds else (members,)


def with_auto_axes(mesh: Mesh) -> Mesh:
    """The mesh with Auto axes; `jax.make_mesh` gives Explicit ones, which would put shardings into a state's types."""
    return Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * len(mesh.axis_names))


def _check_divides(batched: PyTree, mesh: Mesh, axes: tuple[tuple[str, ...], ...]) -> None:
    sizes = jax.tree.leaves(batched)[0].shape
    for size, names in zip(sizes, axes, strict=False):
        devices = math.prod(mesh.shape[name] for name in names)
        if size % devices:
            near = max(devices, size - size % devices)
            raise ValueError(f"a batch of {size} does not spread evenly over {devices} devices; try {near}")


def strong(tree: PyTree) -> PyTree:
    """The same arrays without weak types: a carry that starts weakly typed compiles twice."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=jnp.result_type(leaf)), tree)
