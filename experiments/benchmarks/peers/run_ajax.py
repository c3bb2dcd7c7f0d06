"""ajax-rl's agents by name, as the package ships them, without evaluation, on a pendulum that is never reset."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.classic_control import pendulum

ENDLESS = 2**30
"""Steps until a time limit that nobody reaches."""


@struct.dataclass
class RecordedState(pendulum.EnvState):
    """Of gymnax's pendulum, and what was earned since a given step."""

    earned: jax.Array


class RecordedPendulum(pendulum.Pendulum):
    """gymnax's pendulum without a time limit, with a record of its late rewards in its state."""

    def __init__(self, late: int) -> None:
        super().__init__()
        self.late = late

    @property
    def default_params(self) -> pendulum.EnvParams:
        return pendulum.EnvParams(max_steps_in_episode=ENDLESS)

    def reset_env(self, key: jax.Array, params: Any) -> tuple[jax.Array, RecordedState]:
        observation, state = super().reset_env(key, params)
        return observation, RecordedState(**vars(state), earned=jnp.zeros(()))

    def step_env(self, key: jax.Array, state: RecordedState, action: jax.Array, params: Any) -> tuple:
        observation, after, reward, done, info = super().step_env(key, state, action, params)
        earned = state.earned + jnp.where(state.time >= self.late, reward, 0.0)
        return observation, RecordedState(**vars(after), earned=earned), reward, done, info


def build(spec: SimpleNamespace) -> tuple[Callable, Callable]:
    """See `contender.py`. The reward rate is that of the last tenth."""
    steps = spec.iterations * spec.setting.num_steps
    late = steps - steps // 10
    env = RecordedPendulum(late)
    agent = getattr(importlib.import_module(f"ajax.agents.{spec.peer}.{spec.peer}"), spec.peer)(
        env_id=env, env_params=env.default_params, n_envs=spec.setting.num_envs, **_arguments(spec.arguments)
    )
    run = agent.get_make_train()(
        env_args=agent.env_args,
        actor_optimizer_args=agent.actor_optimizer_args,
        critic_optimizer_args=agent.critic_optimizer_args,
        network_args=agent.network_args,
        agent_config=agent.agent_config,
        total_timesteps=steps * spec.setting.num_envs,
        num_episode_test=1,
        run_ids=[],
        logging_config=None,
    )

    def finish(states: Any) -> dict[str, Any]:
        earned = states.collector_state.env_state.earned
        return {"found": {"reward_rate": earned.mean(-1) / (steps - late)}}

    return lambda key: run(key, 0)[0], finish


def _arguments(given: SimpleNamespace) -> dict[str, Any]:
    """Theirs take layers as tuples."""
    return {name: tuple(each) if isinstance(each, list) else each for name, each in vars(given).items()}
