"""A search as an Optuna study whose trials are asked for, trained and told in generations.

```
study.json           what is searched, and which worker this folder belongs to
study.db             the trials, for Optuna and optuna-dashboard; or a database elsewhere, which several folders share
generations/00003/   the runs of the fourth generation
best.json            what came out
```

A trial is in the database before it is trained, with the worker, generation and position it belongs to. What a killed
worker finds there on its return is taken up again: trials half asked are asked to their end, trained ones are trained
on, and told ones are left alone.
"""

from __future__ import annotations

import math
import socket
import uuid
import warnings
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import scoped_session

from jaxreward.run.folder import hold
from jaxreward.run.launcher import Launcher, local
from jaxreward.run.store import RunError, to_json
from jaxreward.search.check import defaults, describe_programs, untrainable
from jaxreward.search.folder import StudyFolder
from jaxreward.search.generation import Scored, evaluate
from jaxreward.search.objective import Objective
from jaxreward.search.progress import Progress
from jaxreward.search.samplers import make_sampler
from jaxreward.search.schedule import Schedule
from jaxreward.search.spec import Search, differences, read_search
from jaxreward.settings.space import always, choice_of, stored
from jaxreward.settings.values import Value

DESCRIPTION = "search"
"""The attribute of an Optuna study that says what is searched."""


class Session(NamedTuple):
    """A study and who works on it.

    Attributes:
        search: What is searched, everything decided.
        study: The Optuna study.
        worker: Whose trials are taken up again.
        folder: Where its runs are.
    """

    search: Search
    study: Study
    worker: str
    folder: StudyFolder


@dataclass(frozen=True)
class _Generation:
    """Trials that train together, `size` of them; `trials` are those asked for already, in order."""

    index: int
    size: int
    trials: list[FrozenTrial]


def run(
    search: Search,
    folder: Path,
    *,
    storage: str | None = None,
    name: str | None = None,
    launch: Launcher | None = None,
    resume: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Session:
    """Searches until there are as many trials as were asked for.

    Args:
        search: What is searched.
        folder: Where its runs are kept.
        storage: An Optuna URL that several workers share, each with a folder of its own; `study.db` in the folder by
            default. They share `search.trials` too; two that begin their last generations at once may exceed it.
        name: Of the study in the storage; the agent's and environment's by default.
        launch: Where runs are trained; in this process by default.
        resume: Whether to go on with a study that the folder holds.
        say: Is told of each generation.

    Returns:
        The study, all its trials told but those that other workers are at.

    Raises:
        ValueError: The search can't be trained or measured.
        RunError: The study is of another search or a longer one (says how they differ), the folder holds one and
            `resume` is off, it holds something else, something of the study is gone, or another process is at work
            there: a second worker on the same study needs a folder of its own and the same storage.
    """
    place = StudyFolder(folder)
    _check_folder(place, resume)
    search.completed().check()
    with hold(place.path):
        _check_folder(place, resume)  # another process may have been at work there until now
        session = open_session(search, place, storage, name)
        _describe(session, storage)
        _announce(session, say)
        progress = Progress(session.study, session.search.trials, say)
        baseline = _baseline(session, say)
        while generation := _next(session):
            progress.begins(generation.index, generation.size)
            _search(session, generation, baseline, launch or local())
            progress.ended(generation.index)
        _report_others(session, say)
    return session


def _check_folder(place: StudyFolder, resume: bool) -> None:
    """Refuses to begin where something is."""
    if not place.exists():
        place.check_new()
    elif not resume:
        raise RunError(f"{place.path} already holds a study: go on with it (resume), or choose another folder")


def open_session(search: Search, folder: StudyFolder, storage: str | None = None, name: str | None = None) -> Session:
    """The study of a folder, and the worker whose folder it is; made if they aren't there yet. See `run`.

    Raises:
        RunError: It is of another search, or is gone.
        ValueError: Its storage can't be opened.
    """
    previous = folder.read() if folder.exists() else {}
    if previous:
        _check_moved(previous, storage, name)
    url = storage or _usable(previous.get("storage")) or folder.database_url()
    name = name or previous.get("name") or f"{search.setup.agent}-{search.setup.env}"
    study = _known(url, name, folder) if previous else _open(url, name, search.objectives)
    begun = bool(study.get_trials(deepcopy=False))
    if begun and not (previous or storage):
        raise RunError(f"{folder.database} has trials, but {folder.description} is gone. {_WAYS_OUT}")
    search = _agreed(search, study)
    if previous:
        _check_grown(previous["search"], search, begun, folder)
    stops_early = len(search.schedule(0)) > 1
    distributions: dict[str, BaseDistribution] = {
        name: prior.distribution() for name, prior in always(search.space).items()
    }
    assert search.batch is not None, "a completed search has one"
    study.sampler = make_sampler(search.sampler, search.seed, search.batch, distributions, stops_early)
    worker = previous.get("worker") or f"{socket.gethostname()}:{folder.path.name}:{uuid.uuid4().hex[:8]}"
    return Session(search, study, worker, folder)


def load_session(folder: Path, storage: str | None = None) -> Session:
    """The study in a folder, as it was left.

    Args:
        folder: The study's folder.
        storage: Its URL, if that has a password: passwords are not kept.

    Raises:
        RunError: The folder holds no study.
        ValueError: Its storage can't be opened.
    """
    place = StudyFolder(folder)
    return open_session(read_search(place.read()["search"]), place, storage)


def _describe(session: Session, storage: str | None) -> None:
    """Writes `study.json`, before there is a trial that only this worker would take up."""
    folder = session.folder
    previous = folder.read() if folder.exists() else {}
    kept = _shown(storage) if storage else previous.get("storage")
    described = {"search": session.search.to_table(), "storage": kept, "name": session.study.study_name}
    folder.write({**described, "worker": session.worker})


def _announce(session: Session, say: Callable[[str], None]) -> None:
    search = session.search
    done = len(session.study.get_trials(deepcopy=False))
    before = f", {done} of them begun before" if done else ""
    say(f"{search.trials} trials{before}, of {search.steps:,} steps x {search.seeds} seeds -> {session.folder.path}")
    for line in search.doubts():
        say(line)
    say(describe_programs(search.space, search.setup, search.schedule(0)[0].members) or "a generation is one program")


def _check_moved(previous: dict[str, Any], storage: str | None, name: str | None) -> None:
    """Refuses another storage or name than that of the study in the folder."""
    kept = {"storage": previous.get("storage"), "name": previous["name"]}
    asked = {"storage": storage and _shown(storage), "name": name}
    moved = [f"{key}: {kept[key]} -> {value}" for key, value in asked.items() if value not in (None, kept[key])]
    if moved:
        listing = "\n  ".join(moved)
        raise RunError(f"the folder's study is another one (there -> asked for):\n  {listing}\nchoose another folder")


def _check_grown(previous: dict[str, Any], search: Search, begun: bool, folder: StudyFolder) -> None:
    """Refuses fewer trials than there were to be, and another beginning where there has been one."""
    trials, baseline = previous["trials"], previous["baseline"]
    lines = [f"trials: {trials} -> {search.trials}"] if search.trials < trials else []
    lines += [f"baseline: {baseline} -> {search.baseline}"] if begun and baseline != search.baseline else []
    if lines:
        listing = "\n  ".join(lines)
        raise RunError(f"{folder.path} holds a search, which only grows (there -> asked for):\n  {listing}")


def _shown(url: str) -> str:
    """A storage without its password."""
    try:
        return make_url(url).render_as_string()
    except ArgumentError:
        return url  # whoever opens it will say that it is none


def _usable(url: str | None) -> str | None:
    if url and make_url(url).password == "***":
        raise ValueError(f"the study is in {url}, whose password is not kept: give the storage again")
    return url


_WAYS_OUT = "Bring it back; or choose another folder, and the search begins again"


def _known(url: str, name: str, folder: StudyFolder) -> Study:
    """The study that a folder belongs to, which is never made anew."""
    gone = RunError(f"the study {name!r} of {folder.path} is gone: it was in {_shown(url)}. {_WAYS_OUT}")
    file = _database_file(url)
    if file is not None and not file.is_file():
        raise gone  # opening it would make it
    try:
        return _opened(url, lambda storage: optuna.load_study(storage=storage, study_name=name))
    except KeyError as error:
        raise gone from error


def _database_file(url: str) -> Path | None:
    """The file that a storage is; None if it is a server's, or in memory."""
    made = make_url(url)
    if made.get_backend_name() != "sqlite" or made.database in (None, "", ":memory:"):
        return None
    name = str(made.database)
    return Path(unquote(urlsplit(name).path) if name.startswith("file:") else name)


def _open(url: str, name: str, objectives: tuple[Objective, ...]) -> Study:
    """The study of a name, made if there is none."""
    directions = [objective.direction for objective in objectives]

    def create(storage: RDBStorage) -> Study:
        return optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)

    return _opened(url, create)


def _opened(url: str, open_study: Callable[[RDBStorage], Study]) -> Study:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = open_study(_storage(url))
    except ArgumentError as error:
        raise ValueError(f"{url!r} is no storage; expected a URL such as sqlite:///study.db: {error}") from error
    except SQLAlchemyError as error:
        raise ValueError(f"can't open the storage {_shown(url)}: {error}") from error
    finally:
        optuna.logging.set_verbosity(verbosity)
    return study


def _storage(url: str) -> RDBStorage:
    """A storage whose connections are closed when it, and so its study, is no longer used: Optuna closes none."""
    storage = RDBStorage(url)
    weakref.finalize(storage, _close, storage.scoped_session, storage.engine)
    return storage


def _close(session: scoped_session, engine: Engine) -> None:
    session.remove()  # Optuna may have read on after a transaction's end, which began another
    engine.dispose()


def _agreed(search: Search, study: Study) -> Search:
    """The search of a study, which is this one if the study is new.

    Raises:
        RunError: They differ in more than the number of trials.
    """
    previous = study.user_attrs.get(DESCRIPTION)
    if previous is None:
        search = search.completed()
        study.set_user_attr(DESCRIPTION, search.to_table())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # what the dashboard calls the values
            study.set_metric_names([objective.name for objective in search.objectives])
        return search
    # What was left open is as it was decided then.
    search = replace(search, batch=search.batch or previous["batch"]).completed()
    changed = differences(previous, search.to_table())
    if changed:
        listing = "\n".join(f"  {line}" for line in changed)
        raise RunError(
            f"the study {study.study_name!r} is of another search; it differs in\n{listing}\n"
            "choose another folder, or another name if the storage is shared"
        )
    return search


def _baseline(session: Session, say: Callable[[str], None]) -> dict[str, Value] | None:
    search = session.search
    if not search.baseline or session.study.get_trials(deepcopy=False):
        return None
    choice = defaults(search.space, search.setup)
    if choice is None:
        say("the space does not hold all defaults, so they are not the first trial")
    return choice


def _next(session: Session) -> _Generation | None:
    """The generation to be searched: what is left of this worker's last one, or a new one while trials are left."""
    trials = session.study.get_trials(deepcopy=False)
    mine = [trial for trial in trials if trial.user_attrs.get("worker") == session.worker]
    last = max((trial.user_attrs["generation"] for trial in mine), default=-1)
    begun = _in_order([trial for trial in mine if trial.user_attrs["generation"] == last])
    if begun and (len(begun) < begun[0].user_attrs["size"] or any(not t.state.is_finished() for t in begun)):
        return _Generation(last, begun[0].user_attrs["size"], begun)
    left = session.search.trials - len(trials)
    size = min(session.search.schedule(last + 1)[0].members, left)
    return _Generation(last + 1, size, []) if size > 0 else None


def _search(session: Session, generation: _Generation, baseline: dict[str, Value] | None, launch: Launcher) -> None:
    """Asks for what is missing of a generation, trains it, and tells what is not told."""
    search, study = session.search, session.study
    trials = list(generation.trials)
    choices: dict[int, dict[str, Value]] = {}
    for position in range(generation.size):
        if position == len(trials):
            first = generation.index == position == 0
            trials.append(_ask(session, generation, position, baseline if first else None))
        # Optuna gives what a trial was given before, and chooses what it was not.
        choices[position] = choice_of(search.space, _open_trial(study, trials[position]))
    wrong = untrainable(search.setup, choices)
    fit = {position: choice for position, choice in choices.items() if position not in wrong}
    scored = _evaluate(session, generation.index, list(fit.values()), launch)
    for position, trial in enumerate(trials):
        if trial.state.is_finished():
            continue
        if position in wrong:
            _reject(study, trial, wrong[position])
        else:
            score, finished = scored[list(fit).index(position)]
            _tell(study, trial, score, finished)


def _evaluate(
    session: Session, index: int, choices: list[dict[str, Value]], launch: Launcher
) -> list[tuple[Scored, bool]]:
    """What came of each choice, and whether it was trained to its end."""
    if not choices:
        return []
    search, folder = session.search, session.folder.generation(index)
    schedule = _shrunk(search.schedule(index), len(choices))
    scored = evaluate(search.setup, choices, schedule, search.objectives, folder, launch, log_every=search.log_every)
    return [(score, score.rung == len(schedule) - 1) for score in scored]


def _ask(session: Session, generation: _Generation, position: int, fixed: dict[str, Value] | None) -> FrozenTrial:
    """A new trial, which from the start says whose it is: `Study.ask` would leave a moment in which it does not."""
    place = {"worker": session.worker, "generation": generation.index, "position": position, "size": generation.size}
    given = {"fixed_params": {name: stored(value) for name, value in fixed.items()}} if fixed else {}
    session.study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs=place, system_attrs=given))
    running = session.study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
    return next(t for t in reversed(running) if place.items() <= t.user_attrs.items())


def _open_trial(study: Study, trial: FrozenTrial) -> Trial | FrozenTrial:
    return trial if trial.state.is_finished() else Trial(study, trial._trial_id)


def _tell(study: Study, frozen: FrozenTrial, score: Scored, finished: bool) -> None:
    """Tells how a trial ended: at the last rung, stopped before it, or without numbers."""
    trial = Trial(study, frozen._trial_id)
    # What Optuna keeps only of trials that ended well.
    trial.set_user_attr("values", to_json(list(score.values)))
    trial.set_user_attr("rung", score.rung)
    if len(study.directions) == 1:
        known = frozen.intermediate_values
        for step, value in score.reports:
            if step not in known and not math.isnan(value):
                trial.report(value, step)
    if any(math.isnan(value) for value in score.values):
        study.tell(trial, state=TrialState.FAIL)
    elif finished:
        study.tell(trial, list(score.values))
    else:
        study.tell(trial, state=TrialState.PRUNED)


def _reject(study: Study, frozen: FrozenTrial, reason: str) -> None:
    """Tells that a trial's values don't go together."""
    trial = Trial(study, frozen._trial_id)
    trial.set_user_attr("error", reason)
    study.tell(trial, state=TrialState.FAIL)


def _shrunk(schedule: Schedule, members: int) -> Schedule:
    """A schedule for fewer members, as few trials are left: each rung in proportion."""
    most = schedule[0].members
    return tuple(rung._replace(members=math.ceil(rung.members * members / most)) for rung in schedule)


def _in_order(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    return sorted(trials, key=lambda trial: trial.user_attrs["position"])


def _report_others(session: Session, say: Callable[[str], None]) -> None:
    """Says who is still at work, or was when it died."""
    running = session.study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
    workers = Counter(trial.user_attrs.get("worker", "unknown") for trial in running)
    for worker, trials in workers.items():
        say(f"{trials} more trials are with worker {worker}; if it has died, resume its folder to finish them")
