"""Novelty search and SERENE against their authors' code.

`python -m jaxreward.experiments.benchmarks.stax --checkout PATH`.

Both search for the same controllers in the same tasks with the same numbers, those of the authors, until as many
evaluations are spent. Where their code does something odd, so does ours here: the redundant arm is paid only where an
illegal move ended the episode, and has one step more than they say; emitters leave out the nearest neighbour. Their
`run_experiment.py` runs as it is, in an environment of its own; see `run_stax_authors.py`. It saves all individuals of
each generation, and prints. Both have everything in them from drawing the first population on; what compiling ours
takes is reported beside it.

* `ours` is one run: the same work.
* `ours, batched` is `--runs` of them in one program, with seeds of their own.

A search ends some evaluations beyond its budget, theirs not where ours does: seconds are as for the budget. Evaluations
of curling are not of the same physics, only of the same game.

The bounds are the evaluation of as many random genomes, and the distances to the nearest neighbours of as many
generations, one at a time; what both take less than the search is the price of the rest, archives and emitters.

What is found is compared too: `coverage`, the share of a 50 x 50 grid in which the first population or a child of the
exploration ended, and `best`, the highest reward. Of the authors' there is one run in each round, with a seed of its
own, of ours those of all rounds' programs.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from jaxreward.experiments.benchmarks.parts.authors import (
    BATCHED,
    command,
    entry,
    named,
    race,
    say,
    share_table,
    speed_table,
)
from jaxreward.experiments.benchmarks.parts.settings import program_of
from jaxreward.experiments.benchmarks.parts.tables import Measured
from jaxreward.experiments.benchmarks.peers import environments as peers
from jaxreward.names import check_name
from jaxreward.results.statistics import aggregate_mean, estimate_difference

PACKAGES = (
    "gym==0.17.3", "numpy==1.23.5", "scipy==1.10.1", "matplotlib==3.7.5", "pygame==2.6.1", "Box2D==2.3.10",
    "cmaes==0.11.1", "scikit-image==0.21.0", "PyWavelets==1.4.1", "tifffile==2023.7.10", "ImageIO==2.31.6",
)  # fmt: skip
"""What the authors' program imports, in versions that it works with: a newer numpy makes no ragged arrays."""

BOUNDS = ("evaluation", "novelty")
"""Parts of `run_stax.py`."""
CHUNK = 1000
"""Evaluations of an iteration of ours, at least, as of one half of a round of theirs."""


@dataclasses.dataclass(frozen=True)
class World:
    """One of the authors' tasks.

    Attributes:
        env: Its name among ours.
        theirs: Its name among theirs.
        evaluations: How many are spent if nothing is said.
        layers: Hidden layers of a controller.
        options: How our environment is made so that it counts as theirs.
    """

    env: str
    theirs: str
    evaluations: int
    layers: int = 2
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


WORLDS = {
    "point2d": World("qd/point2d", "Walker2D", 10_000),
    "arm": World("qd/arm", "NDofArm", 2_000, options={"require_stop": True, "max_steps_in_episode": 101}),
    "curling": World("qd/curling", "Curling", 2_000, layers=3),
}


class Search(NamedTuple):
    """One of the authors' searches.

    Attributes:
        agent: Ours.
        theirs: Its name among theirs.
        config: Of our agent, where theirs is not as ours is by default.
    """

    agent: str
    theirs: str
    config: dict[str, Any]


SEARCHES = {"ns": Search("novelty_search", "NS", {}), "serene": Search("serene", "SERENE", {"drop_nearest": True})}
TASKS = {f"{search}_{world}": (search, world) for world in WORLDS for search in SEARCHES}


@dataclasses.dataclass(frozen=True)
class Options:
    """Races novelty search and SERENE against their authors' code.

    Attributes:
        checkout: Root of a checkout of github.com/GPaolo/SERENE.
        tasks: Which search, in which of the authors' tasks.
        evaluations: Of each run; 0 for the task's own number.
        runs: How many of ours search in one program.
        rounds: How often everyone runs.
        timeout: Seconds within which a contender has to compile, and to finish each run.
        cache: Where the authors' environment is built, once.
        out: JSON file for everything measured.
    """

    checkout: Path
    tasks: tuple[str, ...] = tuple(TASKS)
    evaluations: int = 0
    runs: int = 8
    rounds: int = 3
    timeout: float = 1800.0
    cache: Path = peers.CACHE
    out: Path | None = None


def run(options: Options, console: Console) -> list[Measured]:
    """Runs every task; prints what was found in it, and at the end how fast.

    Raises:
        ValueError: If an option makes no sense, or the checkout is none of the authors' repository.
        RuntimeError: If the authors' code does not finish.
    """
    check(options)
    python = peers.build(PACKAGES, options.cache)
    measured: dict[str, list[Measured]] = {}
    for name in options.tasks:
        measured[name] = task_race(name, options, python)
        console.print(found_table(name, measured[name]))
    console.print(speed_table(measured, "evaluations"), share_table(measured, BOUNDS, "evaluation"))
    return [row for rows in measured.values() for row in rows]


def check(options: Options) -> None:
    """Refuses options that make no sense."""
    for name in options.tasks:
        check_name("task", name, TASKS)
    if options.evaluations < 0:
        raise ValueError(f"--evaluations {options.evaluations}: give 1 or more, or 0 for each task's own")
    if min(options.runs, options.rounds) < 2:
        raise ValueError(f"--runs {options.runs} --rounds {options.rounds}: intervals need 2 or more of each")
    for path in ("scripts/run_experiment.py", "core/evolvers/serene.py", "environments/assets/gym_dummy/__init__.py"):
        if not (options.checkout / path).is_file():
            raise ValueError(f"{options.checkout} has no {path}: give the root of a checkout of SERENE")


def task_race(name: str, options: Options, python: Path) -> list[Measured]:
    """Everybody's runs of one task, with their seconds as for the budget."""
    rows = entries(name, options)
    theirs = race(rows, lambda seed: authors_round(python, name, options, seed), options.rounds, options.timeout)
    told = authors_spec(name, options, 0)
    rows = [Measured(name, "authors", True, 1, told["evaluations"], told, "", {}, theirs), *rows]
    for row in rows:
        for each in row.runs:
            each["run_s"] *= row.amount / sum(each["found"]["evaluations"])
    return rows


def evaluations_of(name: str, options: Options) -> int:
    """What a run may spend."""
    return options.evaluations or WORLDS[TASKS[name][1]].evaluations


def authors_spec(name: str, options: Options, seed: int) -> dict[str, Any]:
    """What `run_stax_authors.py` is told."""
    search, world = TASKS[name]
    return {
        "checkout": str(options.checkout.resolve()),
        "experiment": SEARCHES[search].theirs,
        "environment": WORLDS[world].theirs,
        "evaluations": evaluations_of(name, options),
        "seed": seed,
    }


def authors_round(python: Path, name: str, options: Options, seed: int) -> dict[str, Any]:
    """One run of the authors', as `contender.py` would report it.

    Raises:
        RuntimeError: If it does not finish.
    """
    program = program_of("stax_authors")
    *chunks, found = say(python, program, authors_spec(name, options, seed), options.timeout)
    spent, budget = sum(chunk["evaluations"] for chunk in chunks), evaluations_of(name, options)
    if spent < budget:
        raise RuntimeError(f"the authors' code reported {spent} of {budget} evaluations")
    each = {"evaluations": [spent], **{what: [value] for what, value in found.items()}}
    return {"run_s": sum(chunk["seconds"] for chunk in chunks), "load": os.getloadavg()[0], "found": each}


def entries(name: str, options: Options) -> list[Measured]:
    """All contenders but the authors, with nothing measured yet."""
    fields = {
        f"{who}{', batched' if seeds > 1 else ''}": {"seeds": seeds, "part": part}
        for who, part in (("ours", "search"), *zip(BOUNDS, BOUNDS, strict=True))
        for seeds in (1, options.runs)
    }
    budget = evaluations_of(name, options)
    return [entry(name, who, budget, spec(name, options, **told)) for who, told in fields.items()]


def spec(name: str, options: Options, **changes: Any) -> dict[str, Any]:
    """What `run_stax.py` is told: to do as the authors do unless `changes` say otherwise."""
    search, world = TASKS[name]
    budget = evaluations_of(name, options)
    return {
        "program": str(program_of("stax")),
        "env": WORLDS[world].env,
        "options": WORLDS[world].options,
        "agent": SEARCHES[search].agent,
        "config": {"budget": budget, "chunk_size": CHUNK, "layers": WORLDS[world].layers, **SEARCHES[search].config},
        "hyperparams": {},
        "part": "search",
        "iterations": -(-budget // CHUNK),
        **changes,
    }


def found_table(name: str, rows: list[Measured]) -> Table:
    """What the authors' code found, and ours, with the difference of the means and its 95% interval."""
    authors, ours = named(rows, "authors"), [row for row in rows if row.name in ("ours", BATCHED) and row.runs]
    table = Table("", "authors", "ours", "difference", title=f"{name}: found in {authors.amount:,} evaluations")
    for what in ("coverage", "best"):
        theirs, mine = values(authors, what), np.concatenate([values(row, what) for row in ours] or [np.empty(0)])
        if not len(mine):
            table.caption = "; ".join(row.failure for row in rows if row.failure)
            break
        value, low, high, _ = estimate_difference(mine, theirs, aggregate_mean)
        cells = [f"{each.mean():.3f} ({each.min():.3f} to {each.max():.3f}, n={len(each)})" for each in (theirs, mine)]
        table.add_row(what, *cells, f"{value:+.3f} [{low:+.3f}, {high:+.3f}]")
    return table


def values(row: Measured, what: str) -> np.ndarray:
    """What all runs of a row found, `[runs]`."""
    return np.concatenate([run["found"][what] for run in row.runs])


if __name__ == "__main__":
    command(Options, run, PACKAGES)
