"""The parts that a figure is made of, such as its methods: each is trained or computed apart, and only once.

What is trained is in `runs/PART/` of the figure's folder, what is computed in `parts/`: a table, and beside it with
which versions and when it was computed. By another version of jaxreward or JAX it is computed again; after the code of
a part was edited `parts/` is to be deleted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import pandas as pd

from jaxreward.results.tables import load
from jaxreward.run.job import Job, Setup, split
from jaxreward.run.launcher import Launcher
from jaxreward.run.store import RunError, provenance, read_json, write_atomically
from jaxreward.settings.values import Value

if TYPE_CHECKING:
    from jaxreward.reproduce.work import Work

WHOLE = "figure"
"""The part of a figure that has no other."""
VERSIONED = ("jaxreward", "jax", "jaxlib")
"""By which a table was computed if it is not computed again."""


class Computed(NamedTuple):
    """A table that is computed, not trained by way of run folders.

    Attributes:
        table: Computes it.
        size: What it depends on, and can be printed: a table that was computed with another is not taken.
        works: What takes its time, see `jaxreward.reproduce.work`.
    """

    table: Callable[[], pd.DataFrame]
    size: Any
    works: Callable[[], Sequence[Work]] = tuple

    def path(self, folder: Path, name: str) -> Path:
        """Where it is kept."""
        told = hashlib.sha256(repr((name, self.size)).encode()).hexdigest()[:8]
        return folder / "parts" / f"{file_name(name)}-{told}.parquet"

    def found(self, folder: Path, name: str) -> Table | None:
        """What was computed before, if by the versions that there are now."""
        path = self.path(folder, name)
        if not path.exists() or not path.with_suffix(".json").exists():
            return None
        made = read_json(path.with_suffix(".json"), {"versions": dict})
        now = provenance()["versions"]
        same = all(made["versions"].get(package) == now[package] for package in VERSIONED)
        return Table(pd.read_parquet(path), made) if same else None

    def make(self, folder: Path, name: str) -> Table:
        """What was computed before, or is now."""
        if (there := self.found(folder, name)) is not None:
            return there
        path, made = self.path(folder, name), provenance()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)  # that of another version is not of what is written now
        write_atomically(path, self.table().to_parquet(index=False))
        write_atomically(path.with_suffix(".json"), json.dumps(made, indent=2).encode())
        return Table(pd.read_parquet(path), made)


class Table(NamedTuple):
    """What was computed.

    Attributes:
        frame: The table.
        made: With which versions and device, and when, see `jaxreward.run.store.provenance`.
    """

    frame: pd.DataFrame
    made: dict[str, Any]


Data: TypeAlias = "Sequence[Job] | Computed"
"""A table when it is asked for, or what to train for one: the metrics of these runs."""
Stages: TypeAlias = Generator[Sequence[Job], pd.DataFrame | None, Data]
"""Data in stages: each `yield` trains jobs and gives their table, from which the next follow; returns the last ones.

Where nothing is trained, to plan what would be, it gives None, and any choice is as good.
"""
Part: TypeAlias = "Data | Stages"
Made: TypeAlias = "Sequence[Path] | Table"
"""What a part has come to: run folders, or a table."""


def parts_of(data: Part | Mapping[str, Part]) -> dict[str, Part]:
    """The parts by name; one if there are no names.

    Raises:
        ValueError: A part is a table that was computed already, or two would be in the same folder.
    """
    parts = dict(data) if isinstance(data, Mapping) else {WHOLE: data}
    folders: dict[str, str] = {}
    for name, part in parts.items():
        _check_asked(name, part)
        if (other := folders.setdefault(file_name(name), name)) != name:
            raise ValueError(f"parts {other!r} and {name!r} would both be in {file_name(name)!r}; rename one")
    return parts


def trainings(
    setup: Setup, choices: Sequence[dict[str, Value]], *, steps: int, seeds: int, log_every: int | None = None
) -> list[Job]:
    """The jobs that train each choice with all seeds: a program for those that differ in traced numbers alone.

    Args:
        setup: What is the same for all.
        choices: What each has of its own, see `jaxreward.run.job.split`.
        steps: Environment steps of each run.
        seeds: How many.
        log_every: See `jaxreward.run.job.Job`.
    """
    groups = split(setup, choices)
    places = [Path(f"{index:03d}") for index in range(len(groups))]
    return [
        Job(group.setup, place, steps, tuple(group.members), tuple(range(seeds)), log_every)
        for place, group in zip(places, groups, strict=True)
    ]


def planned(name: str, part: Part, folder: Path) -> list[Job]:
    """All that a part would train in a figure's folder, in all its stages."""
    jobs = list[Job]()
    while isinstance(part, Generator):
        try:
            jobs += next(part)
        except StopIteration as ended:
            part = ended.value
    _check_asked(name, part)
    last = () if isinstance(part, Computed) else part
    return _placed([*jobs, *last], _place(name, folder))


def make(parts: Mapping[str, Part], wanted: Sequence[str], folder: Path, launch: Launcher) -> dict[str, Made]:
    """Trains and computes those that are wanted, and finds those that are there.

    Stages of all parts are trained together, so that a launcher has as much as there is for its machines.

    Raises:
        RunError: Something could not be trained; all that could be has been.
    """
    others = {name: _found(name, part, folder) for name, part in parts.items() if name not in wanted}
    made = {name: found for name, found in others.items() if found is not None}
    going = {name: _stages(name, parts[name], folder) for name in parts if name in wanted}
    while going:
        jobs = list[Job]()
        for name in list(going):
            try:
                jobs += next(going[name])
            except StopIteration as ended:
                made[name] = ended.value
                del going[name]
        train(jobs, launch)
    return {name: made[name] for name in parts if name in made}


def table_of(made: Iterable[Made]) -> pd.DataFrame:
    """What all parts have come to."""
    made = list(made)
    tables = [each.frame for each in made if isinstance(each, Table)]
    folders = [folder for each in made if not isinstance(each, Table) for folder in each]
    return pd.concat([*tables, *([load(folders)] if folders else [])], ignore_index=True)


def train(jobs: Sequence[Job], launch: Launcher) -> None:
    """Trains all jobs.

    Raises:
        RunError: Some failed; says why.
    """
    failed = [outcome for outcome in launch(jobs) if outcome.error] if jobs else []
    if failed:
        reasons = "\n".join(f"{outcome.job.folder}: {outcome.error}" for outcome in failed)
        raise RunError(f"{len(failed)} of {len(jobs)} programs failed:\n{reasons}")


def file_name(name: str) -> str:
    """A part's name as that of a file."""
    return re.sub(r"\W+", "-", name).strip("-")


def _stages(name: str, part: Part, folder: Path) -> Generator[list[Job], None, Made]:
    """A part's jobs, stage by stage, and what it has come to when all have been trained."""
    place = _place(name, folder)
    if isinstance(part, Generator):
        part = yield from _until_last(part, place)
    _check_asked(name, part)
    if isinstance(part, Computed):
        return part.make(folder, name)
    jobs = _placed(part, place)
    yield jobs
    return [job.folder for job in jobs]


def _until_last(stages: Stages, place: Path) -> Generator[list[Job], None, Data]:
    table = None  # what a generator is first sent
    while True:
        try:
            jobs = _placed(stages.send(table), place)
        except StopIteration as ended:
            return ended.value
        yield jobs
        table = load([job.folder for job in jobs])


def _place(name: str, folder: Path) -> Path:
    return folder / "runs" / ("" if name == WHOLE else file_name(name))


def _placed(jobs: Sequence[Job], place: Path) -> list[Job]:
    return [replace(job, folder=place / job.folder) for job in jobs]


def _found(name: str, part: Part, folder: Path) -> Made | None:
    """What a part has come to, if all of it is there."""
    if isinstance(part, Computed):
        return part.found(folder, name)
    stages = _stages(name, part, folder)
    while True:
        try:
            if not all(job.finished() for job in next(stages)):
                return None
        except StopIteration as ended:
            return ended.value


def _check_asked(name: str, part: Any) -> None:
    """Refuses a table: each look at a figure, such as its plan, would compute it."""
    if isinstance(part, pd.DataFrame):
        raise ValueError(
            f"part {name!r} is a table; expected jaxreward.reproduce.parts.Computed(function, size), whose function "
            "is called when the table is asked for, or jobs"
        )
