"""Steps of LPG's objective by GROOVE's code as it is; it imports nothing of ours.

`wandb`, which that code imports to log with and is not asked to, is an empty module.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace


def build(spec: SimpleNamespace) -> tuple[Callable, Callable]:
    """See `contender.py`."""
    sys.modules.setdefault("wandb", ModuleType("wandb"))
    sys.path.insert(0, spec.checkout)
    from train import make_train

    from experiments.parse_args import parse_args

    train = make_train(parse_args(arguments(spec)))
    return lambda key: train(key)[0], lambda metrics: {}


def arguments(spec: SimpleNamespace) -> list[str]:
    """What is typed on its command line: its own settings for either way to learn."""
    shared = {
        "--num_agents": spec.agents,
        "--env_workers": spec.envs,
        "--train_steps": spec.steps,
        "--num_mini_batches": 1,
    }
    own: dict[str, str | float] = {"--env_mode": "all_shortlife"}
    if spec.is_evolution:
        own = {"--env_mode": "all_vrandlife", "--lpg_learning_rate": 0.01}
    flags = ["--use_es", "--lifetime_conditioning"] if spec.is_evolution else []
    return [*flags, *(str(word) for item in {**shared, **own}.items() for word in item)]
