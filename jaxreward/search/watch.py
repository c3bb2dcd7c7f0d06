"""How far a search is, from its study and the runs of its last generation; nothing is written here."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from jaxreward.results.described import title_of
from jaxreward.results.tables import find_runs
from jaxreward.results.watch import MOST_FAILURES, Watched, steadily, watch_run
from jaxreward.run.folder import at_work
from jaxreward.run.job import NAMED
from jaxreward.run.progress import duration
from jaxreward.run.store import RunError, RunFolder
from jaxreward.search.progress import best_so_far
from jaxreward.search.study import load_session
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
        generations = _generations(session.folder.path)
        mine = [trial for trial in trials if trial.user_attrs.get("worker") == session.worker]
        going = {trial.user_attrs["generation"] for trial in mine if not trial.state.is_finished()}
        facts += _left(generations, going, len(ended), total) + _generation(generations)
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


def _left(generations: Mapping[int, list[Path]], going: Collection[int], ended: int, total: int) -> list[str]:
    """As fast as trials were trained so far; compilation and pauses are no training.

    A generation counts as done when its trials have ended: between two rungs all its runs are finished, and more come.
    What several workers share is counted right while they are alike: each knows its own seconds, and all trials.
    """
    seconds = {number: sum(map(_seconds, runs)) for number, runs in generations.items()}
    under_way = sum(taken for number, taken in seconds.items() if number in going)
    done = sum(seconds.values()) - under_way
    if not (ended and done):
        return []
    return [f"about {duration(max(done / ended * (total - ended) - under_way, 0.0))} of training left"]


def _generations(folder: Path) -> dict[int, list[Path]]:
    """The runs of each generation of this worker's that has begun, by its number."""
    found = {}
    for generation in sorted(folder.glob("generations/*")):
        with contextlib.suppress(RunError, OSError):  # none of its has begun
            found[int(generation.name)] = find_runs(generation)
    return found


def _seconds(run: Path) -> float:
    """How long a run was trained for; 0 while that can't be read. Those of finished runs are read once."""
    with contextlib.suppress(RunError, OSError):
        return _finished_seconds(run) if steadily(RunFolder(run).finished) else _read_seconds(run)
    return 0.0


def _read_seconds(run: Path) -> float:
    """Its clock goes on from that of the run that it began with."""
    start = steadily(RunFolder(run).read_config).get("start")
    return _clock(run) - (_clock(Path(start["folder"])) if start else 0.0)


def _clock(run: Path) -> float:
    metrics = steadily(RunFolder(run).metrics)
    return float(metrics["wall_seconds"].max()) if len(metrics) else 0.0


_finished_seconds = functools.cache(_read_seconds)


def _generation(generations: Mapping[int, list[Path]]) -> list[str]:
    """How far the runs of this worker's newest generation are."""
    facts = []
    for number, run in [(number, run) for number, runs in list(generations.items())[-1:] for run in runs]:
        with contextlib.suppress(RunError, OSError):
            watched = watch_run(run)
            facts += [f"generation {number}: {watched.facts[0]}"] if watched.state != "finished" else []
    return facts


def _failures(ended: list[FrozenTrial]) -> list[str]:
    failed = [trial for trial in ended if trial.state == TrialState.FAIL]
    told = [f"trial {trial.number}: {trial.user_attrs.get('error', 'numbers that are not finite')}" for trial in failed]
    return [*told[:MOST_FAILURES], *([f"and {len(told) - MOST_FAILURES} more"] if len(told) > MOST_FAILURES else [])]
