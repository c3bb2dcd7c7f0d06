"""An ensemble of models for the reward rate: LOOP's optimism beside none, and beside policies without a model.

The agent is `loop_ensemble`, a design of our own of the likelihood version of LOOP (He, Zhong and Yang 2024,
arXiv:2404.12648), which has no experiments; what is claimed is ours. It is compared with itself without optimism, with
APO (Ma et al. 2021, arXiv:2106.03442) and with PPO at a discount of 0.99, on a pendulum of any torque that is too weak
to lift it and pays within 30 degrees of upright alone.

Steps of the environment are the same for all, and nothing is tuned: LOOP has its defaults, APO and PPO a step size of
0.001 and ten epochs, for so few steps. LOOP computes far more for each step. The last fifth is what claims are about.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from jaxreward.experiments.figures.loop._common import Choice
from jaxreward.experiments.figures.loop._rates import POINTS, Race
from jaxreward.reproduce.claims import Claim, Scale, above
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.run.job import Job

PENDULUM = "average/pendulum?continuous=true"
COMMON: Choice = {"num_envs": 4, "num_steps": 16}
LOOP: Choice = {**COMMON, "agent": "loop_ensemble"}
POLICY: Choice = {**COMMON, "num_minibatches": 4, "num_epochs": 10, "learning_rate": 1e-3}
METHODS: dict[str, Choice] = {
    "LOOP": {**LOOP, "beta": 1.0},
    "LOOP without optimism": {**LOOP, "beta": 0.0},
    "APO": {**POLICY, "agent": "apo"},
    "PPO, discount 0.99": {**POLICY, "agent": "ppo"},
}
ITERATION = 64
"""Steps of the environments."""
RACE = Race({PENDULUM: "pendulum, any torque"}, METHODS, ITERATION)


class Size(NamedTuple):
    """How much is trained.

    Attributes:
        steps: Of each run, a multiple of 20 times 64.
        seeds: Runs of each method.
        fit: Sizes of LOOP's fits and plans.
    """

    steps: int
    seeds: int
    fit: Choice = {}  # noqa: RUF012, nobody changes it


SIZES = {
    "smoke": Size(ITERATION * POINTS, 2, {"members": 2, "layers": (4,), "fit_steps": 5, "plan_steps": 5}),
    "small": Size(2 * ITERATION * POINTS, 5),
    "hour": Size(8 * ITERATION * POINTS, 5),
    "paper": Size(16 * ITERATION * POINTS, 20),
}


def data(scale: Scale) -> dict[str, list[Job]]:
    """Each method; at `smoke` LOOP alone."""
    size = SIZES[scale]
    fits = {name: size.fit if name.startswith("LOOP") else {} for name in METHODS}
    made = {name: RACE.jobs(name, (PENDULUM,), size.steps, size.seeds, fit) for name, fit in fits.items()}
    return {name: jobs for name, jobs in made.items() if scale != "smoke" or name.startswith("LOOP")}


def plot(frame: pd.DataFrame) -> Figure:
    """The reward rate over training, see `Race.plot`."""
    return RACE.plot(frame)


figure = PaperFigure(
    title="An ensemble of models that maximises the reward rate",
    source="He, Zhong and Yang 2024, arXiv:2404.12648, and Ma et al. 2021, arXiv:2106.03442; the experiment is ours",
    data=data,
    plot=plot,
    claims=tuple(
        Claim(f"LOOP above {other}", partial(RACE.lead, PENDULUM, "LOOP", other), above(0), least="small")
        for other in tuple(METHODS)[1:]
    ),
)
