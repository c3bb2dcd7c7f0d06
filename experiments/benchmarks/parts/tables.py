"""Measurements, and what is printed of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from rich.table import Table

from jaxreward.experiments.benchmarks.parts.comparison import compare, ratio

SPEED_COLUMNS = (
    "trace s",
    "compile s",
    "run s (min)",
    "steps/s",
    "with compile",
    "per CPU s",
    "× better peer",
    "final return",
)


@dataclasses.dataclass
class Measured:
    """One contender in one race.

    Attributes:
        race: Name of the setting.
        name: Name of the contender.
        is_peer: Whether it is one to beat.
        seeds: How many were trained at once.
        amount: What a run does, over all seeds: environment steps, or episodes where those are compared.
        spec: What it was told.
        flags: XLA flags it ran under.
        ready: What it said when it had compiled.
        runs: What it said after each run, in order of the rounds.
        failure: Why it dropped out, empty if it did not.
    """

    race: str
    name: str
    is_peer: bool
    seeds: int
    amount: int
    spec: dict[str, Any]
    flags: str
    ready: dict[str, Any]
    runs: list[dict[str, Any]]
    failure: str = ""

    def each(self, field: str) -> list[float]:
        """One number of every run that has it."""
        return [run[field] for run in self.runs if field in run]

    @property
    def median_s(self) -> float:
        """Seconds of the median run."""
        return float(np.median(self.each("run_s")))


def better_peer(rows: list[Measured]) -> Measured | None:
    """The peer with the shorter median run, None if there is none that ran."""
    return min((row for row in rows if row.is_peer and row.runs), key=lambda row: row.median_s, default=None)


def speed_table(rows: list[Measured]) -> Table:
    """One race: a row for each contender with its ratio to the better peer; below, ours against the bounds."""
    table = Table("contender", title=_title(rows), caption=_caption(rows), title_justify="left", caption_justify="left")
    for heading in SPEED_COLUMNS:
        table.add_column(heading, justify="right")
    rival = better_peer(rows)
    for row in rows:
        table.add_row(row.name, *(_cells(row, rival) if row.runs else ["failed"]))
    return table


def _title(rows: list[Measured]) -> str:
    said = lambda field: "/".join(sorted({row.ready[field] for row in rows if row.ready})) or "?"  # noqa: E731
    loads = [load for row in rows for load in row.each("load")]
    return (
        f"{rows[0].race}: {rows[0].seeds} seed(s), {rows[0].amount:,} environment steps in all; "
        f"{said('device')}, jax {said('jax')}, load {np.median(loads or [np.nan]):.1f}"
    )


def _cells(row: Measured, rival: Measured | None) -> list[str]:
    run_s, final = row.each("run_s"), row.each("final_return")
    cold_s = row.ready["trace_s"] + row.ready["compile_s"] + row.median_s
    versus = ratio(run_s, rival.each("run_s")) if rival else None
    return [
        f"{row.ready['trace_s']:.2f}",
        f"{row.ready['compile_s']:.2f}",
        f"{row.median_s:.2f} [{min(run_s):.2f}]",
        f"{row.amount / row.median_s:,.0f}",
        f"{row.amount / cold_s:,.0f}",
        f"{row.amount / np.median(row.each('cpu_s')):,.0f}",
        f"{versus.median:.2f} [{versus.low:.2f}, {versus.high:.2f}]" if versus else "",
        f"{np.mean(final):.0f}" if final else "",
    ]


def _caption(rows: list[Measured]) -> str:
    """Ours against the bounds, by the clock and by CPU seconds, which other load hardly moves; then failures."""
    ours = next((row for row in rows if row.name == "ours" and row.runs), None)
    bounds = {row.name: _seconds(row) for row in rows if row.name.startswith("bound") and row.runs}
    if len(bounds) > 1:
        bounds["bound: one after the other"] = np.sum(list(bounds.values()), axis=0)
    shares = {name: seconds / _seconds(ours) for name, seconds in bounds.items()} if ours else {}
    lines = [f"ours reaches {wall:.0%} of {name} ({cpu:.0%} per CPU second)" for name, (wall, cpu) in shares.items()]
    return "\n".join(lines + [f"{row.name}: {row.failure}" for row in rows if row.failure])


def _seconds(row: Measured) -> np.ndarray:
    """Of the median run: by the clock, and of CPU, `[2]`."""
    return np.array([row.median_s, np.median(row.each("cpu_s"))])


def change_table(rows: list[Measured]) -> Table:
    """What each change bought: how much longer ours compiles and runs without it."""
    table = Table("", "compile s", "× ours", "run s (min)", "× ours [all rounds]", title=_title(rows))
    for row in rows:
        if not (row.runs and rows[0].runs):
            table.add_row(row.name, "failed")
            continue
        compile_s, run_s = row.ready["compile_s"], row.each("run_s")
        slower = ratio(rows[0].each("run_s"), run_s)
        table.add_row(
            row.name,
            f"{compile_s:.2f}",
            f"{compile_s / rows[0].ready['compile_s']:.2f}",
            f"{row.median_s:.2f} [{min(run_s):.2f}]",
            f"{slower.median:.2f} [{slower.low:.2f}, {slower.high:.2f}]",
        )
    return table


def part_table(rows: list[Measured]) -> Table:
    """How long each part of an iteration takes, and what share of the whole that is."""
    table = Table("", "ms an iteration [all rounds]", "of the whole", "CPU ms", "of the whole's", title=_title(rows))
    for row in rows:
        if not (row.runs and rows[0].runs):
            table.add_row(row.name, row.failure or "failed")
            continue
        run_ms, cpu_ms = (1e3 * np.array(row.each(field)) / row.spec["iterations"] for field in ("run_s", "cpu_s"))
        wall, cpu = _seconds(row) / _seconds(rows[0])
        between = f"[{run_ms.min():.2f}, {run_ms.max():.2f}]"
        table.add_row(
            row.name, f"{np.median(run_ms):.2f} {between}", f"{wall:.0%}", f"{np.median(cpu_ms):.2f}", f"{cpu:.0%}"
        )
    return table


def curve_tables(rows: list[Measured]) -> list[Table]:
    """Our learning curve against each peer's, tenth by tenth; the peer's alone where ours failed."""
    ours = next((row for row in rows if row.name == "ours"), None)
    return [_curve_table(ours, row) for row in rows if row.is_peer]


def _curve_table(ours: Measured | None, peer: Measured) -> Table:
    table = Table("tenth", "ours", peer.name, "95% interval", "", title=f"{peer.race}: {peer.seeds} seeds")
    if not peer.runs:
        table.caption = peer.failure
        return table
    theirs = _tenths(peer)
    curve = compare(_tenths(ours) if ours and ours.runs else np.full_like(theirs, np.nan), theirs)
    for i, met in enumerate(curve.met):
        interval = f"{curve.low[i]:.1f} to {curve.high[i]:.1f}"
        table.add_row(str(i + 1), f"{curve.ours[i]:.1f}", f"{curve.peer[i]:.1f}", interval, "met" if met else "not met")
    table.caption = "met at every tenth" if curve.met.all() else f"not met at {int((~curve.met).sum())} of 10 tenths"
    return table


def _tenths(row: Measured) -> np.ndarray:
    """Training returns, `[seeds, 10]`."""
    return np.asarray(row.runs[0]["tenths"])
