"""How well agents do under an evolved objective by how long they live, in lifetimes it was evolved with and in others.

Jackson et al., "Discovering temporally-aware reinforcement learning algorithms" (ICLR 2024, arXiv:2402.05828): told how
much of a lifetime has passed, LPG's objective (TA-LPG) earns more than one that is not told, whatever the lifetime, and
also in lifetimes that it was never evolved with.

Different here: the paper's body could not be read, so its curves and numbers are not known, only what its abstract and
reviews say of them. What is shown is the share of what an actor-critic earns in as long a life, on levels that were not
met. At `small` levels are `levels/tiny`, of two objects and episodes of 5 to 10 steps, and lives of 4 to 16 updates of
80 steps; `paper` has the levels and sizes of the authors' code, a thousand candidates and 366 billion steps for each
objective.
"""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxreward.experiments.figures.meta import _common as common
from jaxreward.experiments.figures.meta._common import BY_HAND, EVOLVED, KNOWN, LPG_ES, TA_LPG_ES
from jaxreward.reproduce.claims import Claim, Scale, above
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.reproduce.parts import Computed
from jaxreward.results.charts import COLORS, line
from jaxreward.results.curves import curve
from jaxreward.results.statistics import Estimate

SIZES = common.SIZES


def data(scale: Scale) -> dict[str, Computed]:
    """What comes of those who follow each method, and the actor-critic; see `common.data`."""
    return common.data(SIZES[scale], {**KNOWN, **EVOLVED})


def lead(unseen: bool, frame: pd.DataFrame) -> Estimate:
    """How much higher the share of TA-LPG is, over the lifetimes it was evolved with, or over all longer ones."""
    chosen = frame[(frame["horizon"] > frame["longest"]) == unseen]
    return common.ahead(TA_LPG_ES, LPG_ES, tuple(chosen["horizon"].unique()), frame)


def plot(frame: pd.DataFrame) -> Figure:
    """Shares over lifetimes, those that were met up to the dotted line; beside it what was earned."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots(1, 2)
    frame = common.scored(frame)
    of(axes[0], frame, "share", tuple(EVOLVED))
    of(axes[1], frame, "earned", (*EVOLVED, BY_HAND))
    axes[0].set_ylabel("share of what an actor-critic earns")
    axes[1].set_ylabel("return")
    axes[1].legend(fontsize=7)
    return figure


def of(axis: Axes, frame: pd.DataFrame, metric: str, names: tuple[str, ...]) -> None:
    """A line for each method."""
    for name, color in zip(names, COLORS, strict=False):
        rows = frame[(frame["method"] == name) & (frame["part"] == 0)]
        line(axis, curve(rows.assign(env_steps=rows["horizon"]), metric), name, color, "o")
    axis.axvline(frame["longest"].iloc[0], color="0.5", linestyle=":")
    horizons = sorted(frame["horizon"].unique())
    axis.set_xscale("log", base=2)
    axis.set_xticks(horizons, list(map(str, horizons)))
    axis.set_xlabel("lifetime, in updates")


figure = PaperFigure(
    title="What is earned under an evolved objective, by the length of life",
    source="Jackson et al. 2024, arXiv:2402.05828, section 5.2",
    data=data,
    plot=plot,
    claims=(
        Claim(
            "TA-LPG earns more than LPG in lifetimes they were evolved with: the difference of their shares",
            partial(lead, False),
            above(0),
            least="small",
        ),
        Claim(
            "so it does in longer lifetimes",
            partial(lead, True),
            above(0),
            least="small",
        ),
    ),
)
