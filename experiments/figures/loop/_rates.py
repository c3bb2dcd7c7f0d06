"""Who earns how much a step: methods side by side in tasks that never end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from jaxreward.experiments.figures.loop._common import NOTHING, Choice
from jaxreward.reproduce.parts import trainings
from jaxreward.results.charts import COLORS, HEIGHT, WIDTH, line
from jaxreward.results.curves import curve
from jaxreward.results.statistics import Estimate, aggregate_mean, estimate_difference
from jaxreward.run.job import Job, Setup

RATE = "average_reward"
POINTS = 20
"""Of a curve."""


@dataclass(frozen=True)
class Race:
    """Methods and tasks.

    Attributes:
        tasks: Titles, by environment.
        methods: What each is trained with, its agent among it; those of one agent differ in `beta`.
        iteration: Steps of the environments, the same for all.
        colours: By method; the library's in their order where it has none.
    """

    tasks: dict[str, str]
    methods: dict[str, Choice]
    iteration: int
    colours: Sequence[str] = COLORS

    def jobs(self, name: str, tasks: Sequence[str], steps: int, seeds: int, more: Choice) -> list[Job]:
        """A method's runs, each task in a program of its own: fits are shared by all runs of a program."""
        return [self.job(name, task, steps, seeds, more) for task in tasks]

    def job(self, name: str, task: str, steps: int, seeds: int, more: Choice) -> Job:
        """A method's runs in a task."""
        choice = {**self.methods[name], **more, "env": task}
        log_every = steps // POINTS // self.iteration
        (job,) = trainings(Setup(), [choice], steps=steps, seeds=seeds, log_every=log_every)
        return replace(job, folder=Path(f"{tuple(self.tasks).index(task):03d}"))

    def rows(self, frame: pd.DataFrame, task: str, name: str) -> pd.DataFrame:
        """Of a method in a task."""
        settings = self.methods[name]
        chosen = (frame["agent"] == settings["agent"]) & (frame["env"] == task)
        if "beta" in settings:
            chosen &= np.isclose(frame["beta"].astype(float), settings["beta"])
        return frame[chosen]

    def final(self, frame: pd.DataFrame, task: str, name: str) -> Float[np.ndarray, " seeds"]:
        """The reward rate over the last fifth, by seed."""
        found = self.rows(frame, task, name)
        late = found[found["env_steps"] > 0.8 * found["env_steps"].max()]
        return late.groupby("seed")[RATE].mean().to_numpy()

    def lead(self, task: str, first: str, second: str, frame: pd.DataFrame) -> Estimate:
        """How much more the first one earns a step; nothing if one has no runs."""
        more, less = self.final(frame, task, first), self.final(frame, task, second)
        return estimate_difference(more, less, aggregate_mean) if len(more) and len(less) else NOTHING

    def plot(self, frame: pd.DataFrame) -> Figure:
        """The reward rate over training, a panel for each task."""
        tasks = {task: title for task, title in self.tasks.items() if task in set(frame["env"])}
        figure = Figure(figsize=(WIDTH * len(tasks) + 1.8, 1.2 * HEIGHT), layout="constrained")
        axes = figure.subplots(1, len(tasks), squeeze=False)[0]
        for axis, (task, title) in zip(axes, tasks.items(), strict=True):
            for name, colour in zip(self.methods, self.colours, strict=False):
                if len(found := self.rows(frame, task, name)):
                    line(axis, curve(found, RATE), name, colour)
            axis.set_title(title, fontsize=9)
        figure.supxlabel("steps", fontsize=9)
        figure.supylabel("reward a step", fontsize=9)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
        return figure
