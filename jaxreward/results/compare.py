"""Whether configurations differ: final scores over seeds, differences with intervals, tests, and the seeds it takes.

What is compared is named `PLACE` or `PLACE:NAME=VALUE,...`: the runs in a folder, or those of them with some settings.
Where configurations are told apart by some names, they are compared at each value of whatever else they differ in.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from jaxreward.names import check_name
from jaxreward.results.described import asked_settings, run_names
from jaxreward.results.statistics import (
    NOTHING,
    Estimate,
    estimate,
    estimate_difference,
    estimate_improvement,
    holm,
    paired_test,
    seeds_needed,
    unpaired_test,
)
from jaxreward.results.summary import RATE, RETURN, configurations, declared_metrics
from jaxreward.results.tables import final_values, find_runs, load
from jaxreward.run.job import NAMED
from jaxreward.run.store import RunError, RunFolder
from jaxreward.settings.values import parse_settings, parse_value
from jaxreward.sweep import sweep_metrics, sweep_of

LEVEL = 0.05
"""P-values below it are called a difference."""
POWER = 0.8
"""How likely a difference should be found with the seeds that are advised."""
MOST_SEEDS = 1_000
"""More are not advised."""
_OUTSIDE_BRACKETS = re.compile(r",(?![^(\[]*[)\]])")


class Entry(NamedTuple):
    """One configuration.

    Attributes:
        name: What it is called.
        seeds: The seeds that have a final value.
        scores: Those values.
        iqm: Their interquartile mean.
        lost: How many runs have no final value: their numbers were not finite, or no episode ended.
        where: What else was varied, and the values here; it is compared with others of the same.
    """

    name: str
    seeds: tuple[int, ...]
    scores: Float[np.ndarray, " n"]
    iqm: Estimate
    lost: int
    where: str = ""


class Contrast(NamedTuple):
    """How an entry compares with the first of those of the same `where`.

    Attributes:
        name: The entry's.
        difference: Of interquartile means, the entry's minus the first's, by seed where they have the same.
        improvement: The probability that a run of it scores higher than one of the first.
        p_value: Of the test for a difference in means, corrected for the number of comparisons by Holm's method.
        uncorrected: The same before that.
        paired: Whether runs with the same seed were compared.
        needed: Seeds of each with which this test would tell the two apart with a power of `POWER`; None if that takes
            more than `MOST_SEEDS`.
    """

    name: str
    difference: Estimate
    improvement: Estimate
    p_value: float
    uncorrected: float
    paired: bool
    needed: int | None


def default_metric(places: Sequence[str]) -> str:
    """What is compared unless another metric is asked for: returns, or rewards a step where no environment ever ends.

    Raises:
        RunError: A place holds no runs.
    """
    runs = [run for place in places for run in find_runs(_parted(place)[0])]
    return RATE if RATE in declared_metrics(RunFolder(run).read_config() for run in runs) else RETURN


def read_entries(places: Sequence[str], metric: str, by: Sequence[str] = ()) -> list[Entry]:
    """The configurations to compare, in the order given.

    Args:
        places: What is compared, see above.
        metric: Of which final values are taken.
        by: The columns whose values tell configurations apart within the places, whatever else is equal.

    Raises:
        RunError: A place holds no runs, there is no such metric, or fewer than two configurations with two seeds each
            that are equal in all but `by`.
        ValueError: A place holds several configurations and it isn't said which or how to tell them apart.
    """
    entries = [entry for place in places for entry in _entries(place, metric, by)]
    if len(entries) < 2:
        raise RunError(f"a comparison needs two configurations; there is {len(entries)}")
    if not pairs(entries):
        raise RunError(
            f"no two configurations differ in {' and '.join(by) or 'their place'} alone: there is {entries[0].name} at "
            f"{entries[0].where or 'no other value'}, and {entries[1].name} at {entries[1].where or 'no other value'}"
        )
    few = [entry for entry in entries if len(entry.scores) < 2]
    if few:
        raise RunError(f"{few[0].name} has {len(few[0].scores)} final values; a comparison needs two seeds or more")
    return entries


def pairs(entries: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """Each entry with the first of its `where`, but for these themselves."""
    firsts: dict[str, Entry] = {}
    both = [(entry, firsts.setdefault(entry.where, entry)) for entry in entries]
    return [(entry, first) for entry, first in both if entry is not first]


def contrasts(entries: Sequence[Entry]) -> list[Contrast]:
    """The `pairs` compared."""
    compared = pairs(entries)
    uncorrected = [_p_value(entry, first) for entry, first in compared]
    # Of several comparisons the first to be decided has to pass this level by Holm's method.
    confidence = 1 - LEVEL / len(compared)
    return [
        Contrast(
            entry.name,
            estimate_difference(entry.scores, first.scores, paired=entry.seeds == first.seeds),
            estimate_improvement(entry.scores, first.scores),
            float(corrected),
            float(p),
            entry.seeds == first.seeds,
            seeds_needed(entry.scores, first.scores, POWER, confidence, MOST_SEEDS, entry.seeds == first.seeds),
        )
        for (entry, first), corrected, p in zip(compared, holm(uncorrected), uncorrected, strict=True)
    ]


def entry_of(name: str, frame: pd.DataFrame, metric: str, where: str = "") -> Entry:
    """One configuration's final values.

    Args:
        name: What it is called.
        frame: The metrics of its runs, one for each seed.
        metric: Of which the values are.
        where: See `Entry`.

    Raises:
        ValueError: A seed is there more than once.
    """
    values = final_values(frame, metric)
    kept = values[values["value"].notna() & ~values["failed"]].sort_values("seed")
    twice = kept["seed"][kept["seed"].duplicated()]
    if len(twice):
        more = "; add run to --by to tell runs apart" if frame["run"].nunique() > 1 else ""
        raise ValueError(f"{name} holds several configurations: seed {twice.iloc[0]} is there more than once{more}")
    scores = kept["value"].to_numpy(float)
    iqm = estimate(scores) if len(scores) else NOTHING
    return Entry(name, tuple(kept["seed"]), scores, iqm, len(values) - len(kept), where)


def _p_value(entry: Entry, first: Entry) -> float:
    test = paired_test if entry.seeds == first.seeds else unpaired_test
    return test(entry.scores, first.scores)


def _entries(place: str, metric: str, by: Sequence[str]) -> list[Entry]:
    folder, frame = _selected(place)
    for name in by:
        check_name("column of the results", name, map(str, frame))
    if not by:
        _refuse_several(place, folder, frame)
        return [entry_of(place, frame, metric)]
    others = _others(folder, frame, by)
    return [
        entry_of(f"{folder.name}: {_told(by, key)}", part, metric, _told(others, key[len(by) :]))
        for key, part in frame.groupby([*by, *others], sort=False, dropna=False)
    ]


def _others(folder: Path, frame: pd.DataFrame, by: Sequence[str]) -> list[str]:
    """What else the configurations differ in, unless the values of `by` say it too."""
    groups = frame.groupby(list(by), dropna=False)
    rest = [name for name in _varied(folder, frame) if name not in by]
    return [name for name in rest if groups[name].nunique(dropna=False).max() > 1]


def _told(names: Sequence[str], values: Sequence[object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=False))


def _selected(place: str) -> tuple[Path, pd.DataFrame]:
    """The folder of a place, and the metrics of the runs that are meant."""
    folder, conditions = _parted(place)
    if (folder / "sweep.json").is_file():
        frame = sweep_metrics(sweep_of(folder), folder).assign(run=folder.name)
    else:
        frame = load(folder)
    for name, value in parse_settings(_OUTSIDE_BRACKETS.split(conditions) if conditions else ()).items():
        check_name("column of the results", name, map(str, frame))
        frame = _with_value(frame, name, value)
    if frame.empty and conditions:
        raise RunError(f"no run in {folder} has {conditions}")
    return folder, frame


def _parted(place: str) -> tuple[Path, str]:
    """A place's folder and conditions: the longest beginning that is there, since both may have colons in them."""
    ends = [len(place), *(at for at in reversed(range(len(place))) if place[at] == ":")]
    for end in ends:
        if Path(place[:end]).exists() and (end == len(place) or "=" in place[end:]):
            return Path(place[:end]), place[end + 1 :]
    folder, _, conditions = place.rpartition(":")
    return (Path(folder), conditions) if folder and "=" in conditions else (Path(place), "")


def _with_value(frame: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    if isinstance(value, int | float) and pd.api.types.is_numeric_dtype(frame[column]):
        # What was trained with is the nearest float32, and people type fewer digits.
        return frame[np.isclose(frame[column], value, rtol=1e-6, atol=0)]
    # A list and a tuple of numbers are the same setting, and text in a table.
    return frame[frame[column].map(lambda cell: parse_value(str(cell)) == value)]


def _refuse_several(place: str, folder: Path, frame: pd.DataFrame) -> None:
    """Runs of several configurations are no seeds of one."""
    members = len(_members(frame))
    if members < 2:
        return
    apart = _varied(folder, frame)
    if not apart or len(frame[apart].drop_duplicates()) < members:
        apart = ["run", *apart]
    example = _reference(folder, frame)
    one = f"choose one, such as {shlex.quote(example)}, or " if example else ""
    raise ValueError(f"{place} holds {members} configurations; {one}tell them apart with --by {' '.join(apart)}")


def _members(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[["run", "member"]].drop_duplicates()


def _reference(folder: Path, frame: pd.DataFrame) -> str | None:
    """How the first of these configurations is named; None if it can't be, as values may have commas in them."""
    row = frame.iloc[0]
    runs = [] if (folder / "sweep.json").is_file() else find_runs(folder)
    place = dict(zip(run_names(runs), runs, strict=True)).get(str(row["run"]), folder)
    conditions = [f"{name}={row[name]}" for name in _varied(place, _selected(str(place))[1])]
    text = ":".join([str(place), *([",".join(conditions)] if conditions else [])])
    try:
        found = _selected(text)[1]
    except (RunError, ValueError):
        return None
    return text if len(_members(found)) == 1 else None


def _varied(folder: Path, frame: pd.DataFrame) -> list[str]:
    """The settings that the configurations in a folder differ in."""
    if (folder / "sweep.json").is_file():
        return sweep_of(folder).names()
    described = [RunFolder(run).read_config() for run in find_runs(folder)]
    varied = [name for config in described for name in configurations(config)]
    of_runs = [name for config in described for name in asked_settings(config)]
    named = [name for name in dict.fromkeys([*varied, *NAMED, *of_runs]) if name in frame]
    return [name for name in named if frame[name].nunique(dropna=False) > 1]
