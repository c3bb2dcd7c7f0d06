"""Which levels an objective is learned on: how many there are, and by what those are chosen that come again.

Jackson et al., "Discovering general reinforcement learning algorithms with adversarial environment design" (GROOVE,
NeurIPS 2023, arXiv:2310.02782): LPG's objective generalises better the more levels it was learned on (figure 3), and
better if those come again in which an actor-critic earns most more than the agent, algorithmic regret (figures 3 and
6). That is compared with levels drawn uniformly, with value losses, and with the regret of the level's best policy.

Different here: the paper tests on MinAtar; these objectives are followed in levels of the same distribution that were
not met, and what is shown is the share of what an actor-critic earns there. At `small` levels are `levels/tiny`. As in
the paper it is LPG without a lifetime among its inputs, by meta-gradients. The paper's hand-made levels are not tried.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from jaxreward.agents.meta.parts.scores import SCORES
from jaxreward.experiments.figures.meta import _common as common
from jaxreward.experiments.figures.meta._common import BY_HAND, KNOWN, Method, Size
from jaxreward.reproduce.claims import Claim, Scale, above
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.reproduce.parts import Computed
from jaxreward.results.charts import intervals
from jaxreward.results.statistics import NOTHING, Estimate, aggregate_mean, estimate

UNIFORM, REGRET = "uniform", "regret"
SIZES: dict[str, Size] = {
    "smoke": common.SIZES["smoke"],
    "small": common.SIZES["small"]._replace(steps=15_000_000, horizons=(16,)),
    "hour": common.SIZES["hour"]._replace(steps=15_000_000, horizons=(16,), runs=8),
    "paper": common.SIZES["paper"]._replace(steps=20_000_000_000, horizons=(250,), runs=10),
}
NUMBERS = {"small": (1, 4, 16, 64), "hour": (1, 4, 16, 64), "paper": (1, 4, 16, 64, 256, 1024)}
"""Of levels."""
BUFFER = {"smoke": 4, "small": 256, "hour": 256, "paper": 4000}


def methods(scale: Scale) -> dict[str, Method]:
    """Who learns: with each score in endless levels, and with few levels uniformly and by regret."""
    uniform = Method("lpg_meta", "none")
    of_all = (("curation", "rank"), ("buffer_size", BUFFER[scale]))
    curated = {score: uniform._replace(settings=(*of_all, ("curation_score", score))) for score in SCORES}
    endless = {UNIFORM: uniform, **curated}
    if scale == "smoke":  # to trace each one takes seconds
        return {name: endless[name] for name in (UNIFORM, REGRET)}
    pairs = [(number, score) for number in NUMBERS[scale] for score in (UNIFORM, REGRET)]
    return endless | {
        few(score, number): endless[score]._replace(levels=f"&number={number}") for number, score in pairs
    }


def few(score: str, number: int) -> str:
    """How a method with so many levels is called."""
    return f"{score}, {number} level{'s' * (number > 1)}"


def data(scale: Scale) -> dict[str, Computed]:
    """What comes of those who follow each method, and the actor-critic; see `common.data`."""
    return common.data(SIZES[scale], {**KNOWN, **methods(scale)})


def shares(frame: pd.DataFrame, name: str) -> Float[np.ndarray, " runs"]:
    """A method's shares, by run."""
    return common.shares(frame, name, tuple(frame["horizon"].unique()))


def lead(first: str, second: str, frame: pd.DataFrame) -> Estimate:
    """How much higher the first one's share is."""
    return common.ahead(first, second, tuple(frame["horizon"].unique()), frame)


def lead_of_few(frame: pd.DataFrame) -> Estimate:
    """How much higher the share by regret is, in the mean over numbers of levels; nothing where it was not run."""
    known = set(frame["method"])
    pairs = [(few(REGRET, number), few(UNIFORM, number)) for number in NUMBERS["paper"]]
    leads = [shares(frame, one) - shares(frame, other) for one, other in pairs if {one, other} <= known]
    return estimate(np.mean(leads, 0), aggregate_mean) if leads else NOTHING


def plot(frame: pd.DataFrame) -> Figure:
    """The share of each method."""
    each = {name: estimate(shares(frame, name), aggregate_mean) for name in common.compared(frame)}
    return intervals({"share of what an actor-critic earns": each})


figure = PaperFigure(
    title="Which levels an objective is learned on",
    source="Jackson et al. 2023, arXiv:2310.02782, figures 3 and 6",
    data=data,
    plot=plot,
    claims=(
        *(
            Claim(
                f"by regret more is earned than by {other.replace('_', ' ')}: the difference of shares",
                partial(lead, REGRET, other),
                above(0),
                least="small",
                takes=(REGRET, other, BY_HAND),
            )
            for other in (UNIFORM, *SCORES[1:])
        ),
        Claim(
            "learned on 64 levels an objective earns more than on one, both drawn uniformly",
            partial(lead, few(UNIFORM, 64), few(UNIFORM, 1)),
            above(0),
            least="small",
            takes=(few(UNIFORM, 64), few(UNIFORM, 1), BY_HAND),
        ),
        Claim(
            "on as few levels, by regret more is earned than uniformly, in the mean over their numbers",
            lead_of_few,
            above(0),
            least="small",
            takes=(*(few(score, number) for number in NUMBERS["paper"] for score in (UNIFORM, REGRET)), BY_HAND),
        ),
    ),
)
