"""A picture of a search: what each trial came to, over time and over each name that was searched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from optuna.trial import FrozenTrial, TrialState

from jaxreward.search.study import Session
from jaxreward.settings.space import Choice, Uniform, always, prior_of

COLUMNS = 4
_STATES = {TrialState.COMPLETE: ("#1b6ca8", "trained to the end"), TrialState.PRUNED: ("#bbbbbb", "stopped early")}
_STYLE: Any = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def picture(session: Session) -> Figure:
    """The first objective of each trial against its number, with the best so far, and against what it chose."""
    search = session.search
    trials = [t for t in session.study.get_trials(deepcopy=False) if t.state in _STATES and t.values]
    names = [*always(search.space), *(name for name in search.space if name not in always(search.space))]
    rows = math.ceil((len(names) + 1) / COLUMNS)
    with mpl.rc_context(_STYLE):
        columns = min(COLUMNS, len(names) + 1)
        figure = Figure(figsize=(3.0 * columns, 2.4 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
        _history(axes[0], trials, search.objectives[0].maximise)
        for axis, name in zip(axes[1:], names, strict=False):
            _slice(axis, trials, session, name)
        for axis in axes[len(names) + 1 :]:
            axis.set_visible(False)
        figure.supylabel(search.objectives[0].name, fontsize=9)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def save_picture(session: Session) -> Path:
    """Writes the picture beside the study."""
    path = session.folder.path / "search.png"
    picture(session).savefig(path, dpi=130)
    return path


def _history(axis: Axes, trials: Sequence[FrozenTrial], maximise: bool) -> None:
    _scatter(axis, trials, [trial.number for trial in trials])
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    best = np.maximum.accumulate if maximise else np.minimum.accumulate
    values = np.array([trial.values[0] for trial in complete])
    numbers = [trial.number for trial in complete]
    axis.step(numbers, best(values), where="post", color="#d1495b", linewidth=1.2, label="best so far")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("trial")


def _slice(axis: Axes, trials: Sequence[FrozenTrial], session: Session, name: str) -> None:
    prior = prior_of(session.search.space[name])
    having = [trial for trial in trials if name in trial.params]
    chosen = [trial.params[name] for trial in having]
    _scatter(axis, having, [str(value) for value in chosen] if isinstance(prior, Choice) else chosen)
    if not isinstance(prior, Choice) and prior.log:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
    if isinstance(prior, Uniform):
        axis.set_xlim(prior.low, prior.high)
    axis.set_xlabel(name)


def _scatter(axis: Axes, trials: Sequence[FrozenTrial], where: Sequence[float | str]) -> None:
    for state, (color, label) in _STATES.items():
        shown = [(place, t.values[0]) for place, t in zip(where, trials, strict=True) if t.state == state]
        if shown:
            axis.scatter(
                [place for place, _ in shown],
                [value for _, value in shown],
                s=10,
                color=color,
                label=label,
                clip_on=False,
            )
