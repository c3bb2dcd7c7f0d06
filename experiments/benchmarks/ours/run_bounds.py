"""What no PPO can beat on this machine: its rollouts alone, and the matrix products of its updates alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp

from jaxreward.envs import registry
from jaxreward.experiments.benchmarks.ours.run_ours import batch as batch

Weights = list[jax.Array]


def build(spec: SimpleNamespace) -> tuple[Callable, Callable]:
    """See `contender.py`; `spec.bound` is `rollout` or `matmuls`, and nothing is reported."""
    env, params = registry.make(spec.setting.env)
    iteration = {"rollout": _rollout, "matmuls": _matmuls}[spec.bound](spec.setting, env, params)

    def train(key: jax.Array) -> Any:
        keys = jax.random.split(jax.random.wrap_key_data(key), 2)
        return iteration(keys, spec.iterations)

    return train, lambda _: {}


def _rollout(setting: SimpleNamespace, env: Any, params: Any) -> Callable:
    """Environment, actor, critic, sampling. Ended episodes restart from states drawn once: a reset costs a select."""
    shapes = _shapes(setting, env, params)

    def run(keys: jax.Array, iterations: int) -> Any:
        actor, critic = init(keys[0], shapes[0]), init(keys[0], shapes[1])
        start = jax.vmap(env.reset_env, in_axes=(0, None))(jax.random.split(keys[1], setting.num_envs), params)

        def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
            observation, state = carry
            action = _sample(env, params, key, tanh(actor, observation))
            now = jax.vmap(env.step_env, in_axes=(None, 0, 0, None))(key, state, action, params)
            ended = now[3] | jax.vmap(env.is_truncated, in_axes=(0, None))(now[1], params)
            return restart(ended, start, now[:2]), (now[2] + tanh(critic, observation)[:, 0]).sum()

        steps = lambda carry, key: jax.lax.scan(step, carry, jax.random.split(key, setting.num_steps))  # noqa: E731
        return jax.lax.scan(steps, start, jax.random.split(keys[0], iterations))

    return run


def _matmuls(setting: SimpleNamespace, env: Any, params: Any) -> Callable:
    """Forward and backward products of actor and critic, for every minibatch of every epoch, each from its own rows."""
    shapes = _shapes(setting, env, params)
    updates = setting.num_epochs * setting.num_minibatches
    rows = setting.num_envs * setting.num_steps // setting.num_minibatches

    def run(keys: jax.Array, iterations: int) -> Any:
        networks = [init(key, shape) for key, shape in zip(keys, shapes, strict=True)]
        x = jax.random.normal(keys[0], (updates, rows, shapes[0][0]))
        step = lambda networks, x: ([descend(weights, x) for weights in networks], None)  # noqa: E731
        return jax.lax.scan(lambda networks, _: jax.lax.scan(step, networks, x), networks, None, iterations)[0]

    return run


def _shapes(setting: SimpleNamespace, env: Any, params: Any) -> tuple[list[int], list[int]]:
    """Widths of actor and critic, input to output."""
    space, inputs = env.action_space(params), env.observation_space(params).shape[0]
    outputs = space.n if hasattr(space, "n") else space.shape[0]
    return [inputs, *setting.hidden, outputs], [inputs, *setting.hidden, 1]


def init(key: jax.Array, widths: list[int]) -> Weights:
    """The matrices of a network, whose layers are so wide."""
    sizes = list(itertools.pairwise(widths))
    keys = jax.random.split(key, len(sizes))
    return [jax.random.normal(k, size) / size[0] ** 0.5 for k, size in zip(keys, sizes, strict=True)]


def tanh(weights: Weights, x: jax.Array) -> jax.Array:
    """What a network gives."""
    for w in weights[:-1]:
        x = jnp.tanh(x @ w)
    return x @ weights[-1]


def descend(weights: Weights, x: jax.Array) -> Weights:
    """A step on a linear network's squared output: the products of an update and next to nothing else."""

    def loss(weights: Weights) -> jax.Array:
        h = x
        for w in weights:
            h = h @ w
        return 0.5 * (h**2).mean()

    return jax.tree.map(lambda w, g: w - 1e-4 * g, weights, jax.grad(loss)(weights))


def _sample(env: Any, params: Any, key: jax.Array, outputs: jax.Array) -> jax.Array:
    if hasattr(env.action_space(params), "n"):
        return jax.random.categorical(key, outputs)
    return jnp.clip(outputs + jax.random.normal(key, outputs.shape), -1.0, 1.0)


def restart(ended: jax.Array, start: Any, now: Any) -> Any:
    """Where an episode ended, its start again."""

    def where(fresh: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(ended.reshape(ended.shape + (1,) * (old.ndim - 1)), fresh, old)

    return jax.tree.map(where, start, now)
