"""Our agents by name, as one program from the first state on."""

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
    """See `contender.py`."""
    chosen = get_agent(spec.agent)
    sizes = {name: tuple(each) if isinstance(each, list) else each for name, each in vars(spec.config).items()}
    agent = chosen.make(*registry.make(spec.setting.env), chosen.Config(**sizes))

    def train(key: jax.Array) -> dict[str, Any]:
        state = agent.init(jax.random.wrap_key_data(key), chosen.Hyperparams(**vars(spec.hyperparams)))
        state, metrics = jax.lax.scan(lambda state, _: agent.step(state), state, None, spec.iterations)
        episodes = metrics["episode/count"]
        returns = jnp.where(episodes > 0, metrics["episode/return"] * episodes, 0.0)
        return {"state": state, "returns": returns, "episodes": episodes}

    return train, lambda output: {name: output[name] for name in ("returns", "episodes")}
