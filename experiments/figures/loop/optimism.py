"""How optimistic LOOP is, how well what it holds fits, and how often it looks for something else.

He, Zhong and Yang 2024 (arXiv:2404.12648) show that the gain `J_f` that LOOP hopes for is at least the optimal one,
if beta is large enough, and that hypotheses are changed a number of times that grows like the logarithm of the time.
Here that is looked at in RiverSwim of 6 states, for both planners with the numbers they have by default, and for "ell"
with a beta of the form the theory asks for, see `jaxreward.agents.loop.loop.theory`, whose constant of 1 is a choice.

The upper panels have the gain that is hoped for beside the true one, and the span of the held bias beside the true one;
the lower ones the excess loss of what is held as a share of the threshold at which it is given up, at the end of each
iteration, and the number of switches against the logarithm of the time. By default beta is too small for a proof, so
what is claimed of the default is that the gain it hopes for ends within 0.05 of the true one.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxreward.agents.loop.loop import Hyperparams, theory
from jaxreward.envs import make
from jaxreward.experiments.figures.loop._common import (
    BLUE,
    GREEN,
    NOTHING,
    SKY,
    SWIM,
    Choice,
    mean,
    trained,
)
from jaxreward.reproduce.claims import Claim, Scale, above, below, within
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.results.charts import HEIGHT, WIDTH, line, logarithmic
from jaxreward.results.curves import curve
from jaxreward.results.statistics import Estimate
from jaxreward.run.job import Job

METHODS = {"ell": BLUE, "box": SKY, "ell, beta of theory": GREEN}
CLOSE = 0.05


class Size(NamedTuple):
    """How much is trained."""

    steps: int
    seeds: int
    methods: tuple[str, ...] = tuple(METHODS)


SIZES = {
    "smoke": Size(400, 2, ("ell",)),
    "small": Size(40_000, 10),
    "hour": Size(400_000, 50),
    "paper": Size(400_000, 50),
}


def data(scale: Scale) -> dict[str, list[Job]]:
    """Each method."""
    size = SIZES[scale]
    choices = {name: {"agent": "loop", "env": SWIM, **settings(name, size.steps)} for name in size.methods}
    return {name: trained([choice], size.steps, range(size.seeds), "runs") for name, choice in choices.items()}


def settings(name: str, steps: int) -> Choice:
    """Of a method."""
    planner, _, by_theory = name.partition(", ")
    beta = float(theory(*make(SWIM), steps).beta if by_theory else Hyperparams().beta)
    return {"planner": planner, "beta": beta}


def rows_of(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """A method's rows."""
    planner, _, by_theory = name.partition(", ")
    large = frame["beta"].astype(float) > 1
    return frame[(frame["planner"] == planner) & (large == bool(by_theory))]


def least_optimism(name: str, frame: pd.DataFrame) -> Estimate:
    """By how much at least, over time, the gain that is hoped for is above the true one: the mean over seeds."""
    rows = rows_of(frame, name)
    above_it = (rows["optimistic_gain"] - rows["gain"]).groupby(rows["seed"]).min()
    return mean(above_it.to_numpy()) if len(rows) else NOTHING


def last_optimism(name: str, frame: pd.DataFrame) -> Estimate:
    """By how much the gain that is hoped for ends above the true one: the mean over seeds."""
    rows = rows_of(frame, name)
    last = rows[rows["iteration"] == rows["iteration"].max()]
    return mean((last["optimistic_gain"] - last["gain"]).to_numpy()) if len(rows) else NOTHING


def growth(name: str, frame: pd.DataFrame) -> Estimate:
    """How many times as many switches there are at the end as at a quarter of the time."""
    switches = rows_of(frame, name).pivot(index="env_steps", columns="seed", values="switches")
    if not len(switches):
        return NOTHING
    quarter = switches[switches.index <= switches.index[-1] / 4].iloc[-1]
    return mean((switches.iloc[-1] / quarter).to_numpy())


def plot(frame: pd.DataFrame) -> Figure:
    """Gain and span above, discrepancy and switches below."""
    figure = Figure(figsize=(2 * WIDTH + 1.6, 2 * HEIGHT), layout="constrained")
    axes = figure.subplots(2, 2)
    frame = frame.assign(fit=frame["discrepancy"] / frame["threshold"])
    panels = {"optimistic_gain": "gain hoped for", "span": "span", "fit": "excess / threshold", "switches": "switches"}
    for axis, (metric, label) in zip(axes.flat, panels.items(), strict=True):
        for name, color in METHODS.items():
            if len(rows := rows_of(frame, name)):
                line(axis, curve(rows, metric), name, color)
        axis.set_ylabel(label)
        logarithmic(axis, both=metric in ("optimistic_gain", "span"))
    across(axes[0, 0], frame["gain"].iloc[0])
    across(axes[0, 1], frame["true_span"].iloc[0])
    across(axes[1, 0], 1.0)
    figure.supxlabel("steps", fontsize=9)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


def across(axis: Axes, value: float) -> None:
    """A line for what is true."""
    axis.axhline(value, color="#888888", linestyle=":", linewidth=1.2)


def claims() -> tuple[Claim, ...]:
    """Optimism at the theory's beta, closeness at the default, and switches like the logarithm of the time."""
    by_theory = "ell, beta of theory"
    found = [Claim("With the theory's beta J_f is never below J*", partial(least_optimism, by_theory), above(0))]
    for name in ("ell", "box"):
        found.append(Claim(f"{name}: J_f ends close to J*", partial(last_optimism, name), within(-CLOSE, CLOSE)))
        found.append(Claim(f"{name}: switches grow slower than a root", partial(growth, name), below(1.5)))
    return tuple(claim._replace(least="small") for claim in found)


figure = PaperFigure(
    title="LOOP's optimism and its switches",
    source="He, Zhong and Yang 2024, arXiv:2404.12648; the experiment is ours",
    data=data,
    plot=plot,
    claims=claims(),
)
