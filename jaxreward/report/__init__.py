"""Runs, and figures that were made again with the claims of their papers, as one HTML page that needs nothing else."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxreward.report.claims import claims_overview, figure_section, find_figures
from jaxreward.report.page import document, is_document, note
from jaxreward.report.runs import STUDY, NotYetError, Runs, comparison, curves_of, group, headlines, read, section
from jaxreward.reproduce.figure import CLAIMS, Reproduced, load_reproduced
from jaxreward.results.curves import save_png
from jaxreward.results.tables import find_runs
from jaxreward.run.folder import check_own
from jaxreward.run.store import RunError, write_atomically

PAGE = "report.html"
OURS = ("config.json", "sweep.json", STUDY, CLAIMS)
"""A page of that name beside one of these is ours; elsewhere it says so itself."""


def report(
    folders: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], out: str | os.PathLike[str] | None = None
) -> Path:
    """Writes a self-contained HTML page about runs and figures.

    Args:
        folders: Run folders, folders of sweeps, searches or reproduced figures, or folders with any of them in them.
            Several are compared.
        out: The page; `report.html` in the folder by default, in the current folder for several.

    Returns:
        Its path.

    Raises:
        RunError: A folder holds neither runs nor figures, nothing has been logged yet, or the page can't be written: it
            is somebody else's file, for example.
    """
    listed = [Path(folders)] if isinstance(folders, str | os.PathLike) else [Path(folder) for folder in folders]
    figures = list(_figures(listed))
    groups = [group for place in listed for group in _groups(place, figures)]
    runs, waiting = _read(groups)
    if waiting and not (runs or figures):
        raise waiting[0]
    path = Path(out) if out else (listed[0] if len(listed) == 1 else Path()) / PAGE
    check_own(path, is_document(path) or (path.name == PAGE and any((path.parent / name).is_file() for name in OURS)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, document(_title(listed, figures, runs), _body(figures, runs, waiting)).encode())
    except OSError as error:
        raise RunError(f"can't write the report {path}: {error.strerror or error}") from error
    return path


def save_curves(folder: str | os.PathLike[str]) -> Path:
    """Draws a run's learning curves to `curves.png` in its folder, in the first of its headline metrics."""
    runs = read(Path(folder), [Path(folder)])
    return save_png(curves_of(runs, headlines(runs)[0]), Path(folder) / "curves.png")


def _figures(places: Sequence[Path]) -> Iterator[Reproduced]:
    """The figures in some places; what is none is refused where it is meant, and left out beside others."""
    for folder in find_figures(places):
        try:
            yield load_reproduced(folder)
        except RunError as error:
            if folder in places:
                raise
            warnings.warn(f"left out: {error}", stacklevel=3)


def _groups(place: Path, figures: Sequence[Reproduced]) -> Iterator[tuple[Path, list[Path]]]:
    """The runs in a place, with those they belong to; those a figure was drawn from are shown by the figure."""
    inside = [figure.folder for figure in figures if figure.folder.is_relative_to(place)]
    try:
        found = find_runs(place)
    except RunError:
        if inside:
            return
        raise
    own = [run for run in found if not any(run.is_relative_to(folder) for folder in inside)]
    yield from group(own, place).items()


def _read(groups: Sequence[tuple[Path, list[Path]]]) -> tuple[list[Runs], list[NotYetError]]:
    """The runs that have logged anything, and what to say of the others."""
    runs: list[Runs] = []
    waiting: list[NotYetError] = []
    for folder, members in groups:
        try:
            runs.append(read(folder, members))
        except NotYetError as error:
            waiting.append(error)
    return runs, waiting


def _body(figures: Sequence[Reproduced], runs: Sequence[Runs], waiting: Sequence[NotYetError]) -> Iterator[str]:
    yield from (note(f"Left out: {error}.") for error in waiting)
    if figures:
        yield claims_overview(figures)
        yield from map(figure_section, figures)
    if len(runs) > 1:
        yield comparison(runs)
    for each in runs:
        yield section(each, each.name if len(runs) + len(figures) > 1 else "")


def _title(listed: Sequence[Path], figures: Sequence[Reproduced], runs: Sequence[Runs]) -> str:
    if len(runs) == 1 and not figures:
        return runs[0].name
    if len(listed) == 1 and (listed[0] / STUDY).is_file():
        return listed[0].absolute().name
    counted = [(len(figures), "figure"), (len(runs), "run")]
    return ", ".join(f"{count} {what}{'s' * (count > 1)}" for count, what in counted if count)
