"""What the figures of the car and the ant share: who learns from which reward, and how far each of them gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from jaxreward.experiments.figures.subpo._common import Choice, Method
from jaxreward.reproduce.parts import trainings
from jaxreward.results.charts import COLORS, line
from jaxreward.results.curves import curve
from jaxreward.results.statistics import Estimate, aggregate_mean, estimate, estimate_difference
from jaxreward.results.tables import final_values
from jaxreward.run.job import Job, Setup

SHARE = "reward.reward.share"
"""How much of the reward is modular: 0 are marginal gains, 1 is what each state alone is worth."""


def method(agent: str, share: float) -> Method:
    """An agent and the reward it learns from."""
    return Method({"agent": agent, SHARE: share}, {"agent": agent, SHARE: share})


METHODS = {
    "SubPO": method("subpo", 0.0),
    "ModPO": method("subpo", 1.0),
    "PPO on marginal gains": method("ppo", 0.0),
}


class Size(NamedTuple):
    """How much is trained.

    Attributes:
        settings: Of SubPO and ModPO, beside those of every scale.
        steps: Environment steps by agent; those that aren't named don't train.
        seeds: How many.
    """

    settings: Choice
    steps: Mapping[str, int]
    seeds: int


def jobs(subpo: Setup, ppo: Setup, size: Size, others: Sequence[Choice] = ({},)) -> dict[str, list[Job]]:
    """Trains each method.

    Args:
        subpo: What is the same for SubPO and ModPO at every scale.
        ppo: What is the same for PPO.
        size: How much.
        others: What else each method is tried with.
    """
    setups = {"subpo": subpo.replace(size.settings), "ppo": ppo}

    def trained(agent: str, choices: list[Choice]) -> list[Job]:
        return trainings(setups[agent], choices, steps=size.steps[agent], seeds=size.seeds)

    learning = {name: one.settings for name, one in METHODS.items() if one.settings["agent"] in size.steps}
    return {
        name: trained(str(settings["agent"]), [{**settings, **other} for other in others])
        for name, settings in learning.items()
    }


def final(name: str, metric: str, frame: pd.DataFrame) -> Float[np.ndarray, "R 1"]:
    """What each run of a method has reached at its end."""
    return final_values(METHODS[name].rows(frame), metric)["value"].to_numpy(float)[:, None]


def level(name: str, metric: str, frame: pd.DataFrame) -> Estimate:
    """The mean over a method's runs."""
    return estimate(final(name, metric, frame), aggregate_mean)


def lead(first: str, second: str, metric: str, frame: pd.DataFrame) -> Estimate:
    """How much higher the first one's mean is."""
    return estimate_difference(final(first, metric, frame), final(second, metric, frame), aggregate_mean)


def draw(axis: Axes, frame: pd.DataFrame, metric: str) -> None:
    """A learning curve for each method that was trained, with the interval over its seeds."""
    for (name, learner), color in zip(METHODS.items(), COLORS, strict=False):
        rows = learner.rows(frame)
        if not rows.empty:
            line(axis, curve(rows, metric), name, color)
    axis.set_xlabel("environment steps")
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
