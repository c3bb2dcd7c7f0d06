"""Networks for the reward rate: LOOP's bonus and few switches beside policies that explore by chance.

The agent is `loop_deep`, a design of our own that keeps the three parts of LOOP (He, Zhong and Yang 2024,
arXiv:2404.12648), which has no experiments; what is claimed is ours. It is compared with itself without a bonus, with
APO (Ma et al. 2021, arXiv:2106.03442) and with PPO at a discount of 0.99, in three tasks: RiverSwim with 25 states,
where only the far end pays much; a pendulum that pays within 30 degrees of upright and not on the way; and catching
balls, where chance alone finds what pays.

Steps of the environment are the same for all, and nothing is tuned: LOOP has its defaults, APO and PPO a step size of
0.001 and ten epochs, for so few steps. LOOP computes far more for each step. The upper panels have the reward rate over
each twentieth of the run; the last fifth of it is what claims are about.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from jaxreward.experiments.figures.loop._common import BLUE, GREEN, NOTHING, PINK, SKY, Choice
from jaxreward.reproduce.claims import Claim, Scale, above
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.reproduce.parts import trainings
from jaxreward.results.charts import HEIGHT, WIDTH, line
from jaxreward.results.curves import curve
from jaxreward.results.statistics import Estimate, aggregate_mean, estimate_difference
from jaxreward.run.job import Job, Setup

RATE = "average_reward"
RIVER, PENDULUM, CATCH = "average/river_swim?variant=statrl&num_states=25", "average/pendulum", "average/catch"
TASKS = {RIVER: "RiverSwim, 25 states", PENDULUM: "pendulum", CATCH: "catch"}
COMMON: Choice = {"num_envs": 4, "num_steps": 32}
LOOP: Choice = {"agent": "loop_deep"}
POLICY: Choice = {"num_minibatches": 4, "num_epochs": 10, "learning_rate": 1e-3}
METHODS: dict[str, Choice] = {
    "LOOP": {**LOOP, "beta": 0.5},
    "LOOP without a bonus": {**LOOP, "beta": 0.0},
    "APO": {**POLICY, "agent": "apo"},
    "PPO, discount 0.99": {**POLICY, "agent": "ppo"},
}
COLOURS = dict(zip(METHODS, (BLUE, SKY, GREEN, PINK), strict=True))
POINTS = 20
"""Of a curve."""
ITERATION = 128
"""Steps of the environments."""


class Size(NamedTuple):
    """How much is trained.

    Attributes:
        steps: Of each run, a multiple of 20 times 128.
        seeds: Runs of each method in each task.
        tasks: In which.
        methods: Who.
        fit: Sizes of LOOP's fits.
    """

    steps: int
    seeds: int
    tasks: tuple[str, ...] = tuple(TASKS)
    methods: tuple[str, ...] = tuple(METHODS)
    fit: Choice = {}  # noqa: RUF012, nobody changes it


SIZES = {
    "smoke": Size(
        ITERATION * POINTS, 2, (RIVER,), ("LOOP", "LOOP without a bonus"), {"refit_steps": 10, "layers": (8,)}
    ),
    "small": Size(8 * ITERATION * POINTS, 5),
    "hour": Size(20 * ITERATION * POINTS, 5),
    "paper": Size(80 * ITERATION * POINTS, 20),
}


def data(scale: Scale) -> dict[str, list[Job]]:
    """Each method in each task, in a program of its own: fits are shared by all runs of a program."""
    size = SIZES[scale]
    return {name: [trained(name, task, size) for task in size.tasks] for name in size.methods}


def trained(name: str, task: str, size: Size) -> Job:
    """The runs of a method in a task."""
    choice = {**COMMON, **METHODS[name], **(size.fit if name.startswith("LOOP") else {}), "env": task}
    log_every = size.steps // POINTS // ITERATION
    (job,) = trainings(Setup(), [choice], steps=size.steps, seeds=size.seeds, log_every=log_every)
    return replace(job, folder=Path(f"{tuple(TASKS).index(task):03d}"))


def rows(frame: pd.DataFrame, task: str, name: str) -> pd.DataFrame:
    """Of a method in a task."""
    settings = METHODS[name]
    chosen = (frame["agent"] == settings["agent"]) & (frame["env"] == task)
    return (
        frame[chosen & np.isclose(frame["beta"].astype(float), settings["beta"])]
        if "beta" in settings
        else frame[chosen]
    )


def final(frame: pd.DataFrame, task: str, name: str) -> Float[np.ndarray, " seeds"]:
    """The reward rate over the last fifth, by seed."""
    found = rows(frame, task, name)
    late = found[found["env_steps"] > 0.8 * found["env_steps"].max()]
    return late.groupby("seed")[RATE].mean().to_numpy()


def lead(task: str, first: str, second: str, frame: pd.DataFrame) -> Estimate:
    """How much more the first one earns a step; nothing if one has no runs."""
    more, less = final(frame, task, first), final(frame, task, second)
    return estimate_difference(more, less, aggregate_mean) if len(more) and len(less) else NOTHING


def plot(frame: pd.DataFrame) -> Figure:
    """The reward rate over training, a panel for each task."""
    tasks = {task: title for task, title in TASKS.items() if task in set(frame["env"])}
    figure = Figure(figsize=(WIDTH * len(tasks) + 1.8, 1.2 * HEIGHT), layout="constrained")
    axes = figure.subplots(1, len(tasks), squeeze=False)[0]
    for axis, (task, title) in zip(axes, tasks.items(), strict=True):
        for name, colour in COLOURS.items():
            if len(found := rows(frame, task, name)):
                line(axis, curve(found, RATE), name, colour)
        axis.set_title(title, fontsize=9)
    figure.supxlabel("steps", fontsize=9)
    figure.supylabel("reward a step", fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


def claims() -> tuple[Claim, ...]:
    """What optimism is for."""
    found = []
    for task in (RIVER, PENDULUM):
        for other in ("LOOP without a bonus", "APO", "PPO, discount 0.99"):
            found.append(Claim(f"{TASKS[task]}: LOOP above {other}", partial(lead, task, "LOOP", other), above(0)))
    for name in ("LOOP", "APO"):
        text = f"{TASKS[CATCH]}: {name} above PPO with a discount of 0.99"
        found.append(Claim(text, partial(lead, CATCH, name, "PPO, discount 0.99"), above(0)))
    return tuple(claim._replace(least="small") for claim in found)


figure = PaperFigure(
    title="Networks that maximise the reward rate",
    source="He, Zhong and Yang 2024, arXiv:2404.12648, and Ma et al. 2021, arXiv:2106.03442; the experiment is ours",
    data=data,
    plot=plot,
    claims=claims(),
)
