"""Novelty search, SERENE and STAX against their authors' code.

`python -m jaxreward.experiments.benchmarks.stax --checkout PATH --stax-checkout PATH`.

Both search for the same controllers in the same tasks with the same numbers, those of the authors, until as many
evaluations are spent. Where their code does something odd, so does ours here: the redundant arm is paid only where an
illegal move ended the episode, and has one step more than they say, though not in STAX; emitters leave out the nearest
neighbour. Their `run_experiment.py` runs as it is, in an environment of its own; see `run_stax_authors.py`. It saves
all individuals of each generation, and prints. Both have everything in them from drawing the first population on; what
compiling ours takes is reported beside it.

* `ours` is one run: the same work.
* `ours, batched` is `--runs` of them in one program, with seeds of their own.

A search ends some evaluations beyond its budget, theirs not where ours does: seconds are as for the budget. Evaluations
of curling are not of the same physics, only of the same game.

STAX (Paolo, Coninx, Laflaquiere & Doncieux 2024, arXiv:2111.01919) is the authors' `STAX-P` with as many pictures of an
episode as our `stax` has by default, on the redundant arm, whose package STAX's repository lacks and SERENE's has. Its
autoencoder, 64 x 64 pictures, minibatches of 128, Adam's 0.001, the share that is held back and the rule that stops a
training are the same. Theirs draws 400 x 400 pixels, of which it takes 64 x 64, and keeps pictures; ours draws the
small ones, with soft edges, and again in every epoch. Theirs never wipes its screen, so that its pictures show what
earlier episodes ended with, which ours has no counterpart for. Theirs saves its network after each training, and
finds the codes of all that was paid anew for each chunk of emitters, as ours does not.

The bounds are the evaluation of as many random genomes, and the distances to the nearest neighbours of as many
generations, one at a time; for STAX also `pictures`, drawing once what each evaluation shows; `encoding`, as many
pictures to codes and back; and `training`, as many steps of Adam as the search made, on pictures that are there. What
all take less than the search is the price of the rest: archives and emitters, in STAX also pictures drawn again, and
new codes for all that is known after a training.

What is found is compared too: `coverage`, the share of a 50 x 50 grid in which the first population or a child of the
exploration ended, and `best`, the highest reward; for STAX also `updates`, the steps of Adam that were made, which
differ where a training was stopped early. Of the authors' there is one run in each round, with a seed of its own, of
ours those of all rounds' programs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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
from jaxreward.experiments.benchmarks.parts.searches import (
    Options,
    authors_spec,
    check,
    evaluations_of,
    runnable,
    search_of,
    spec,
)
from jaxreward.experiments.benchmarks.parts.settings import program_of
from jaxreward.experiments.benchmarks.parts.tables import Measured
from jaxreward.experiments.benchmarks.peers import environments as peers
from jaxreward.results.statistics import aggregate_mean, estimate_difference

PACKAGES = (
    "gym==0.17.3", "numpy==1.23.5", "scipy==1.10.1", "matplotlib==3.7.5", "pygame==2.6.1", "Box2D==2.3.10",
    "cmaes==0.11.1", "scikit-image==0.21.0", "PyWavelets==1.4.1", "tifffile==2023.7.10", "ImageIO==2.31.6",
)  # fmt: skip
"""What the authors' program imports, in versions that it works with: a newer numpy makes no ragged arrays."""
STAX_PACKAGES = ("torch==2.13.0",)
"""What STAX's imports besides."""


def run(options: Options, console: Console) -> list[Measured]:
    """Runs every task; prints what was found in it, and at the end how fast.

    Raises:
        ValueError: If an option makes no sense, or the checkout is none of the authors' repository.
        RuntimeError: If the authors' code does not finish.
    """
    check(options)
    packages = PACKAGES + STAX_PACKAGES if options.stax_checkout else PACKAGES
    python = peers.build(packages, options.cache, options.python)
    measured: dict[str, list[Measured]] = {}
    for name in runnable(options):
        measured[name] = task_race(name, options, python)
        console.print(found_table(name, measured[name]))
    console.print(*tables(measured, options))
    return [row for rows in measured.values() for row in rows]


def tables(measured: dict[str, list[Measured]], options: Options) -> list[Table]:
    """How fast everyone was, and where our time goes; a table for each kind of search, as their parts differ."""
    speed = speed_table(measured, "evaluations")
    said = [str(speed.caption)] if speed.caption else []
    said += [f"{name}: not run without --stax-checkout" for name in options.tasks if name not in measured]
    speed.caption = "\n".join(said) or None
    kinds = dict.fromkeys(search_of(name).bounds for name in measured)
    return [speed, *(share_table(_bounded(measured, bounds), bounds, "evaluation") for bounds in kinds)]


def _bounded(measured: dict[str, list[Measured]], bounds: tuple[str, ...]) -> dict[str, list[Measured]]:
    return {name: rows for name, rows in measured.items() if search_of(name).bounds == bounds}


def task_race(name: str, options: Options, python: Path) -> list[Measured]:
    """Everybody's runs of one task, with their seconds as for the budget."""
    rows = entries(name, options)
    theirs = race(rows, lambda seed: authors_round(python, name, options, seed), options.rounds, options.timeout)
    told = authors_spec(name, options, 0)
    rows = [Measured(name, "authors", True, 1, told["evaluations"], told, "", {}, theirs), *rows]
    settle(rows)
    return rows


def settle(rows: list[Measured]) -> None:
    """Makes seconds those for the budget; of trainings, which stop early, those for as many updates as our search's."""
    for row in rows:
        searches = named(rows, row.name.replace("training", "ours"))
        for each, search in zip(row.runs, searches.runs, strict=False):
            updates = [sum(run["found"].get("updates", [1])) for run in (search, each)]
            share = updates[0] / updates[1] if search is not each else 1
            each["run_s"] *= share * row.amount / sum(search["found"]["evaluations"])


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
    bounds = search_of(name).bounds
    fields = {
        f"{who}{', batched' if seeds > 1 else ''}": {"seeds": seeds, "part": part}
        for who, part in (("ours", "search"), *zip(bounds, bounds, strict=True))
        for seeds in (1, options.runs)
    }
    budget = evaluations_of(name, options)
    return [entry(name, who, budget, spec(name, options, **told)) for who, told in fields.items()]


def found_table(name: str, rows: list[Measured]) -> Table:
    """What the authors' code found, and ours, with the difference of the means and its 95% interval."""
    authors, ours = named(rows, "authors"), [row for row in rows if row.name in ("ours", BATCHED) and row.runs]
    table = Table("", "authors", "ours", "difference", title=f"{name}: found in {authors.amount:,} evaluations")
    for what in [what for what in authors.runs[0]["found"] if what != "evaluations"]:
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
    command(Options, run, PACKAGES + STAX_PACKAGES)
