"""What a person sees of a search while it goes on: a line for each generation."""

from __future__ import annotations

import time
from collections.abc import Callable

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from jaxreward.results.summary import show


class Progress:
    """Tells of generations, of what is best so far and of the time left.

    Args:
        study: The study.
        trials: How many it will have.
        say: Is given the lines.
    """

    def __init__(self, study: Study, trials: int, say: Callable[[str], None]) -> None:
        self._study, self._trials, self._say = study, trials, say
        self._began, self._before = time.monotonic(), len(_ended(study))

    def begins(self, index: int, size: int) -> None:
        """A generation is about to be trained."""
        self._say(f"generation {index}: {size} trials")

    def ended(self, index: int) -> None:
        """A generation has been told."""
        ended = _ended(self._study)
        seconds = time.monotonic() - self._began
        left = seconds * (self._trials - len(ended)) / max(len(ended) - self._before, 1)
        facts = [f"generation {index}: {len(ended)} of {self._trials} trials done", best_so_far(self._study)]
        for state, word in ((TrialState.PRUNED, "stopped early"), (TrialState.FAIL, "failed")):
            count = sum(trial.state == state for trial in ended)
            facts += [f"{count} {word}"] if count else []
        self._say("; ".join([*facts, f"{_clock(left)} left"]))


def best_so_far(study: Study) -> str:
    """The best value, or how many trials none betters, in words."""
    complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    if not complete:
        return "no result yet"
    if len(study.directions) > 1:
        return f"{len(study.best_trials)} trials that none betters"
    return f"best {show(study.best_value)} (trial {study.best_trial.number})"


def _ended(study: Study) -> list[FrozenTrial]:
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(max(seconds, 0.0)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
