"""Figures of papers as programs: what to run or compute, how to draw it, and what the paper claims.

A file in `experiments/figures` has a `PaperFigure` called `figure`, and says in its docstring what differs from the
paper. What `reproduce` leaves in a folder is all that a report needs:

```
claims.json      what was claimed, measured and decided, with versions and device
figure.png/svg   the figure
data.parquet     what it was drawn from
runs/            the run folders, if anything was trained
```
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from jaxreward.lookup import is_reference, load_reference
from jaxreward.names import check_name
from jaxreward.reproduce.claims import SCALES, Checked, Claim, Scale, check
from jaxreward.results.curves import STYLE, save_png, to_svg
from jaxreward.results.statistics import Estimate
from jaxreward.results.tables import load
from jaxreward.run.folder import check_unused
from jaxreward.run.job import Job, Setup, split
from jaxreward.run.launcher import Launcher, local
from jaxreward.run.store import RunError, provenance, read_json, to_json, write_atomically
from jaxreward.settings.values import Value

FOLDER = Path("figures")
CLAIMS = "claims.json"
MADE = {"runs", "data.parquet", "figure.png", "figure.svg"}
"""What is in the folder of a figure before its claims are."""
_PACKAGE = "jaxreward.experiments.figures"

Data: TypeAlias = pd.DataFrame | Sequence[Job]
"""A table, or what to train for one: the metrics of these runs, see `jaxreward.results.tables.load`."""
Stages: TypeAlias = Generator[Sequence[Job], pd.DataFrame, Data]
"""Data in stages: each `yield` trains jobs and gives their table, from which the next follow; returns the last ones."""


class PaperFigure(NamedTuple):
    """A figure or table of a paper, to be made again.

    Attributes:
        title: What it shows.
        source: The paper and the number of the figure.
        data: By scale, what it is drawn from: a table, or what to train for it, see `trainings`. A generator function
            where what is trained depends on what was trained before, such as final runs of settings that were tuned:
            `tuned = yield jobs`, and then returns either.
        plot: Draws the table.
        claims: What the paper says of it.
    """

    title: str
    source: str
    data: Callable[[Scale], Data | Stages]
    plot: Callable[[pd.DataFrame], Figure]
    claims: tuple[Claim, ...]

    @property
    def notes(self) -> str:
        """The docstring of the file it is written in."""
        drawn_by = getattr(self.plot, "func", self.plot)  # what is in a `functools.partial`
        return inspect.getdoc(sys.modules[drawn_by.__module__]) or ""


class Reproduced(NamedTuple):
    """A figure that was made again.

    Attributes:
        name: See `get_figure`.
        title: See `PaperFigure`.
        source: See `PaperFigure`.
        scale: At which it was made.
        claims: What came out.
        notes: What differs from the paper.
        made: With which versions and device, and when, see `jaxreward.run.store.provenance`.
        folder: Where everything is.
    """

    name: str
    title: str
    source: str
    scale: Scale
    claims: list[Checked]
    notes: str
    made: dict[str, Any]
    folder: Path


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


def list_figures() -> list[str]:
    """The names of the figures in `experiments/figures`."""
    root = importlib.import_module(_PACKAGE)
    files = (path.relative_to(folder) for folder in map(Path, root.__path__) for path in folder.glob("*/[!_]*.py"))
    return sorted(f"{path.parent}/{path.stem}" for path in files)


def full_name(name: str) -> str:
    """`PAPER/NAME` of a figure, given by that or by its former name, `PAPER_NAME`; any other name as it is."""
    former = {figure.replace("/", "_"): figure for figure in list_figures()}
    return former.get(name, name)


def get_figure(name: str) -> PaperFigure:
    """The figure called `name`.

    Args:
        name: One of `list_figures`, or your own as `path/to/file.py:figure` or `module:figure`.

    Raises:
        ValueError: There is no such figure; says which is nearest.
    """
    if not is_reference(name):
        name = full_name(name)
        check_name("figure", name, list_figures(), "`jaxreward reproduce --list` shows all.")
        return importlib.import_module(f"{_PACKAGE}.{name.replace('/', '.')}").figure
    found = load_reference(name, "figure")
    if not isinstance(found, PaperFigure):
        raise ValueError(f"{name} is a {type(found).__name__}; expected a jaxreward.reproduce.figure.PaperFigure")
    return found


def default_folder(name: str, scale: Scale, parent: str | os.PathLike[str] = FOLDER) -> Path:
    """Where a figure is made: `figures/PAPER_NAME-SCALE`."""
    stem = Path(name.rpartition(":")[0]).stem if is_reference(name) else full_name(name).replace("/", "_")
    return Path(parent) / f"{stem}-{scale}"


def reproduce(
    name: str,
    scale: Scale = "small",
    folder: str | os.PathLike[str] | None = None,
    launch: Launcher | None = None,
) -> Reproduced:
    """Makes a figure again, draws it and checks what the paper claims.

    What was trained in the folder before isn't trained again; what is computed without training is computed anew.

    Args:
        name: See `get_figure`.
        scale: How much is run.
        folder: Where; `default_folder` by default.
        launch: What trains; this process by default.

    Raises:
        ValueError: There is no such figure or scale.
        RunError: The folder has something else in it; or something could not be trained: all that could be has been.
    """
    check_name("scale", scale, SCALES)
    name = full_name(name)
    figure = get_figure(name)
    place = default_folder(name, scale) if folder is None else Path(folder)
    _check_folder(place)
    data = _data(figure, scale, place, launch or local())
    claims = [check(claim, data, scale) for claim in figure.claims]
    made = Reproduced(name, figure.title, figure.source, scale, claims, figure.notes, provenance(), place)
    save(made, data, draw(figure, data))
    return made


def _check_folder(place: Path) -> None:
    """Refuses a folder that has something else in it than a figure that was made, or begun with its runs."""
    there = {path.name for path in place.glob("*")}
    if CLAIMS not in there and not {"runs"} <= there <= MADE:
        check_unused(place)


def draw(figure: PaperFigure, data: pd.DataFrame) -> Figure:
    """The figure, in the style of all others."""
    with mpl.rc_context(STYLE):
        return figure.plot(data)


def save(made: Reproduced, data: pd.DataFrame, figure: Figure) -> None:
    """Writes everything to the figure's folder, the claims last: where they are, the rest is too."""
    made.folder.mkdir(parents=True, exist_ok=True)
    write_atomically(made.folder / "data.parquet", data.to_parquet(index=False))
    save_png(figure, made.folder / "figure.png")
    write_atomically(made.folder / "figure.svg", to_svg(figure).encode())
    stored = {name: to_json(value) for name, value in made._asdict().items() if name != "folder"}
    write_atomically(made.folder / CLAIMS, json.dumps(stored, indent=2, allow_nan=False).encode())


def load_reproduced(folder: str | os.PathLike[str]) -> Reproduced:
    """What `reproduce` left in a folder.

    Raises:
        RunError: There is nothing of it, or it is damaged.
    """
    path = Path(folder) / CLAIMS
    try:
        stored = read_json(path, {"claims": list})
        claims = [_claim_from_json(claim) for claim in stored.pop("claims")]
        return Reproduced(**stored, claims=claims, folder=Path(folder))
    except (OSError, RunError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"{path} holds no reproduced figure ({error}); `jaxreward reproduce` makes one") from error


def _data(figure: PaperFigure, scale: Scale, place: Path, launch: Launcher) -> pd.DataFrame:
    train = partial(_train, place=place, launch=launch)
    asked = figure.data(scale)
    last = _last(asked, train) if isinstance(asked, Generator) else asked
    return last if isinstance(last, pd.DataFrame) else train(last)


def _last(stages: Stages, train: Callable[[Sequence[Job]], pd.DataFrame]) -> Data:
    """What the last stage is, after all before it have been trained."""
    table = None  # what a generator is first sent
    while True:
        try:
            jobs = stages.send(table)  # type: ignore[arg-type]
        except StopIteration as ended:
            return ended.value
        table = train(jobs)


def _train(jobs: Sequence[Job], place: Path, launch: Launcher) -> pd.DataFrame:
    jobs = [replace(job, folder=place / "runs" / job.folder) for job in jobs]
    failed = [outcome for outcome in launch(jobs) if outcome.error]
    if failed:
        reasons = "\n".join(f"{outcome.job.folder}: {outcome.error}" for outcome in failed)
        raise RunError(f"{len(failed)} of {len(jobs)} programs failed:\n{reasons}")
    return load([job.folder for job in jobs])


def _claim_from_json(stored: dict[str, Any]) -> Checked:
    estimate = Estimate(**{name: float(value) for name, value in stored["estimate"].items()})
    return Checked(**{**stored, "estimate": estimate})
