"""A ball pushed by an arm of two joints toward two discs: what exploration covers, and how near the ball comes.

Curling of Paolo et al., "Sparse Reward Exploration via Novelty Search and Emitters", GECCO 2021 (arXiv:2102.03140): the
best reward of each area, 1 at most, and the coverage of each method after 500,000 evaluations. The paper's numbers
printed beside claims were read off a figure stored with the authors' code; of how many runs they are the mean is not
known. That SERENE is not below them by more than 0.1 is a margin of ours, and so is that STAX, which is given no space
of behaviours, is not below SERENE by more than 0.1.

Different here: the table is simulated by contacts of our own, see `jaxreward.envs.qd.curling`; up to the first contact
it moves as the authors' does, and what happens once the ball is squeezed is another chaos. So equal numbers are not to
be expected, but the same order. See `_common` for what the methods have in common. `small` has 100,000 evaluations, 5
seeds and 5 methods; there who is ahead is decided, and what is after 500,000 evaluations is not; `hour` has 500,000, 5
seeds, and the methods of claims but STAX.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from jaxreward.experiments.figures.qd._common import (
    AREA,
    COVERAGE,
    METHODS,
    SMOKE,
    Size,
    ahead,
    comparable,
    jobs,
    not_below,
    plot_tasks,
)
from jaxreward.reproduce.claims import Claim, Scale
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.run.job import Job

TASK = "curling"
FIRST, SECOND = AREA + "0", AREA + "1"
SIZES = {
    "smoke": Size(200, 2, {TASK: ("novelty search",)}, {**SMOKE, "num_steps": 5}),
    "small": Size(100_000, 5, {TASK: ("SERENE", "novelty search", "NSGA-II", "MAP-Elites", "CMA-ME")}),
    "hour": Size(500_000, 5, {TASK: ("SERENE", "novelty search", "NSGA-II", "CMA-ME")}),
    "paper": Size(500_000, 20, {TASK: tuple(METHODS)}),
}
PAPERS = {
    ("SERENE", FIRST): 0.99,
    ("SERENE", SECOND): 0.81,
    ("SERENE", COVERAGE): 0.89,
    ("novelty search", COVERAGE): 0.92,
}
"""What was read off the authors' figure."""
BEHIND = {"NSGA-II": 0.24, "CMA-ME": 0.61}
"""The same, in the second area."""


def data(scale: Scale) -> dict[str, list[Job]]:
    """All methods."""
    return jobs(SIZES[scale])


def plot(frame: pd.DataFrame) -> Figure:
    """Coverage and the two areas."""
    return plot_tasks(frame, (TASK,))


def claims() -> tuple[Claim, ...]:
    """What the authors' figure shows, and what STAX is for."""
    near = [not_below(TASK, name, metric, number) for (name, metric), number in PAPERS.items()]
    best = PAPERS["SERENE", SECOND]
    order = [ahead(TASK, "SERENE", other, SECOND, (best, number)) for other, number in BEHIND.items()]
    given = comparable(TASK, "STAX", "SERENE")
    leasts: tuple[tuple[Scale, list[Claim]], ...] = (("hour", near), ("paper", given), ("small", order))
    return tuple(claim._replace(least=least) for least, claims in leasts for claim in claims)


figure = PaperFigure(
    title="Curling: coverage and the best reward of each area",
    source="Paolo et al. 2021, arXiv:2102.03140, Curling",
    data=data,
    plot=plot,
    claims=claims(),
)
