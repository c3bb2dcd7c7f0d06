"""Comparisons of final scores: intervals by method, performance profiles, and scores against a hyperparameter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter

from jaxreward.results.curves import STYLE, Curve, of_seeds, span_of
from jaxreward.results.curves import label as named
from jaxreward.results.statistics import Estimate, Profile
from jaxreward.results.summary import name_of, show
from jaxreward.results.tables import summarise

WIDTH, HEIGHT = 3.4, 2.6
"""Of a panel, in inches."""
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Told apart with any kind of colour vision (Okabe and Ito, "Color Universal Design", 2008)."""


def intervals(panels: Mapping[str, Mapping[str, Estimate]], title: str = "") -> Figure:
    """A panel for each quantity with a bar from end to end of each method's interval, the value marked in it.

    Beside a method stands how many runs its intervals are of.

    This is how Agarwal et al. 2021 (figure 9 there) compare methods.

    Args:
        panels: By quantity ("IQM", "mean"), by method, the value and its interval; methods in the order of the first.
        title: Above the figure.
    """
    methods = list(next(iter(panels.values())))
    with mpl.rc_context(STYLE):
        beside = max(0.9, 0.075 * max(map(len, methods), default=0))  # what methods are called takes inches too
        figure = Figure(figsize=(beside + WIDTH * len(panels), 0.9 + 0.34 * len(methods)), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, (quantity, values) in zip(axes, panels.items(), strict=True):
            for row, method in enumerate(methods):
                _bar(axis, row, values[method], COLORS[row % len(COLORS)])
            axis.set_title(quantity, fontsize=9)
            axis.grid(axis="y", visible=False)
            axis.use_sticky_edges = False
            axis.xaxis.set_major_locator(MaxNLocator(5))
        runs = {method: [Estimate(*values[method]).runs for values in panels.values()] for method in methods}
        axes[0].set_yticks(range(len(methods)), [_counted(method, runs[method]) for method in methods])
        axes[0].set_ylim(len(methods) - 0.4, -0.6)
        figure.suptitle(title)
    return figure


def profiles(
    thresholds: Float[np.ndarray, " K"],
    curves: Mapping[str, Profile],
    xlabel: str = "score",
    title: str = "",
) -> Figure:
    """Performance profiles: the share of runs above each score (Dolan and Moré 2002; Agarwal et al. 2021, section 4.2).

    Args:
        thresholds: Scores.
        curves: By method the shares, the ends of their intervals, and how many runs they are of.
        xlabel: What the scores are.
        title: Above the figure.
    """
    with mpl.rc_context(STYLE):
        figure, axis = _single(title)
        for index, (method, profile) in enumerate(curves.items()):
            line(axis, Curve(thresholds, *profile), method, COLORS[index % len(COLORS)])
        axis.set_ylim(-0.02, 1.02)
        axis.set_xlabel(xlabel)
        axis.set_ylabel("share of runs above it")
        _legend(figure, axis)
    return figure


def sensitivity(frame: pd.DataFrame, name: str, metric: str = "episode/return", by: str | None = None) -> Figure:
    """The interquartile mean of final values against one hyperparameter, with 95% intervals.

    The hyperparameter's axis is logarithmic where its values are nearer to evenly spaced in their logarithms. Runs
    equal in it (and in `by`) count as seeds of one another, whatever else they differ in.

    Args:
        frame: Metrics, with `name` and `by` as columns.
        name: The hyperparameter; numbers, infinity drawn apart at the right end, or names.
        metric: What is averaged.
        by: What tells lines apart.
    """
    table = summarise(frame, metric, [name] if by is None else [by, name])
    places, labels, log = _places(table[name])
    with mpl.rc_context(STYLE):
        figure, axis = _single("")
        for index, (label, part) in enumerate([("", table)] if by is None else table.groupby(by)):
            ordered = part.assign(place=part[name].map(places)).sort_values("place")
            steps, value, low, high = ordered[["place", "iqm", "iqm_low", "iqm_high"]].to_numpy(float).T
            drawn = Curve(steps, value, low, high)
            line(axis, drawn, show(label), COLORS[index % len(COLORS)], marker="o")
        axis.set_xscale("log" if log else "linear")
        axis.minorticks_off()
        axis.set_xticks(list(places.values()), labels, rotation=45 * (len(places) > 6))
        axis.set_xlabel(name)
        axis.set_ylabel(f"{name_of(metric)}\nline: interquartile mean, band: 95% interval, {of_seeds(table['seeds'])}")
        _legend(figure, axis, by)
    return figure


def line(axis: Axes, drawn: Curve, label: str, color: str, marker: str = "") -> None:
    """A line with its interval shaded, and beside its name how many seeds it is of."""
    shown = _counted(named(label), [drawn.seeds]) if label and drawn.seeds else named(label)
    axis.plot(drawn.steps, drawn.mean, color=color, linewidth=1.4, label=shown, marker=marker, markersize=4)
    axis.fill_between(drawn.steps, drawn.low, drawn.high, color=color, alpha=0.18, linewidth=0)


def _single(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(1.4 * WIDTH, 1.2 * HEIGHT), layout="constrained")
    figure.suptitle(title)
    return figure, figure.subplots()


def _bar(axis: Axes, row: int, interval: Estimate, color: str) -> None:
    value, low, high, _ = Estimate(*interval)
    axis.barh(row, high - low, left=low, height=0.6, color=color, alpha=0.45)
    axis.plot([value, value], [row - 0.3, row + 0.3], color=color, linewidth=2)


def _counted(name: str, runs: Sequence[float]) -> str:
    """A name with the number of runs, unless nothing is left to chance."""
    numbers = [int(number) for number in runs if math.isfinite(number)]
    return f"{name} (n = {span_of(numbers)})" if numbers else name


def _places(values: pd.Series) -> tuple[dict, list[str], bool]:
    """Where each value of a hyperparameter goes on its axis, what is written there, and whether the axis is log."""
    unique = sorted(values.dropna().unique().tolist(), key=lambda value: (isinstance(value, str), value))
    numbers = [value for value in unique if not isinstance(value, str) and np.isfinite(value)]
    if len(numbers) < len(unique) and (len(numbers) < 2 or unique[:-1] != numbers or isinstance(unique[-1], str)):
        return {value: index for index, value in enumerate(unique)}, list(map(show, unique)), False
    log = _log_spaced(numbers)
    ends = list(numbers)
    if len(numbers) < len(unique):  # infinity, one gap beyond the last number
        ends.append(numbers[-1] ** 2 / numbers[-2] if log else 2 * numbers[-1] - numbers[-2])
    return dict(zip(unique, ends, strict=True)), list(map(show, unique)), log


def _log_spaced(numbers: list[float]) -> bool:
    """Whether positive numbers are nearer to evenly spaced in their logarithms than as they are."""
    if len(numbers) < 3 or min(numbers) <= 0:
        return False
    unevenness = lambda gaps: np.std(gaps) / np.mean(gaps)  # noqa: E731
    return bool(unevenness(np.diff(np.log(numbers))) < unevenness(np.diff(numbers)))


def _legend(figure: Figure, axis: Axes, title: str | None = None) -> None:
    """Names the lines; a single one needs no name."""
    handles, labels = axis.get_legend_handles_labels()
    if len(handles) > 1:
        figure.legend(handles, labels, title=title, loc="outside right upper", frameon=False)


def logarithmic(axes: Axes, *, both: bool = False) -> None:
    """Makes the axis of steps logarithmic, or both, with ticks as plain numbers."""
    axes.set_xscale("log")
    if both:
        axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis) if both else (axes.xaxis,):
        axis.set_major_formatter(EngFormatter(sep=""))
        axis.set_minor_formatter(NullFormatter())
