"""A car that is to get up a hill, paid beside for pushing the way it rolls, or for its speed.

Gupta et al., "Behavior Alignment via Reward Function Optimization", NeurIPS 2023 (arXiv:2310.19007), MountainCar. The
paper's numbers are not known to us. The primary reward is 1 at the goal, so its return is the share of episodes that
reach it within 2,000 steps. Both auxiliary rewards build up speed, and both are paid for as long as the car stays in
the valley.

Methods, and how they are tuned, are as in `barfi_gridworld`, the ranges around the authors' lists for this task. The
alignment reward's weight of the primary reward is learned here, as in the authors' code. What a list of theirs has
several of and shapes the program is fixed: 10 episodes are kept, and 5 inner steps follow each.

The features are tiles over position and speed, as meant; the released tile coder hardly sees the speed. That something
is not worse, or no better, by more than 0.02 is ours: 2% of what can be reached. `small` has 250 and 400
episodes in place of the authors' 500 and 2,000, and 6 seeds in place of 40 and 20. There BARFI unlearns what the naive
sum has taught it in the first 55 episodes, when its own reward takes over, which is random at first; beside it stands
BARFI whose reward starts as the naive sum, tuned alike.
"""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from jaxreward.experiments.figures.barfi._common import (
    METHODS,
    Size,
    Task,
    final_lead,
    lead_throughout,
    methods,
    not_worse_from_the_sum,
    plot_tasks,
)
from jaxreward.experiments.figures.subpo._common import Choice
from jaxreward.reproduce.claims import Claim, Scale, above, below
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.reproduce.parts import Stages
from jaxreward.settings.space import Choice as OneOf
from jaxreward.settings.space import Space, Uniform

SETTINGS: dict[str, Choice] = {"barfi": {"buffer": 10, "warm_up": 55, "first_rounds": 0}}
COMMON: Space = {
    "value_learning_rate": Uniform(0.015, 0.25, log=True),
    "reward_learning_rate": Uniform(0.0078, 0.125, log=True),
    "alpha": Uniform(5e-5, 2e-3, log=True),
}
BANG: Space = {
    **COMMON,
    "learning_rate": Uniform(0.03, 0.125, log=True),
    "discount_learning_rate": OneOf((0.0, 0.015625, 0.0625)),
    "discount_penalty": OneOf((0.0, 0.25)),
    "reward_penalty": OneOf((0.0, 0.25)),
    "entropy_coefficient": Uniform(0.125, 0.5, log=True),
}
VELOCITY: Space = {
    **COMMON,
    "learning_rate": Uniform(0.0039, 0.03, log=True),
    "discount_learning_rate": Uniform(0.0078, 0.125, log=True),
    "discount_penalty": Uniform(0.03, 0.5, log=True),
    "reward_penalty": OneOf((0.0, 0.25)),
    "entropy_coefficient": OneOf((0.0, 0.25)),
}
TASKS = {
    "bang": Task("paid for pushing along", "barfi/mountain_car?auxiliary=bang", 2_000, BANG, SETTINGS),
    "velocity": Task("paid for speed", "barfi/mountain_car?auxiliary=velocity", 2_000, VELOCITY, SETTINGS),
}
ALL = dict.fromkeys(TASKS, tuple(METHODS))
SIZES = {
    "smoke": Size({"bang": 66}, 1, 1, 2, {"bang": ("BARFI", "naive sum")}),
    "small": Size({"bang": 250, "velocity": 400}, 5, 1, 6, ALL),
    "hour": Size({"bang": 500, "velocity": 1_000}, 10, 1, 10, ALL),
    "paper": Size({"bang": 500, "velocity": 2_000}, 20, 5, 40, ALL),
}
MARGIN = 0.02


def data(scale: Scale) -> dict[str, Stages]:
    """Tunes all methods with each auxiliary reward, and trains them."""
    return methods(TASKS, SIZES[scale])


def plot(frame: pd.DataFrame) -> Figure:
    """The share of episodes that reach the goal."""
    return plot_tasks(frame, TASKS, "share of episodes that arrive")


def claims() -> tuple[Claim, ...]:
    """What follows from what the paper says of BARFI."""
    found = []
    for task, title in (("bang", "pushing along"), ("velocity", "speed")):
        not_worse = f"BARFI is not worse than the naive sum by more than 0.02, paid for {title}: its lead"
        helps = f"Pay for {title} as a potential does not help REINFORCE: what it adds to its mean return"
        found += [
            Claim(not_worse, partial(final_lead, task, "BARFI", "naive sum"), above(-MARGIN)),
            Claim(helps, partial(lead_throughout, task, "potential", "primary only"), below(MARGIN)),
            not_worse_from_the_sum(task, MARGIN, f"paid for {title}"),
        ]
    return tuple(claim._replace(least="small") for claim in found)


figure = PaperFigure(
    title="MountainCar: paid for pushing along, or for speed",
    source="Gupta et al. 2023, arXiv:2310.19007, MountainCar",
    data=data,
    plot=plot,
    claims=claims(),
)
