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

from functools import partial
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from jaxreward.experiments.figures.loop._common import BLUE, GREEN, PINK, SKY, Choice
from jaxreward.experiments.figures.loop._rates import POINTS, Race
from jaxreward.reproduce.claims import Claim, Scale, above
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.run.job import Job

RIVER, PENDULUM, CATCH = "average/river_swim?variant=statrl&num_states=25", "average/pendulum", "average/catch"
TASKS = {RIVER: "RiverSwim, 25 states", PENDULUM: "pendulum", CATCH: "catch"}
COMMON: Choice = {"num_envs": 4, "num_steps": 32}
LOOP: Choice = {**COMMON, "agent": "loop_deep"}
POLICY: Choice = {**COMMON, "num_minibatches": 4, "num_epochs": 10, "learning_rate": 1e-3}
METHODS: dict[str, Choice] = {
    "LOOP": {**LOOP, "beta": 0.5},
    "LOOP without a bonus": {**LOOP, "beta": 0.0},
    "APO": {**POLICY, "agent": "apo"},
    "PPO, discount 0.99": {**POLICY, "agent": "ppo"},
}
ITERATION = 128
"""Steps of the environments."""
RACE = Race(TASKS, METHODS, ITERATION, (BLUE, SKY, GREEN, PINK))


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
    """Each method in each task."""
    size = SIZES[scale]
    fits = {name: size.fit if name.startswith("LOOP") else {} for name in size.methods}
    return {name: RACE.jobs(name, size.tasks, size.steps, size.seeds, fit) for name, fit in fits.items()}


def plot(frame: pd.DataFrame) -> Figure:
    """The reward rate over training, see `Race.plot`."""
    return RACE.plot(frame)


def claims() -> tuple[Claim, ...]:
    """What optimism is for."""
    found = []
    for task in (RIVER, PENDULUM):
        for other in ("LOOP without a bonus", "APO", "PPO, discount 0.99"):
            found.append(Claim(f"{TASKS[task]}: LOOP above {other}", partial(RACE.lead, task, "LOOP", other), above(0)))
    for name in ("LOOP", "APO"):
        text = f"{TASKS[CATCH]}: {name} above PPO with a discount of 0.99"
        found.append(Claim(text, partial(RACE.lead, CATCH, name, "PPO, discount 0.99"), above(0)))
    return tuple(claim._replace(least="small") for claim in found)


figure = PaperFigure(
    title="Networks that maximise the reward rate",
    source="He, Zhong and Yang 2024, arXiv:2404.12648, and Ma et al. 2021, arXiv:2106.03442; the experiment is ours",
    data=data,
    plot=plot,
    claims=claims(),
)
