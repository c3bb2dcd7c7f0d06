"""Training a sweep, and the metrics of all its runs as one table.

```
sweep.json
programs/000-num_envs=16/    what `jaxreward.run.train` leaves
programs/001-num_envs=64/
```

Running a sweep again trains what is missing: more seeds, values or steps are added to what is there. It only grows: one
that asks for less is refused.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from jaxreward.run.folder import hold
from jaxreward.run.job import job_of
from jaxreward.run.launcher import Launcher, Outcome, local
from jaxreward.run.store import RunFolder, absolute, to_json, write_atomically
from jaxreward.sweep.plan import Plan, plan, program_folders
from jaxreward.sweep.spec import Sweep, identity

KEYS = ["iteration", "env_steps", "wall_seconds", "member", "seed", "failed"]


class Swept(NamedTuple):
    """What a sweep leaves.

    Attributes:
        metrics: See `sweep_metrics`.
        failures: The jobs that could not be trained, and why.
    """

    metrics: pd.DataFrame
    failures: list[Outcome]


def run_sweep(
    sweep: Sweep, folder: str | os.PathLike[str], launch: Launcher | None = None, planned: Plan | None = None
) -> Swept:
    """Trains what is missing of a sweep.

    Args:
        sweep: The sweep.
        folder: Its folder.
        launch: Where jobs are trained; here, one after the other, by default.
        planned: What `jaxreward.sweep.plan` gave, where it is at hand.

    Returns:
        The metrics of all of it, and what could not be trained. A run that is trained in a batch of another size agrees
        to rounding, see `jaxreward.run.train.train`.

    Raises:
        RunError: See `jaxreward.sweep.plan`; or another process is at work in the folder.
        ValueError: See `jaxreward.sweep.plan`.
    """
    planned = planned or plan(sweep, folder)
    path = absolute(folder)
    with hold(path):
        write_atomically(path / "sweep.json", json.dumps(sweep.to_table(), indent=2).encode())
        failures = [outcome for outcome in (launch or local())(planned.jobs) if outcome.error]
        return Swept(sweep_metrics(sweep, path), failures)


def sweep_metrics(sweep: Sweep, folder: str | os.PathLike[str]) -> pd.DataFrame:
    """The metrics of a sweep's runs as far as they are there.

    Args:
        sweep: The sweep; runs that it does not ask for are left out.
        folder: Its folder.

    Returns:
        As `jaxreward.run.record.table`, with the number among `sweep.choices()` as `member`, a column for each choice,
        and the program's folder as `run`.
    """
    choices = sweep.choices()
    numbers = {identity(sweep.setup.replace(choice)): number for number, choice in enumerate(choices)}
    tables = [_program_metrics(path, numbers) for path in program_folders(Path(folder).absolute())]
    rows = pd.concat([pd.DataFrame(columns=[*KEYS, "run"]), *tables], ignore_index=True) if tables else pd.DataFrame()
    if rows.empty:
        return rows
    rows = rows[rows["member"].ge(0) & rows["seed"].isin(sweep.seeds)].drop(columns=sweep.names(), errors="ignore")
    chosen = {name: rows["member"].map(_column(choices, name)) for name in sweep.names()}
    rest = rows.columns.difference(KEYS, sort=False)
    return pd.concat([rows[KEYS], pd.DataFrame(chosen, index=rows.index), rows[rest]], axis=1).reset_index(drop=True)


def runs_of(sweep: Sweep, folder: str | os.PathLike[str], member: int) -> dict[int, tuple[Path, int]]:
    """Where the runs of one configuration are: by seed the run folder, and which of its members it is."""
    key = identity(sweep.setup.replace(sweep.choices()[member]))
    places: dict[int, tuple[Path, int]] = {}
    for path in program_folders(Path(folder).absolute()):
        job = job_of(path, steps=0)
        keys = [identity(job.setup.replace(each)) for each in job.members]
        if key in keys:
            places |= {seed: (path, keys.index(key)) for seed in job.seeds}
    return dict(sorted(places.items()))


def _program_metrics(path: Path, numbers: dict[str, int]) -> pd.DataFrame:
    """A program's metrics, its members called by their number in the sweep; -1 if they are not in it."""
    job, metrics = job_of(path, steps=0), RunFolder(path).metrics()
    if metrics.empty:
        return metrics
    mine = [numbers.get(identity(job.setup.replace(member)), -1) for member in job.members]
    return metrics.assign(member=metrics["member"].map(dict(enumerate(mine))), run=path.name)


def _column(choices: list[dict[str, Any]], name: str) -> dict[int, Any]:
    """A choice by number; tuples as text, which a table can group by."""
    values = to_json([choice[name] for choice in choices])
    return {number: str(value) if isinstance(value, list) else value for number, value in enumerate(values)}
