"""The contract every algorithm meets, and the transformations that turn one agent into many.

An `Agent` is three pure functions. Seeds, populations and devices are obtained by transforming it: `vmap(agent)` is an
agent over a batch of keys, `vmap(vmap(agent), population=True)` one over populations of seeds, `shard(agent, mesh)`
one spread over devices. The axes of a batched state are `[population, seed, ...]`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, PartitionSpec
from jaxtyping import Array, Float, Key, PyTree

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
    """

    init: Callable[[Key[Array, ""], Hyperparams], State]
    step: Callable[[State], tuple[State, dict[str, Float[Array, ""]]]]
    policy: Callable[[State], Policy]


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
    mesh, axes = with_auto_axes(mesh), _axes(mesh, population)
    runs, members = PartitionSpec(*axes), PartitionSpec(*axes[:1] if population else ())

    def spread(fn: Callable, *specs: PartitionSpec) -> Callable:
        def call(*args: PyTree) -> PyTree:
            _check_divides(args[0], mesh, axes)
            return jax.shard_map(fn, mesh=mesh, in_specs=specs, out_specs=runs, check_vma=False)(*args)

        return call

    return Agent(spread(agent.init, runs, members), spread(agent.step, runs), agent.policy)


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
