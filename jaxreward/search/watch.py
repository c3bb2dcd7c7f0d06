"""How far a search is, from its study and the runs of its last generation; nothing is written here."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from jaxreward.results.described import title_of
from jaxreward.results.tables import find_runs
from jaxreward.results.watch import MOST_FAILURES, Watched, trained_seconds, watch_run
from jaxreward.run.folder import at_work
from jaxreward.run.job import NAMED
from jaxreward.run.progress import duration
from jaxreward.run.store import RunError, RunFolder
from jaxreward.search.progress import best_so_far
from jaxreward.search.study import Session, load_session
from jaxreward.settings.space import always


def watch_search(folder: Path) -> Watched:
    """A search.

    Raises:
        RunError: There is none, or it can't be read.
        ValueError: Its storage can't be opened.
    """
    session = load_session(folder)
    trials = session.study.get_trials(deepcopy=False)
    ended = [trial for trial in trials if trial.state.is_finished()]
    total = session.search.trials
    words = {True: "at work", False: "stopped", None: "begun elsewhere"}
    state = "finished" if len(ended) >= total else words[at_work(folder)]
    stopped = sum(trial.state == TrialState.PRUNED for trial in ended)
    facts = [f"{len(ended)} of {total} trials done, {stopped} of them stopped early", best_so_far(session.study)]
    if state not in ("finished", "stopped"):
        facts += _left(session, len(ended), total) + _generation(session)
    searched = {name: prior.samples() for name, prior in always(session.search.space).items() if name in NAMED}
    named = [dict(zip(searched, values, strict=True)) for values in itertools.product(*searched.values())]
    title = title_of([{"config": vars(session.search.setup.replace(names))} for names in named])
    return Watched(
        f"search of {', '.join(session.search.space)}: {title} -> {folder}",
        state,
        min(len(ended) / total, 1.0),
        facts,
        _failures(ended),
        pd.DataFrame(),
        [],
        [],
    )


def _left(session: Session, ended: int, total: int) -> list[str]:
    """As fast as trials were trained so far; compilation and pauses are no training.

    What several workers share is counted right while they are alike: each knows its own seconds, and all trials.
    """
    generations = _generations(session.folder.path)
    seconds = [sum(trained_seconds(RunFolder(run).metrics()) for run in runs) for runs in generations]
    under_way = seconds[-1] if generations and not all(RunFolder(run).finished() for run in generations[-1]) else 0.0
    done = sum(seconds) - under_way
    if not (ended and done):
        return []
    return [f"about {duration(max(done / ended * (total - ended) - under_way, 0.0))} of training left"]


def _generations(folder: Path) -> list[list[Path]]:
    """The runs of each generation of this worker's that has begun."""
    found = []
    for generation in sorted(folder.glob("generations/*")):
        with contextlib.suppress(RunError):  # none of its has begun
            found.append(find_runs(generation))
    return found


def _generation(session: Session) -> list[str]:
    """How far the runs of this worker's newest generation are."""
    newest = _generations(session.folder.path)[-1:]
    runs = [(run, watch_run(run)) for run in itertools.chain(*newest)]
    place = session.folder.path / "generations"
    return [
        f"generation {int(run.relative_to(place).parts[0])}: {each.facts[0]}"
        for run, each in runs
        if each.state != "finished"
    ]


def _failures(ended: list[FrozenTrial]) -> list[str]:
    failed = [trial for trial in ended if trial.state == TrialState.FAIL]
    told = [f"trial {trial.number}: {trial.user_attrs.get('error', 'numbers that are not finite')}" for trial in failed]
    return [*told[:MOST_FAILURES], *([f"and {len(told) - MOST_FAILURES} more"] if len(told) > MOST_FAILURES else [])]
