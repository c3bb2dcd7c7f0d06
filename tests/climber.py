"""A toy agent for tests of searches: its return grows by `gain` in every iteration, plus noise from its key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxreward.agent import Agent, Policy


@dataclass(frozen=True)
class Config:
    steps_per_iteration: int = 10
    broken: bool = False


@struct.dataclass
class Hyperparams:
    gain: float = 1.0
    late: float = 0.0
    noise: float = 0.0
    explode_at: int = -1
    env_params: Any = None


class State(NamedTuple):
    params: jax.Array
    key: jax.Array
    iteration: jax.Array
    hyperparams: Hyperparams


def _init(key, hyperparams):
    return State(jnp.zeros(()), key, jnp.zeros((), jnp.int32), hyperparams)


def climber(env, env_params, config):
    """After `t` iterations the return is `gain * t + late * t**2`, exactly so for small integers."""
    if config.broken:
        raise TypeError("it is broken")

    def step(state):
        key, noise_key = jax.random.split(state.key)
        h, t = state.hyperparams, state.iteration + 1
        params = state.params + h.noise * jax.random.normal(noise_key)
        params = jnp.where(t == h.explode_at, jnp.nan, params)
        gravity = 0.0 if h.env_params is None else h.env_params.g
        metrics = {
            "env_steps": jnp.int32(config.steps_per_iteration),
            "episode/count": jnp.int32(1),
            "episode/return": h.gain * t + h.late * t**2 + params,
            "gravity": jnp.float32(gravity),
        }
        return State(params, key, t, h), metrics

    act = lambda carry, observation, key: (carry, env.action_space(env_params).sample(key))  # noqa: E731
    return Agent(_init, step, lambda state: Policy(lambda: (), act, act))
