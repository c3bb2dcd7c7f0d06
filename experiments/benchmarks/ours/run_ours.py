"""jaxreward's PPO."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from jaxreward.agent import over_devices
from jaxreward.agents.baselines import ppo
from jaxreward.compilation.cache import compiler_options as compiler_options
from jaxreward.envs import registry
from jaxreward.learning import minibatch


def build(spec: SimpleNamespace) -> tuple[Callable, Callable]:
    """See `contender.py`. A run is `init` and a scan of `step`, all in one program as the peers have it."""
    _take_back(getattr(spec, "without", ""))
    agent, hyperparams = agent_of(spec.setting)

    def train(key: jax.Array) -> dict[str, Any]:
        state = agent.init(jax.random.wrap_key_data(key), hyperparams)
        state, metrics = jax.lax.scan(lambda state, _: agent.step(state), state, None, spec.iterations)
        episodes = metrics["episode/count"]
        returns = jnp.where(episodes > 0, metrics["episode/return"] * episodes, 0.0)
        return {"state": state, "returns": returns, "episodes": episodes}

    return train, lambda output: {name: output[name] for name in ("returns", "episodes")}


def _take_back(change: str) -> None:
    """Undoes one of `settings.CHANGES` in this process, to see what it bought."""
    if change == "bijective shuffle":
        minibatch.shuffles = lambda key, number, size: jax.vmap(lambda k: jax.random.permutation(k, size))(
            jax.random.split(key, number)
        )
    elif change == "one optimiser vector":
        ppo.optax.flatten = lambda optimiser: optimiser
    elif change == "LLVM level 1":
        globals()["compiler_options"] = dict


def batch(train: Callable) -> Callable:
    """Runs of several seeds, spread over the devices there are."""
    seeds = Mesh(np.array(jax.devices()), ("seed",))
    over_seeds = PartitionSpec("seed")
    return over_devices(jax.vmap(train), seeds, (over_seeds,), over_seeds)


def batch_numbered(train: Callable) -> Callable:
    """As `batch`, of runs that are told their number beside their key."""
    spread = batch(lambda run: train(*run))
    return lambda keys: spread((keys, jnp.arange(len(keys))))


def agent_of(setting: SimpleNamespace) -> tuple[Any, Any]:
    """PPO at a setting, and its hyperparams."""
    env, env_params = registry.make(setting.env)
    config = ppo.Config(
        num_envs=setting.num_envs,
        num_steps=setting.num_steps,
        num_epochs=setting.num_epochs,
        num_minibatches=setting.num_minibatches,
        layers=tuple(setting.hidden),
    )
    hyperparams = ppo.Hyperparams(
        learning_rate=setting.learning_rate,
        discount=setting.discount,
        gae_lambda=setting.gae_lambda,
        clip=setting.clip,
        entropy_coefficient=setting.entropy_coefficient,
        value_coefficient=setting.value_coefficient,
        max_grad_norm=setting.max_grad_norm,
    )
    return ppo.ppo(env, env_params, config), hyperparams
