"""Submodular rewards on grids: who covers a density, collects what is needed, or measures where it tells most.

Prajapat et al., "Submodular reinforcement learning", ICLR 2024 (arXiv:2307.13372), figure 3: on the density of gorilla
nests and in Bayesian D-design SubPO-M and SubPO-NM do about equally well and better than ModPO; in item collection,
where what is still needed depends on what was collected, SubPO-NM does better than SubPO-M, and that better than ModPO.
Coverage of densities drawn from a Gaussian process and of a bimodal one are two more tasks of the authors' code. The
paper's numbers are not known to us.

A score is the return as share of what the best plan of a beam search of width 200 earns on the same instance, with
deterministic moves. It is not the optimum, so a score may exceed 1.

Different here: the gorilla density is made up, see `jaxreward.envs.densities`, as the paper's was not released; the
instances of the other tasks are drawn by the authors' recipes and are not theirs; observations are row, column and time
from 0 to 1; SubPO subtracts the mean of the other episodes at the same step; "SubPO-NM, visited" sees which cells were
visited and not in which order. How random the paper's moves were, where they were, is not known: here a tenth of all
moves is. "About equal" is a difference of at most 0.05.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from jaxreward.agents.subpo.planners import beam_search
from jaxreward.charts import HEIGHT, WIDTH
from jaxreward.claims import Claim, Scale, above, within
from jaxreward.envs import make
from jaxreward.experiments.figures._subpo import SLIP, Choice, draw, lead, subpo
from jaxreward.job import Job, Setup
from jaxreward.reproduce import PaperFigure, trainings
from jaxreward.statistics import Estimate

EQUAL = 0.05
WIDTH_OF_BEAM = 200
STEPS = 39
METHODS = {
    "SubPO-M": subpo(),
    "SubPO-NM": subpo(history="padded"),
    "SubPO-NM, visited": subpo(history="visited"),
    "ModPO": subpo(share=1.0),
}


class Task(NamedTuple):
    """A task and the authors' settings for it.

    Attributes:
        title: What the paper calls it.
        instances: How many there are.
        learning_rate: Adam's.
    """

    title: str
    instances: int
    learning_rate: float


TASKS = {
    "subrl/gorilla": Task("gorilla nests", 1, 1e-3),
    "subrl/steiner": Task("item collection", 10, 5e-3),
    "subrl/design": Task("D-design", 10, 1e-3),
    "subrl/gp_coverage": Task("GP coverage", 10, 1e-3),
    "subrl/bimodal": Task("bimodal", 1, 1e-3),
}


class Size(NamedTuple):
    """How much is trained: `runs` of each method and task, spread evenly over at most so many instances."""

    episodes: int
    epochs: int
    runs: int
    instances: int
    tasks: tuple[str, ...] = tuple(TASKS)


SIZES = {
    "smoke": Size(10, 3, 2, 1, ("subrl/gorilla",)),
    "small": Size(500, 150, 5, 5),
    "paper": Size(500, 150, 20, 10),
}


def data(scale: Scale) -> Sequence[Job]:
    """Each method on each task, without and with random moves: instances, rewards and moves share a program."""
    size = SIZES[scale]
    steps, jobs = size.episodes * STEPS * size.epochs, []
    for name in size.tasks:
        task = TASKS[name]
        instances = min(task.instances, size.instances)
        common: Choice = {"env": name, "num_envs": size.episodes, "learning_rate": task.learning_rate}
        choices = [
            {**common, **method.settings, "env.instance": instance, "env.env.slip": slip}
            for method in METHODS.values()
            for slip in (0.0, SLIP)
            for instance in range(instances)
        ]
        jobs += trainings(Setup(), choices, steps=steps, seeds=size.runs // instances)
    return [in_folder(job, index) for index, job in enumerate(jobs)]


def in_folder(job: Job, index: int) -> Job:
    """The job in a folder of its own among those of all tasks."""
    return replace(job, folder=job.folder.with_name(f"{index:03d}"))


@functools.cache
def best_plan(name: str, instance: int) -> float:
    """What the best plan of a beam search earns."""
    env, params = make(name)
    params = params.replace(instance=jnp.asarray(instance, jnp.int32))
    return float(beam_search(env, params, jax.random.key(0), STEPS, WIDTH_OF_BEAM).value)


def best_plans(frame: pd.DataFrame) -> pd.Series:
    """What counts as 1: the best plan of each row's instance."""
    pairs = zip(frame["env"], frame["env.instance"], strict=True)
    return pd.Series([best_plan(name, int(instance)) for name, instance in pairs], frame.index, float)


def of_task(frame: pd.DataFrame, name: str, slip: float) -> pd.DataFrame:
    """The runs of a task with so many random moves."""
    return frame[(frame["env"] == name) & np.isclose(frame["env.env.slip"], slip)]


def advantage(name: str, slip: float, first: str, second: str, frame: pd.DataFrame) -> Estimate:
    """Of one method over another on a task."""
    return lead(of_task(frame, name, slip), METHODS[first], METHODS[second], best_plans)


def plot(frame: pd.DataFrame) -> Figure:
    """The normalised return over training: a column for each task, moves deterministic above and random below."""
    figure = Figure(figsize=(0.75 * WIDTH * len(TASKS) + 1.2, 2 * HEIGHT), layout="constrained")
    axes = figure.subplots(2, len(TASKS), sharex=True, sharey="col")
    for row, slip in enumerate((0.0, SLIP)):
        for column, (name, task) in enumerate(TASKS.items()):
            draw(axes[row, column], of_task(frame, name, slip), METHODS, best_plans)
            axes[row, column].set_title(f"{task.title}, {slip:.0%} random" if slip else task.title, fontsize=9)
            axes[row, column].xaxis.set_major_formatter(EngFormatter(sep=""))
    figure.supxlabel("environment steps", fontsize=9)
    figure.supylabel("return / best plan", fontsize=9)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


def claims() -> tuple[Claim, ...]:
    """What the paper says of its three tasks, and of the others the same as of gorilla nests."""
    found = []
    for slip in (0.0, SLIP):
        where = " with random moves" if slip else ""
        for name, task in TASKS.items():
            of = partial(advantage, name, slip)
            found.append(
                Claim(
                    f"{task.title}{where}: SubPO-M above ModPO",
                    partial(of, "SubPO-M", "ModPO"),
                    above(0),
                    least="small",
                )
            )
        for name in ("subrl/gorilla", "subrl/design"):
            of = partial(advantage, name, slip, "SubPO-NM", "SubPO-M")
            text = f"{TASKS[name].title}{where}: SubPO-NM and SubPO-M about equal"
            found.append(Claim(text, of, within(-EQUAL, EQUAL), least="small"))
        of = partial(advantage, "subrl/steiner", slip, "SubPO-NM", "SubPO-M")
        found.append(Claim(f"item collection{where}: SubPO-NM above SubPO-M", of, above(0), least="small"))
    return tuple(found)


figure = PaperFigure(
    title="Submodular rewards on grids",
    source="Prajapat et al. 2024, arXiv:2307.13372, figure 3",
    data=data,
    plot=plot,
    claims=claims(),
)
