"""Where the curves go besides the run folder's metrics: TensorBoard always, Weights & Biases when asked."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Shaped
from tensorboardX import SummaryWriter

from jaxreward.run.store import RunError

LARGEST_CURVES = 32
"""The most curves of one metric that are drawn; `metrics.parquet` has all of them."""

Metrics = dict[str, Shaped[np.ndarray, "population seed"]]


def member_label(overrides: dict[str, Any]) -> str:
    """How a member is named to people, e.g. `learning_rate=0.001, reward.goal=0.5`; empty without overrides."""
    show = lambda value: f"{value:.6g}" if isinstance(value, float) else str(value)  # noqa: E731
    return ", ".join(f"{key}={show(value)}" for key, value in overrides.items())


class Curves:
    """Chooses which of a population's curves are drawn.

    The mean over everything always; each member's mean over its seeds while there are at most `LARGEST_CURVES` members;
    each single run while those too fit.

    Args:
        population: The overrides of each member.
        seeds: The seeds.
    """

    def __init__(self, population: list[dict[str, Any]], seeds: list[int]) -> None:
        members = len(population)
        self.names = [_file_name(f"{i} {member_label(overrides)}") for i, overrides in enumerate(population)]
        self.seeds = seeds
        self.each_member = 1 < members <= LARGEST_CURVES
        self.each_run = len(seeds) > 1 and members * len(seeds) <= LARGEST_CURVES

    def of(self, values: Shaped[np.ndarray, "population seed"]) -> dict[str, float]:
        """One point of every curve: the mean of the finite values it stands for; a curve without any has no point."""
        points = {"mean": _finite_mean(values)}
        if self.each_member:
            points |= {name: _finite_mean(row) for name, row in zip(self.names, values, strict=True)}
        if self.each_run:
            points |= {
                f"{name}/seed {seed}": float(value)
                for name, row in zip(self.names, values, strict=True)
                for seed, value in zip(self.seeds, row, strict=True)
            }
        return {name: point for name, point in points.items() if np.isfinite(point)}


class TensorBoard:
    """Event files of a run, one TensorBoard run for each curve, over environment steps.

    Args:
        folder: Where they go.
        curves: Which are drawn.
        resumed_at: Environment steps already logged; later points of an interrupted run are hidden.
    """

    def __init__(self, folder: Path, curves: Curves, resumed_at: int) -> None:
        self._folder, self._curves, self._resumed_at = folder, curves, resumed_at
        self._writers: dict[str, SummaryWriter] = {}

    def log(self, metrics: Metrics, iteration: int, env_steps: int) -> None:
        """Adds a point to every curve."""
        for metric, values in {**metrics, "iteration": np.full((1, 1), iteration)}.items():
            points = {"mean": float(iteration)} if metric == "iteration" else self._curves.of(values)
            for curve, point in points.items():
                self._writer(curve).add_scalar(metric, point, env_steps)

    def close(self) -> None:
        """Writes what is pending."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, curve: str) -> SummaryWriter:
        if curve not in self._writers:
            purge = self._resumed_at + 1 if self._resumed_at else None
            self._writers[curve] = SummaryWriter(str(self._folder / curve), purge_step=purge, flush_secs=10)
        return self._writers[curve]


class WeightsAndBiases:
    """The same curves as one Weights & Biases run, over iterations.

    Args:
        project: The project's name.
        folder: The run folder.
        curves: Which are drawn.
        config: The content of `config.json`; its `id` lets an interrupted run go on.
    """

    def __init__(self, project: str, folder: Path, curves: Curves, config: dict[str, Any]) -> None:
        self._curves = curves
        wandb = import_wandb()
        self._run = wandb.init(
            project=project, name=folder.name, id=config["id"], resume="allow", dir=str(folder), config=config
        )

    def log(self, metrics: Metrics, iteration: int, env_steps: int) -> None:
        """Adds a point to every curve."""
        points = {
            metric if curve == "mean" else f"{curve}/{metric}": point
            for metric, values in metrics.items()
            for curve, point in self._curves.of(values).items()
        }
        self._run.log({**points, "env_steps": env_steps}, step=iteration)

    def close(self) -> None:
        """Ends the Weights & Biases run."""
        self._run.finish()


def import_wandb() -> ModuleType:
    """The wandb module.

    Raises:
        RunError: It isn't installed.
    """
    try:
        return importlib.import_module("wandb")
    except ImportError as error:
        raise RunError(
            "Weights & Biases isn't installed: pip install 'jaxreward[wandb]', or leave out wandb"
        ) from error


def _finite_mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean(dtype=np.float64)) if finite.size else float("nan")


def _file_name(label: str) -> str:
    return re.sub(r"[^\w=.,+-]+", "_", label.strip())[:100]
