"""The section of a page that says which configurations of a sweep or a search differ, and by how much."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from jaxreward.report.page import details, drawing, note, table
from jaxreward.results.charts import intervals
from jaxreward.results.compare import LEVEL, Contrast, Entry, contrasts, entry_of
from jaxreward.results.curves import to_svg
from jaxreward.results.summary import with_interval

COLUMNS = ("configuration", "interquartile mean", "difference", "probability of improvement", "p", "seeds")


def configurations_compared(frame: pd.DataFrame, labels: Mapping[int, str], metric: str, shown: str) -> str:
    """The first of some configurations against the others, as `jaxreward compare` does it.

    Args:
        frame: All metrics.
        labels: What to call each member that is compared, the best first.
        metric: Of which final values are compared.
        shown: What people call it.

    Returns:
        HTML; nothing where fewer than two have two seeds each.
    """
    entries = [entry_of(name, frame[frame["member"] == member], metric) for member, name in labels.items()]
    entries = [entry for entry in entries if len(entry.scores) > 1]
    if len(entries) < 2:
        return ""
    first, *others = entries
    rows = [[first.name, with_interval(*first.iqm[:3]), "-", "-", "-", _seeds(first)]]
    every = math.comb(len(entries), 2)
    rows += [_row(entry, contrast, every) for entry, contrast in zip(others, contrasts(entries), strict=True)]
    picture = intervals({"interquartile mean": {entry.name: entry.iqm for entry in entries}}, shown)
    return details(
        "Which configurations differ",
        "\n".join(
            [
                drawing(to_svg(picture)),
                note(
                    "Final values, each the mean over the last tenth of training. Bar: 95% interval over seeds, line "
                    "in it: the interquartile mean. Below, each against the first: the difference, and the "
                    "probability that a run of it scores higher than one of the first, which was seen to be the best: "
                    "on fresh seeds it is most likely a little worse. Where p is below "
                    f"{LEVEL:g}, they differ{_corrected(every)}."
                ),
                table(COLUMNS, rows, {"configuration"}),
            ]
        ),
    )


def _corrected(pairs: int) -> str:
    told = f"; as the data chose the first, p is corrected for all {pairs} pairs by Bonferroni's method"
    return told if pairs > 1 else ""


def _row(entry: Entry, contrast: Contrast, pairs: int) -> list[str]:
    """One of the others against the first, its p corrected for so many pairs."""
    told = [with_interval(*estimate[:3]) for estimate in (entry.iqm, contrast.difference, contrast.improvement)]
    return [entry.name, *told, f"{min(1.0, pairs * contrast.uncorrected):.3g}", _seeds(entry)]


def _seeds(entry: Entry) -> str:
    return f"{len(entry.scores)}{f' ({entry.lost} more without a final value)' if entry.lost else ''}"
