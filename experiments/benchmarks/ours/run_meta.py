"""Steps of LPG's objective by ours, on the levels and at the sizes of GROOVE's code."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax

from jaxreward.agent import Agent
from jaxreward.agents.meta import lpg_es, lpg_meta
from jaxreward.compilation.cache import compiler_options as compiler_options
from jaxreward.envs import make

LEVELS = "levels/all?observation=index"


def build(spec: SimpleNamespace) -> tuple[Callable, Callable]:
    """See `contender.py`."""
    agent, hyperparams = evolution(spec) if spec.is_evolution else meta_gradients(spec)

    def train(key: jax.Array) -> dict[str, jax.Array]:
        state = agent.init(jax.random.wrap_key_data(key), hyperparams)
        return jax.lax.scan(lambda state, _: agent.step(state), state, length=spec.steps)[1]

    return train, lambda metrics: {}


def evolution(spec: SimpleNamespace) -> tuple[Agent, Any]:
    """TA-LPG's, with the inputs of GROOVE's code."""
    config = lpg_es.Config(
        num_envs=spec.envs, with_discount=False, temporal="raw", population_size=2 * spec.agents, lifetimes=(10, 250)
    )
    return lpg_es.lpg_es(*make(LEVELS), config), lpg_es.Hyperparams()


def meta_gradients(spec: SimpleNamespace) -> tuple[Agent, Any]:
    """LPG's, which doesn't know how long lives are."""
    config = lpg_meta.Config(
        num_envs=spec.envs,
        with_discount=False,
        temporal="none",
        num_agents=spec.agents,
        lifetimes=(250,),
        lifetime_distribution="list",
    )
    return lpg_meta.lpg_meta(*make(LEVELS), config), lpg_meta.Hyperparams()
