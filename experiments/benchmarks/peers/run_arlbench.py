"""ARLBench's PPO driven by Optuna, one configuration and seed after the other.

Started as `python run_arlbench.py SPEC`, SPEC being JSON of `search.peer_spec`; it runs in an environment of its own.
On stdout goes one JSON line for each trial, when it ends.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import optuna  # noqa: E402
from arlbench.autorl import AutoRLEnv  # noqa: E402


def main() -> None:
    """Runs trials until the time is up or there are enough."""
    spec = json.loads(sys.argv[1], object_hook=lambda fields: SimpleNamespace(**fields))
    answer = _claim_stdout()
    optuna.logging.disable_default_handler()
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=spec.sampler_seed))
    began = time.perf_counter()
    while len(study.trials) < spec.trials and time.perf_counter() - began < spec.seconds:
        trial = study.ask()
        values = [_train(spec, _suggest(trial, spec.space), seed) for seed in range(1, spec.seeds + 1)]
        study.tell(trial, float(np.mean(values)))
        answer({"seconds": time.perf_counter() - began, "value": float(np.mean(values)), "params": trial.params})


def _train(spec: SimpleNamespace, choice: dict[str, float], seed: int) -> float:
    """The mean return of evaluation episodes after training."""
    env = AutoRLEnv(
        {
            "env_framework": spec.framework,
            "env_name": spec.env,
            "n_envs": spec.num_envs,
            "algorithm": "ppo",
            "n_steps": 1,
            "n_total_timesteps": spec.steps,
            "n_eval_steps": 1,
            "n_eval_episodes": spec.evaluation_episodes,
            "objectives": ["reward_mean"],
        }
    )
    env.reset()
    configuration = {**dict(env.config_space.get_default_configuration()), **vars(spec.configuration), **choice}
    return float(env.step(configuration, seed=seed)[1]["reward_mean"])


def _suggest(trial: optuna.Trial, space: SimpleNamespace) -> dict[str, Any]:
    """A configuration of a space of `name: [low, high, log]`."""
    return {name: trial.suggest_float(name, low, high, log=log) for name, (low, high, log) in vars(space).items()}


def _claim_stdout() -> Callable[[dict[str, Any]], None]:
    """Keeps stdout for the answers; what libraries print goes to stderr."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return lambda message: print(json.dumps(message), file=out, flush=True)


if __name__ == "__main__":
    main()
