"""What no agent of a kind can beat on this machine: its environment's steps alone, and its matrix products alone."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp

from jaxreward.envs import registry
from jaxreward.experiments.benchmarks.ours.run_bounds import descend, init, restart, tanh
from jaxreward.experiments.benchmarks.ours.run_ours import batch as batch
from jaxreward.learning.exploration import random_actions


def build(spec: SimpleNamespace) -> tuple[Callable, Callable]:
    """See `contender.py`; `spec.bound` is `environment` or `matmuls`, and nothing is reported."""
    run = {"environment": _environment, "matmuls": _matmuls}[spec.bound](spec)
    return lambda key: run(jax.random.split(jax.random.wrap_key_data(key), 2)), lambda _: {}


def _environment(spec: SimpleNamespace) -> Callable:
    """Steps with drawn actions. Ended episodes restart from states drawn once: a reset costs a select."""
    env, params = registry.make(spec.setting.env)
    shape = spec.setting.num_steps, spec.setting.num_envs

    def run(keys: jax.Array) -> Any:
        start = jax.vmap(env.reset_env, (0, None))(jax.random.split(keys[0], shape[1]), params)

        def step(now: Any, action: jax.Array) -> tuple[Any, jax.Array]:
            stepped = jax.vmap(env.step_env, (None, 0, 0, None))(keys[0], now[1], action, params)
            ended = stepped[3] | jax.vmap(env.is_truncated, (0, None))(stepped[1], params)
            return restart(ended, start, stepped[:2]), stepped[2].sum()

        def iteration(now: Any, key: jax.Array) -> tuple[Any, jax.Array]:
            return jax.lax.scan(step, now, random_actions(env.action_space(params), key, shape))

        return jax.lax.scan(iteration, start, jax.random.split(keys[1], spec.iterations))

    return run


def _matmuls(spec: SimpleNamespace) -> Callable:
    """Acting, and for each update what is only evaluated and the products of a step downhill, each on its own rows."""
    updates, rows, evaluations = spec.products.updates, spec.products.rows, spec.products.evaluations
    setting = spec.setting

    def run(keys: jax.Array) -> Any:
        x = jax.random.normal(keys[0], (updates, rows, spec.widths[0]))
        shown = jax.random.normal(keys[1], (setting.num_steps, setting.num_envs, spec.widths[0]))

        def update(weights: list[jax.Array], x: jax.Array) -> tuple[list[jax.Array], jax.Array]:
            evaluated = sum((tanh(weights, x + k).sum() for k in range(evaluations)), jnp.zeros(()))
            return descend(weights, x), evaluated

        def iteration(weights: list[jax.Array], _: None) -> tuple[list[jax.Array], jax.Array]:
            acted = jax.lax.map(lambda x: tanh(weights, x).sum(), shown)
            weights, evaluated = jax.lax.scan(update, weights, x)
            return weights, acted.sum() + evaluated.sum()

        return jax.lax.scan(iteration, init(keys[0], list(spec.widths)), None, spec.iterations)

    return run
