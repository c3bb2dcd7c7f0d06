"""What LOOP and its peers lose in six worlds without an end.

He, Zhong and Yang 2024 (arXiv:2404.12648) bound the regret of LOOP by the root of the time and its switches by the
logarithm, and show no experiment. Here LOOP is exact, for tables of value functions; see `jaxreward.agents.loop.loop`.

Settings are tuned in two of the worlds, rivers of 6 states (Osband's) and of 25 (a public library's); the other four
are held out. Each method's one number is tried at four values in both, with the same seeds, and the best
by the mean share lost in them is kept; the optimists' number is the probability of failure, which is all that their
papers leave open and matters little, IMED-RL's an offset of its index, LOOP's the weight of its pseudo-data. At `small`
the best of the optimists', of PSRL's and of optimistic Q-learning's were at an end of what was tried: there may be more
to be had of them.

Claims are of the gap regret, see the figures' common part, in shares of the most that can be lost. "At or below" is at
most 0.01 of that above. The slope is that of the logarithm of what was lost over the last nine tenths of the time; the
root has 0.5. Switches that grow like the root of the time double from a quarter of it to its end; what grows like its
logarithm would go up by a few tenths, and the claim is that it is below half. The dotted guide is a root.

At `small` each run has 20,000 steps, and UCRL3 is only where there are few states, in one river to be tuned, as its
planning takes long. In SixArms losses differ much from seed to seed for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxreward.experiments.figures.loop._common import (
    FIRST_TUNING_SEED,
    LARGE,
    LONG,
    LOST,
    METHODS,
    NOTHING,
    SWIM,
    TASKS,
    TUNED_IN,
    Choice,
    draw,
    lead,
    mean,
    most_lost,
    shares,
    trained,
)
from jaxreward.reproduce.claims import Claim, Scale, above, below
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.reproduce.parts import Stages
from jaxreward.results.charts import HEIGHT, WIDTH, logarithmic
from jaxreward.results.statistics import Estimate
from jaxreward.run.job import Job

ELL = "LOOP (ell)"
RIVERS = tuple(task for task in TASKS if "/river_swim" in task)
EQUAL = 0.01


class Size(NamedTuple):
    """How much is trained.

    Attributes:
        steps: Of each run.
        seeds: Final runs.
        tuning_seeds: Runs of each setting in a task it is tuned in; none for the first setting without tuning.
        tasks: In which.
        methods: Who.
        dear: Whether those whose planning takes long are also in the worlds of many states.
    """

    steps: int
    seeds: int
    tuning_seeds: int
    tasks: tuple[str, ...] = tuple(TASKS)
    methods: tuple[str, ...] = tuple(METHODS)
    dear: bool = True

    def tasks_of(self, name: str, tasks: Sequence[str]) -> list[str]:
        """In which of some tasks a method is."""
        return [task for task in tasks if self.dear or not METHODS[name].dear or task not in LARGE]


SIZES = {
    "smoke": Size(1_000, 2, 0, (SWIM,), (ELL, "UCRL2")),
    "small": Size(20_000, 20, 5, dear=False),
    "hour": Size(100_000, 20, 10),
    "paper": Size(200_000, 50, 20),
}


def data(scale: Scale) -> dict[str, Stages]:
    """Each method, tuned and then run."""
    size = SIZES[scale]
    for task in size.tasks:
        most_lost(task, size.steps)
    return {name: stages(name, size) for name in size.methods}


def stages(name: str, size: Size) -> Stages:
    """A method's tuning, and then its final runs; the first setting's where nothing is tuned, or only planned."""
    best = METHODS[name].choices()[0]
    if size.tuning_seeds and (tuned := (yield tuning(name, size))) is not None:
        best = chosen(tuned, name)
    choices = [{**best, "agent": METHODS[name].agent, "env": task} for task in size.tasks_of(name, size.tasks)]
    return trained(choices, size.steps, range(size.seeds), "final")


def tuning(name: str, size: Size) -> list[Job]:
    """All settings of a method in the tasks it is tuned in."""
    choices = [
        {**choice, "agent": METHODS[name].agent, "env": task}
        for task in size.tasks_of(name, TUNED_IN)
        for choice in METHODS[name].choices()
    ]
    seeds = range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + size.tuning_seeds)
    return trained(choices, size.steps, seeds, "tuning")


def chosen(frame: pd.DataFrame, name: str) -> Choice:
    """The setting with which a method lost the least share in the tasks it was tuned in."""
    method = METHODS[name]
    searched, values = method.searched
    tried = [task for task in TUNED_IN if len(method.rows(frame[frame["env"] == task]))]
    lost = [sum(shares(of(frame, searched, value), task, name).mean() for task in tried) for value in values]
    return method.choices()[int(np.argmin(lost))]


def of(frame: pd.DataFrame, name: str, value: float) -> pd.DataFrame:
    """The rows with a setting."""
    return frame[np.isclose(frame[name].astype(float), value)]


def by_time(frame: pd.DataFrame, task: str, method: str, metric: str) -> pd.DataFrame:
    """A metric by steps and seed."""
    rows = METHODS[method].rows(frame[frame["env"] == task])
    return rows.pivot(index="env_steps", columns="seed", values=metric)


def slope(task: str, frame: pd.DataFrame) -> Estimate:
    """Of the logarithm of what LOOP lost in that of the time, from a tenth of it to its end."""
    lost = by_time(frame, task, ELL, LOST)
    if not len(lost):
        return NOTHING
    tenth = lost[lost.index <= lost.index[-1] / 10].iloc[-1]
    return mean(np.log(lost.iloc[-1] / tenth).to_numpy() / np.log(lost.index[-1] / tenth.name))


def more_switches(task: str, frame: pd.DataFrame) -> Estimate:
    """How many times as many switches of LOOP there are at the end as at a quarter of the time."""
    switches = by_time(frame, task, ELL, "switches")
    if not len(switches):
        return NOTHING
    quarter = switches[switches.index <= switches.index[-1] / 4].iloc[-1]
    return mean((switches.iloc[-1] / quarter).to_numpy())


def plot(frame: pd.DataFrame) -> Figure:
    """A column for each world: what was lost, and the same on logarithmic axes with a root as a guide."""
    tasks = [task for task in TASKS if task in set(frame["env"])]
    figure = Figure(figsize=(0.8 * WIDTH * len(tasks) + 1.6, 2 * HEIGHT), layout="constrained")
    axes = figure.subplots(2, len(tasks), sharex="row", squeeze=False)
    for column, task in enumerate(tasks):
        rows = frame[frame["env"] == task]
        for axis in axes[:, column]:
            for name, method in METHODS.items():
                if len(method.rows(rows)):
                    draw(axis, method.rows(rows), name)
        axes[0, column].set_title(TASKS[task], fontsize=9)
        on_logarithmic_axes(axes[1, column], rows)
    figure.supxlabel("steps", fontsize=9)
    figure.supylabel("gap regret", fontsize=9)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


def on_logarithmic_axes(axis: Axes, rows: pd.DataFrame) -> None:
    """Both, and a root of the time through what the best method lost first."""
    steps = np.sort(rows["env_steps"].unique())
    first = rows[rows["env_steps"] == steps[0]].groupby("agent")[LOST].mean().min()
    axis.plot(steps, max(first, 1.0) * np.sqrt(steps / steps[0]), ":", color="#888888", linewidth=1.2)
    logarithmic(axis, both=True)


def claims() -> tuple[Claim, ...]:
    """That LOOP is below optimists everywhere, and at or below the best peers in rivers; and how it grows."""
    found = []
    for task, title in TASKS.items():
        for peer in ("UCRL2", "UCRL2B"):
            found.append(Claim(f"{title}: LOOP loses less than {peer}", partial(lead, task, ELL, peer), above(0)))
    for task in RIVERS:
        for peer in ("PSRL", "UCRL3"):
            text = f"{TASKS[task]}: LOOP loses no more than {peer}"
            found.append(Claim(text, partial(lead, task, ELL, peer), above(-EQUAL)))
        text = f"{TASKS[task]}: LOOP's slope is at most a root's"
        found.append(Claim(text, partial(slope, task), below(0.5), takes=(ELL,)))
    found += [
        Claim(
            f"{TASKS[task]}: switches grow slower than a root", partial(more_switches, task), below(1.5), takes=(ELL,)
        )
        for task in (SWIM, LONG)
    ]
    return tuple(claim._replace(least="small") for claim in found)


figure = PaperFigure(
    title="Regret without episodes",
    source="He, Zhong and Yang 2024, arXiv:2404.12648; the experiment is ours",
    data=data,
    plot=plot,
    claims=claims(),
)
