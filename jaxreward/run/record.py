"""What the host keeps of a chunk: exact counts, a table of metrics, and which runs are no longer finite."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int, Shaped

from jaxreward.contract.agents import RATES, RETURNS
from jaxreward.learning.evaluation import EVALUATED_RATES, EVALUATED_RETURNS, PREFIX
from jaxreward.run.chunk import Chunk
from jaxreward.run.loggers import member_label
from jaxreward.run.store import to_json

COLUMNS = ("iteration", "env_steps", "wall_seconds", "member", "seed", "failed")
"""The columns of the metrics table before the members' overrides and the agent's metrics."""

Metrics = dict[str, Shaped[np.ndarray, "population seed"]]


@dataclass
class Counters:
    """What the host counts, in integers that don't overflow.

    Attributes:
        iteration: Iterations done.
        wall_seconds: Time spent on them, over all resumes, without compilation.
        env_steps: Environment steps, `[population, seed]`.
        failed: Which runs have had numbers that aren't finite, `[population, seed]`.
        resting: Which runs are as good as was asked for and are left as they are, `[population, seed]`.
        rows: The metrics of the last row, where a run rests; nothing where none does.
        best: The highest evaluation so far: of the members' means over their seeds.
    """

    iteration: int
    wall_seconds: float
    env_steps: Int[np.ndarray, "population seed"]
    failed: Bool[np.ndarray, "population seed"]
    resting: Bool[np.ndarray, "population seed"]
    rows: Metrics
    best: float = -math.inf

    @staticmethod
    def zero(members: int, seeds: int) -> Counters:
        """Nothing done yet."""
        none = np.zeros((members, seeds), bool)
        return Counters(0, 0.0, np.zeros((members, seeds), np.int64), none, none.copy(), {})

    def to_json(self) -> dict[str, Any]:
        """As a checkpoint keeps them."""
        return to_json(vars(self))

    @staticmethod
    def from_json(stored: dict[str, Any]) -> Counters:
        """The inverse of `to_json`."""
        env_steps, failed = np.array(stored["env_steps"], np.int64), np.array(stored["failed"], bool)
        resting = np.array(stored.get("resting", np.zeros_like(failed)), bool)
        rows = {name: np.array(row, float) for name, row in stored.get("rows", {}).items()}
        best = float(stored.get("best", -math.inf))
        return Counters(stored["iteration"], stored["wall_seconds"], env_steps, failed, resting, rows, best)

    def better(self, evaluated: Metrics) -> bool:
        """Whether an evaluation is the best so far; it is the best from now on."""
        found = [evaluated[name] for name in (EVALUATED_RETURNS[1], EVALUATED_RATES[1]) if name in evaluated]
        means = [values.mean(1) for values in found]
        best = max((float(mean.max()) for mean in means if np.isfinite(mean).all()), default=-math.inf)
        self.best, before = max(self.best, best), self.best
        return best > before

    def of(self, runs: Any) -> Counters:
        """Those of some runs, chosen by a numpy index, which begin to count time and rest no longer."""
        env_steps, failed = self.env_steps[runs], self.failed[runs]
        return Counters(self.iteration, 0.0, env_steps, failed, np.zeros_like(failed), {})

    def rest(self, where: Bool[np.ndarray, "population seed"], metrics: Metrics) -> None:
        """Lets more runs rest; their rows go on as their last ones are."""
        self.resting |= where
        self.rows = metrics if self.resting.any() else {}

    def as_before(self, metrics: Metrics) -> Metrics:
        """A row in which the runs that rest have what they had; evaluations are of new episodes all the same."""
        if not self.rows:
            return metrics
        learning = {name: values for name, values in metrics.items() if not name.startswith(PREFIX)}
        kept = {name: self.rows[name].astype(values.dtype) for name, values in learning.items()}
        return metrics | {name: np.where(self.resting, kept[name], values) for name, values in learning.items()}


def host_metrics(chunk: Chunk) -> Metrics:
    """A chunk's metrics with `episode/count` summed; environment steps are counted apart."""
    metrics = {name: np.asarray(values) for name, values in chunk.metrics.items()}
    if "episode/count" in chunk.summed:
        metrics["episode/count"] = total(chunk, "episode/count")
    return metrics


def total(chunk: Chunk, name: str) -> Int[np.ndarray, "population seed"]:
    """The exact sum of a count over a chunk."""
    return np.asarray(chunk.summed[name]).sum(axis=0, dtype=np.int64)


def non_finite(metrics: Metrics, learned_is_finite: np.ndarray) -> dict[str, Bool[np.ndarray, "population seed"]]:
    """Where each quantity isn't a finite number; nothing is expected of `episode/*` where no episode ended."""
    no_episodes = metrics.get("episode/count", np.ones_like(learned_is_finite)) == 0
    broken = {"the learned parameters": ~np.asarray(learned_is_finite)}
    for name, values in metrics.items():
        excused = no_episodes if name.startswith("episode/") else np.zeros_like(no_episodes)
        broken[name] = ~np.isfinite(values) & ~excused
    return broken


def describe_failures(
    broken: dict[str, Bool[np.ndarray, "population seed"]],
    population: Sequence[dict[str, Any]],
    seeds: Sequence[int],
    iteration: int,
) -> str | None:
    """Names the runs that aren't finite by hyperparameters and seed, with their quantities; None if all are."""
    runs = np.argwhere(np.logical_or.reduce(list(broken.values())))
    if not len(runs):
        return None
    lines = []
    for member, seed in runs[:10]:
        quantities = ", ".join(name for name, where in broken.items() if where[member, seed])
        label = member_label(population[member])
        lines.append(f"  member {member}{f' ({label})' if label else ''}, seed {seeds[seed]}: {quantities}")
    more = [f"  and {len(runs) - 10} more"] if len(runs) > 10 else []
    head = f"{len(runs)} of {len(population) * len(seeds)} runs are no longer finite at iteration {iteration}:"
    return "\n".join([head, *lines, *more])


def table(counters: Counters, metrics: Metrics, population: Sequence[dict[str, Any]], seeds: Sequence[int]) -> pa.Table:
    """One row for each member and seed: `COLUMNS`, the members' overrides, the metrics.

    A metric named like an override (an annealed learning rate beside the searched one) becomes `metric/<name>`.
    `episode/*` is null where no episode ended, and `evaluation/*` where none was made.
    """
    member, seed = np.divmod(np.arange(counters.env_steps.size), len(seeds))
    searched = dict.fromkeys(key for overrides in population for key in overrides)
    columns: dict[str, Any] = {
        "iteration": np.full(member.size, counters.iteration),
        "env_steps": counters.env_steps.ravel(),
        "wall_seconds": np.full(member.size, counters.wall_seconds),
        "member": member,
        "seed": np.array(seeds)[seed],
        "failed": counters.failed.ravel(),
        **{key: _override_column([overrides.get(key) for overrides in population]).take(member) for key in searched},
    }
    no_episodes = metrics.get("episode/count", np.ones(member.size)).ravel() == 0
    for name, values in metrics.items():
        null = no_episodes if name.startswith("episode/") and name != "episode/count" else None
        null = np.isnan(values.ravel()) if name.startswith(PREFIX) else null
        columns[f"metric/{name}" if name in columns else name] = pa.array(values.ravel(), mask=null)
    return pa.table(columns)


def described_result(metrics: Metrics) -> str:
    """The mean episode return of the runs that have one, else the mean reward a step, in words; nothing without."""
    for name, words in {RETURNS[0]: "return", RATES[0]: "reward a step"}.items():
        values = metrics.get(name, np.array(np.nan))
        finite = values[np.isfinite(values)]
        if finite.size:
            return f"{words} {float(finite.mean()):.4g}"
    return ""


def _override_column(values: list[Any]) -> pa.Array:
    stored = [value if isinstance(value, float) else to_json(value) for value in values]
    texts = [json.dumps(value) if isinstance(value, (list, dict)) else value for value in stored]
    try:
        return pa.array(texts)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # of several types
        return pa.array([None if value is None else str(value) for value in texts])
