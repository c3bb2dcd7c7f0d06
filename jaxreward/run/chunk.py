"""The one compiled program of a run: a chunk of iterations with donated state, its metrics reduced on the device."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, Bool, Float, Key, PyTree, Shaped

from jaxreward.agent import SUMMED, Agent, strong
from jaxreward.compilation.cache import compiler_options
from jaxreward.contract.wrappers import select
from jaxreward.run.distributed import for_every_host, put
from jaxreward.run.store import RunError

Resting: TypeAlias = Bool[np.ndarray, "population seed"]
"""Which runs a chunk leaves as they are."""
RunChunk: TypeAlias = "Callable[..., tuple[PyTree, Chunk]]"
"""`(state, iterations, resting) -> (state, chunk)`; the last where runs may rest."""


class Chunk(NamedTuple):
    """What is known of a chunk of iterations, for each member and seed.

    Attributes:
        metrics: Means over the chunk, `[population, seed]` each; those of `episode/*` are over its episodes, NaN
            without any.
        summed: `env_steps` and `episode/count` of each iteration, `[iterations, population, seed]`, summed on the host
            where integers don't overflow.
        learned_is_finite: Whether every parameter the agent learns is a finite number.
    """

    metrics: dict[str, Float[Array, "population seed"]]
    summed: dict[str, Shaped[Array, "iterations population seed"]]
    learned_is_finite: Bool[Array, "population seed"]


class Program:
    """An agent's training, traced once and compiled once.

    Args:
        agent: The agent, batched to `[population, seed]`.
        keys: One key for each run.
        hyperparams: With a leading axis `[population]`.
        length: The most iterations in a chunk.
        sharding: How the leading axes of the state lie on the devices; one device if not given.
        rests: Whether runs may rest, whose states a chunk leaves as they are; it keeps all states twice for that.

    Attributes:
        state: The structure of the state.
        bytes: The memory that a chunk takes, once it is compiled.

    Raises:
        RunError: The agent's metrics aren't scalars with `env_steps` and, for `episode/*`, `episode/count` among them.
    """

    def __init__(
        self,
        agent: Agent,
        keys: Key[Array, "population seed"],
        hyperparams: PyTree,
        length: int,
        sharding: NamedSharding | None = None,
        rests: bool = False,
    ) -> None:
        self._arguments = (keys, strong(hyperparams))
        self._rests = rests
        self._init = jax.jit(lambda k, h: strong(agent.init(k, h)), out_shardings=sharding).trace(*self._arguments)
        self.state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), self._init.out_info)
        self._step = jax.jit(agent.step)  # traced here, and not again inside the chunk
        self._metrics = jax.eval_shape(self._step, self.state)[1]
        _check_metrics(self._metrics, keys.shape)
        self._length, self._sharding, self.bytes = length, sharding, 0

    def compile(self) -> tuple[RunChunk, float]:
        """The compiled `(state, iterations, resting) -> (state, chunk)`, which consumes its state; and the seconds."""
        began = time.perf_counter()
        compiled = self.lower().compile(compiler_options())
        self.bytes = _bytes(compiled)
        rests = (lambda resting: (put(resting, self._sharding),)) if self._rests else lambda resting: ()
        chunk = lambda state, iterations, resting=None: compiled(state, np.int32(iterations), *rests(resting))  # noqa: E731
        return chunk, time.perf_counter() - began

    def lower(self) -> jax.stages.Lowered:
        """The program before it is compiled, to be looked at."""
        out = (self._sharding, for_every_host(self._sharding))
        runs = self._metrics["env_steps"].shape
        resting = (jax.ShapeDtypeStruct(runs, jnp.bool_),) if self._rests else ()
        given = (self._sharding, None, *(self._sharding for _ in resting))
        jitted = jax.jit(self._chunk, donate_argnums=0, in_shardings=given, out_shardings=out)
        return jitted.lower(self.state, jax.ShapeDtypeStruct((), jnp.int32), *resting)

    def init(self) -> tuple[PyTree, float]:
        """The first state and the seconds its compilation took."""
        began = time.perf_counter()
        compiled = self._init.lower().compile(compiler_options())
        seconds = time.perf_counter() - began
        return compiled(*self._arguments), seconds

    @property
    def metrics(self) -> list[str]:
        """The names of what a chunk tells of each run."""
        return [name for name in self._metrics if name != "env_steps"]

    def _chunk(self, state: PyTree, iterations: Array, *resting: Array) -> tuple[PyTree, Chunk]:
        # The number of iterations is an argument: a last, shorter chunk is the same program with the same rounding.
        rows = {name: jnp.zeros((self._length, *m.shape), m.dtype) for name, m in self._metrics.items()}

        def body(index: Array, carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
            state, metrics = self._step(carry[0])
            return strong(state), {name: row.at[index].set(metrics[name]) for name, row in carry[1].items()}

        before = state
        state, rows = jax.lax.fori_loop(0, iterations, body, (state, rows))
        for each in resting:
            state = select(each, before, state)
        summed = {name: rows[name] for name in SUMMED if name in rows}
        return state, Chunk(
            _means(rows, iterations), summed, _learned_is_finite(state, self._metrics["env_steps"].shape)
        )


def _bytes(compiled: jax.stages.Compiled) -> int:
    """Memory that a program takes as XLA has planned it: what it is given, gives back and needs on the way."""
    plan = compiled.memory_analysis()
    if plan is None:  # a backend that does not say
        return 0
    sizes = (plan.argument_size_in_bytes, plan.output_size_in_bytes, plan.temp_size_in_bytes)
    return int(sum(sizes) - plan.alias_size_in_bytes)


def _means(rows: dict[str, Array], iterations: Array) -> dict[str, Array]:
    averaged = [name for name in rows if name not in SUMMED]
    return {
        name: _episode_mean(rows, name) if _is_episodic(name) else _mean(rows[name], iterations) for name in averaged
    }


def _mean(row: Array, iterations: Array) -> Array:
    row = row.astype(jnp.promote_types(row.dtype, jnp.float32))
    return row.sum(axis=0) / iterations  # rows not reached are zero


def _episode_mean(rows: dict[str, Array], name: str) -> Array:
    count = rows["episode/count"]
    weight = count.astype(jnp.promote_types(rows[name].dtype, jnp.float32))
    total = weight.sum(axis=0)
    weighted = jnp.where(count > 0, weight * rows[name], 0).sum(axis=0)
    return jnp.where(total > 0, weighted / jnp.maximum(total, 1), jnp.nan)


def _learned_is_finite(state: PyTree, shape: tuple[int, ...]) -> Array:
    learned = state.get("params", ()) if isinstance(state, dict) else getattr(state, "params", ())
    leaves = [leaf for leaf in jax.tree.leaves(learned) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    finite = [jnp.isfinite(leaf).all(axis=tuple(range(len(shape), leaf.ndim))) for leaf in leaves]
    return jnp.stack([jnp.ones(shape, bool), *finite]).all(axis=0)


def _is_episodic(name: str) -> bool:
    return name.startswith("episode/") and name not in SUMMED


def _check_metrics(metrics: dict[str, jax.ShapeDtypeStruct], batch: tuple[int, ...]) -> None:
    wrong = {name: m.shape[len(batch) :] for name, m in metrics.items() if m.shape != batch}
    if wrong:
        raise RunError(f"metrics must be scalars, but the agent's step gave these shapes: {wrong}")
    if "env_steps" not in metrics:
        raise RunError(f"the agent's metrics lack 'env_steps'; they are {sorted(metrics)}")
    episodic = sorted(filter(_is_episodic, metrics))
    if episodic and "episode/count" not in metrics:
        raise RunError(f"the agent's metrics lack 'episode/count', by which these are averaged: {episodic}")
