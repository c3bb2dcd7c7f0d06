"""The section of a page that says which configurations of a sweep or a search differ, and by how much."""

from __future__ import annotations

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
    rows = [[first.name, with_interval(*first.iqm[:3]), "-", "-", "-", str(len(first.scores))]]
    rows += [_row(entry, contrast) for entry, contrast in zip(others, contrasts(entries), strict=True)]
    picture = intervals({"interquartile mean": {entry.name: entry.iqm for entry in entries}}, shown)
    return details(
        "Which configurations differ",
        "\n".join(
            [
                drawing(to_svg(picture)),
                note(
                    "Final values, each the mean over the last tenth of training. Bar: 95% interval over seeds, line "
                    "in it: the interquartile mean. Below, each against the first: the difference, and the "
                    "probability that a run of it scores higher than one of the first. Where p, corrected for "
                    f"{len(others)} comparison{'s' * (len(others) > 1)} by Holm's method, is below {LEVEL:g}, they "
                    "differ. The first is the one that was seen to be the best: on fresh seeds it is most likely a "
                    "little worse."
                ),
                table(COLUMNS, rows, {"configuration"}),
            ]
        ),
    )


def _row(entry: Entry, contrast: Contrast) -> list[str]:
    told = [with_interval(*estimate[:3]) for estimate in (entry.iqm, contrast.difference, contrast.improvement)]
    return [entry.name, *told, f"{contrast.p_value:.3g}", str(len(entry.scores))]
