"""`jaxreward compare`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from jaxreward.cli.shell import Text, console

if TYPE_CHECKING:
    from jaxreward.results.compare import Contrast, Entry
    from jaxreward.results.statistics import Estimate

_FIRST = "which holds if it wasn't by these runs that the first was chosen"


@dataclass(frozen=True)
class Compare:
    """Say whether configurations differ, and how many seeds it would take to be sure.

    Attributes:
        places: Run folders or sweeps; PLACE:NAME=VALUE,... chooses one of their configurations. The others are compared
            with the first.
        by: Columns whose values tell configurations apart within a place, such as learning_rate. They are compared at
            each value of whatever else was varied.
        metric: Whose final values are compared: means over the last tenth of training. By default episode/return, or
            average_reward where no environment ever ends.
        traceback: Show where an error came from.
    """

    places: tyro.conf.Positional[tuple[str, ...]]
    by: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    metric: Text = None
    traceback: bool = False

    def run(self) -> int:
        from jaxreward.results.compare import contrasts, default_metric, pairs, read_entries

        if not self.places:
            raise ValueError("which runs? For example jaxreward compare runs/first runs/second")
        metric = self.metric or default_metric(self.places)
        entries = read_entries(self.places, metric, self.by)
        out = console()
        out.print(f"final {metric}, interquartile means with 95% intervals")
        for line in _lines(entries):
            out.print(line, soft_wrap=True)
        compared = pairs(entries)
        if len(compared) > 1:
            out.print(f"\np-values are corrected for {len(compared)} comparisons by Holm's method, {_FIRST}")
        for (entry, first), contrast in zip(compared, contrasts(entries), strict=True):
            out.print("\n" + _told(contrast, first, entry), soft_wrap=True)
        return 0


def _lines(entries: list[Entry]) -> list[str]:
    width = max(len(entry.name) for entry in entries)
    lost = lambda entry: f"  ({entry.lost} more without a final value)" if entry.lost else ""  # noqa: E731
    told = lambda e: f"  {e.name:<{width}}  {_show(e.iqm)}  {len(e.scores)} seeds{lost(e)}"  # noqa: E731
    lines = []
    for where in dict.fromkeys(each.where for each in entries):
        lines += [f"at {where}"] if where else []
        lines += [told(each) for each in entries if each.where == where]
    return lines


def _told(contrast: Contrast, first: Entry, entry: Entry) -> str:
    from jaxreward.results.compare import LEVEL

    kind = "paired by seed" if contrast.paired else "unpaired"
    counts = len(first.scores), len(entry.scores)
    ways = 2 ** counts[0] if contrast.paired else math.comb(sum(counts), counts[0])
    shown = "no difference is shown" if 2 / ways < LEVEL else "so few seeds can't show any"
    verdict = "they differ" if contrast.p_value < LEVEL else shown
    lines = [
        f"{contrast.name} against {first.name}" + (f", at {first.where}" if first.where else ""),
        f"  {'difference':<32}  {_show(contrast.difference)}",
        f"  {'probability of improvement':<32}  {_show(contrast.improvement)}",
        f"  {f'permutation test, {kind}':<32}  p = {contrast.p_value:.3g}: {verdict}",
        f"  {_advice(contrast.needed, min(counts))}",
    ]
    return "\n".join(lines)


def _advice(needed: int | None, seeds: int) -> str:
    from jaxreward.results.compare import MOST_SEEDS, POWER

    if needed is None:
        return f"if they differ as little as they seem to, more than {MOST_SEEDS:,} seeds of each would be needed"
    return (
        f"a difference like this one takes about {needed} seeds of each to show ({POWER:.0%} power); there are {seeds}"
    )


def _show(estimate: Estimate) -> str:
    from jaxreward.results.summary import with_interval

    return with_interval(*estimate[:3])
