"""The runs of a generation's rungs: which configurations share a program, and how a rung's runs go on from the last.

Survivors are compacted: each rung's programs have them alone, so nothing is spent on the others.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxreward.run.job import Group, Job, Setup
from jaxreward.run.plan import POINTS, Start
from jaxreward.run.record import COLUMNS
from jaxreward.run.spec import setting_names
from jaxreward.run.store import RunFolder
from jaxreward.search.objective import Objective
from jaxreward.search.schedule import Rung, Schedule
from jaxreward.settings.values import Value

ROWS = 10
"""The fewest rows of metrics that a run has at the end of the first rung, if it has as many iterations."""


class Program(NamedTuple):
    """Configurations that share a program.

    Attributes:
        name: Of its run folders.
        setup: What is the same for all.
        members: By configuration what it has of its own; all have the same names.
        steps_per_iteration: Environment steps.
        log_every: Iterations to a row of the metrics, the same in all rungs: curves go on as if never interrupted.
    """

    name: str
    setup: Setup
    members: dict[int, dict[str, Value]]
    steps_per_iteration: int
    log_every: int | None


class Run(NamedTuple):
    """A run folder with some configurations of a program for some of the seeds.

    Attributes:
        program: Of which its members are.
        members: Which configuration each of them is.
        job: What trains it.
        parent: The run it goes on from.
    """

    program: Program
    members: tuple[int, ...]
    job: Job
    parent: Run | None = None


def program_of(index: int, group: Group, schedule: Schedule, log_every: int | None) -> Program:
    """The program of a group of configurations, which differ in traced numbers alone."""
    name, members = f"program-{index:02d}", dict(zip(group.indices, group.members, strict=True))
    try:
        experiment = Job(group.setup, Path(), 1, tuple(group.members)).experiment()
    except ValueError:  # values that don't fit together: whoever trains it will say so
        return Program(name, group.setup, members, 1, None)
    filled = dict(zip(group.indices, _filled(group.members, experiment.hyperparams), strict=True))
    iterations = [experiment.iterations(rung.steps) for rung in schedule]
    return Program(
        name, group.setup, filled, experiment.steps_per_iteration, log_every or _iterations_per_row(iterations)
    )


def _filled(members: list[dict[str, Value]], hyperparams: Any) -> list[dict[str, Value]]:
    """The members with all names that any of them has: survivors need the program's structure with any others gone."""
    names = dict.fromkeys(name for member in members for name in member)
    leaves = {name: np.asarray(leaf) for name, leaf in setting_names(hyperparams).items() if name in names}
    return [
        {name: member[name] if name in member else _number(leaves[name][index]) for name in names}
        for index, member in enumerate(members)
    ]


def _number(value: np.generic) -> Value:
    """Of a float32 the shortest number that is nearest to it."""
    return float(str(value)) if value.dtype.kind == "f" else value.item()


def _iterations_per_row(iterations: Sequence[int]) -> int:
    """So few that the first rung has `ROWS` rows and the last `POINTS`; if possible all rungs are multiples of it."""
    most = max(1, min(iterations[0] // ROWS, iterations[-1] // POINTS))
    common = math.gcd(*iterations)
    return next((length for length in range(most, most // 2, -1) if common % length == 0), most)


def enter(
    programs: Sequence[Program], runs: Sequence[Run], entering: Collection[int], schedule: Schedule, place: Path
) -> list[Run]:
    """The runs of a rung: those of the rung before go on with the survivors, and those of added seeds begin.

    Args:
        programs: All of the generation.
        runs: Those of the rung before.
        entering: The configurations that enter the rung.
        schedule: Of the generation, up to this rung.
        place: The rung's folder.
    """
    rung, seeds_before = schedule[-1], schedule[-2].seeds if len(schedule) > 1 else 0
    onward = [_onward(run, entering, rung, place) for run in runs if not set(run.members).isdisjoint(entering)]
    if rung.seeds == seeds_before:
        return onward
    begun = [program for program in programs if not program.members.keys().isdisjoint(entering)]
    seeds = tuple(range(seeds_before, rung.seeds))
    return [*onward, *(_begin(program, entering, seeds, rung, place) for program in begun)]


def _begin(program: Program, entering: Collection[int], seeds: tuple[int, ...], rung: Rung, place: Path) -> Run:
    members = tuple(choice for choice in program.members if choice in entering)
    folder = place / (program.name if seeds[0] == 0 else f"{program.name}-from-seed-{seeds[0]}")
    own = tuple(program.members[choice] for choice in members)
    return Run(program, members, Job(program.setup, folder, rung.steps, own, seeds, program.log_every))


def _onward(run: Run, entering: Collection[int], rung: Rung, place: Path) -> Run:
    """The run with the survivors alone; itself where the rung has not an iteration more."""
    size = run.program.steps_per_iteration
    if math.ceil(rung.steps / size) == math.ceil(run.job.steps / size):
        return run
    kept = tuple(position for position, choice in enumerate(run.members) if choice in entering)
    job = Job(
        setup=run.job.setup,
        folder=place / run.job.folder.name,
        steps=rung.steps,
        members=tuple(run.job.members[position] for position in kept),
        seeds=run.job.seeds,
        log_every=run.job.log_every,
        start=Start(run.job.folder, kept),
    )
    return Run(run.program, tuple(run.members[position] for position in kept), job, run)


def rows_of(run: Run, objectives: Sequence[Objective]) -> pd.DataFrame:
    """The metrics of a run and of all that it goes on from, with the column `choice`."""
    before = [] if run.parent is None else [rows_of(run.parent, objectives)]
    frame = of_choices(run.job.folder, run.members)
    wanted = {*COLUMNS, "choice", "episode/count", *(objective.metric for objective in objectives)}
    return pd.concat([*before, frame[[name for name in frame if name in wanted]]])


def of_choices(folder: Path, members: Sequence[int]) -> pd.DataFrame:
    """The metrics of a run with the column `choice`: which configuration each member is."""
    frame = RunFolder(folder).metrics()
    return frame.assign(choice=np.array(members)[frame["member"]])
