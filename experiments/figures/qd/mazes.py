"""Two robots on wheels and an ant, who look for rewards in mazes: what exploration covers, and what each area pays.

The hard maze and collect-ball of Paolo et al., "Sparse Reward Exploration via Novelty Search and Emitters", GECCO 2021
(arXiv:2102.03140), and the ant maze of it and of STAX (arXiv:2111.01919). The papers' numbers for these tasks are not
known to us, but that of a single run of novelty search in the hard maze, of 30,000 evaluations, which was read off a
figure stored with the authors' code; that we are within 0.1 of it is a margin of ours. What SERENE is for, climbing
areas that novelty search only finds, is claimed as a lead over it, in the mean over areas of the highest reward.

In collect-ball behaviours that are given are the positions after half of an episode and at its end, as in the authors'
experiments; there is a single area, whose reward is the number of balls brought. See `_common` for what the methods
have in common. Different here: the ant is brax's and has a third of SERENE's time (see `jaxreward.envs.qd.ant_maze`),
and walls are geometry fitted to the authors' pictures. `small` has the hard maze alone, and of it 30,100 evaluations, 5
seeds and 3 methods; `hour` has collect-ball too, and 100,000 evaluations; at `paper` all of it needs an accelerator.
"""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from jaxreward.experiments.figures.qd._common import (
    COVERAGE,
    MARGIN,
    METHODS,
    SMOKE,
    TASKS,
    Size,
    jobs,
    lead_of_best,
    level_after,
    plot_tasks,
)
from jaxreward.reproduce.claims import Claim, Scale, above, within
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.run.job import Job

MAZES = ("hard_maze", "collect_ball", "ant_maze")
SIZES = {
    "smoke": Size(200, 2, {"hard_maze": ("novelty search",)}, {**SMOKE, "num_steps": 5}),
    "small": Size(30_000, 5, {"hard_maze": ("SERENE", "novelty search", "MAP-Elites")}),
    "hour": Size(100_000, 5, dict.fromkeys(MAZES[:2], ("SERENE", "novelty search", "MAP-Elites"))),
    "paper": Size(500_000, 20, dict.fromkeys(MAZES, tuple(METHODS))),
}
EARLY = 30_000
"""Evaluations of the run that is known."""
COVERED = 0.72
"""What it covered."""


def data(scale: Scale) -> dict[str, list[Job]]:
    """All methods in all mazes."""
    return jobs(SIZES[scale])


def plot(frame: pd.DataFrame) -> Figure:
    """Coverage and areas of each maze."""
    return plot_tasks(frame, MAZES)


def claims() -> tuple[Claim, ...]:
    """What is known of novelty search, and what SERENE is for."""
    near = (
        f"After {EARLY:,} evaluations in the hard maze novelty search is within {MARGIN} of the authors': its coverage"
    )
    holds = within(round(COVERED - MARGIN, 2), round(COVERED + MARGIN, 2))
    measure = partial(level_after, "hard_maze", "novelty search", COVERAGE, EARLY)
    found = [Claim(near, measure, holds, f"{COVERED} (read off a figure, 1 run)", "small")]
    for task in MAZES:
        higher = f"SERENE climbs higher than novelty search, {TASKS[task].title}: its lead in the mean best reward"
        lead = partial(lead_of_best, task, "SERENE", "novelty search", "mean")
        found.append(Claim(higher, lead, above(0), least="paper" if task == "ant_maze" else "hour"))
    return tuple(found)


figure = PaperFigure(
    title="Mazes: coverage and the best reward of each area",
    source="Paolo et al. 2021, arXiv:2102.03140, and 2024, arXiv:2111.01919, their mazes",
    data=data,
    plot=plot,
    claims=claims(),
)
