"""Whether it helps an objective to be told how much of a life has passed, by how the objective was learned.

Jackson et al., "Discovering temporally-aware reinforcement learning algorithms" (ICLR 2024, arXiv:2402.05828): LPG's
objective learned by meta-gradients, through a few updates, finds no use for the time of a life; evolved by what whole
lives come to, it does. The paper's own comparison changes both at once, as its reviewers remarked; here are all four.

Different here: the paper's body could not be read, so its curves are not known. All four learners have as many
environment steps, so those that follow meta-gradients change their objective more often. "No gain" is one that is less
than a twentieth of what an actor-critic earns, which is ours. Sizes are those of `meta/horizon`.
"""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from jaxreward.experiments.figures.meta import _common as common
from jaxreward.experiments.figures.meta._common import (
    BY_HAND,
    EVOLVED,
    KNOWN,
    LPG_ES,
    LPG_META,
    METHODS,
    TA_LPG_ES,
    TA_LPG_META,
)
from jaxreward.reproduce.claims import Claim, Scale, above, below
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.reproduce.parts import Computed
from jaxreward.results.charts import intervals
from jaxreward.results.statistics import Estimate, aggregate_mean, estimate

SIZES = common.SIZES
NO_GAIN = 0.05
"""Less than this share of what an actor-critic earns is none."""


def data(scale: Scale) -> dict[str, Computed]:
    """What comes of those who follow each method, see `common.data`; at `smoke` of those that evolve alone."""
    return common.data(SIZES[scale], {**KNOWN, **(EVOLVED if scale == "smoke" else METHODS)})


def met(frame: pd.DataFrame) -> tuple[int, ...]:
    """The lifetimes that objectives were learned with."""
    return tuple(frame[frame["horizon"].between(1, frame["longest"])]["horizon"].unique())


def lead(first: str, second: str, frame: pd.DataFrame) -> Estimate:
    """How much higher the first one's share is in those."""
    return common.ahead(first, second, met(frame), frame)


def plot(frame: pd.DataFrame) -> Figure:
    """The share of each method, over the lifetimes it learned with and over longer ones."""
    longer = tuple(frame[frame["horizon"] > frame["longest"]]["horizon"].unique())
    panels = {"lifetimes that were met": met(frame), "longer ones": longer}
    each = {
        title: {name: estimate(common.shares(frame, name, horizons), aggregate_mean) for name in common.compared(frame)}
        for title, horizons in panels.items()
    }
    return intervals(each, "share of what an actor-critic earns")


figure = PaperFigure(
    title="Being told the time, by meta-gradients and by evolution",
    source="Jackson et al. 2024, arXiv:2402.05828, sections 4 and 5.2",
    data=data,
    plot=plot,
    claims=(
        *(
            Claim(
                f"TA-LPG, evolved, earns more than {other}: the difference of their shares",
                partial(lead, TA_LPG_ES, other),
                above(0),
                least="small",
                takes=(TA_LPG_ES, other, BY_HAND),
            )
            for other in (LPG_ES, LPG_META, TA_LPG_META)
        ),
        Claim(
            "by meta-gradients nothing is gained from being told the time",
            partial(lead, TA_LPG_META, LPG_META),
            below(NO_GAIN),
            least="small",
            takes=(TA_LPG_META, LPG_META, BY_HAND),
        ),
    ),
)
