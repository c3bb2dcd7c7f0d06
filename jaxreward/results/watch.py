"""How far runs and sweeps are, from what they have written; nothing is written here, and nobody is kept out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pandas as pd

from jaxreward.results.described import title_of
from jaxreward.results.summary import configurations, declared_metrics
from jaxreward.run.folder import at_work
from jaxreward.run.loggers import member_label
from jaxreward.run.progress import duration
from jaxreward.run.store import RunError, RunFolder
from jaxreward.sweep.plan import program_folders, sweep_of
from jaxreward.sweep.run import sweep_metrics

MOST_FAILURES = 5
"""Failed runs that are named."""
RECENT = 10
"""Rows over which a run's speed is measured."""
PYTHONS = "an agent made in Python"
_TRIES = 3
Found = TypeVar("Found")


class Watched(NamedTuple):
    """How far something is.

    Attributes:
        title: What is trained, and where.
        state: "finished", "at work", "stopped", or "begun elsewhere" where this machine can't tell.
        done: How much of it is done, from 0 to 1.
        facts: That in words.
        failures: What failed, a line each.
        metrics: All rows so far, for the best so far.
        by: What configurations differ in.
        declared: See `jaxreward.results.summary.declared_metrics`.
    """

    title: str
    state: str
    done: float
    facts: list[str]
    failures: list[str]
    metrics: pd.DataFrame
    by: list[str]
    declared: list[str]

    @property
    def over(self) -> bool:
        """Whether nothing more will come unless somebody goes on with it."""
        return self.state in ("finished", "stopped")


def watch_run(folder: Path) -> Watched:
    """A run.

    Raises:
        RunError: There is none, or it can't be read.
    """
    run = RunFolder(folder)
    described, metrics = steadily(run.read_config), steadily(run.metrics)
    iterations, runs = described["iterations"], len(described["population"]) * len(described["seeds"])
    iteration = int(metrics["iteration"].max()) if len(metrics) else 0
    state = _state(run.finished(), folder)
    facts = [f"iteration {iteration:,} of {iterations:,}, of {_counted(runs, 'run')}"]
    facts += _left(state, seconds_left(metrics, iterations)) + _last_row(run)
    by = configurations(described)
    return Watched(
        f"{title_of([described]) or PYTHONS} -> {folder}",
        state,
        1.0 if run.finished() else iteration / iterations,
        facts,
        failed_runs(metrics, described["population"]),
        metrics,
        by,
        declared_metrics([described]),
    )


def watch_sweep(folder: Path) -> Watched:
    """A sweep.

    Raises:
        RunError: There is none, or it can't be read.
    """
    sweep, programs = sweep_of(folder), [RunFolder(path) for path in program_folders(folder)]
    metrics = steadily(lambda: sweep_metrics(sweep, folder))
    runs = len(sweep.choices()) * len(sweep.seeds)
    total, done = runs * sweep.steps, _taken(metrics, sweep.steps)
    finished = sum(program.finished() for program in programs)
    state = _state(done >= total and finished == len(programs) > 0, folder)
    here = sum(at_work(program.path) is True and not program.finished() for program in programs)
    facts = [
        f"{done:,} of {total:,} environment steps, of {_counted(runs, 'run')}",
        f"{finished} of {_counted(len(programs), 'program')} begun so far finished",
    ]
    facts += _left(state, _sweep_seconds(metrics, done, total, max(here, 1)))
    current = [program for program in programs if not program.finished()]
    facts += [f"{program.path.name}: {watch_run(program.path).facts[0]}" for program in current[:MOST_FAILURES]]
    varied = ", ".join(sweep.names())
    title = title_of([{"config": vars(sweep.setup.replace(choice))} for choice in sweep.choices()])
    return Watched(
        f"{title}, {varied} varied -> {folder}",
        state,
        done / total,
        facts,
        failed_runs(metrics, sweep.choices()),
        metrics,
        sweep.names(),
        declared_metrics(program.read_config() for program in programs),
    )


def seconds_left(metrics: pd.DataFrame, iterations: int) -> float | None:
    """Seconds of training that are left of a run, as fast as its last rows were; None before there are any.

    Args:
        metrics: Its rows.
        iterations: How many there will be.
    """
    if not len(metrics):
        return None
    times = metrics.groupby("iteration")["wall_seconds"].max().sort_index()
    last, recent = times.index[-1], times.iloc[-RECENT - 1 :]
    start, at_start = (recent.index[0], recent.iloc[0]) if len(recent) > 1 else (0, 0.0)
    return float((times.iloc[-1] - at_start) / (last - start) * max(iterations - last, 0))


def failed_runs(metrics: pd.DataFrame, population: Sequence[dict[str, Any]]) -> list[str]:
    """The runs whose numbers are not finite any more, by their settings and seed."""
    if not len(metrics):
        return []
    failed = metrics[metrics["failed"].astype(bool)].groupby(["member", "seed"])["iteration"].min().reset_index()
    lines = []
    for member, seed, iteration in failed.itertuples(index=False):
        label = member_label(population[int(member)]) or f"member {member}"
        lines.append(f"{label}, seed {seed}: not finite since iteration {iteration:,}")
    more = [f"and {len(lines) - MOST_FAILURES} more"] if len(lines) > MOST_FAILURES else []
    return [*lines[:MOST_FAILURES], *more]


def steadily(read: Callable[[], Found]) -> Found:
    """What is read of files that their owner may put together while they are read."""
    for attempt in range(_TRIES):
        try:
            return read()
        except (RunError, OSError):
            if attempt == _TRIES - 1:
                raise
            time.sleep(0.2)
    raise AssertionError("the last attempt returns or raises")


def _state(finished: bool, folder: Path) -> str:
    words = {True: "at work", False: "stopped", None: "begun elsewhere"}
    return "finished" if finished else words[at_work(folder)]


def _left(state: str, seconds: float | None) -> list[str]:
    return [f"about {duration(seconds)} left"] if seconds is not None and state not in ("finished", "stopped") else []


def _last_row(run: RunFolder) -> list[str]:
    """How long ago something was logged, which tells a slow run from one that hangs."""
    newest = max((path.stat().st_mtime for path in run.metrics_folder.glob("*.parquet")), default=None)
    if run.finished():
        return []
    return ["nothing logged yet"] if newest is None else [f"last row {duration(max(time.time() - newest, 0))} ago"]


def _taken(metrics: pd.DataFrame, steps: int) -> int:
    """Environment steps of all runs so far, of each as many as were asked for at the most."""
    if not len(metrics):
        return 0
    return int(metrics.groupby(["member", "seed"])["env_steps"].max().clip(upper=steps).sum())


def _sweep_seconds(metrics: pd.DataFrame, done: int, total: int, workers: int) -> float | None:
    """Seconds left if what is to come goes as fast as what was done, as many programs at a time as now."""
    if not done:
        return None
    spent = metrics.groupby("run")["wall_seconds"].max().sum()
    return float(spent / done * (total - done) / workers)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
