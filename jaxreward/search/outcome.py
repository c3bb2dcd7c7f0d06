"""What came out of a search: its best trials, measured again on seeds they were not chosen by."""

from __future__ import annotations

import json
import shlex
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from jaxreward.run.job import NAMED, Job, Setup, split
from jaxreward.run.launcher import Launcher
from jaxreward.run.store import RunError, RunFolder, to_json, write_atomically
from jaxreward.search.generation import metrics
from jaxreward.search.hypervolume import hypervolume
from jaxreward.search.objective import intervals
from jaxreward.search.study import Session
from jaxreward.settings.space import choice_of, show_value
from jaxreward.settings.values import Value


class Confirmed(NamedTuple):
    """A configuration on seeds that no choice was made by.

    Attributes:
        trial: The number of the trial it was; None for what is trained without a search.
        choice: What it chose.
        found: The objectives as the search saw them.
        measured: For each objective `value`, `low`, `high` and `seeds`, see `jaxreward.search.objective.intervals`.
    """

    trial: int | None
    choice: dict[str, Value]
    found: tuple[float, ...]
    measured: list[dict[str, float]]


def best_trials(session: Session, most: int = 10) -> list[FrozenTrial]:
    """The trials that were trained to their end, best first; with several objectives, those that none betters.

    Args:
        session: The study.
        most: How many of them.
    """
    if len(session.search.objectives) > 1:
        return sorted(session.study.best_trials, key=lambda trial: trial.values, reverse=True)[:most]
    sign = 1 if session.study.direction == StudyDirection.MINIMIZE else -1
    complete = session.study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    return sorted(complete, key=lambda trial: sign * trial.values[0])[:most]


def seen(session: Session, trials: Sequence[FrozenTrial]) -> dict[int, list[dict[str, float]]]:
    """What trials came to in the search, with intervals over its seeds.

    Args:
        session: The study.
        trials: That were trained to their end.

    Returns:
        By number of the trial, for each objective `value`, `low`, `high` and `seeds`, see
        `jaxreward.search.objective.intervals`; without the trials of other workers, whose runs are elsewhere.
    """
    places: dict[int, dict[int, int]] = {}
    for trial in trials:
        if trial.user_attrs.get("worker") == session.worker:
            places.setdefault(trial.user_attrs["generation"], {})[_index(session, trial)] = trial.number
    found: dict[int, list[dict[str, float]]] = {}
    for generation, numbers in places.items():
        frame = metrics(session.folder.generation(generation))
        frame = frame[frame["choice"].isin(list(numbers))]
        measured = [intervals(frame, objective).to_dict("index") for objective in session.search.objectives]
        found |= {number: [_numbers(rows[index]) for rows in measured] for index, number in numbers.items()}
    return found


def chosen(session: Session, trial: FrozenTrial) -> dict[str, Value]:
    """What a trial chose, as settings."""
    return choice_of(session.search.space, trial)


def dominated_volume(session: Session) -> float:
    """The hypervolume of the objectives of all trials, between the best of them and the worst value of each.

    It grows as a search goes on, and depends on the worst trial: it compares two moments of one search, not two.
    """
    complete = session.study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    if not complete:
        return 0.0
    signs = np.array([-1.0 if objective.maximise else 1.0 for objective in session.search.objectives])
    points = signs * np.array([trial.values for trial in complete])
    return hypervolume(points, points.max(axis=0))


def confirm(session: Session, seeds: int, launch: Launcher, most: int = 4) -> list[Confirmed]:
    """Trains the best trial again, or all that none betters, and what is trained without a search, on fresh seeds.

    The best of many noisy values is too good to be true: what is measured here is what to expect.

    Args:
        session: The study.
        seeds: How many; they come after those of the search.
        launch: Where it is trained.
        most: How many trials, with several objectives.

    Returns:
        Those trials in the order of `best_trials`, and at the end the configuration without a choice.

    Raises:
        RunError: One could not be trained.
    """
    search = session.search
    candidates = [*found(session, most), Confirmed(None, {}, (), [])]
    frame = _train_again(session, [each.choice for each in candidates], seeds, launch)
    measured = [intervals(frame, objective).to_dict("index") for objective in search.objectives]
    return [
        each._replace(measured=[_numbers(rows[index]) for rows in measured]) for index, each in enumerate(candidates)
    ]


def found(session: Session, most: int = 4) -> list[Confirmed]:
    """The best trial, or at most so many that none betters, not measured again yet."""
    trials = best_trials(session, 1 if len(session.search.objectives) == 1 else most)
    return [Confirmed(trial.number, chosen(session, trial), tuple(trial.values), []) for trial in trials]


def train_command(search_setup: Setup, choice: Mapping[str, Value], steps: int, seeds: int) -> str:
    """The command line that trains a configuration."""
    setup = search_setup.replace(dict(choice))
    named = [part for name in NAMED for part in (f"--{name}", getattr(setup, name))]
    settings = [f"{name}={show_value(value)}" for name, value in setup.settings.items()]
    numbers = ["--steps", str(steps), "--seeds", str(seeds)]
    return shlex.join(["jaxreward", "train", *named, *numbers, *(["--set", *settings] if settings else [])])


def write_best(session: Session, confirmed: Sequence[Confirmed]) -> Path:
    """Writes `best.json`: of each configuration what it is, what the search saw and what was measured again."""
    search, path = session.search, session.folder.best
    objectives = [objective.name for objective in search.objectives]
    entries = [
        {
            "trial": each.trial,
            "settings": to_json({**search.setup.settings, **each.choice}),
            "found": dict(zip(objectives, to_json(each.found), strict=False)),
            "measured": dict(zip(objectives, to_json(each.measured), strict=False)),
            "command": train_command(search.setup, each.choice, search.steps, max(search.seeds, 10)),
        }
        for each in confirmed
    ]
    write_atomically(path, json.dumps(entries, indent=2).encode())
    return path


def _index(session: Session, trial: FrozenTrial) -> int:
    """A trial's place among those of its generation that were trained: values that don't go together are not."""
    place = [trial.user_attrs[name] for name in ("worker", "generation")]
    mates = [
        mate
        for mate in session.study.get_trials(deepcopy=False)
        if [mate.user_attrs.get(name) for name in ("worker", "generation")] == place and "error" not in mate.user_attrs
    ]
    return sum(mate.user_attrs["position"] < trial.user_attrs["position"] for mate in mates)


def _numbers(row: Mapping[Any, Any]) -> dict[str, float]:
    return {str(name): float(value) for name, value in row.items()}


def _train_again(session: Session, choices: list[dict[str, Value]], seeds: int, launch: Launcher) -> pd.DataFrame:
    """The metrics of configurations on fresh seeds, with a column `choice`."""
    search = session.search
    fresh = tuple(range(search.seeds, search.seeds + seeds))
    groups = split(search.setup, choices)
    # Another choice or number of seeds is another folder, and the same ones again are trained no further.
    digest = zlib.crc32(json.dumps(to_json([choices, fresh, search.steps]), sort_keys=True).encode())
    place = session.folder.path / "confirmed" / f"{digest:08x}"
    jobs = [
        Job(group.setup, place / f"{index:02d}", search.steps, tuple(group.members), fresh, search.log_every)
        for index, group in enumerate(groups)
    ]
    errors = [outcome.error for outcome in launch(jobs) if outcome.error]
    if errors:
        raise RunError(f"the best configuration could not be trained again: {errors[0]}")
    frames = []
    for job, group in zip(jobs, groups, strict=True):
        metrics = RunFolder(job.folder).metrics()
        frames.append(metrics.assign(choice=np.array(group.indices)[metrics["member"]]))
    return pd.concat(frames, ignore_index=True)
