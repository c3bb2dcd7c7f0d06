"""A pole to be balanced, with an auxiliary reward for doing what a controller would, or for not doing it.

Gupta et al., "Behavior Alignment via Reward Function Optimization", NeurIPS 2023 (arXiv:2310.19007), CartPole. The
paper's numbers are not known to us. The primary reward is 1 for each of up to 500 steps. The auxiliary one is good (5
for the controller's action and -1 for the other), bad (minus that), or bad with noise. The controller alone balances
the pole for all 500 steps.

Methods, and how they are tuned, are as in `barfi_gridworld`, the ranges around the authors' lists for this task. The
alignment reward's weight of the primary reward is learned here, as in the authors' code; an inner step takes one
episode, and as many are kept as are played.

The last row shows the final return with the auxiliary reward 0.1 to 10 times as large, all other settings as they were
tuned at 1. What the learned discount is good for is seen as in `barfi_gridworld`. That something is not worse, or no
better, by more than 10 is ours: 2% of what can be reached. `small` has 300 episodes in place of the authors' 1,000, of
which the first 155 are BARFI's warm-up, 5 seeds in place of 20, with noise only the methods of the first row, and with
other sizes of the reward two of these. There BARFI loses, with the good reward, what the naive sum has taught it, when
its own reward takes over, which is random at first; beside it stands BARFI whose reward starts as the naive sum.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxreward.experiments.figures.barfi._common import (
    KEPT,
    MAIN,
    METHODS,
    RETURN,
    Size,
    Task,
    draw_rows,
    final_lead,
    helps_to_learn,
    keeps_discount,
    lead_throughout,
    methods,
    not_worse_from_the_sum,
    run_name,
)
from jaxreward.experiments.figures.subpo._common import Choice
from jaxreward.reproduce.claims import Claim, Scale, above, below
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.reproduce.parts import Stages
from jaxreward.results.charts import HEIGHT, WIDTH, line, logarithmic
from jaxreward.results.curves import Curve
from jaxreward.results.statistics import aggregate_mean, estimate
from jaxreward.results.tables import final_values
from jaxreward.settings.space import Choice as OneOf
from jaxreward.settings.space import Space, Uniform

TITLES = {"good": "good auxiliary reward", "bad": "bad auxiliary reward", "noisy_bad": "bad and noisy"}
RANGES: Space = {
    "learning_rate": Uniform(5e-4, 8e-3, log=True),
    "value_learning_rate": Uniform(2.5e-4, 1e-2, log=True),
    "reward_learning_rate": Uniform(5e-4, 8e-3, log=True),
    "discount_learning_rate": Uniform(5e-4, 8e-3, log=True),
    "discount_penalty": Uniform(0.125, 32.0, log=True),
    "reward_penalty": OneOf((0.0, 0.25, 1.0, 4.0, 16.0)),
    "entropy_coefficient": Uniform(0.125, 2.0, log=True),
    "alpha": Uniform(5e-5, 2e-3, log=True),
}
FACTORS = (1.0, 0.1, 10.0, 0.3, 3.0)
"""By which the auxiliary reward is larger, that of the tuning first."""
SCALED = {
    "smoke": (0, ()),
    "small": (3, ("BARFI", "naive sum")),
    "hour": (3, ("BARFI", "naive sum")),
    "paper": (5, MAIN),
}
"""How many of these factors are tried, with which methods."""


def tasks(episodes: int) -> dict[str, Task]:
    """With each auxiliary reward; the buffer has room for all episodes."""
    settings: dict[str, Choice] = {"barfi": {"buffer": episodes}}
    env = "barfi/cartpole?auxiliary="
    return {name: Task(title, f"{env}{name}", 500, RANGES, settings) for name, title in TITLES.items()}


ALL = dict.fromkeys(TITLES, tuple(METHODS))
SIZES = {
    "smoke": Size({"bad": 168}, 1, 1, 2, {"bad": ("BARFI", "naive sum")}),
    "small": Size(dict.fromkeys(TITLES, 300), 4, 1, 5, {**ALL, "noisy_bad": MAIN}),
    "hour": Size(dict.fromkeys(TITLES, 600), 8, 1, 10, {**ALL, "noisy_bad": MAIN}),
    "paper": Size(dict.fromkeys(TITLES, 1_000), 20, 5, 20, ALL),
}
MARGIN = 10.0


def data(scale: Scale) -> dict[str, Stages]:
    """Tunes all methods with each auxiliary reward, and trains them, some of them otherwise as well."""
    size, (number, names) = SIZES[scale], SCALED[scale]
    others = {run_name(task, name): others_of(name, number) for task in ("good", "bad") for name in names}
    return methods(tasks(max(size.episodes.values())), size, others)


def others_of(name: str, number: int) -> list[Choice]:
    """What a method is trained with in the end: with other sizes of the reward, BARFI without a learned discount."""
    sizes = scaled(name)
    return [*sizes[:number], *([{**sizes[0], **KEPT}] if name == "BARFI" else [])]


def scaled(name: str) -> list[Choice]:
    """A method's settings with the auxiliary reward larger or smaller; where it is depends on what is around it."""
    place = "reward.auxiliary.scale" if METHODS[name].reward == "environment" else "env.reward.auxiliary.scale"
    return [{place: factor} for factor in FACTORS]


def plot(frame: pd.DataFrame) -> Figure:
    """The primary return over episodes, and against the auxiliary reward's size."""
    figure = Figure(figsize=(1.1 * WIDTH * len(TITLES) + 1.9, 3 * HEIGHT), layout="constrained")
    axes = figure.subplots(3, len(TITLES), sharey=True, squeeze=False)
    draw_rows(figure, axes[:2], frame, TITLES, "primary return")
    for axis, task in zip(axes[2], TITLES, strict=True):
        draw_sensitivity(axis, frame, task)
        axis.set_visible(bool(axis.lines))
        axis.set_xlabel("size of the auxiliary reward")
    axes[2, 0].set_ylabel("final primary return")
    return figure


def draw_sensitivity(axis: Axes, frame: pd.DataFrame, task: str) -> None:
    """The mean final return of the main methods against the size of the auxiliary reward."""
    logarithmic(axis)
    for name in MAIN:
        found = frame[(frame["run"] == run_name(task, name)) & ~keeps_discount(frame)]
        number = found["member"].nunique()
        if number < 2:
            continue
        by_member = final_values(found, RETURN).groupby("member")["value"]
        estimates = np.array([estimate(values.to_numpy(float), aggregate_mean) for _, values in by_member])
        order = np.argsort(FACTORS[:number])
        value, low, high, runs = estimates[order].T
        drawn = Curve(np.array(FACTORS)[order], value, low, high, int(runs.min()))
        line(axis, drawn, name, METHODS[name].color, marker="o")
        axis.lines[-1].set_linestyle(METHODS[name].style)


def claims() -> tuple[Claim, ...]:
    """What follows from what the paper says of BARFI."""
    not_worse = "BARFI is not worse than the naive sum by more than 10 with the good auxiliary reward: its lead"
    found = [Claim(not_worse, partial(final_lead, "good", "BARFI", "naive sum"), above(-MARGIN))]
    found.append(not_worse_from_the_sum("good", MARGIN, "with the good auxiliary reward"))
    for task in ("bad", "noisy_bad"):
        recovers = f"BARFI ends above the naive sum where the auxiliary reward is {TITLES[task].split(' aux')[0]}"
        found.append(Claim(recovers, partial(final_lead, task, "BARFI", "naive sum"), above(0)))
    for task in ("good", "bad"):
        helps = f"The {task} auxiliary reward as a potential does not help REINFORCE: what it adds to its mean return"
        found.append(Claim(helps, partial(lead_throughout, task, "potential", "primary only"), below(MARGIN)))
        found.append(helps_to_learn(task, f"with the {task} auxiliary reward"))
    return tuple(claim._replace(least="small") for claim in found)


figure = PaperFigure(
    title="CartPole: a controller's advice, good, bad and noisy",
    source="Gupta et al. 2023, arXiv:2310.19007, CartPole",
    data=data,
    plot=plot,
    claims=claims(),
)
