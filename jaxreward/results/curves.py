"""Learning curves: a panel for each combination of all settings but the last, a line for each value of that one."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import textwrap
import warnings
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
import scipy.stats
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from jaxreward.results.summary import ENV_RETURN, NAMES, show
from jaxreward.run.store import write_atomically

COLUMNS = 4
COUNTS = ("episode/count", "episode/length", "evaluation/length")
"""Metrics that count, whose axis has whole numbers."""
LARGEST_PANELS = 16
LARGEST_LEGEND = 10

STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "svg.hashsalt": "jaxreward",
    "text.parse_math": False,  # a run may be called `a$b$`
}
"""Matplotlib settings that all figures are drawn with."""


class Curve(NamedTuple):
    """A mean over seeds with its interval, `[T]` each, NaN where no seed had a value; and how many seeds, if known."""

    steps: Float[np.ndarray, " T"]
    mean: Float[np.ndarray, " T"]
    low: Float[np.ndarray, " T"]
    high: Float[np.ndarray, " T"]
    seeds: int = 0


def curve(frame: pd.DataFrame, metric: str, confidence: float = 0.95) -> Curve:
    """The mean over seeds of one configuration's metric at each logged step, with its t-interval.

    An interval is that of its step alone. It has no width where only one seed has a value. Seeds that were logged at
    other steps than one another, whose iterations take as many steps as it happens, are compared between their logged
    steps.

    Args:
        frame: The metrics of one member.
        metric: One of its columns.
        confidence: Of the intervals.
    """
    by_seed = frame.pivot_table(index="env_steps", columns="seed", values=metric, aggfunc="mean", dropna=False)
    by_seed = by_seed[by_seed.notna().any(axis=1)]
    if not _logged_together(frame):
        by_seed = _on_common_steps(by_seed)
    values = by_seed.to_numpy(float).T
    if not values.size:
        empty = np.zeros(0)
        return Curve(empty, empty, empty, empty)
    finite = np.ma.masked_invalid(values)
    count, mean = finite.count(axis=0), finite.mean(axis=0).filled(np.nan)
    several = np.maximum(count, 2)
    reach = scipy.stats.t.ppf((1 + confidence) / 2, several - 1) * finite.std(axis=0).filled(0.0) / np.sqrt(several - 1)
    return Curve(by_seed.index.to_numpy(float), mean, mean - reach, mean + reach, len(values))


def span_of(counts: Collection[int]) -> str:
    """Counts as text, from the least to the greatest."""
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"


def of_seeds(counts: Collection[int]) -> str:
    """How many seeds some intervals are of."""
    return f"{span_of(counts)} seed{'s' * (max(counts) != 1)}"


def _logged_together(frame: pd.DataFrame) -> bool:
    """Whether seeds have rows at the same steps, as far as each of them got."""
    steps = sorted((set(rows) for _, rows in frame.groupby("seed")["env_steps"]), key=len)
    return all(fewer <= more for fewer, more in itertools.pairwise(steps))


def _on_common_steps(by_seed: pd.DataFrame) -> pd.DataFrame:
    """Each seed's values, between its own steps, at as many steps as one was logged at, evenly over what all did."""
    logged = [column.dropna() for _, column in by_seed.items() if column.notna().any()]
    if not logged:
        return by_seed
    first, last = max(each.index[0] for each in logged), min(each.index[-1] for each in logged)
    steps = np.linspace(first, max(first, last), max(map(len, logged)))
    values = {each.name: np.interp(steps, each.index, each, left=np.nan, right=np.nan) for each in logged}
    return pd.DataFrame(values, index=steps)


def learning_curves(
    frame: pd.DataFrame, metric: str, by: Sequence[str], title: str = "", beside: str | None = None
) -> Figure:
    """A figure of a metric over environment steps, with 95% intervals over seeds.

    Args:
        frame: The metrics of one run.
        metric: One of its columns.
        by: The columns in which its configurations differ; lines are the values of the last one.
        title: Above the figure.
        beside: Another metric, in a panel of its own beside the first one's where that has but one.
    """
    *outer, inner = by or ["member"]
    panels = [(label, part, metric) for label, part in itertools.islice(_groups(frame, outer), LARGEST_PANELS)]
    if beside and not outer:
        panels = [(_axis_name(name), frame, name) for name in (metric, beside)]
    lines = sorted(frame[inner].dropna().unique().tolist(), key=_order)
    colors = dict(zip(lines, _colors(len(lines)), strict=True))
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    legend_width = 0.08 * max(len(show(name)) for name in [*lines, inner])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(3.0 * columns, 5.0) + legend_width, 2.4 * rows + 0.6), layout="constrained")
        axes = figure.subplots(
            rows, columns, sharex=True, sharey=bool(outer) and _comparable(metric, outer), squeeze=False
        ).ravel()
        for axis, (label, part, shown) in zip(axes, panels, strict=False):
            axis.set_title(label, fontsize=9)
            _draw(axis, part, shown, inner, colors)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        figure.supxlabel("environment steps", fontsize=9)
        seeds = of_seeds(frame.groupby([*outer, inner])["seed"].nunique())
        name = "" if beside and not outer else f"{_axis_name(metric)}\n"
        figure.supylabel(f"{name}line: mean, band: 95% interval, {seeds}", fontsize=9)
        omitted = frame.groupby(outer).ngroups - len(panels) if outer else 0
        whole = title + (f" (the first {len(panels)} panels; {omitted} more)" if omitted else "")
        figure.suptitle(textwrap.fill(whole, int(14 * figure.get_figwidth())), fontsize=10)
        _legend(figure, axes[0], inner if by else "", len(lines))
    return figure


def save_png(figure: Figure, path: Path) -> Path:
    """Writes a figure as a picture."""
    pixels = io.BytesIO()
    with _drawing():
        figure.savefig(pixels, format="png", dpi=130)
    write_atomically(path, pixels.getvalue())
    return path


def to_svg(figure: Figure) -> str:
    """A figure as an SVG element to be put into a page."""
    text = io.StringIO()
    with _drawing():
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def label(value: object) -> str:
    """What a value is called in a legend, from which matplotlib leaves out what begins with an underscore."""
    text = show(value)
    return f" {text}" if text.startswith("_") else text


@contextlib.contextmanager
def _drawing() -> Iterator[None]:
    """Our style; a letter that no font here has is a box, which needs no warning for each."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"(?s)Glyph .* missing from font", UserWarning)
        yield


def _comparable(metric: str, outer: Sequence[str]) -> bool:
    """Whether panels have one scale: returns of different rewards or environments are no measure of one another."""
    return "env" not in outer and (metric == ENV_RETURN or not any(name.startswith("reward") for name in outer))


def _groups(frame: pd.DataFrame, outer: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    if not outer:
        return [("", frame)]
    groups = frame.groupby(list(outer), sort=True)
    title = lambda key: ", ".join(f"{name} = {show(value)}" for name, value in zip(outer, key, strict=True))  # noqa: E731
    return [(title(key), part) for key, part in groups]


def _draw(axis: Axes, frame: pd.DataFrame, metric: str, inner: str, colors: dict) -> None:
    for value, color in colors.items():
        drawn = curve(frame[frame[inner] == value], metric)
        axis.plot(drawn.steps, drawn.mean, color=color, linewidth=1.4, label=label(value))
        axis.fill_between(drawn.steps, drawn.low, drawn.high, color=color, alpha=0.18, linewidth=0)
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    if metric in COUNTS:
        axis.yaxis.set_major_locator(MaxNLocator(5, integer=True))


def _axis_name(metric: str) -> str:
    return NAMES.get(metric, metric.removeprefix("episode/"))


def _legend(figure: Figure, axis: Axes, title: str, lines: int) -> None:
    """Names the lines, evenly chosen ones where they are many; a single line needs no name."""
    if lines < 2:
        return
    handles, labels = axis.get_legend_handles_labels()
    shown = np.unique(np.linspace(0, lines - 1, min(lines, LARGEST_LEGEND)).round().astype(int))
    figure.legend(
        [handles[i] for i in shown], [labels[i] for i in shown], title=title, loc="outside right upper", frameon=False
    )


def _colors(count: int) -> list[tuple[float, ...]]:
    """From dark to light in the order of the values; the lightest of the map can't be seen on white."""
    return [tuple(color) for color in mpl.colormaps["viridis"](np.linspace(0.0, 0.85, count))]


def _order(value: object) -> tuple[bool, object]:
    return (isinstance(value, str), value)
