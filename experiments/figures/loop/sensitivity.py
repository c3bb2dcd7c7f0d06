"""What LOOP loses with other numbers than its own: beta, the ratio, the weight of the pseudo-data, a bound on the span.

He, Zhong and Yang 2024 (arXiv:2404.12648) prove what large enough numbers do and try none. Here each number is changed
alone, the others are as they are by default, in RiverSwim of 6 states; all of it is one program. It looks at each tenth
step whether to plan. The bounds on the span are 0.5, 1, 2 and infinitely many times the true span of 6.31: a bound that
is too small takes optimism away, which is why 1 is the least that helps.

This river is learned by a few hundred actions that matter, so numbers that make other plans at other times often lead
to the very same actions, and the same loss: below is how often was planned.

Losses are gap regrets as shares of the most that can be lost, see the common part. "No worse" is by at most 0.01 of
that. Claims are ours: that neither beta nor the ratio needs a fine choice, and that a larger ratio plans less often.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxreward.agents.loop.loop import Hyperparams
from jaxreward.experiments.figures.loop._common import (
    BLUE,
    NOTHING,
    SHARE,
    SWIM,
    Choice,
    final,
    mean,
    trained,
    with_share,
)
from jaxreward.reproduce.claims import Claim, Scale, above, below
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.results.charts import HEIGHT, WIDTH
from jaxreward.results.statistics import Estimate, aggregate_mean, estimate_difference
from jaxreward.run.job import Job

SPAN = 6.310324
"""Of the optimal bias of RiverSwim with 6 states."""
SWEPT: Mapping[str, tuple[float, ...]] = {
    "beta": (0.02, 0.1, 0.5, 2.0, 10.0),
    "ratio": (1.2, 1.5, 3.0, 10.0, 30.0),
    "regularisation": (0.03, 0.1, 0.3, 1.0, 3.0),
    "max_span": (0.5 * SPAN, SPAN, 2 * SPAN, np.inf),
}
NAMES = {
    "beta": "beta",
    "ratio": "ratio",
    "regularisation": "weight of the pseudo-data",
    "max_span": "bound on the span",
}
NO_WORSE = 0.01


class Size(NamedTuple):
    """How much is trained."""

    steps: int
    seeds: int
    swept: tuple[str, ...] = tuple(SWEPT)


SIZES = {
    "smoke": Size(400, 2, ("beta",)),
    "small": Size(20_000, 8),
    "hour": Size(200_000, 50),
    "paper": Size(200_000, 50),
}


def default(name: str) -> float:
    """What a number is if nothing else is said."""
    return float(getattr(Hyperparams(), name))


def data(scale: Scale) -> Sequence[Job]:
    """Each number alone; what is the default of all is trained once."""
    size = SIZES[scale]
    changed: list[Choice] = [{name: value} for name in size.swept for value in SWEPT[name] if value != default(name)]
    choices: list[Choice] = [
        {"agent": "loop", "env": SWIM, "steps_per_check": 10, "check_span": False, **choice}
        for choice in [{}, *changed]
    ]
    return trained(choices, size.steps, range(size.seeds), "sweep")


def ended(name: str, value: float, frame: pd.DataFrame, metric: str = SHARE) -> Float[np.ndarray, " seeds"]:
    """What a metric ends with, by seed, by default the share that is lost, with a number that is changed alone."""
    rows = frame
    for other in SWEPT:
        wanted = value if other == name else default(other)
        held = rows[other].astype(float).fillna(default(other)) if other in rows else default(other)
        rows = rows[np.isclose(held, wanted)] if other in rows else rows[np.full(len(rows), held == wanted)]
    return final(with_share(rows), metric) if len(rows) else np.zeros(0)


def worse(name: str, value: float, frame: pd.DataFrame) -> Estimate:
    """How much more is lost with a number than with the default, by the same seeds."""
    changed, usual = ended(name, value, frame), ended(name, default(name), frame)
    return estimate_difference(changed, usual, aggregate_mean, paired=True) if len(changed) else NOTHING


def fewer_switches(frame: pd.DataFrame) -> Estimate:
    """How many more plans are made with a ratio of 1.2 than with one of 10."""
    often, seldom = (ended("ratio", value, frame, "switches") for value in (1.2, 10.0))
    return estimate_difference(often, seldom, aggregate_mean, paired=True) if len(often) else NOTHING


def plot(frame: pd.DataFrame) -> Figure:
    """A column for each number: the share lost and the switches, with 95% intervals, and the default marked."""
    figure = Figure(figsize=(0.85 * WIDTH * len(SWEPT), 1.7 * HEIGHT), layout="constrained")
    axes = figure.subplots(2, len(SWEPT), sharey="row", sharex="col")
    for row, (metric, label) in zip(axes, {SHARE: "share lost", "switches": "switches"}.items(), strict=True):
        for axis, name in zip(row, SWEPT, strict=True):
            draw_swept(axis, frame, name, metric)
        row[0].set_ylabel(label)
    for axis, name in zip(axes[1], SWEPT, strict=True):
        axis.set_xlabel(NAMES[name])
    return figure


def draw_swept(axis: Axes, frame: pd.DataFrame, name: str, metric: str) -> None:
    """What a metric ends with at each value of a number."""
    values = SWEPT[name]
    found = [mean(ended(name, value, frame, metric)) for value in values]
    middle, low, high = np.array([[each.value, each.low, each.high] for each in found]).T
    places, usual = np.arange(len(values)), values.index(default(name))
    axis.errorbar(places, middle, [middle - low, high - middle], fmt="o-", color=BLUE, markersize=4, linewidth=1.2)
    axis.plot(usual, middle[usual], "o", color="black", markersize=6)
    axis.set_xticks(places, [f"{value:.3g}" for value in values])


def claims() -> tuple[Claim, ...]:
    """What a choice costs."""
    found = []
    for name, values in (("beta", (0.1, 2.0)), ("ratio", (1.2, 1.5, 10.0)), ("max_span", (SPAN, 2 * SPAN))):
        for value in values:
            text = f"{NAMES[name]} {value:.3g}: no worse than the default"
            found.append(Claim(text, partial(worse, name, value), below(NO_WORSE)))
    for name, value in (("max_span", 0.5 * SPAN), ("regularisation", 3.0)):
        text = f"{NAMES[name]} {value:.3g}: worse than the default"
        found.append(Claim(text, partial(worse, name, value), above(0)))
    found.append(Claim("ratio 1.2: more switches than ratio 10", fewer_switches, above(0)))
    return tuple(claim._replace(least="small") for claim in found)


figure = PaperFigure(
    title="How much LOOP's numbers matter",
    source="He, Zhong and Yang 2024, arXiv:2404.12648; the experiment is ours",
    data=data,
    plot=plot,
    claims=claims(),
)
