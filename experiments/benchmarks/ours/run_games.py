"""Our Overcooked with random actions, stepped by the loop that steps JaxMARL's, or as our agents step it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment

from jaxreward.envs.adapters.jaxmarl import AsJaxMARL
from jaxreward.envs.games.overcooked import Overcooked
from jaxreward.experiments.benchmarks.peers.run_jaxmarl import random_steps
from jaxreward.learning.rollout import EnvBatch, reset_batch, rollout


def build(spec: SimpleNamespace) -> tuple[Callable, Callable]:
    """See `contender.py`; `spec.view` says what cooks see, `spec.is_rollout` how they are stepped."""
    env = Overcooked(observation=spec.view)
    steps = rolled if spec.is_rollout else lambda env, *sizes: random_steps(AsJaxMARL(env), *sizes)
    return steps(env, spec.num_envs, spec.num_steps), lambda output: {}


LONGEST = 40
"""Steps of a rollout, at most."""


def rolled(env: Environment, num_envs: int, num_steps: int) -> Callable[[jax.Array], jax.Array]:
    """As `random_steps`, in rollouts of as many steps as an agent's may have."""
    params = env.default_params
    length = max(steps for steps in range(1, LONGEST + 1) if num_steps % steps == 0)
    act = lambda carry, observation, action: (carry, action, ())  # noqa: E731

    def part(batch: EnvBatch, key: jax.Array) -> tuple[EnvBatch, jax.Array]:
        key_act, key_steps = jax.random.split(key)
        actions = jax.random.randint(key_act, (length, num_envs, 2), 0, env.num_actions)
        batch, _, steps, _ = rollout(env, params, act, (), batch, actions, key_steps)
        return batch, steps.next_observation.sum(dtype=jnp.float32) + steps.reward.sum()

    def train(key: jax.Array) -> jax.Array:
        key_start, key_parts = jax.random.split(jax.random.wrap_key_data(key))
        batch = reset_batch(env, params, num_envs, key_start)
        return jax.lax.scan(part, batch, jax.random.split(key_parts, num_steps // length))[1].sum()

    return train
