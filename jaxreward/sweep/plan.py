"""What is left to train of a sweep, in which programs, and what they will need."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from jaxreward.run.code import changed_code, code_of
from jaxreward.run.folder import check_unused
from jaxreward.run.job import NAMED, Group, Job, Setup, job_of, split
from jaxreward.run.memory import available_memory
from jaxreward.run.nearby import hint
from jaxreward.run.plan import POINTS
from jaxreward.run.resume import KEPT, check_new, previous_config
from jaxreward.run.store import RunError, RunFolder, absolute, differences, flatten, read_json, to_json
from jaxreward.sweep.estimate import Estimate, estimate, run_state_bytes
from jaxreward.sweep.spec import Sweep, identity, read_sweep

LARGE = 0.02
"""A program whose states and metrics alone take more of the memory than this is measured before it is trained."""
METRIC_BYTES = 128
"""About what the metrics of one iteration of one run take: 32 numbers. A chunk keeps those of all its iterations."""


class Planned(NamedTuple):
    """A job, and what it needs.

    Attributes:
        job: What is trained.
        estimate: What it needs; None if that wasn't measured.
        parts: How many jobs of the same shape were made because all of it did not fit.
    """

    job: Job
    estimate: Estimate | None = None
    parts: int = 1

    @property
    def runs(self) -> int:
        """Members times seeds."""
        return len(self.job.members) * len(self.job.seeds)


class Plan(NamedTuple):
    """What is left to train of a sweep.

    Attributes:
        planned: The jobs, in order.
        wanted: The runs of the whole sweep.
        left: How many of them are not done; jobs that go on may hold others as well, which are no longer asked for.
        memory: Bytes that a program may take.
    """

    planned: list[Planned]
    wanted: int
    left: int
    memory: int

    @property
    def jobs(self) -> list[Job]:
        """What is given to a launcher."""
        return [planned.job for planned in self.planned]


def plan(sweep: Sweep, folder: str | os.PathLike[str], *, memory: int | None = None, measure: bool = False) -> Plan:
    """What is to be trained of a sweep that its folder does not hold yet.

    Jobs that were begun go on as they were. Of what no job has, choices that differ in traced numbers alone share a
    job, unless it would not fit into memory.

    Args:
        sweep: The sweep.
        folder: Its folder; it need not exist.
        memory: Bytes that a program may take; what the machine has by default.
        measure: Whether to measure a small chunk also where memory is no concern.

    Raises:
        RunError: The folder holds another sweep, or a larger one, or something else; or runs that are not whole, or
            would not come out the same any more.
        ValueError: A name does not exist or a value does not fit; see `jaxreward.run.spec.resolve`.
    """
    folder = absolute(folder)
    _check_same(sweep, folder)
    for path in (folder / "programs").glob("*"):
        if not (path / "config.json").is_file():
            check_new(RunFolder(path))
    memory = available_memory() if memory is None else memory
    begun = [_grown(job_of(path), sweep.steps) for path in program_folders(folder)]
    wanted = {(identity(sweep.setup.replace(c)), seed) for c in sweep.choices() for seed in sweep.seeds}
    begun = [job for job in begun if wanted & _runs(job)]
    for job in begun:
        _check_unchanged(job)
    unfinished = [job for job in begun if not job.finished()]
    for job in unfinished:
        previous_config(RunFolder(job.folder), resume=True)  # of which nothing is gone
    with code_of(*(RunFolder(job.folder) for job in begun)):  # what is not asked for any more may be gone
        missing = list(_missing(sweep, begun))
    new = _named(list(_fitted(iter(missing), memory, measure)), sweep, folder)
    done = {run for job in begun if job not in unfinished for run in _runs(job)}
    return Plan([*map(Planned, unfinished), *new], len(wanted), len(wanted - done), memory)


def describe(plan: Plan, sweep: Sweep) -> list[str]:
    """A plan in a few lines: how many programs of what size, why, and what they need."""
    jobs = len(plan.planned)
    wanted = f"{plan.wanted:,} run{'s' * (plan.wanted > 1)} of {sweep.steps:,} environment steps"
    if not jobs:
        return [f"{wanted}, all of them done"]
    done = plan.wanted - plan.left
    there = f", {done:,} of them done and {plan.left:,} left" if done else ""
    lines = [f"{wanted}{there}, in {jobs} compiled program{'s' * (jobs > 1)}"]
    lines += [_line(planned, _shape(sweep, planned.job.setup)) for planned in plan.planned[:20]]
    lines += [f"  and {jobs - 20} more"] if jobs > 20 else []
    shaping = _shaping(sweep, plan)
    if shaping:
        lines.append(f"  (each value of {' and of '.join(shaping)} needs a program of its own: it is part of the code)")
    if any(planned.parts > 1 for planned in plan.planned):
        lines.append(f"  (split so that each fits into {show_bytes(plan.memory)} of memory)")
    if all(planned.estimate for planned in plan.planned):
        lines.append(
            f"  about {show_duration(sum(map(_seconds, plan.planned)))} in all, or less: estimated from a small chunk"
        )
    return lines


def sweep_of(folder: str | os.PathLike[str]) -> Sweep:
    """The sweep that a folder holds.

    Raises:
        RunError: It holds none, or its file is damaged.
    """
    path = Path(folder) / "sweep.json"
    if not path.is_file():
        raise RunError(f"{folder} is not the folder of a sweep: it has no sweep.json{hint(Path(folder))}")
    try:
        return read_sweep(read_json(path))
    except (RunError, ValueError) as error:
        raise RunError(f"{path} is damaged or of another version: {error}") from error


def program_folders(folder: Path) -> list[Path]:
    """The run folders of a sweep, in order."""
    return sorted(path.parent for path in (folder / "programs").glob("*/config.json"))


def _check_same(sweep: Sweep, folder: Path) -> None:
    """Refuses a folder that holds something else than the beginnings of a sweep.

    Seeds, values and steps may be added, and what was the same everywhere may become varied.

    Raises:
        RunError: What is the same in all its runs differs, or some of them are no longer asked for; the message lists
            what was and what is asked for.
    """
    if not (folder / "sweep.json").is_file():
        if (folder / "config.json").is_file():
            raise RunError(f"{folder} holds a single run, not a sweep; choose another folder")
        check_unused(folder, [*KEPT, "sweep.json"], "a sweep whose sweep.json" if program_folders(folder) else "")
        return
    before = sweep_of(folder)
    old, new = (_fixed(each, {*before.names(), *sweep.names()}) for each in (before, sweep))
    changes = [
        f"{name}: {old.get(name)} -> {new.get(name)}" for name in {**old, **new} if old.get(name) != new.get(name)
    ]
    if changes:
        listing = "\n  ".join(changes)
        raise RunError(f"{folder} holds another sweep (there -> asked for):\n  {listing}")
    lost = _lost(before, sweep)
    if lost:
        listing = "\n  ".join(lost)
        raise RunError(
            f"{folder} holds more than is asked for, and a sweep only grows (there -> asked for):\n  {listing}\n"
            "Say all that is there beside what is new, or choose another folder"
        )


def _lost(before: Sweep, sweep: Sweep) -> list[str]:
    """What a sweep had that is no longer asked for."""
    lines = [] if set(before.seeds) <= set(sweep.seeds) else [f"seeds: {list(before.seeds)} -> {list(sweep.seeds)}"]
    lines += [] if before.steps <= sweep.steps else [f"steps: {before.steps:,} -> {sweep.steps:,}"]
    asked = {identity(sweep.setup.replace(choice)) for choice in sweep.choices()}
    gone = [choice for choice in before.choices() if identity(before.setup.replace(choice)) not in asked]
    first = ", ".join(f"{name}={value}" for name, value in gone[0].items()) if gone else ""
    return [*lines, *([f"{len(gone)} of its configurations, such as {first} -> none of them"] if gone else [])]


def show_bytes(number: float) -> str:
    """Bytes for people."""
    size, unit = next((s, u) for s, u in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "bytes")) if number >= s or s == 1)
    return f"{number / size:.1f} {unit}" if unit == "GB" else f"{number / size:.0f} {unit}"


def show_duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _fixed(sweep: Sweep, varied: set[str]) -> dict[str, Any]:
    """What is the same in all runs of a sweep, as it is in its file; without what is varied there or in another."""
    table = sweep.to_table()
    same = {name: table[name] for name in (*NAMED, "log_every") if name in table and name not in varied}
    settings = {name: value for name, value in table["settings"].items() if name not in varied}
    return flatten({**same, "settings": settings})


def _grown(job: Job, steps: int) -> Job:
    return replace(job, steps=max(steps, job.steps))


def _runs(job: Job) -> set[tuple[str, int]]:
    """Which runs a job has: configuration and seed."""
    keys = [identity(job.setup.replace(member)) for member in job.members]
    return {(key, seed) for key in keys for seed in job.seeds}


def _check_unchanged(job: Job) -> None:
    """Refuses to put new runs beside old ones that the same names would not give any more.

    Raises:
        RunError: What a job's names stand for has changed since it was begun, such as the text of its reward's file.
    """
    then = RunFolder(job.folder).read_config()["config"]
    changes = differences({"config": then}, {"config": to_json(job.experiment().config)})
    changes = [*changes, *changed_code(RunFolder(job.folder))]
    if changes:
        listing = "\n  ".join(changes)
        raise RunError(
            f"{job.folder} was trained with something else of the same name (then -> now):\n  {listing}\n"
            "Choose another folder, or bring back what it was: it is in code/ there, a reward's text in reward.py"
        )


def _missing(sweep: Sweep, begun: list[Job]) -> Iterator[Job]:
    """Jobs of the runs that no job has, each a whole product of members and seeds, without folders yet."""
    there = {run for job in begun for run in _runs(job)}
    # Seeds that are added log as often as the others, or their means would jump where only some of them log.
    logged = {identity(job.setup): job.log_every for job in reversed(begun)}
    for group in split(sweep.setup, sweep.choices()):
        log_every = logged.get(identity(group.setup), sweep.log_every)
        for seeds, members in _by_missing_seeds(group, sweep.seeds, there).items():
            yield Job(group.setup, Path(), sweep.steps, tuple(members), seeds, log_every)


def _by_missing_seeds(
    group: Group, seeds: tuple[int, ...], there: set[tuple[str, int]]
) -> dict[tuple[int, ...], list[dict[str, Any]]]:
    members: dict[tuple[int, ...], list[dict[str, Any]]] = {}
    for member in group.members:
        key = identity(group.setup.replace(member))
        lacking = tuple(seed for seed in seeds if (key, seed) not in there)
        if lacking:
            members.setdefault(lacking, []).append(member)
    return members


def _fitted(jobs: Iterable[Job], memory: int, measure: bool) -> Iterator[Planned]:
    """Jobs split into parts of equal size that fit: by members first, then by seeds."""
    for job in jobs:
        known = estimate(job) if measure or _least_bytes(job) > LARGE * memory else None
        if known is None:
            yield Planned(job)
            continue
        if known.run_bytes > memory:
            raise RunError(
                f"one run takes about {show_bytes(known.run_bytes)}, but there are {show_bytes(memory)} of memory"
            )
        parts = [
            replace(job, members=members, seeds=seeds)
            for members in _chunks(job.members, max(1, memory // (known.run_bytes * len(job.seeds))))
            for seeds in _chunks(job.seeds, max(1, memory // known.run_bytes))
        ]
        yield from (Planned(part, known, len(parts)) for part in parts)


def _least_bytes(job: Job) -> int:
    """Memory that a job takes at the least, found without compiling; refuses what does not exist."""
    iterations = job.experiment().iterations(job.steps)
    logged = job.log_every or max(1, iterations // POINTS)
    return len(job.members) * len(job.seeds) * (run_state_bytes(job) + logged * METRIC_BYTES)


def _chunks(items: tuple, largest: int) -> list[tuple]:
    """As few parts of at most so many items as there can be, as equal as can be: equal sizes share a compilation."""
    size = math.ceil(len(items) / math.ceil(len(items) / largest))
    return [items[start : start + size] for start in range(0, len(items), size)]


def _named(planned: list[Planned], sweep: Sweep, folder: Path) -> list[Planned]:
    """The jobs with folders: numbered, and called by what makes each a program of its own.

    Numbers go on after the last that is there, not after how many are: one may be missing, of a job that failed.
    """
    numbers = [re.match(r"\d+", path.name) for path in program_folders(folder)]
    first = 1 + max((int(number[0]) for number in numbers if number), default=-1)
    safe = lambda text: re.sub(r"[^\w.=-]+", "-", text)[:80]  # noqa: E731
    shapes = [safe(_shape(sweep, each.job.setup)) for each in planned]
    names = [f"{number:03d}-{shape}".strip("-") for number, shape in enumerate(shapes, first)]
    return [
        each._replace(job=replace(each.job, folder=folder / "programs" / name))
        for each, name in zip(planned, names, strict=True)
    ]


def _shaping(sweep: Sweep, plan: Plan) -> list[str]:
    """The choices that there is more than one program for."""
    own = {name for job in plan.jobs for name in (*NAMED, *job.setup.settings)}
    axes = {name: values for axis in sweep.axes for name, values in axis.items()}
    return [name for name, values in axes.items() if name in own and len(values) > 1]


def _shape(sweep: Sweep, setup: Setup) -> str:
    """Which of the choices are a program's own, e.g. `num_envs=16`."""
    mine = {"agent": setup.agent, "env": setup.env, "reward": setup.reward, **setup.settings}
    return ", ".join(f"{name}={mine[name]}" for name in sweep.names() if name in mine)


def _seconds(planned: Planned) -> float:
    assert planned.estimate is not None
    return planned.estimate.compile_seconds + planned.runs * planned.estimate.run_seconds


def _line(planned: Planned, shape: str) -> str:
    members, seeds, known = len(planned.job.members), len(planned.job.seeds), planned.estimate
    size = f"{members} configuration{'s' * (members > 1)} x {seeds} seed{'s' * (seeds > 1)}"
    own = f" with {shape}" if shape else ""
    if known is None:
        return f"  {size}{own}"
    memory, time = show_bytes(planned.runs * known.run_bytes), show_duration(_seconds(planned))
    return f"  {size}{own}: about {memory} of memory, {time}"
