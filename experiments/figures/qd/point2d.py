"""A point in a square, where all methods search: what exploration covers, and how high each area is climbed.

Point2D of Paolo et al., "Sparse Reward Exploration via Novelty Search and Emitters", GECCO 2021 (arXiv:2102.03140), and
of STAX (arXiv:2111.01919). Of the four areas each pays 1 for every step in it, so a reward is a number of steps, of 50.
The papers' numbers for this task are not known to us. Those printed beside claims are what we got from three runs each
of the authors' code, with its defaults and 10,000 evaluations; a claim's range reaches a little beyond their spread.

What SERENE is for, climbing areas that novelty search only finds, is claimed as a lead over it, and over NSGA-II, in
the mean over areas of the highest reward; the papers' claim for this task is not known to us. See `_common` for what
the methods have in common. `small` has 100,000 evaluations and 8 seeds, and only those methods to which a space of
behaviours is given; `paper` has 500,000 and 20, and all methods. Different here: NSGA-II has the usual crowding
distance (that of the authors' code mixes up the order of its list).
"""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from jaxreward.experiments.figures.qd._common import (
    COVERAGE,
    GIVEN,
    METHODS,
    SMOKE,
    Size,
    jobs,
    lead_after,
    lead_of_best,
    level_after,
    plot_tasks,
)
from jaxreward.reproduce.claims import Claim, Scale, above, within
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.run.job import Job

TASK = "point2d"
SIZES = {
    "smoke": Size(400, 2, {TASK: ("novelty search",)}, SMOKE),
    "small": Size(100_000, 8, {TASK: GIVEN}),
    "hour": Size(500_000, 8, {TASK: GIVEN}),
    "paper": Size(500_000, 20, {TASK: tuple(METHODS)}),
}
EARLY = 10_100
"""Evaluations after which the authors' code was stopped."""


def data(scale: Scale) -> dict[str, list[Job]]:
    """All methods."""
    return jobs(SIZES[scale])


def plot(frame: pd.DataFrame) -> Figure:
    """Coverage and the four areas."""
    return plot_tasks(frame, (TASK,))


def claims() -> tuple[Claim, ...]:
    """What the authors' code does here, and what SERENE is for."""
    early, code = f"coverage after {EARLY:,} evaluations", "the authors' code, 3 runs:"
    coverage = {
        "novelty search": (within(0.92, 0.96), "0.936, 0.942, 0.934"),
        "SERENE": (within(0.74, 0.8), "0.754, 0.788, 0.788"),
    }
    found = [
        Claim(f"The {early} of {name}", partial(level_after, TASK, name, COVERAGE, EARLY), holds, f"{code} {numbers}")
        for name, (holds, numbers) in coverage.items()
    ]
    wider = f"Novelty search covers more than NSGA-II: how much greater its {early} is"
    lead = partial(lead_after, TASK, "novelty search", "NSGA-II", COVERAGE, EARLY)
    found.append(Claim(wider, lead, above(0), f"{code} NSGA-II 0.580, 0.723, 0.729"))
    for other in ("novelty search", "NSGA-II"):
        higher = f"SERENE climbs higher than {other}: its lead in the mean over areas of the best reward"
        found.append(Claim(higher, partial(lead_of_best, TASK, "SERENE", other, "mean"), above(0)))
    return tuple(claim._replace(least="small") for claim in found)


figure = PaperFigure(
    title="Point2D: coverage and the best reward of each area",
    source="Paolo et al. 2021, arXiv:2102.03140, Point2D",
    data=data,
    plot=plot,
    claims=claims(),
)
