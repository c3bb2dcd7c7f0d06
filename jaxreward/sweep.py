"""Named agents, environments, rewards and grids, trained in one compiled program: what the command line runs."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from jaxreward.spec import Experiment, resolve, reward_source
from jaxreward.store import RunFolder
from jaxreward.train import Result, train


def sweep(
    experiment: Experiment,
    *,
    steps: int | None = None,
    seeds: int | Sequence[int] | None = None,
    folder: str | os.PathLike[str] | None = None,
    log_every: int | None = None,
    resume: bool | Literal["require"] = False,
    wandb: str | None = None,
    progress: bool = True,
) -> Result:
    """Trains all members of an experiment, each with all seeds, on all local devices, and leaves a run folder.

    Args:
        experiment: From `jaxreward.spec.resolve`.
        steps: Environment steps of each run, rounded up to whole iterations; those of a resumed run if not given.
        seeds: How many, or which; those of a resumed run if not given, else 1.
        folder: The run folder; `default_folder` if not given.
        log_every: Iterations to a row of the metrics.
        resume: See `jaxreward.train.train`.
        wandb: A Weights & Biases project.
        progress: Whether to show progress.

    Raises:
        ValueError: If the number of steps is neither given nor known.
        RunError: See `jaxreward.train.train`.
    """
    run = RunFolder(folder or default_folder(experiment))
    before = run.read_config() if resume and run.exists() else {}
    if steps is None and not before:
        raise ValueError("say how many environment steps each run takes: steps=200_000 (--steps 200000)")
    iterations = before["iterations"] if steps is None else experiment.iterations(steps)
    if not run.exists():
        _keep_source(experiment, run)
    return train(
        experiment.agent,
        experiment.hyperparams,
        iterations=iterations,
        folder=run.path,
        seeds=before.get("seeds", 1) if seeds is None else seeds,
        population=experiment.population,
        config=experiment.config,
        log_every=log_every,
        resume=resume,
        wandb=wandb,
        progress=progress,
        mesh="widest",
    )


def experiment_of(folder: str | os.PathLike[str]) -> Experiment:
    """The experiment whose run is in a folder.

    Raises:
        RunError: The folder holds no run.
        ValueError: It was not made from names, or they no longer exist.
    """
    config = RunFolder(folder).read_config()["config"]
    missing = [key for key in ("agent", "env", "reward", "settings", "grid") if key not in config]
    if missing:
        raise ValueError(f"the run in {folder} was not made by name: its config has no {', '.join(missing)}")
    singles = {name: tuple(value) if isinstance(value, list) else value for name, value in config["settings"].items()}
    return resolve(config["agent"], config["env"], config["reward"], {**singles, **config["grid"]})


def default_folder(experiment: Experiment) -> Path:
    """A folder of this name that is not there yet: `runs/<environment>-<agent>-<time>`."""
    env, agent = experiment.config["env"], experiment.config["agent"]
    name = re.sub(r"[^\w.-]+", "-", f"{env.partition('?')[0]}-{agent}")
    first = Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    others = (first.with_name(f"{first.name}-{number}") for number in range(2, 1000))
    return next(path for path in (first, *others) if not path.exists())


def _keep_source(experiment: Experiment, run: RunFolder) -> None:
    """Puts a copy of the user's reward beside the results: what a reward was is part of what came out."""
    source = reward_source(experiment.config["reward"])
    if source is None:
        return
    run.create()
    (run.path / "reward.py").write_text(source)
