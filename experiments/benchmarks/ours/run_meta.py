"""Steps of LPG's objective by ours, on the levels and at the sizes of GROOVE's code."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import jax

from jaxreward.agents.meta import lpg_es, lpg_meta
from jaxreward.compilation.cache import compiler_options as compiler_options
from jaxreward.envs import make


def build(spec: SimpleNamespace) -> tuple[Callable, Callable]:
    """See `contender.py`."""
    world = make("levels/all?observation=index")
    same = {"num_envs": spec.envs, "with_discount": False}
    if spec.is_evolution:
        agent = lpg_es.lpg_es(*world, lpg_es.Config(**same, temporal="raw", population_size=2 * spec.agents))
        hyperparams = lpg_es.Hyperparams()
    else:
        lives = {"lifetimes": (250,), "lifetime_distribution": "list", "temporal": "none"}
        agent = lpg_meta.lpg_meta(*world, lpg_meta.Config(**same, **lives, num_agents=spec.agents))
        hyperparams = lpg_meta.Hyperparams()

    def train(key: jax.Array) -> dict[str, jax.Array]:
        state = agent.init(jax.random.wrap_key_data(key), hyperparams)
        return jax.lax.scan(lambda state, _: agent.step(state), state, length=spec.steps)[1]

    return train, lambda metrics: {}
