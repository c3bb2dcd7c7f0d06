"""The contract every algorithm meets, and the transformations that turn one agent into many.

An `Agent` is three pure functions. Seeds, populations and devices are obtained by transforming it: `vmap(agent)` is an agent
over a batch of keys, `vmap(vmap(agent), population=True)` one over populations of seeds, `shard(agent, mesh)` one spread
over devices. The axes of a batched state are `[population, seed, ...]`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Key, PyTree

State = PyTree
Hyperparams = PyTree
Carry = PyTree


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
            `env_steps` is how many environment steps the iteration took, `episode/count` how many episodes ended in it, any
            other `episode/*` a mean over those episodes (NaN when there were none).
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
