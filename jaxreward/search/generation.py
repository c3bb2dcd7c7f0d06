"""A generation: configurations that are trained side by side, rung by rung, the worse ones being left behind.

```
generation.json                   what is trained, and for how long
rung-0/program-00/                a run folder for each program that the configurations need
rung-0.json                       the values, and who goes on
rung-1/program-00/                the survivors' runs, which go on from those of rung 0
rung-1/program-00-from-seed-2/    runs of seeds that are added in rung 1, which begin at nothing
rung-1.json
```

Survivors are compacted: each rung's programs have them alone, so nothing is spent on the others.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from jaxreward.run.job import Setup, split
from jaxreward.run.launcher import Launcher
from jaxreward.run.store import RunError, read_json, to_json, write_atomically
from jaxreward.search.objective import Objective, scores
from jaxreward.search.rung_runs import Run, enter, of_choices, program_of, rows_of
from jaxreward.search.schedule import Schedule, check
from jaxreward.settings.values import Value


class FailedRunWarning(UserWarning):
    """Some configurations could not be trained."""


class Scored(NamedTuple):
    """What came of a configuration.

    Attributes:
        values: Of each objective at the last rung it reached; NaN if it failed.
        rung: That rung.
        reports: Steps and value of the first objective at each rung that had more steps than the one before.
    """

    values: tuple[float, ...]
    rung: int
    reports: tuple[tuple[int, float], ...]


class _Decision(NamedTuple):
    """What a rung showed.

    Attributes:
        values: By configuration, of each objective; NaN where it failed.
        survivors: Who goes on, in order of their numbers.
        errors: By run, of those that could not be trained.
        runs: By run folder, within the generation's, which configuration each of its members is; without those of
            `errors`.
    """

    values: dict[int, tuple[float, ...]]
    survivors: tuple[int, ...]
    errors: dict[str, str]
    runs: dict[str, tuple[int, ...]]


class _Generation(NamedTuple):
    """What `evaluate` was asked for."""

    schedule: Schedule
    objectives: tuple[Objective, ...]
    folder: Path
    launch: Launcher


def evaluate(
    setup: Setup,
    choices: Sequence[dict[str, Value]],
    schedule: Schedule,
    objectives: Sequence[Objective],
    folder: str | os.PathLike[str],
    launch: Launcher,
    *,
    log_every: int | None = None,
) -> list[Scored]:
    """Trains configurations through the rungs of a schedule; only the best by the first objective reach the next.

    Called again for the same folder, it goes on where it was interrupted and trains nothing twice. Configurations whose
    values are equal are taken in their order. One whose numbers are not finite, or that could not be trained, has
    failed: it has no value and does not go on, even if then fewer do than the next rung has places for.

    Args:
        setup: What is the same in all.
        choices: The configurations, by name `agent`, `env`, `reward` or a setting.
        schedule: The first rung has as many members as there are choices.
        objectives: What is measured; with several the schedule has one rung, as none of them alone decides.
        folder: Where runs and decisions are kept.
        launch: Where runs are trained.
        log_every: Iterations to a row of the metrics, the same in all rungs. By default a hundredth of all, or a tenth
            of the first rung's if that is less; a little less again where the rungs' iterations are multiples of that.

    Returns:
        What came of each choice, in their order.

    Raises:
        ValueError: The schedule does not fit the choices or the objectives, or there is no such agent.
        RunError: The folder holds another generation or can't be written to, or nothing of a rung could be trained.
    """
    _check(choices, check(schedule), objectives)
    programs = [program_of(index, group, schedule, log_every) for index, group in enumerate(split(setup, choices))]
    folder = Path(folder).expanduser().absolute()
    _claim(folder, _describe(setup, choices, schedule, objectives, log_every))
    generation = _Generation(schedule, tuple(objectives), folder, launch)
    entering: Collection[int] = range(len(choices))
    runs: list[Run] = []
    decisions: list[_Decision] = []
    while entering:
        index = len(decisions)
        runs = enter(programs, runs, entering, schedule[: index + 1], folder / f"rung-{index}")
        decisions.append(_decide(generation, runs, entering, index))
        entering = decisions[-1].survivors
    return [_scored(choice, schedule, decisions) for choice in range(len(choices))]


def metrics(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """What was logged of a generation's configurations, as far as its rungs are decided.

    Args:
        folder: Where `evaluate` kept it.

    Returns:
        The rows of all its runs (`jaxreward.run.record.table`) with a column `choice`: which of the choices they are
        of. `jaxreward.search.objective` makes values and intervals of them.

    Raises:
        RunError: It holds no decided rung, or a run of it can't be read.
    """
    place, members = Path(folder).expanduser().absolute(), dict[str, list[int]]()
    for index in itertools.count():
        rung = _read(place / f"rung-{index}.json")
        if rung is None:
            break
        members |= rung["runs"]
    if not members:
        raise RunError(f"{place} holds no generation that was trained: nothing of it can be measured")
    return pd.concat([of_choices(place / name, each) for name, each in members.items()], ignore_index=True)


def _check(choices: Sequence[dict[str, Value]], schedule: Schedule, objectives: Sequence[Objective]) -> None:
    if len(choices) != schedule[0].members:
        raise ValueError(f"the first rung has {schedule[0].members} members, but there are {len(choices)} choices")
    if not objectives:
        raise ValueError("configurations can't be compared without an objective")
    if len(objectives) > 1 and len(schedule) > 1:
        raise ValueError(
            f"{len(objectives)} objectives don't say who goes on to the next of {len(schedule)} rungs; give one "
            "objective, or train all to the end (`once`)"
        )


def _describe(
    setup: Setup,
    choices: Sequence[dict[str, Value]],
    schedule: Schedule,
    objectives: Sequence[Objective],
    log_every: int | None,
) -> dict[str, Any]:
    described = {"setup": setup, "choices": choices, "schedule": schedule, "objectives": objectives}
    return to_json({**described, "log_every": log_every})


def _claim(folder: Path, described: dict[str, Any]) -> None:
    """Writes what the folder is for, or checks that it is for the same."""
    path = folder / "generation.json"
    previous = _read(path)
    if previous is None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"can't write to {folder}: {error.strerror or error}") from error
        _write(path, described)
    elif previous != described:
        changed = [name for name in described if previous.get(name) != described[name]]
        raise RunError(f"{folder} holds another generation: its {', '.join(changed)} differ; choose another folder")


def _decide(generation: _Generation, runs: list[Run], entering: Collection[int], index: int) -> _Decision:
    """What a rung showed, trained if it isn't yet."""
    path, schedule = generation.folder / f"rung-{index}.json", generation.schedule
    stored = _read(path)
    if stored is not None:
        values = {int(choice): tuple(map(float, numbers)) for choice, numbers in stored["values"].items()}
        runs_of = {name: tuple(members) for name, members in stored["runs"].items()}
        return _Decision(values, tuple(stored["survivors"]), stored["errors"], runs_of)
    errors = _train([run for run in runs if run.job.folder.parent.name == f"rung-{index}"], generation.launch)
    values = _values(runs, entering, errors, generation.objectives)
    places = schedule[index + 1].members if index + 1 < len(schedule) else 0
    trained = [run for run in runs if run.job.folder.name not in errors]
    runs_of = {str(run.job.folder.relative_to(generation.folder)): run.members for run in trained}
    decision = _Decision(values, _best(values, generation.objectives[0], places), errors, runs_of)
    _write(path, to_json({"rung": schedule[index], **decision._asdict()}))
    return decision


def _train(runs: list[Run], launch: Launcher) -> dict[str, str]:
    """Trains a rung; by run, why those failed that did."""
    outcomes = launch([run.job for run in runs])
    errors = {outcome.job.folder.name: outcome.error for outcome in outcomes if outcome.error is not None}
    if runs and len(errors) == len(runs):
        raise RunError(f"nothing could be trained: {next(iter(errors.values()))}")
    for name, error in errors.items():
        warnings.warn(f"{name} could not be trained: {error}\nthe others go on", FailedRunWarning, stacklevel=4)
    return errors


def _values(
    runs: list[Run], entering: Collection[int], errors: Collection[str], objectives: Sequence[Objective]
) -> dict[int, tuple[float, ...]]:
    """By configuration, of each objective."""
    failed = {choice for run in runs if run.job.folder.name in errors for choice in run.members}
    valid = set(entering) - failed
    found: list[dict[Any, float]] = [{} for _ in objectives]
    if valid:
        rows = [rows_of(run, objectives) for run in runs if not valid.isdisjoint(run.members)]
        frame = pd.concat(rows, ignore_index=True)
        frame = frame[frame["choice"].isin(valid)]
        found = [scores(frame, objective).to_dict() for objective in objectives]
    return {choice: tuple(_finite(values.get(choice, math.nan)) for values in found) for choice in sorted(entering)}


def _finite(value: float) -> float:
    return float(value) if math.isfinite(value) else math.nan


def _best(values: dict[int, tuple[float, ...]], objective: Objective, places: int) -> tuple[int, ...]:
    """Who goes on: the best that did not fail, of equals the earliest."""
    sign = -1.0 if objective.maximise else 1.0
    finite = [choice for choice, numbers in values.items() if not math.isnan(numbers[0])]
    ranked = sorted(finite, key=lambda choice: (sign * values[choice][0], choice))
    return tuple(sorted(ranked[:places]))


def _scored(choice: int, schedule: Schedule, decisions: list[_Decision]) -> Scored:
    reached = [index for index, decision in enumerate(decisions) if choice in decision.values]
    reports = {schedule[index].steps: decisions[index].values[choice][0] for index in reached}
    return Scored(decisions[reached[-1]].values[choice], reached[-1], tuple(reports.items()))


def _read(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.exists() else None


def _write(path: Path, content: dict[str, Any]) -> None:
    try:
        write_atomically(path, json.dumps(content, indent=2).encode())
    except OSError as error:
        raise RunError(f"can't write {path}: {error.strerror or error}") from error
