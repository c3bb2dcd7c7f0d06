"""Updates of MAMQL against its authors' code: `python -m jaxreward.experiments.benchmarks.mamql --checkout PATH`.

Both learn the game of gems at the authors' sizes: 256 demonstrated transitions and as many of the policies' in a step
of Adam, of each of two critics, and the game played between steps, by the policies as they are then. In each round
everyone runs once, one after the other, so that the machine's other load falls on all alike. The authors' trainer runs
as it is, on PyTorch, in an environment of its own; see `run_mamql_authors.py`. What is counted are steps of Adam of one
critic. Of the authors the first ones are left out, in which their libraries warm up; ours have everything in them from
drawing the params on, and what compiling takes is reported beside it.

* `ours` has the authors' networks on the pictures they see: the same work, but that of each update the authors judge
  with both critics and use one, so that they do a third more.
* `ours, features` has layers of 64 units on what agents of `games/gems` see by default, as in the figure `mamql/gems`:
  not the same work, but the same task.
* `ours, features, batched` is several such runs in one program.

What is learned from is made up, as it does not change how long that takes: ours draw pictures at random, of which fewer
are kept than the authors keep; theirs are what they demonstrated, beside steps at random in their game in place of a
file that a checkout may lack. Between two steps of Adam an agent of theirs plays one episode, of 45 steps at most; here
as many steps are played as those would at most, or none is with `--no-plays` (ours then play one step).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from jaxreward.experiments.benchmarks.parts.authors import cold, command, entry, faster, race, say
from jaxreward.experiments.benchmarks.parts.settings import program_of
from jaxreward.experiments.benchmarks.parts.tables import Measured
from jaxreward.experiments.benchmarks.peers import environments as peers

PACKAGES = (
    "torch==2.13.0", "numpy==2.4.6", "gym==0.26.2", "opencv-python-headless>=4.13", "pillow", "imageio",
)  # fmt: skip
"""What the authors' trainer of gems imports."""
NEEDED = ("gems/train_gem.py", "train_update.py", "models.py", "expert_data/gem_dataset.csv")
"""Of a checkout."""
AGENTS, LONGEST = 2, 45
"""In a game, and the most steps of an episode."""
WARM_UP = 2
"""Of the authors' iterations, left out of their time."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Races MAMQL against its authors' code.

    Attributes:
        checkout: Root of a checkout of github.com/USC-Lira/ma-mql.
        iterations: Of each run: a step of Adam of each agent's critic, and play.
        batch_size: Transitions of either kind in a step of Adam.
        width: Units of the hidden layers of `ours`; the authors' are 1024.
        runs: How many of ours train in one program.
        rounds: How often everyone runs.
        plays: Whether anything is played between steps of Adam.
        timeout: Seconds within which a contender has to compile, and to finish each run.
        cache: Where the authors' environment is built, once.
        out: JSON file for everything measured.
    """

    checkout: Path
    iterations: int = 20
    batch_size: int = 256
    width: int = 1024
    runs: int = 8
    rounds: int = 3
    plays: bool = True
    timeout: float = 1_200.0
    cache: Path = peers.CACHE
    out: Path | None = None


def run(options: Options, console: Console) -> list[Measured]:
    """Races and prints what came out.

    Raises:
        ValueError: If an option makes no sense, or the checkout is none.
        RuntimeError: If the authors' code fails.
    """
    check(options)
    python, rows = peers.build(PACKAGES, options.cache), entries(options)
    program, told = program_of("mamql_authors"), authors_spec(options)
    theirs = race(
        rows,
        lambda seed: say(python, program, {**told, "seed": seed}, options.timeout)[0],
        options.rounds,
        options.timeout,
    )
    amount = AGENTS * options.iterations
    rows.insert(0, Measured("gems", "authors", True, 1, amount, told, "", {}, theirs))
    console.print(table(rows))
    return rows


def check(options: Options) -> None:
    """Refuses options that make no sense, before anything is built.

    Raises:
        ValueError: They do not.
    """
    for name in ("iterations", "batch_size", "width", "runs", "rounds"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} is 1 or more, not {getattr(options, name)}")
    if missing := [name for name in NEEDED if not (options.checkout / name).is_file()]:
        raise ValueError(
            f"{options.checkout} has no {', '.join(missing)}: give the root of a checkout of USC-Lira/ma-mql"
        )


def entries(options: Options) -> list[Measured]:
    """Ours, with nothing measured yet."""
    common = {"program": str(program_of("mamql")), "iterations": options.iterations, "batch_size": options.batch_size}
    common["steps"] = LONGEST if options.plays else 1
    kinds: dict[str, dict[str, Any]] = {
        "ours": {"view": "planes", "layers": [options.width] * 2, "seeds": 1},
        "ours, features": {"view": "features", "layers": [64, 64], "seeds": 1},
        "ours, features, batched": {"view": "features", "layers": [64, 64], "seeds": options.runs},
    }
    return [entry("gems", name, AGENTS * options.iterations, {**common, **kind}) for name, kind in kinds.items()]


def authors_spec(options: Options) -> dict[str, Any]:
    """What the authors' runs are told; the config is theirs but for its lengths."""
    config = {
        "test_iteration": LONGEST if options.plays else 0, "gamma": 0.99, "alpha": 100, "critic_lr": 1e-3,
        "batch_size": options.batch_size, "episodes": options.iterations + WARM_UP, "dataset_episodes": 300_000,
        "num_agents": AGENTS, "capacity": 16_600, "action_space": 5,
    }  # fmt: skip
    return {"checkout": str(options.checkout.resolve()), "config": config, "warm_up": AGENTS * WARM_UP}


def table(rows: list[Measured]) -> Table:
    """Everyone's steps of Adam a second, of the clock and of CPU time, and what compiling takes."""
    shown = Table("", "updates/s", "× authors (rounds)", "updates per CPU s", "compile s", "load", title=rows[0].race)
    for row in rows:
        if not row.runs:
            shown.add_row(row.name, f"failed: {row.failure}")
            continue
        by_clock, by_cpu = (row.amount / np.median(row.each(name)) for name in ("run_s", "cpu_s"))
        against = "" if row.is_peer else "{0.median:.1f} ({0.low:.1f} to {0.high:.1f})".format(faster(row, rows[0]))
        compiling = "" if row.is_peer else f"{cold(row):.1f}"
        load = f"{np.median(row.each('load')):.1f}"
        shown.add_row(row.name, f"{by_clock:,.2f}", against, f"{by_cpu:,.2f}", compiling, load)
    return shown


if __name__ == "__main__":
    command(Options, run, PACKAGES)
