"""A toy agent for tests of the host loop: noisy gradient descent on a quadratic, with episodes that end at random."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxreward.agent import Agent, Policy

ENV_STEPS = 1_000_000_000
"""Environment steps of one iteration: the third passes what an int32 holds."""


class Hyperparams(NamedTuple):
    learning_rate: float = 0.1
    noise: float = 0.5
    horizon: float = float("inf")
    explode_at: int = -1


class State(NamedTuple):
    params: dict
    target: dict
    key: jax.Array
    hyperparams: Hyperparams
    iteration: jax.Array
    empty: jax.Array


def _init(key, hyperparams):
    params = {"x": jax.random.uniform(key, (3,)), "count": jnp.zeros((2, 2), jnp.int32)}
    # Weakly typed, shared and empty leaves on purpose.
    return State(params, params, key, hyperparams, 0, jnp.zeros((0, 2)))


def _step(state):
    key, draw_key = jax.random.split(state.key)
    h, x = state.hyperparams, state.params["x"]
    draws = jax.random.uniform(draw_key, (4,))
    gradient = x + h.noise * (draws[:3] - 0.5)
    x = jnp.where(state.iteration == h.explode_at, jnp.nan, x - h.learning_rate * gradient)
    loss = 0.5 * jnp.sum(x**2)
    ended = (draws[3] < 0.3).astype(jnp.int32) * (1 + state.iteration % 2)
    metrics = {
        "env_steps": jnp.int32(ENV_STEPS),
        "episode/count": ended,
        "episode/return": jnp.where(ended > 0, -loss, jnp.nan),
        "loss": loss,
        "learning_rate": h.learning_rate,
        "iteration_index": state.iteration,
    }
    params = {"x": x, "count": state.params["count"] + 1}
    return State(params, state.params, key, h, state.iteration + 1, state.empty), metrics


agent = Agent(_init, _step, lambda state: Policy(lambda: (), lambda c, o, k: (c, o), lambda c, o, k: (c, o)))
