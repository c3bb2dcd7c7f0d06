"""What the presets of classic control learn: CartPole, Acrobot and Pendulum.

Settings were tuned by hand in a few runs, on other seeds than a verdict needs many of. CartPole-v1 counts as solved at
475 and Acrobot-v1 at -100, by gymnasium's registry; for the pendulum there is no such number, and -200 is ours: a swing
up and then upright. A return is the mean over the last tenth of a run, as episodes went in training, actions sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from jaxreward.experiments.figures.baselines._presets import Size, jobs, panels, result
from jaxreward.reproduce.claims import Claim, Scale, above
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.run.job import Job
from jaxreward.run.preset import list_presets

SOLVED = {"cartpole": 475.0, "acrobot": -100.0, "pendulum": -200.0}
TITLES = {"CartPole-v1": "CartPole", "Acrobot-v1": "Acrobot", "Pendulum-v1": "Pendulum"}
PRESETS = tuple(name for name in list_presets() if name.startswith("classic/"))
SIZES = {
    "smoke": Size(("classic/cartpole-ppo",), 2, 0.002, {"num_envs": 2, "num_steps": 16, "layers": (4,)}),
    "small": Size(PRESETS, 16),
    "hour": Size(PRESETS, 24),
    "paper": Size(PRESETS, 32),
}


def data(scale: Scale) -> dict[str, Sequence[Job]]:
    """Each preset's runs."""
    return jobs(SIZES[scale])


def plot(frame: pd.DataFrame) -> Figure:
    """Learning curves, a panel for each task."""
    return panels(TITLES, frame)


def claims() -> tuple[Claim, ...]:
    """Each preset solves its task."""
    found = []
    for name in PRESETS:
        task, _, agent = name.removeprefix("classic/").partition("-")
        text = f"{task}: {agent.upper()} solves it: its return at the end"
        found.append(Claim(text, partial(result, name), above(SOLVED[task]), least="small"))
    return tuple(found)


figure = PaperFigure(
    title="Presets of classic control",
    source="the thresholds are those of gymnasium (Towers et al. 2024, arXiv:2407.17032); the experiment is ours",
    data=data,
    plot=plot,
    claims=claims(),
)
