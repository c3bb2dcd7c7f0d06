"""MAP-Elites against QDax's: `python -m jaxreward.experiments.benchmarks.map_elites`.

Both fill the same grid with the same number of children of the same variation (iso and line), a first batch of random
genomes before, each in a process of its own that compiles once; then all take turns, so that the machine's other load
falls on all alike. QDax comes as the package ships it, in an environment with our versions of jax and brax, its
iterations in a scan, under XLA's default scheduler and under the sequential one; the better of the two is the one to
beat. Everything a run needs is in the timed program, from the first genomes on.

The bound is what no implementation can do without: the children, and their evaluation.

What is found after equally many evaluations is compared too: coverage, the share of cells that hold an elite, and the
QD score, the sum of their rewards, each counted from the task's worst.

What stays different: QDax finds the cell of a regular grid as that of the nearest of all its centroids, ours by a
closed form. On the arm its first genomes are uniform, ours normal and clipped to the same limits. On brax's hopper
its network has rectifiers and starts from its own layers, ours tanh and normal weights; hence what is found there says
nothing of the algorithms.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from jaxreward.experiments.benchmarks.parts.authors import cold, command, named
from jaxreward.experiments.benchmarks.parts.comparison import ratio
from jaxreward.experiments.benchmarks.parts.race import take_turns
from jaxreward.experiments.benchmarks.parts.settings import SEQUENTIAL, program_of
from jaxreward.experiments.benchmarks.parts.tables import Measured, better_peer
from jaxreward.experiments.benchmarks.peers import environments as peers
from jaxreward.names import check_name

PACKAGES = ("qdax==0.5.0", *peers.shared())
"""QDax leaves the versions of jax and brax open."""
BOUND = "children"
"""A part of `run_map_elites.py`."""
FOUND = {"coverage": "{:.1%}", "qd_score": "{:.1f}"}
HOPPER_STEPS = 100


@dataclasses.dataclass(frozen=True)
class Task:
    """What is searched.

    Attributes:
        env: Its name among ours.
        theirs: Its name among theirs.
        bins: Cells in each dimension.
        dimensions: How many there are.
        batch: Children of a generation.
        generations: How many there are if nothing is said.
        iso: Standard deviation of the noise on each gene.
        line: That of the step to the second parent.
        worst: The reward from which others are counted.
        options: How our environment is made.
        config: Of our agent.
        told: What theirs has to know.
        feet: What describes a robot of ours; see `run_map_elites.FeetContact`.
    """

    env: str
    theirs: str
    bins: int
    dimensions: int = 2
    batch: int = 1024
    generations: int = 200
    iso: float = 0.05
    line: float = 0.1
    worst: float = -1.0
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    told: dict[str, Any] = dataclasses.field(default_factory=dict)
    feet: tuple[str, ...] = ()


_arm: dict[str, Any] = {
    "options": {"joints": 8},
    "config": {"controller": "constant", "genome_low": 0.0, "genome_high": 1.0},
    "told": {"joints": 8},
}
_network = {"layers": 2, "width": 64}

TASKS = {
    "arm": Task("qd/planar_arm", "arm", 50, **_arm),
    "arm, 10,000 cells": Task("qd/planar_arm", "arm", 100, **_arm),
    "hopper": Task(
        "brax/hopper", "hopper_uni", 100, dimensions=1, batch=128, generations=20, iso=0.005, line=0.05,
        worst=-0.9 * HOPPER_STEPS,  # what QDax offsets it by
        options={"backend": "spring", "debug": True, "max_steps_in_episode": HOPPER_STEPS},
        config={"controller": "mlp", **_network}, told={"num_steps": HOPPER_STEPS, **_network}, feet=("foot",),
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Options:
    """Races MAP-Elites against QDax's.

    Attributes:
        tasks: What is searched.
        generations: Of each run; 0 for the task's own number.
        rounds: How often everyone runs.
        timeout: Seconds within which a contender has to compile, and to finish each run.
        cache: Where QDax's environment is built, once.
        out: JSON file for everything measured.
    """

    tasks: tuple[str, ...] = tuple(TASKS)
    generations: int = 0
    rounds: int = 5
    timeout: float = 900.0
    cache: Path = peers.CACHE
    out: Path | None = None


def run(options: Options, console: Console) -> list[Measured]:
    """Runs every task and prints its table.

    Raises:
        ValueError: If an option makes no sense.
    """
    check(options)
    python = peers.build(PACKAGES, options.cache)
    measured: list[Measured] = []
    for name in options.tasks:
        rows = task_race(name, options, python)
        console.print(table_of(name, rows))
        measured += rows
    return measured


def check(options: Options) -> None:
    """Refuses options that make no sense."""
    for name in options.tasks:
        check_name("task", name, TASKS)
    if options.generations < 0 or options.rounds < 1:
        raise ValueError(
            f"--generations {options.generations} --rounds {options.rounds}: give 1 or more of each, or 0 generations "
            "for each task's own number"
        )


def task_race(name: str, options: Options, python: Path) -> list[Measured]:
    """Everybody's runs of one task."""
    return take_turns(entries(name, options), python, options.rounds, options.timeout)


def entries(name: str, options: Options) -> list[Measured]:
    """All contenders, with nothing measured yet."""
    task = TASKS[name]
    generations = options.generations or task.generations
    ours, theirs = spec(task, generations), peer_spec(task, generations)
    contenders = [
        ("ours", ours, SEQUENTIAL),
        ("QDax", theirs, ""),
        ("QDax seq", theirs, SEQUENTIAL),
        (BOUND, {**ours, "part": BOUND}, SEQUENTIAL),
    ]
    amount = task.batch * (1 + generations)
    return [
        Measured(name, who, who.startswith("QDax"), 1, amount, told, flags, {}, []) for who, told, flags in contenders
    ]


def spec(task: Task, generations: int) -> dict[str, Any]:
    """What `run_map_elites.py` is told. Metrics are computed after each generation, as QDax does."""
    cells = {"bins": task.bins, "worst_reward": task.worst}
    return {
        "program": str(program_of("map_elites")),
        "seeds": 1,
        "env": task.env,
        "options": task.options,
        "feet": task.feet,
        "agent": "map_elites",
        "config": {"batch": task.batch, "chunk_size": task.batch, "variation": "iso_line", **cells, **task.config},
        "hyperparams": {"iso": task.iso, "line": task.line},
        "part": "search",
        "iterations": generations,
    }


def peer_spec(task: Task, generations: int) -> dict[str, Any]:
    """What `run_qdax.py` is told."""
    return {
        "program": str(program_of("qdax")),
        "seeds": 1,
        "task": task.theirs,
        "bins": (task.bins,) * task.dimensions,
        "batch": task.batch,
        "iso": task.iso,
        "line": task.line,
        "offset": -task.worst,
        "iterations": generations,
        **task.told,
    }


def table_of(name: str, rows: list[Measured]) -> Table:
    """A row for each contender: how fast, how many times the better of QDax's, and what it found."""
    loads = [load for row in rows for load in row.each("load")]
    title = f"{name}: {rows[0].amount:,} evaluations, load {np.median(loads or [np.nan]):.1f}"
    table = Table("", "compile s", "run s", "evaluations/s", "per CPU s", "× QDax (rounds)", "coverage", "QD score")
    table.title, rival = title, better_peer(rows)
    for row in rows:
        table.add_row(row.name, *(_cells(row, rival) if row.runs else ["failed"]))
    ours, bound = named(rows, "ours"), named(rows, BOUND)
    share = f"{bound.median_s / ours.median_s:.0%} of our time is that of {BOUND}" if ours.runs and bound.runs else ""
    table.caption = "\n".join([share, *(f"{row.name}: {row.failure}" for row in rows if row.failure)]).strip()
    return table


def _cells(row: Measured, rival: Measured | None) -> list[str]:
    versus = ratio(row.each("run_s"), rival.each("run_s")) if rival else None
    found = [np.mean([run["found"][what] for run in row.runs if "found" in run] or [np.nan]) for what in FOUND]
    return [
        f"{cold(row):.1f}",
        f"{row.median_s:.3f}",
        f"{row.amount / row.median_s:,.0f}",
        f"{row.amount / np.median(row.each('cpu_s')):,.0f}",
        f"{versus.median:.2f} ({versus.low:.2f} to {versus.high:.2f})" if versus else "",
        *("" if np.isnan(value) else form.format(value) for value, form in zip(found, FOUND.values(), strict=True)),
    ]


if __name__ == "__main__":
    command(Options, run, PACKAGES)
