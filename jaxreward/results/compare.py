"""Whether configurations differ: final scores over seeds, differences with intervals, tests, and the seeds it takes.

What is compared is named `PLACE` or `PLACE:NAME=VALUE,...`: the runs in a folder, or those of them with some settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from jaxreward.names import check_name
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
from jaxreward.results.summary import configurations
from jaxreward.results.tables import final_values, find_runs, load
from jaxreward.run.store import RunError, RunFolder
from jaxreward.settings.values import parse_settings
from jaxreward.sweep import sweep_metrics, sweep_of

LEVEL = 0.05
"""P-values below it are called a difference."""
POWER = 0.8
"""How likely a difference should be found with the seeds that are advised."""
MOST_SEEDS = 1_000
"""More are not advised."""


class Entry(NamedTuple):
    """One configuration.

    Attributes:
        name: What it is called.
        seeds: The seeds that have a final value.
        scores: Those values.
        iqm: Their interquartile mean.
        lost: How many runs have no final value: their numbers were not finite, or no episode ended.
    """

    name: str
    seeds: tuple[int, ...]
    scores: Float[np.ndarray, " n"]
    iqm: Estimate
    lost: int


class Contrast(NamedTuple):
    """How an entry compares with the first.

    Attributes:
        name: The entry's.
        difference: Of interquartile means, the entry's minus the first's, by seed where they have the same.
        improvement: The probability that a run of it scores higher than one of the first.
        p_value: Of the test for a difference in means, corrected for the number of comparisons by Holm's method.
        paired: Whether runs with the same seed were compared.
        needed: Seeds of each with which this test would tell the two apart with a power of `POWER`; None if that takes
            more than `MOST_SEEDS`.
    """

    name: str
    difference: Estimate
    improvement: Estimate
    p_value: float
    paired: bool
    needed: int | None


def read_entries(places: Sequence[str], metric: str, by: Sequence[str] = ()) -> list[Entry]:
    """The configurations to compare, in the order given.

    Args:
        places: What is compared, see above.
        metric: Of which final values are taken.
        by: The columns whose values tell configurations apart within the places.

    Raises:
        RunError: A place holds no runs, there is no such metric, or fewer than two configurations with two seeds each.
        ValueError: A place holds several configurations and it isn't said which or how to tell them apart.
    """
    entries = [entry for place in places for entry in _entries(place, metric, by)]
    if len(entries) < 2:
        raise RunError(f"a comparison needs two configurations; there is {len(entries)}")
    few = [entry for entry in entries if len(entry.scores) < 2]
    if few:
        raise RunError(f"{few[0].name} has {len(few[0].scores)} final values; a comparison needs two seeds or more")
    return entries


def contrasts(entries: Sequence[Entry]) -> list[Contrast]:
    """Each entry but the first, compared with the first."""
    first, others = entries[0], entries[1:]
    p_values = holm([_p_value(entry, first) for entry in others])
    # Of several comparisons the first to be decided has to pass this level by Holm's method.
    confidence = 1 - LEVEL / len(others)
    return [
        Contrast(
            entry.name,
            estimate_difference(entry.scores, first.scores, paired=entry.seeds == first.seeds),
            estimate_improvement(entry.scores, first.scores),
            float(p),
            entry.seeds == first.seeds,
            seeds_needed(entry.scores, first.scores, POWER, confidence, MOST_SEEDS, entry.seeds == first.seeds),
        )
        for entry, p in zip(others, p_values, strict=True)
    ]


def _p_value(entry: Entry, first: Entry) -> float:
    test = paired_test if entry.seeds == first.seeds else unpaired_test
    return test(entry.scores, first.scores)


def _entries(place: str, metric: str, by: Sequence[str]) -> list[Entry]:
    folder, frame = _selected(place)
    for name in by:
        check_name("column of the results", name, map(str, frame))
    if not by:
        _refuse_several(place, folder, frame)
        return [_entry(place, frame, metric)]
    groups = frame.groupby(list(by), sort=False, dropna=False)
    label = lambda key: ", ".join(f"{name}={value}" for name, value in zip(by, key, strict=True))  # noqa: E731
    return [_entry(f"{folder.name}: {label(key)}", part, metric) for key, part in groups]


def _entry(name: str, frame: pd.DataFrame, metric: str) -> Entry:
    values = final_values(frame, metric)
    kept = values[values["value"].notna() & ~values["failed"]].sort_values("seed")
    twice = kept["seed"][kept["seed"].duplicated()]
    if len(twice):
        raise ValueError(f"{name} holds several configurations: seed {twice.iloc[0]} is there more than once")
    scores = kept["value"].to_numpy(float)
    iqm = estimate(scores) if len(scores) else NOTHING
    return Entry(name, tuple(kept["seed"]), scores, iqm, len(values) - len(kept))


def _selected(place: str) -> tuple[Path, pd.DataFrame]:
    """The folder of a place, and the metrics of the runs that are meant."""
    folder, conditions = _parted(place)
    if (folder / "sweep.json").is_file():
        frame = sweep_metrics(sweep_of(folder), folder).assign(run=folder.name)
    else:
        frame = load(folder)
    for name, value in parse_settings(conditions.split(",") if conditions else ()).items():
        frame = _with_value(frame, _column(frame, name), value)
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


def _column(frame: pd.DataFrame, name: str) -> str:
    """The column a setting is in: its own if it was varied, else one of the runs' configuration."""
    column = f"settings.{name}" if name not in frame and f"settings.{name}" in frame else name
    check_name("column of the results", column, map(str, frame))
    return column


def _with_value(frame: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    if isinstance(value, int | float) and pd.api.types.is_numeric_dtype(frame[column]):
        # What was trained with is the nearest float32, and people type fewer digits.
        return frame[np.isclose(frame[column], value, rtol=1e-6, atol=0)]
    return frame[frame[column].astype(str) == str(value)]


def _refuse_several(place: str, folder: Path, frame: pd.DataFrame) -> None:
    """Runs of several configurations are no seeds of one."""
    members = frame[["run", "member"]].drop_duplicates()
    if len(members) < 2:
        return
    varied = _varied(folder, frame)
    example = f"{place}:{varied[0]}={frame[varied[0]].iloc[0]}" if varied else f"{place}/NAME"
    raise ValueError(
        f"{place} holds {len(members)} configurations; choose one, such as {example}, or tell them apart with --by "
        f"{' '.join(varied) or 'run'}"
    )


def _varied(folder: Path, frame: pd.DataFrame) -> list[str]:
    """The settings that the configurations in a folder differ in."""
    if (folder / "sweep.json").is_file():
        return sweep_of(folder).names()
    named = [name for run in find_runs(folder) for name in configurations(RunFolder(run).read_config())]
    return [name for name in dict.fromkeys(named) if frame[name].nunique(dropna=False) > 1]
