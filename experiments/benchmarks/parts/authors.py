"""What the benchmarks against the code of papers' authors share: turns with ours, and tables of speed and of learning.

In each round everyone runs once, one after the other, so that the machine's other load falls on all alike. The authors'
code runs as it is, in an environment of its own, with a seed of its own in each round.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from jaxreward.experiments.benchmarks.parts.comparison import Ratio, compare, ratio
from jaxreward.experiments.benchmarks.parts.race import Contender, Race
from jaxreward.experiments.benchmarks.parts.settings import DEVICES, SEQUENTIAL
from jaxreward.experiments.benchmarks.parts.tables import Measured
from jaxreward.results.statistics import Estimate, estimate_difference

PACKAGES = (
    "torch==2.13.0", "numpy==2.4.6", "scipy==1.17.1", "matplotlib==3.11.2", "networkx==3.6.1", "sympy==1.14.0",
    "dill==0.4.1", "PyYAML==6.0.3",
)  # fmt: skip
"""What the authors' programs import, in versions that they work with."""

BATCHED = "ours, batched"


def command(options: Any, run: Callable[[Any, Console], list[Measured]], packages: Sequence[str] = PACKAGES) -> None:
    """Runs what the command line asks for, prints it, and writes it to `options.out` if that is given.

    Args:
        options: What can be asked for.
        run: Measures it.
        packages: What the environment of its peers has.
    """
    options = tyro.cli(options)
    console = Console() if sys.stdout.isatty() else Console(width=160)
    try:
        measured = run(options, console)
    except (ValueError, RuntimeError, subprocess.SubprocessError) as error:
        sys.exit(str(error))
    write(options, measured, packages)


def write(options: Any, measured: list[Measured], packages: Sequence[str] = ()) -> None:
    """Puts everything measured into `options.out`, if that is given."""
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(_report(options, measured, packages), indent=1, default=str))


def _report(options: Any, measured: list[Measured], packages: Sequence[str]) -> dict[str, Any]:
    machine = {"python": sys.version, "platform": platform.platform(), "cores": os.cpu_count(), "jax": version("jax")}
    rows = [dataclasses.asdict(row) for row in measured]
    return {"machine": machine, "authors": packages, "options": dataclasses.asdict(options), "measured": rows}


def say(python: Path, program: Path, spec: dict[str, Any], timeout: float) -> list[dict[str, Any]]:
    """The JSON lines that a program of the authors' prints.

    Raises:
        RuntimeError: If it fails.
        subprocess.TimeoutExpired: If it takes longer than `timeout` seconds.
    """
    # jaxreward sets XLA flags on import, which are none of theirs.
    environment = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "NPROC")}
    process = subprocess.run(
        [str(python), "-P", str(program), json.dumps(spec)],
        capture_output=True, text=True, timeout=timeout, env=environment, check=False,
    )  # fmt: skip
    if process.returncode:
        said = process.stderr.strip().splitlines() or [f"exit code {process.returncode}"]
        raise RuntimeError(f"the authors' code died: {said[-1]}")
    return [json.loads(line) for line in process.stdout.splitlines()]


def entry(race: str, name: str, amount: int, told: dict[str, Any]) -> Measured:
    """A contender of ours with nothing measured yet; `amount` is what each of its seeds does."""
    devices = max(n for n in range(1, (os.cpu_count() or 1) + 1) if told["seeds"] % n == 0)
    flags = f"{SEQUENTIAL} {DEVICES}={devices}"
    return Measured(race, name, False, told["seeds"], amount * told["seeds"], told, flags, {}, [])


def race(
    rows: list[Measured],
    authors: Callable[[int], dict[str, Any]],
    rounds: int,
    timeout: float,
    once: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Runs everybody, round by round.

    Args:
        rows: Ours; what they say is put there.
        authors: Runs theirs with a seed, and says what a contender would.
        rounds: How often.
        timeout: Seconds within which one of ours has to compile, and to finish each run.
        once: Names of those that run in the first round only.

    Returns:
        What was said of the authors' runs.
    """
    with Race() as field:
        for row in rows:
            field.enter(Contender(sys.executable, row.spec, row.flags, timeout))
        theirs = []
        for seed in range(rounds):
            theirs.append(authors(seed))
            for row, contender in zip(rows, field.contenders, strict=True):
                if seed == 0 or row.name not in once:
                    contender.run(seed)
    for row, contender in zip(rows, field.contenders, strict=True):
        row.ready, row.runs, row.failure = contender.ready, contender.runs, contender.failure
    return theirs


def speed_table(measured: dict[str, list[Measured]], unit: str) -> Table:
    """A row for each task: `unit` per second, ours against the authors', and what compiling takes."""
    columns = ("task", "load", "authors", "ours", "× authors (rounds)", "batched", "× authors (rounds)", "compile s")
    table = Table(*columns, title=f"{unit}/s; compile s: one run / batched")
    for name, rows in measured.items():
        authors, ours, batched = (named(rows, who) for who in ("authors", "ours", BATCHED))
        load = f"{np.median(authors.each('load')):.1f}"
        against = [cell for row in (ours, batched) for cell in _against(row, authors)]
        compiling = " / ".join(f"{cold(row):.1f}" for row in (ours, batched))
        table.add_row(name, load, rate(authors), *against, compiling)
    table.caption = "\n".join(_failures(measured)) or None
    return table


def _against(row: Measured, authors: Measured) -> list[str]:
    if not row.runs:
        return ["failed", ""]
    found = faster(row, authors)
    median, low, high = (f"{each:.{int(each < 10)}f}" for each in found)  # near 1 the first decimal tells who is ahead
    return [rate(row), f"{median} ({low} to {high})"]


def share_table(measured: dict[str, list[Measured]], bounds: Sequence[str], unit: str) -> Table:
    """Two rows for each task, one run and many at once: which part of their time goes where.

    Args:
        measured: Everyone, by task; of each bound there is a row of that name and a batched one.
        bounds: What no implementation can do without.
        unit: What a run is counted in.
    """
    table = Table("task", "", f"µs an {unit}", *bounds, "of the bound", title="where our time goes")
    table.caption = f"the bound: {' and '.join(bounds)}{', one after the other' if len(bounds) > 1 else ''}"
    for name, rows in measured.items():
        for end in ("", ", batched"):
            ours, *parts = (named(rows, who + end) for who in ("ours", *bounds))
            if all(row.runs for row in (ours, *parts)):
                shares = [row.median_s / ours.median_s for row in parts]
                each = f"{1e6 * ours.median_s / ours.amount:.0f}"
                table.add_row(name, ours.name, each, *(f"{share:.0%}" for share in (*shares, sum(shares))))
    return table


def faster(row: Measured, peer: Measured) -> Ratio:
    """How many times less a row takes for the same amount, over the rounds."""
    ours, theirs = ([seconds / each.amount for seconds in each.each("run_s")] for each in (row, peer))
    return ratio(ours, theirs)


def rate(row: Measured) -> str:
    """What a row does in a second of its median run."""
    return f"{row.amount / row.median_s:,.0f}"


def cold(row: Measured) -> float:
    """Seconds that a row takes to trace and compile."""
    return row.ready["trace_s"] + row.ready["compile_s"] if row.ready else np.nan


def _failures(measured: dict[str, list[Measured]]) -> list[str]:
    return [f"{name}, {row.name}: {row.failure}" for name, rows in measured.items() for row in rows if row.failure]


def curve_table(name: str, rows: list[Measured], curves: Collection[str], what: str) -> Table:
    """Our learning curves against the authors', tenth by tenth, and how far apart they are over all of training.

    A tenth of training is met if our interquartile mean over seeds is within the authors' 95% bootstrap interval or
    above.

    Args:
        name: Of the task.
        rows: Everyone.
        curves: Whose curves, by name.
        what: What they are of.
    """
    theirs, ours = tenths_of(named(rows, "authors")), [row for row in rows if row.name in curves and row.runs]
    compared = [compare(tenths_of(row), theirs) for row in ours]
    title = f"{name}: {what}, {len(theirs)} runs of the authors'"
    columns = [column for row in ours for column in (f"{row.name}, {len(tenths_of(row))} seeds", "")]
    table = Table("tenth", "authors", "95% interval", *columns, title=title)
    for i in range(10 if compared else 0):
        interval = f"{compared[0].low[i]:.1f} to {compared[0].high[i]:.1f}"
        cells = [cell for curve in compared for cell in (f"{curve.ours[i]:.1f}", "met" if curve.met[i] else "not met")]
        table.add_row(str(i + 1), f"{compared[0].peer[i]:.1f}", interval, *cells)
    table.caption = "\n".join(f"{row.name}: {verdict(overall(tenths_of(row), theirs))}" for row in ours)
    return table


def overall(ours: np.ndarray, theirs: np.ndarray) -> Estimate:
    """The difference of what is returned over all of training, from the tenths of both, `[seeds, 10]`."""
    return estimate_difference(ours.mean(1), theirs.mean(1))


def verdict(difference: Estimate) -> str:
    """What a difference to the authors' says."""
    value, low, high, _ = difference
    said = "better" if low > 0 else "worse" if high < 0 else "no difference shown"
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}] over all of training, {said}"


def named(rows: Sequence[Measured], name: str) -> Measured:
    """The row of that name."""
    return next(row for row in rows if row.name == name)


def tenths_of(row: Measured) -> np.ndarray:
    """Returns of all runs, `[seeds, 10]`."""
    return np.concatenate([run["tenths"] for run in row.runs])
