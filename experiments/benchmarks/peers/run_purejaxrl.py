"""purejaxrl's PPO, from a checkout of its repository."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import jax


def build(spec: SimpleNamespace) -> tuple[Callable, Callable]:
    """See `contender.py`. Of what it logs every step only the returns are kept, so that XLA may drop the rest."""
    run = _make_train(spec)

    def train(key: jax.Array) -> dict[str, Any]:
        out = run(key)
        ended = out["metrics"]["returned_episode"]
        returns = (out["metrics"]["returned_episode_returns"] * ended).sum(axis=(1, 2))
        return {"params": out["runner_state"][0].params, "returns": returns, "episodes": ended.sum(axis=(1, 2))}

    return train, lambda output: {name: output[name] for name in ("returns", "episodes")}


def _make_train(spec: SimpleNamespace) -> Callable:
    name, _, backend = spec.setting.env.partition("?backend=")
    _stub(["navix"] if backend else ["navix", "brax", "brax.envs", "brax.envs.wrappers", "brax.envs.wrappers.training"])
    sys.path.insert(0, f"{spec.purejaxrl}/purejaxrl")
    module: Any = importlib.import_module("ppo_continuous_action" if backend else "ppo")
    if backend:
        module.BraxGymnaxWrapper = partial(module.BraxGymnaxWrapper, backend=backend)
    return module.make_train(_config(spec.setting, name.removeprefix("brax/"), spec.iterations))


def _stub(names: list[str]) -> None:
    """Stands in for what its wrappers import at the top and these settings never call."""
    for name in names:
        module = ModuleType(name)
        module.__getattr__ = lambda attribute: object  # type: ignore[method-assign]
        module.__path__ = []
        sys.modules[name] = module


def _config(setting: SimpleNamespace, env_name: str, iterations: int) -> dict[str, Any]:
    return {
        "ENV_NAME": env_name,
        "NUM_ENVS": setting.num_envs,
        "NUM_STEPS": setting.num_steps,
        "TOTAL_TIMESTEPS": iterations * setting.num_envs * setting.num_steps,
        "UPDATE_EPOCHS": setting.num_epochs,
        "NUM_MINIBATCHES": setting.num_minibatches,
        "LR": setting.learning_rate,
        "GAMMA": setting.discount,
        "GAE_LAMBDA": setting.gae_lambda,
        "CLIP_EPS": setting.clip,
        "ENT_COEF": setting.entropy_coefficient,
        "VF_COEF": setting.value_coefficient,
        "MAX_GRAD_NORM": setting.max_grad_norm,
        "ACTIVATION": "tanh",
        "ANNEAL_LR": False,
        "NORMALIZE_ENV": False,
        "DEBUG": False,
    }
