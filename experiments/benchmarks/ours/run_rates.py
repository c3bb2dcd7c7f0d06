"""Our agents by name where nothing ends, as one program from the first state on, and the reward rate at its end."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax

from jaxreward.agents.registry import get_agent
from jaxreward.compilation.cache import compiler_options as compiler_options
from jaxreward.envs import registry
from jaxreward.experiments.benchmarks.ours.run_ours import batch as batch


def build(spec: SimpleNamespace) -> tuple[Callable, Callable]:
    """See `contender.py`. The reward rate is that of the last tenth."""
    chosen = get_agent(spec.agent)
    sizes = {name: tuple(each) if isinstance(each, list) else each for name, each in vars(spec.config).items()}
    agent = chosen.make(*registry.make(spec.setting.env), chosen.Config(**sizes))
    late = spec.iterations - spec.iterations // 10

    def train(key: jax.Array) -> dict[str, Any]:
        state = agent.init(jax.random.wrap_key_data(key), chosen.Hyperparams(**vars(spec.hyperparams)))
        state, metrics = jax.lax.scan(lambda state, _: agent.step(state), state, None, spec.iterations)
        return {"state": state, "rate": metrics["average_reward"][late:].mean()}

    return train, lambda output: {"found": {"reward_rate": output["rate"]}}
