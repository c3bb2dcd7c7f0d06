"""An arm of 20 joints that is to touch three discs: learned spaces of behaviours beside a given one.

Paolo et al., "Discovering and Exploiting Sparse Rewards in a Learned Behavior Space", Evolutionary Computation 2024
(arXiv:2111.01919), the redundant arm: the best reward of each area, 1 at most, and the coverage after 500,000
evaluations. The paper's numbers printed beside claims were read off a figure stored with the authors' code; of how many
runs they are the mean is not known.

STAX compares behaviours by an autoencoder's codes of pictures, and goes on with those who are best in novelty and
surprise together (as in the authors' figures). Below it stands beside its ablations: new weights before each training
(reset); an autoencoder that is not trained, whose surprise says nothing, so that novelty alone counts; one that has new
weights in place of a training (redrawn); a single picture of each episode; and either novelty or surprise by the toss
of a coin.

That an area is reached is claimed of rewards above 0.9, that not all are of a least one below 0.5; that two methods are
comparable, of a lead that is not below -0.1. These three numbers are ours. How many pictures the authors' figure had is
not known; here it is 5. Different here: what a run ends with is paid; in the authors' code it is so only if the arm ran
into something. `small` has 15,000 evaluations, 3 seeds and 4 methods, and to be quick 2 pictures of an episode, of 32 x
32 instead of 64 x 64, and trainings of 20 epochs instead of 101; it decides none of the claims. `hour` is as quick and
has 50,000 evaluations and 5 seeds: there it is decided who is ahead of whom, and not what is reached after 500,000. See
`_common` for what the methods have in common.
"""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from jaxreward.experiments.figures.qd._common import (
    AREA,
    BLACK,
    COVERAGE,
    GREEN,
    METHODS,
    ORANGE,
    PINK,
    READ_OFF,
    ROWS,
    SKY,
    SMOKE,
    Method,
    Size,
    ahead,
    comparable,
    jobs,
    level_of_best,
    not_below,
    plot_tasks,
)
from jaxreward.experiments.figures.subpo._common import Choice
from jaxreward.reproduce.claims import Claim, Scale, above, below
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.run.job import Job

TASK = "arm"
UNTRAINED: Choice = {"encoder": "untrained", "selection": "novelty"}
ABLATIONS = {
    "STAX, reset": Method("stax", {"encoder": "reset"}, GREEN),
    "STAX, untrained": Method("stax", UNTRAINED, PINK),
    "STAX, redrawn": Method("stax", {**UNTRAINED, "encoder": "redrawn"}, ORANGE),
    "STAX, one picture": Method("stax", {"frames": 1}, SKY),
    "STAX, by a coin": Method("stax", {"selection": "novelty_or_surprise"}, BLACK),
}
ALL = METHODS | ABLATIONS
TINY: Choice = {"num_steps": 5, "frames": 1, "image_size": 8, "channels": (2,)}
SHORT: Choice = {"frames": 2, "image_size": 32, "epochs": 20}
SIZES = {
    "smoke": Size(200, 2, {TASK: ("STAX, untrained",)}, {**SMOKE, **TINY}),
    "small": Size(15_000, 3, {TASK: ("SERENE", "novelty search", "STAX", "STAX, untrained")}, SHORT),
    "hour": Size(50_000, 5, {TASK: ("SERENE", "STAX", "STAX, reset", "STAX, untrained")}, SHORT),
    "paper": Size(500_000, 20, {TASK: tuple(ALL)}),
}
FIRST, SECOND, THIRD = (f"{AREA}{index}" for index in range(3))
PAPERS = {
    "STAX": {FIRST: 0.99, SECOND: 0.99, THIRD: 0.99, COVERAGE: 0.78},
    "STAX, reset": {FIRST: 0.99, SECOND: 0.98, THIRD: 0.99, COVERAGE: 0.79},
    "STAX, untrained": {FIRST: 0.02, SECOND: 0.49, THIRD: 0.67, COVERAGE: 0.42},
}
"""What was read off the authors' figure."""
REACHED, NOT_REACHED = 0.9, 0.5


def data(scale: Scale) -> dict[str, list[Job]]:
    """All methods, and STAX's ablations."""
    return jobs(SIZES[scale], ALL)


def plot(frame: pd.DataFrame) -> Figure:
    """Coverage and the three areas."""
    return plot_tasks(frame, (TASK,), {**ROWS, "ablations": ("STAX", *ABLATIONS)}, ALL)


def claims() -> tuple[Claim, ...]:
    """What the authors' figure shows, and what STAX is for."""
    trained, untrained = "STAX", "STAX, untrained"
    lowest = "the mean over runs of the lowest of its best rewards"
    reaches = f"STAX reaches all three areas: {lowest}"
    fails = f"With an autoencoder that is not trained it does not: {lowest}"
    pairs = {metric: (PAPERS[trained][metric], PAPERS[untrained][metric]) for metric in PAPERS[trained]}
    after_all = [
        Claim(reaches, partial(level_of_best, TASK, trained, "worst"), above(REACHED), papers(trained)),
        Claim(fails, partial(level_of_best, TASK, untrained, "worst"), below(NOT_REACHED), papers(untrained)),
        not_below(TASK, trained, COVERAGE, PAPERS[trained][COVERAGE]),
    ]
    compared = [
        *(ahead(TASK, trained, untrained, metric, numbers) for metric, numbers in pairs.items()),
        *comparable(TASK, "STAX, reset", trained),
        *comparable(TASK, trained, "SERENE"),
    ]
    at = lambda least, claims: (claim._replace(least=least) for claim in claims)  # noqa: E731
    return (*at("paper", after_all), *at("hour", compared))


def papers(method: str) -> str:
    """The best rewards of the areas as they were read off."""
    return f"{', '.join(str(PAPERS[method][area]) for area in (FIRST, SECOND, THIRD))} ({READ_OFF})"


figure = PaperFigure(
    title="Redundant arm: coverage and the best reward of each area, and what of STAX it takes",
    source="Paolo et al. 2024, arXiv:2111.01919, the redundant arm",
    data=data,
    plot=plot,
    claims=claims(),
)
