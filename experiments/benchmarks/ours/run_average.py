"""Our agents for the reward rate of finite worlds, and what none can beat: the steps of the environment alone."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp

from jaxreward.agents.registry import get_agent
from jaxreward.compilation.cache import compiler_options as compiler_options
from jaxreward.envs import registry
from jaxreward.experiments.benchmarks.ours.run_ours import batch as batch


def build(spec: SimpleNamespace) -> tuple[Callable, Callable]:
    """See `contender.py`; `spec.part` says whether the agent is run, or the environment with drawn actions."""
    env, params = registry.make(spec.env, **vars(spec.options))
    return (environment if spec.part == "environment" else learning)(spec, env, params)


def learning(spec: SimpleNamespace, env: Any, params: Any) -> tuple[Callable, Callable]:
    """`init` and a scan of `step`, all in one program."""
    chosen = get_agent(spec.agent)
    agent = chosen.make(env, params, chosen.Config(num_steps=spec.num_steps, **vars(spec.config)))

    def train(key: jax.Array) -> dict[str, jax.Array]:
        state = agent.init(jax.random.wrap_key_data(key), chosen.Hyperparams(**vars(spec.hyperparams)))
        state, metrics = jax.lax.scan(lambda state, _: agent.step(state), state, None, spec.iterations)
        return {"regret": metrics["regret"][-1], "state": state.memory}

    return train, lambda output: {"found": {"regret": output["regret"]}}


def environment(spec: SimpleNamespace, env: Any, params: Any) -> tuple[Callable, Callable]:
    """As many steps with given actions, and the sum of rewards; all that is drawn beside the steps is drawn at once."""
    number = spec.iterations * spec.num_steps

    def train(key: jax.Array) -> jax.Array:
        key_start, key_act, key_steps = jax.random.split(jax.random.wrap_key_data(key), 3)
        state = env.reset_env(key_start, params)[1]
        actions = jax.random.randint(key_act, (number,), 0, env.num_actions)

        def step(state: Any, now: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
            _, state, reward, *_ = env.step_env(now[0], state, now[1], params)
            return state, reward

        return jnp.sum(jax.lax.scan(step, state, (jax.random.split(key_steps, number), actions))[1])

    return train, lambda output: {}
