"""Our agents by name, as one program from the first state on."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import jax
from jaxtyping import Array, Float, PyTree

from jaxreward.agents.registry import get_agent
from jaxreward.compilation.cache import compiler_options as compiler_options
from jaxreward.envs import registry
from jaxreward.experiments.benchmarks.ours.run_ours import batch as batch
from jaxreward.learning.walker import Walker

EVALUATION_EPISODES = 16
"""As rejax's."""


def build(spec: SimpleNamespace) -> tuple[Callable, Callable]:
    """See `contender.py`."""
    chosen = get_agent(spec.agent)
    env, params = registry.make(spec.setting.env)
    sizes = {name: tuple(each) if isinstance(each, list) else each for name, each in vars(spec.config).items()}
    agent = chosen.make(env, params, chosen.Config(**sizes))

    def train(key: jax.Array) -> PyTree:
        state = agent.init(jax.random.wrap_key_data(key), chosen.Hyperparams(**vars(spec.hyperparams)))
        state, metrics = jax.lax.scan(lambda state, _: agent.step(state), state, None, spec.iterations)
        return {"state": state, "metrics": metrics}

    def evaluated(state: PyTree) -> Float[Array, ""]:
        episodes = Walker(env, params, agent.policy(state), stochastic=spec.sampled)
        return episodes.run(jax.random.split(jax.random.key(0), EVALUATION_EPISODES)).returns.mean()

    return train, lambda output: {"evaluation": jax.jit(jax.vmap(evaluated))(output["state"])}
