"""A part of PPO's iteration again and again, without the others: where the time of an iteration goes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key, PyTree

from jaxreward.agents.baselines.parts.on_policy import Batch, State
from jaxreward.agents.baselines.ppo import PPO
from jaxreward.compilation.cache import compiler_options as compiler_options
from jaxreward.experiments.benchmarks.ours.run_ours import agent_of
from jaxreward.experiments.benchmarks.ours.run_ours import batch as batch
from jaxreward.learning.minibatch import shuffles

Part = tuple[PyTree, Callable[[PyTree, Key[Array, ""]], PyTree]]
"""What it begins with, and what it makes of that by a key."""


def build(spec: SimpleNamespace) -> tuple[Callable, Callable]:
    """See `contender.py`; `spec.part` is one of `PARTS`, and nothing is reported."""
    agent, hyperparams = agent_of(spec.setting)
    learner: PPO = agent.step.__self__  # whose methods the agent is made of

    def train(key: Array) -> PyTree:
        key, key_start = jax.random.split(jax.random.wrap_key_data(key))
        start, step = PARTS[spec.part](learner, learner.init(key_start, hyperparams))
        keys = jax.random.split(key, spec.iterations)
        return jax.lax.scan(lambda carry, key: (step(carry, key), None), start, keys)[0]

    return train, lambda _: {}


def rollout(learner: PPO, state: State) -> Part:
    """All steps of all environments."""

    def step(carry: tuple, key: Key[Array, ""]) -> tuple:
        envs, _, trajectory, _ = learner.collect(state._replace(envs=carry[0]), *jax.random.split(key))
        return envs, trajectory

    return step((state.envs, None), state.key), step


def advantages(learner: PPO, state: State) -> Part:
    """Values of a rollout, and what follows of them."""
    trajectory = rollout(learner, state)[0][1]

    def step(carry: Batch, key: Key[Array, ""]) -> Batch:
        held, _ = jax.lax.optimization_barrier(((state, trajectory), carry.advantage))  # else it is computed once
        return learner.advantages(*held)[0]

    return learner.advantages(state, trajectory)[0], step


def update(learner: PPO, state: State) -> Part:
    """Gradients, steps of the optimiser, and the shuffling of minibatches."""
    given = advantages(learner, state)[0]

    def step(carry: tuple, key: Key[Array, ""]) -> tuple:
        params, optimiser = carry
        return learner.update(state._replace(params=params, optimiser=optimiser), given, key)[:2]

    return (state.params, state.optimiser), step


def gradients(learner: PPO, state: State) -> Part:
    """Those of minibatches that lie in order, and the least step along them."""
    minibatches = in_order(learner, advantages(learner, state)[0])

    def downhill(params: PyTree, minibatch: Batch) -> tuple[PyTree, None]:
        gradient = jax.grad(learner.loss, has_aux=True)(params, minibatch, state.hyperparams)[0]
        return jax.tree.map(lambda p, g: p - 1e-6 * g, params, gradient), None

    return state.params, repeated(learner, downhill, minibatches)


def optimiser(learner: PPO, state: State) -> Part:
    """Its steps alone, along something."""

    def step(carry: tuple, _: PyTree) -> tuple[tuple, None]:
        params, moments = carry
        change, moments = learner.optimiser(state.hyperparams).update(params, moments)
        return (optax.apply_updates(params, change), moments), None

    minibatches = jnp.zeros(learner.config.num_minibatches)
    return (state.params, state.optimiser), repeated(learner, step, minibatches)


def shuffling(learner: PPO, state: State) -> Part:
    """The minibatches of all epochs, one after the other."""
    given = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), advantages(learner, state)[0])
    size, epochs, parts = len(given.log_prob), learner.config.num_epochs, learner.config.num_minibatches

    def step(carry: Batch, key: Key[Array, ""]) -> Batch:
        indices = shuffles(key, epochs, size).reshape(epochs * parts, -1)
        take = lambda _, part: (jax.tree.map(lambda x: jnp.take(x, part, 0), given), None)  # noqa: E731
        return jax.lax.scan(take, carry, indices)[0]

    return jax.tree.map(lambda x: x[: size // parts], given), step


PARTS = {
    "rollout": rollout,
    "advantages": advantages,
    "update": update,
    "update: gradients": gradients,
    "update: optimiser": optimiser,
    "update: shuffling": shuffling,
}


def in_order(learner: PPO, given: Batch) -> Batch:
    """Minibatches `[M, b, ...]` without a shuffle."""
    parts = learner.config.num_minibatches
    return jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[2:]), given)


def repeated(learner: PPO, step: Callable[[Any, Any], tuple[Any, None]], minibatches: PyTree) -> Callable:
    """A step for each minibatch, as many times as there are epochs."""

    def epoch(carry: PyTree, _: None) -> tuple[PyTree, None]:
        return jax.lax.scan(step, carry, minibatches)

    return lambda carry, _: jax.lax.scan(epoch, carry, None, learner.config.num_epochs)[0]
