"""What an evolved objective does in the course of a life, for lives of several lengths.

Jackson et al., "Discovering temporally-aware reinforcement learning algorithms" (ICLR 2024, arXiv:2402.05828): what is
evolved with the time of a life among its inputs has schedules, of the entropy and of the size of updates, which stretch
with the length of the life; LPG's objective, which is told nothing, can't have any.

Different here: the paper's body could not be read; what it says is taken from its abstract and reviews, without
numbers. A life is seen in quarters. A schedule that stretches is the same in each quarter whatever the length: how far
the curves of the shortest and the longest life are apart is compared with LPG's. Those of scores and updates are
compared by their logarithms, since a factor is what matters there. Sizes are those of `meta/horizon`.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from jaxreward.experiments.figures.meta import _common as common
from jaxreward.experiments.figures.meta._common import EVOLVED, LPG_ES, TA_LPG_ES
from jaxreward.experiments.figures.meta._lives import PARTS
from jaxreward.reproduce.claims import Claim, Scale, above, below
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.reproduce.parts import Computed
from jaxreward.results.charts import COLORS, line
from jaxreward.results.curves import curve
from jaxreward.results.statistics import Estimate, aggregate_mean, estimate

SIZES = common.SIZES
METRICS = {"entropy": "entropy of the policy", "score": "mean size of scores", "update": "size of an update"}
BY_FACTOR = ("score", "update")


def data(scale: Scale) -> dict[str, Computed]:
    """What is told of the lives of those who follow each method; see `common.data`."""
    return common.data(SIZES[scale], EVOLVED)


def curves(metric: str, name: str, frame: pd.DataFrame) -> Float[np.ndarray, "runs horizons parts"]:
    """A metric, or its logarithm, in each quarter of lives of at least as many updates."""
    rows = frame[(frame["method"] == name) & (frame["horizon"] >= PARTS)]
    values = rows.pivot_table(index=["seed", "horizon"], columns="part", values=metric)
    shape = rows["seed"].nunique(), rows["horizon"].nunique(), PARTS
    array = values.to_numpy().reshape(shape)
    return np.log(np.maximum(array, 1e-12)) if metric in BY_FACTOR else array


def falls(metric: str, frame: pd.DataFrame) -> Estimate:
    """How much less it is in the last quarter than in the first with TA-LPG, the mean over lifetimes."""
    each = curves(metric, TA_LPG_ES, frame)
    return estimate((each[..., 0] - each[..., -1]).mean(1), aggregate_mean)


def apart(metric: str, name: str, frame: pd.DataFrame) -> Float[np.ndarray, " runs"]:
    """How far the curves of the shortest and of the longest life are apart, the mean over quarters."""
    each = curves(metric, name, frame)
    return np.abs(each[:, -1] - each[:, 0]).mean(-1)


def stretches(metric: str, frame: pd.DataFrame) -> Estimate:
    """How much farther apart curves are with TA-LPG than with LPG: less than nothing if its schedule stretches."""
    return estimate(apart(metric, TA_LPG_ES, frame) - apart(metric, LPG_ES, frame), aggregate_mean)


def plot(frame: pd.DataFrame) -> Figure:
    """A row for each method, a column for each metric, a line for each lifetime."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    names = [name for name in EVOLVED if name in set(frame["method"])]
    axes = figure.subplots(len(names), len(METRICS), sharex=True, sharey="col", squeeze=False)
    for row, name in zip(axes, names, strict=True):
        for axis, (metric, title) in zip(row, METRICS.items(), strict=True):
            of_method = frame[(frame["method"] == name) & (frame["horizon"] >= PARTS)]
            for (horizon, rows), color in zip(of_method.groupby("horizon"), COLORS, strict=False):
                middle = rows.assign(env_steps=(rows["part"] + 0.5) / PARTS)
                line(axis, curve(middle, metric), f"N = {horizon}", color)
            axis.set_title(f"{name}: {title}", fontsize=8)
    axes[0, 0].legend(fontsize=6)
    figure.supxlabel("n / N", fontsize=9)
    return figure


figure = PaperFigure(
    title="Schedules of evolved objectives",
    source="Jackson et al. 2024, arXiv:2402.05828, section 5.3",
    data=data,
    plot=plot,
    claims=(
        *(
            Claim(
                f"TA-LPG anneals the {title}: the first quarter of a life less the last",
                partial(falls, metric),
                above(0),
                least="small",
                takes=(TA_LPG_ES,),
            )
            for metric, title in METRICS.items()
        ),
        *(
            Claim(
                f"its schedule of the {title} stretches: how far short and long lives are apart, less LPG's",
                partial(stretches, metric),
                below(0),
                least="small",
            )
            for metric, title in METRICS.items()
        ),
    ),
)
