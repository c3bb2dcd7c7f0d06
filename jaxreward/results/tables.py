"""Reading runs back: one table of any number of run folders, and the statistics that are quoted from it.

Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", 2021, is why the interquartile
mean and intervals over seeds stand beside the mean.
"""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd

from jaxreward.learning.evaluation import PREFIX
from jaxreward.results.query import FINAL_FRACTION, ask, connect
from jaxreward.results.statistics import NOTHING, aggregate_iqm, aggregate_mean, estimate
from jaxreward.run.nearby import hint
from jaxreward.run.store import RunError, RunFolder

Places: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""Where to look for runs."""


def find_runs(places: Places) -> list[Path]:
    """The run folders in some places, however deep, in order; a run folder is found itself.

    Raises:
        RunError: There is none in one of the places.
    """
    listed = [Path(places)] if isinstance(places, (str, os.PathLike)) else [Path(place) for place in places]
    if not listed:
        raise RunError("no run folders were given")
    return [folder for place in listed for folder in _runs_in(place)]


def load(places: Places = "runs") -> pd.DataFrame:
    """The metrics of runs as one table, a row for each logged chunk, member and seed.

    Args:
        places: Run folders, or folders with runs in them.

    Returns:
        The columns of `jaxreward.run.record.table`, before them `run`, the folder's name (with as much of its path as
        tells it from others), and behind them what was trained: one column for each entry of the runs' `config` and for
        each setting, see `jaxreward.results.query`.

    Raises:
        RunError: A place holds no run, or a file in it is damaged.
    """
    return query("SELECT * FROM metrics", places)


def query(sql: str, places: Places = "runs") -> pd.DataFrame:
    """Asks a question across any number of runs.

    Args:
        sql: In DuckDB's dialect, of the tables `metrics`, `final` and `runs`, see `jaxreward.results.query`. Names with
            a slash or a dot take double quotes: `"episode/return"`.
        places: Run folders, or folders with runs in them.

    Raises:
        RunError: A place holds no run, or a file in it is damaged.
        ValueError: The question can't be answered.
    """
    with connect([RunFolder(folder) for folder in find_runs(places)]) as connection:
        return ask(connection, sql)


def final_values(frame: pd.DataFrame, metric: str = "episode/return") -> pd.DataFrame:
    """Each run's final value: its mean over the last tenth of its iterations.

    A metric `episode/*` is weighted by the episodes it was measured on, any other by nothing; of `evaluation/*` it is
    the mean over the evaluations of that time. The value is NaN where there was no episode or evaluation, or the run
    diverged.

    Args:
        frame: From `load` or `jaxreward.run.train.train`.
        metric: One of its columns.

    Returns:
        Columns `run` (if `frame` has it), `member`, `seed`, `failed` and `value`.

    Raises:
        RunError: There is no such metric.
    """
    _check_columns(frame, [metric])
    runs = [key for key in ("run", "member", "seed") if key in frame]
    last = frame.groupby(runs)["iteration"].transform("max")
    late = frame[frame["iteration"] > (1 - FINAL_FRACTION) * last]
    counted = metric.startswith("episode/") and metric != "episode/count"
    made = late[metric].notna() if metric.startswith(PREFIX) else pd.Series(True, late.index)
    weight = late["episode/count"].astype(float) if counted else made.astype(float)
    # A chunk without episodes says nothing; one with episodes and without a number makes the value NaN.
    weighted = (late[metric].astype(float) * weight).mask(weight == 0, 0.0)
    sums = late[runs].assign(weighted=weighted, weight=weight, failed=late["failed"]).groupby(runs)
    value = sums["weighted"].agg(lambda rows: rows.sum(skipna=False)) / sums["weight"].sum().replace(0.0, np.nan)
    return pd.DataFrame({"failed": sums["failed"].max(), "value": value}).reset_index()


def summarise(
    frame: pd.DataFrame,
    metric: str = "episode/return",
    by: Sequence[str] = ("member",),
    *,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """The final values of each configuration over its seeds, with intervals; see `jaxreward.results.intervals`.

    Args:
        frame: From `load` or `jaxreward.run.train.train`.
        metric: One of its columns.
        by: The columns that tell configurations apart, e.g. the members' overrides; runs equal in them are one's seeds.
        confidence: Of the intervals.

    Returns:
        A row for each configuration: `by`, `seeds` (the runs that have a final value), `failed` (the runs whose numbers
        were not finite, see `final_values`; a mean that leaves them out flatters), `mean`, `mean_low`, `mean_high`,
        `iqm`, `iqm_low`, `iqm_high`.

    Raises:
        RunError: There is no such column.
    """
    _check_columns(frame, [metric, *by])
    runs = [key for key in ("run", "member", "seed") if key in frame]
    groups = frame[[*runs, *(key for key in by if key not in runs)]].drop_duplicates(runs)
    values = final_values(frame, metric).merge(groups, on=runs)
    rows = []
    for key, group in values.groupby(list(by), dropna=False):
        row: dict[str, float] = {"seeds": int(group["value"].count()), "failed": int(group["failed"].sum())}
        present = group["value"].dropna().to_numpy()
        for name, aggregate in (("mean", aggregate_mean), ("iqm", aggregate_iqm)):
            middle = estimate(present, aggregate, confidence) if present.size else NOTHING
            row |= {name: middle.value, f"{name}_low": middle.low, f"{name}_high": middle.high}
        rows.append({**dict(zip(by, key, strict=True)), **row})
    return pd.DataFrame(rows)


def _runs_in(place: Path) -> list[Path]:
    """The run that a place is, or those in it; what is no run is refused where it is meant, left out beside others."""
    if RunFolder(place).exists():
        RunFolder(place).read_config()
        return [place]
    found = sorted(path.parent for path in place.rglob("config.json"))
    if not found:
        raise RunError(f"{place} is not a run folder, and there is none in it: no config.json was found{hint(place)}")
    reasons = {folder: _no_run(folder) for folder in found}
    told = [reason for reason in reasons.values() if reason]
    if len(told) == len(found):
        raise RunError(f"there is no run in {place}: {told[0]}")
    for reason in told:
        warnings.warn(f"left out: {reason}", stacklevel=4)
    return [folder for folder, reason in reasons.items() if not reason]


def _no_run(folder: Path) -> str:
    """Why a folder with a `config.json` is no run's; nothing if it is one."""
    try:
        RunFolder(folder).read_config()
    except (RunError, OSError) as error:
        return str(error)
    return ""


def _check_columns(frame: pd.DataFrame, wanted: Sequence[str]) -> None:
    for column in wanted:
        if column not in frame:
            near = difflib.get_close_matches(column, frame.columns, n=1)
            nearest = f"; did you mean {near[0]!r}?" if near else "."
            raise RunError(f"the results have no column {column!r}{nearest} They are: {', '.join(frame.columns)}")
