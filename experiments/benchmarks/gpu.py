"""What one accelerator does with programs of many agents: `python -m jaxreward.experiments.benchmarks.gpu`.

Each row is a program that is compiled and trained for some seconds, not to its end, in a process of its own on the
first device. Nothing but the package is needed. All is done within a budget of time: a row that would not fit into what
is left of it is skipped, one that takes more than its share is stopped, one that fails is told, and the others go on.

Environment steps are those an iteration is meant to take. Operations are counted in what JAX traces of an iteration,
see `jaxreward.compilation.flops`; the bound is the device's peak, see `jaxreward.compilation.peaks`.
"""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import time
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from jaxreward.compilation.peaks import BOUND, share_of_peak
from jaxreward.experiments.benchmarks.parts.authors import command, write
from jaxreward.experiments.benchmarks.parts.race import Contender
from jaxreward.experiments.benchmarks.parts.tables import Measured
from jaxreward.names import check_name

# Nothing of what is imported here may start JAX: this process would take the memory of the accelerator.

PROGRAM = Path(__file__).parent / "ours" / "measure.py"
LEAST_SECONDS = {"full": 30.0, "tiny": 5.0}
"""How much of the budget has to be left for a row to begin, beside what it is measured for: to import and compile."""
SHARE = 0.25
"""Of the budget, what a row may take before it is stopped."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A program.

    Attributes:
        agent: Whose.
        env: Where.
        steps: Environment steps of each run, if it were trained to its end.
        settings: What is not as it is by default.
        tiny: What else is not, at the scale `tiny`.
        seeds: Runs of each configuration.
        trials: Configurations that a search draws; 0 for the one of `settings`.
    """

    agent: str
    env: str
    steps: int
    settings: dict[str, Any]
    tiny: dict[str, Any]
    seeds: int = 1
    trials: int = 0

    @property
    def runs(self) -> int:
        """All of them."""
        return self.seeds * max(self.trials, 1)

    def spec(self, seconds: float) -> dict[str, Any]:
        """What `ours/measure.py` is told, which is to measure for so many seconds."""
        told = {name: value for name, value in vars(self).items() if name != "tiny"}
        return {**told, "seconds": seconds}

    def at(self, scale: str) -> Row:
        """The same at another scale: `tiny` has few runs, small and short."""
        if scale == "full":
            return self
        settings, seeds, trials = {**self.settings, **self.tiny}, min(self.seeds, 2), min(self.trials, 4)
        return dataclasses.replace(self, settings=settings, seeds=seeds, trials=trials, steps=1_000)


_many: dict[str, Any] = {"num_envs": 2048, "num_steps": 64}
_few: dict[str, Any] = {"num_envs": 16, "num_steps": 32}
_ppo = Row("ppo", "CartPole-v1", 20_000_000, _many, _few)

ROWS = {
    "ppo_agents": Row("ppo", "CartPole-v1", 500_000, {"num_envs": 4, "num_steps": 128}, {}, seeds=2048),
    "ppo_1_seed": _ppo,
    "ppo_16_seeds": dataclasses.replace(_ppo, seeds=16),
    "ant": Row(
        "ppo", "brax/ant?backend=spring", 50_000_000, {**_many, "layers": (256, 256)}, {"num_envs": 2, "num_steps": 8}
    ),
    "search": Row(
        "ppo", "CartPole-v1", 65_536, {"num_envs": 16, "num_steps": 128, "num_minibatches": 16}, {}, trials=4096
    ),
    "subpo": Row("subpo", "subrl/gp_coverage", 2_000_000, {}, {"num_envs": 8}, seeds=256),
    "map_elites": Row(
        "map_elites", "qd/planar_arm", 100_000_000,
        {"controller": "constant", "genome_low": 0.0, "genome_high": 1.0, "batch": 65_536, "chunk_size": 1_048_576},
        {"batch": 64, "chunk_size": 512},
    ),
    "barfi": Row(
        "barfi", "barfi/gridworld", 100_000, {"primary": "fixed", "outer_batch": 4, "warm_up_batch": 2},
        {"warm_up": 4, "buffer": 30}, seeds=800,
    ),
    "serene": Row(
        "serene", "qd/point2d", 25_000_000, {}, {"budget": 400, "population_size": 10, "chunk_size": 100}, seeds=256
    ),
}  # fmt: skip
"""By name; those that take longest to compile come last."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Measures programs of many agents on one accelerator.

    Attributes:
        scale: `full` is for an accelerator; `tiny` shows on a CPU that each row runs.
        only: Which rows; all by default.
        seconds: For how long a row is measured after it has compiled, at least; by default 5, at the scale `tiny` 0.
        budget_s: Seconds within which all is done.
        out: JSON file for everything measured, written after each row.
    """

    scale: Literal["full", "tiny"] = "full"
    only: tuple[str, ...] = tuple(ROWS)
    seconds: float | None = None
    budget_s: float = 530.0
    out: Path | None = None

    @property
    def least(self) -> float:
        """Seconds that a row is measured for."""
        return {"full": 5.0, "tiny": 0.0}[self.scale] if self.seconds is None else self.seconds


def run(options: Options, console: Console) -> list[Measured]:
    """Measures the rows one after the other, says how it goes, and prints the table.

    Raises:
        ValueError: If an option makes no sense.
    """
    check(options)
    deadline, rows = time.monotonic() + options.budget_s, entries(options)
    for number, row in enumerate(rows, 1):
        left = deadline - time.monotonic()
        console.print(f"{number} of {len(rows)}, {row.name}: {left:.0f} s of {options.budget_s:.0f} s are left")
        measure(row, left, options)
        console.print(f"  {row.failure or format(row.ready['steps_per_second'], ',.0f') + ' steps/s'}")
        write(options, rows)
    console.print(table(rows))
    return rows


def check(options: Options) -> None:
    """Refuses options that make no sense."""
    for name in options.only:
        check_name("row", name, ROWS)
    if options.least < 0 or options.budget_s <= 0:
        raise ValueError(f"--seconds {options.least:g} --budget-s {options.budget_s:g}: give positive numbers")
    if needed(options) > options.budget_s:
        raise ValueError(f"--budget-s {options.budget_s:g} is too little for any row: give {needed(options):g} or more")


def needed(options: Options) -> float:
    """Seconds that have to be left for a row to begin: ever longer series are measured, at most thrice the least."""
    return LEAST_SECONDS[options.scale] + 3 * options.least


def entries(options: Options) -> list[Measured]:
    """The rows that are asked for, with nothing measured yet."""
    rows = {name: ROWS[name].at(options.scale) for name in options.only}
    flags = os.environ.get("XLA_FLAGS", "")
    return [
        Measured(options.scale, name, False, row.runs, row.runs * row.steps, row.spec(options.least), flags, {}, [])
        for name, row in rows.items()
    ]


def measure(row: Measured, left: float, options: Options) -> None:
    """Runs a row in a process of its own and puts in what that said, or why there is nothing.

    Args:
        row: With nothing measured yet.
        left: Seconds of the budget.
        options: As they were given.
    """
    if left < needed(options):
        row.failure = f"skipped: {max(left, 0.0):.0f} s of the budget are left, and a row needs {needed(options):.0f} s"
        return
    process = Contender(sys.executable, row.spec, row.flags, min(left, SHARE * options.budget_s), PROGRAM)
    try:
        process.prepare()
    finally:
        process.close()
    row.ready, row.failure = process.ready, process.failure


def table(rows: list[Measured]) -> Table:
    """What was measured; below it what was not, and why."""
    known = [row.ready for row in rows if row.ready]
    said = [" / ".join(sorted({each[field] for each in known})) or "?" for field in ("device", "jax")]
    columns = ("runs", "steps/s", "compile s", "peak MB", "planned MB", "FLOP/s", "of the peak", "to its end, s")
    shown = Table("program", title=f"{said[0]}, jax {said[1]}; environment steps of all runs", title_justify="left")
    for column in columns:
        shown.add_column(column, justify="right")
    for row in rows:
        shown.add_row(row.name, f"{row.seeds:,}", *(cells(row) if row.ready else ["-"] * (len(columns) - 1)))
    notes = [f"peak: {BOUND}, by the data sheet; planned: what XLA says the program takes"]
    shown.caption = "\n".join(notes + [f"{row.name}: {row.failure}" for row in rows if row.failure])
    shown.caption_justify = "left"
    return shown


def cells(row: Measured) -> list[str]:
    """What the table says of a row that was measured."""
    said = row.ready
    share = share_of_peak(said["flops_per_second"], said["device"])
    peak = said["peak_bytes"]
    return [
        f"{said['steps_per_second']:,.0f}",
        f"{said['compile_s']:.1f}",
        "unknown" if peak is None else f"{peak / 1e6:,.1f}",
        f"{said['planned_bytes'] / 1e6:,.1f}",
        f"{said['flops_per_second']:.2e}",
        "unknown" if math.isnan(share) else f"{share:.2%}",
        f"{row.seeds * said['steps'] / said['steps_per_second']:,.1f}",
    ]


if __name__ == "__main__":
    command(Options, run, ())
