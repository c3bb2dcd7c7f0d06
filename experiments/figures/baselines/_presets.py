"""Learning curves of presets, for the figures that show what they give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from jaxreward.experiments.figures.loop._common import NOTHING
from jaxreward.results.charts import HEIGHT, WIDTH, line, logarithmic
from jaxreward.results.curves import curve
from jaxreward.results.statistics import Estimate, aggregate_mean, estimate
from jaxreward.run.job import Job, Setup
from jaxreward.run.preset import read_preset
from jaxreward.settings.values import Value
from jaxreward.sweep import read_sweep

COLOURS = {
    "ppo": "tab:blue",
    "a2c": "tab:cyan",
    "dqn": "tab:orange",
    "pqn": "tab:red",
    "sac": "tab:green",
    "td3": "tab:purple",
}
RETURN = "episode/env_return"
POINTS = 50
"""Of a curve, at most."""
LAST = 0.9
"""The part of a run after which its return is its result."""


class Size(NamedTuple):
    """How much is trained.

    Attributes:
        presets: Which ones.
        seeds: Runs of each, at most; those of the preset if that has fewer and they are enough for a verdict.
        share: Of the preset's steps.
        settings: In place of the preset's.
    """

    presets: tuple[str, ...]
    seeds: int
    share: float = 1.0
    settings: Mapping[str, Value] = {}


def jobs(size: Size) -> dict[str, Sequence[Job]]:
    """A program for each preset."""
    return {name: [job_of(name, size)] for name in size.presets}


def job_of(name: str, size: Size) -> Job:
    """What trains a preset."""
    one = read_sweep(read_preset(name).table)
    setup = Setup(one.setup.agent, one.setup.env, one.setup.reward, {**one.setup.settings, **size.settings})
    job = Job(setup, Path("000"), round(one.steps * size.share), seeds=tuple(range(size.seeds)))
    iterations = job.experiment().iterations(job.steps)
    return replace(job, log_every=max(1, iterations // POINTS))


def rows(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Of a preset."""
    setup = read_sweep(read_preset(name).table).setup
    return frame[(frame["agent"] == setup.agent) & (frame["env"] == setup.env)]


def result(name: str, frame: pd.DataFrame) -> Estimate:
    """The mean return over the last tenth of a preset's runs, by seed."""
    scores = final(rows(frame, name))
    return estimate(scores, aggregate_mean) if len(scores) else NOTHING


def final(found: pd.DataFrame) -> Float[np.ndarray, " seeds"]:
    """Of each seed."""
    late = found[found["env_steps"] >= LAST * found["env_steps"].max()]
    return late.groupby("seed")[RETURN].mean().to_numpy()


def panels(titles: Mapping[str, str], frame: pd.DataFrame) -> Figure:
    """Return over steps, a panel for each environment."""
    shown = {env: title for env, title in titles.items() if env in set(frame["env"])}
    figure = Figure(figsize=(WIDTH * len(shown) + 1.2, 1.2 * HEIGHT), layout="constrained")
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    for axis, (env, title) in zip(axes, shown.items(), strict=True):
        for agent, colour in COLOURS.items():
            found = frame[(frame["env"] == env) & (frame["agent"] == agent)]
            if len(found):
                line(axis, curve(found, RETURN), agent.upper(), colour)
        logarithmic(axis)  # some need a thirtieth of the others' steps
        axis.set_title(title, fontsize=9)
        axis.legend(frameon=False, fontsize=7)
    figure.supxlabel("environment steps", fontsize=9)
    figure.supylabel("return", fontsize=9)
    return figure
