"""Figures of papers as programs: what to run or compute, how to draw it, and what the paper claims.

A file in `experiments/figures` has a `PaperFigure` called `figure`, and says in its docstring what differs from the
paper. What `reproduce` leaves in a folder is all that a report needs:

```
claims.json      what was claimed, measured and decided, with versions and device
figure.png/svg   the figure
data.parquet     what it was drawn from
runs/            the run folders, if anything was trained
parts/           what was computed otherwise, and with what
```
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from jaxreward.lookup import is_reference, load_reference
from jaxreward.names import check_name
from jaxreward.reproduce.claims import SCALES, Checked, Claim, Scale, check
from jaxreward.reproduce.parts import Part, Table, make, parts_of, table_of
from jaxreward.results.curves import STYLE, save_png, to_svg
from jaxreward.results.statistics import Estimate
from jaxreward.run.folder import check_unused
from jaxreward.run.launcher import Launcher, local
from jaxreward.run.store import RunError, provenance, read_json, to_json, write_atomically

FOLDER = Path("figures")
CLAIMS = "claims.json"
BEGUN = {"runs", "parts"}
MADE = {*BEGUN, "data.parquet", "figure.png", "figure.svg"}
"""What is in the folder of a figure before its claims are, and what is there first."""
_PACKAGE = "jaxreward.experiments.figures"


class PaperFigure(NamedTuple):
    """A figure or table of a paper, to be made again.

    Attributes:
        title: What it shows.
        source: The paper and the number of the figure.
        data: By scale, what it is drawn from, by the name of its parts, mostly methods, which may be run apart; or of
            its only one. A part is a table that is computed when it is asked for, a
            `jaxreward.reproduce.parts.Computed`, or what to train for one, see `jaxreward.reproduce.parts.trainings`.
            It is a generator where what is trained depends on what was trained before, such as final runs of settings
            that were tuned: `tuned = yield jobs`, and then returns either.
        plot: Draws the table of all parts that there are.
        claims: What the paper says of it.
    """

    title: str
    source: str
    data: Callable[[Scale], Part | Mapping[str, Part]]
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
        made: With which versions and device, and when it was drawn, see `jaxreward.run.store.provenance`.
        folder: Where everything is.
        computed: The same of each part that was computed, which may have been before.
    """

    name: str
    title: str
    source: str
    scale: Scale
    claims: list[Checked]
    notes: str
    made: dict[str, Any]
    folder: Path
    computed: Mapping[str, dict[str, Any]] = MappingProxyType({})


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
    only: Sequence[str] = (),
) -> Reproduced:
    """Makes a figure again, draws it and checks what the paper claims.

    What was trained or computed in the folder before isn't again.

    Args:
        name: See `get_figure`.
        scale: How much is run.
        folder: Where; `default_folder` by default.
        launch: What trains; this process by default.
        only: The parts that are run now; all by default. Others are drawn if the folder has all of them.

    Raises:
        ValueError: There is no such figure, scale or part.
        RunError: The folder has something else in it; or something could not be trained: all that could be has been.
    """
    check_name("scale", scale, SCALES)
    name = full_name(name)
    figure = get_figure(name)
    place = default_folder(name, scale) if folder is None else Path(folder)
    parts = parts_of(figure.data(scale))
    wanted = chosen(name, parts, only)
    _check_folder(place)
    made = make(parts, wanted, place, launch or local())
    data = table_of(made.values())
    missing = [[part for part in claim.parts(list(parts)) if part not in made] for claim in figure.claims]
    claims = [check(claim, data, scale, lacking) for claim, lacking in zip(figure.claims, missing, strict=True)]
    computed = {part: each.made for part, each in made.items() if isinstance(each, Table)}
    done = Reproduced(name, figure.title, figure.source, scale, claims, figure.notes, provenance(), place, computed)
    save(done, data, draw(figure, data))
    return done


def chosen(name: str, parts: Mapping[str, Part], only: Sequence[str]) -> list[str]:
    """The parts that are asked for, in their order.

    Raises:
        ValueError: There is no such part; says which is nearest, and what there is.
    """
    for part in only:
        if len(parts) == 1 and part not in parts:
            raise ValueError(f"{name} is run as a whole at this scale: it has no part {part!r}")
        check_name(f"part of {name}", part, parts, f"There are: {', '.join(parts)}.")
    return [part for part in parts if not only or part in only]


def _check_folder(place: Path) -> None:
    """Refuses a folder that has something else in it than a figure that was made, or begun with its runs."""
    there = {path.name for path in place.glob("*")}
    if CLAIMS not in there and not (there & BEGUN and there <= MADE):
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


def _claim_from_json(stored: dict[str, Any]) -> Checked:
    estimate = Estimate(**{name: float(value) for name, value in stored["estimate"].items()})
    return Checked(**{**stored, "estimate": estimate})
