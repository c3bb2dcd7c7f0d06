"""Submodular rewards on grids: who covers a density, collects what is needed, or measures where it tells most.

Prajapat et al., "Submodular reinforcement learning", ICLR 2024 (arXiv:2307.13372), figure 3: on the density of gorilla
nests and in Bayesian D-design SubPO-M and SubPO-NM do about equally well and better than ModPO; in item collection,
where what is still needed depends on what was collected, SubPO-NM does better than SubPO-M, and that better than ModPO.
Coverage of densities drawn from a Gaussian process and of a bimodal one are two more tasks of the authors' code. The
paper's numbers are not known to us.

A score is the return as share of the best that is known of the instance: what the best plan of a beam search of width
500 earns, or the highest mean return of any batch of this figure, with or without random moves. The optimum may be
higher. D-design's return is the information gain, without what the authors' code adds for each measurement. "About
equal" is a difference of at most 0.05 of that. Methods are compared instance by instance where a task has several, seed
by seed where it has one: intervals are of those differences.

Different here: the gorilla density is made up, see `jaxreward.envs.subrl.densities`, as the paper's was not released.
Its peak is 36 steps from the start of a walk of 39, so ModPO arrives too late to stay there and has to cover what is on
the way: what the paper says of ModPO on its density need not be seen on this one. The instances of the other tasks are
drawn by the authors' recipes and are not theirs; observations are row, column and time from 0 to 1, and Adam's step
size is 0.01 throughout (the code: plain numbers, 0.001, for items 0.005); SubPO subtracts the mean of the other
episodes at the same step; "SubPO-NM, visited" sees which cells were visited and not in which order. How random the
paper's moves were, where they were, is not known: here a tenth of all moves is. `small` has 200 episodes a batch where
the code has 500, and 5 instances or seeds in place of 20 runs.

`jaxreward evaluate FOLDER/runs/SubPO-M/gorilla --member 0 --stochastic --render` draws an episode of SubPO-M on the
density of gorilla nests as an animation. Which member is whose is in each run's `config.json`.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pandas as pd
from matplotlib.figure import Figure

from jaxreward.agents.subpo.parts.planners import beam_search
from jaxreward.envs import make
from jaxreward.experiments.figures.subpo._common import SLIP, Choice, draw, lead, of_slip, scored, subpo
from jaxreward.reproduce.claims import Claim, Scale, above, within
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.reproduce.parts import trainings
from jaxreward.results.charts import HEIGHT, WIDTH
from jaxreward.results.statistics import Estimate
from jaxreward.run.job import Job, Setup

EQUAL = 0.05
STEPS, BEAM = 39, 500
METHODS = {
    "SubPO-M": subpo(),
    "SubPO-NM": subpo(history="padded"),
    "SubPO-NM, visited": subpo(history="visited"),
    "ModPO": subpo(share=1.0),
}


class Task(NamedTuple):
    """A task.

    Attributes:
        title: What the paper calls it.
        instances: How many there are.
    """

    title: str
    instances: int


TASKS = {
    "subrl/gorilla": Task("gorilla nests", 1),
    "subrl/steiner": Task("item collection", 10),
    "subrl/design": Task("D-design", 10),
    "subrl/gp_coverage": Task("GP coverage", 10),
    "subrl/bimodal": Task("bimodal", 1),
}


class Size(NamedTuple):
    """How much is trained: `runs` of each method and task, spread evenly over at most so many instances."""

    episodes: int
    epochs: int
    runs: int
    instances: int
    tasks: tuple[str, ...] = tuple(TASKS)
    methods: tuple[str, ...] = tuple(METHODS)


SIZES = {
    "smoke": Size(10, 3, 2, 1, ("subrl/gorilla",), ("SubPO-M", "ModPO")),  # `subpo_rooms` trains SubPO-NM
    "small": Size(200, 150, 5, 5),
    "hour": Size(500, 150, 20, 10),
    "paper": Size(500, 150, 20, 10),
}


def data(scale: Scale) -> dict[str, list[Job]]:
    """Each method on each task, without and with random moves: instances and moves share a program."""
    size = SIZES[scale]
    return {method: [trained(method, task, size) for task in size.tasks] for method in size.methods}


def trained(method: str, task: str, size: Size) -> Job:
    """What a method trains on a task."""
    instances = min(TASKS[task].instances, size.instances)
    common: Choice = {"env": task, "num_envs": size.episodes, "learning_rate": 1e-2}
    choices = [
        {**common, **METHODS[method].settings, "env.instance": instance, "env.env.slip": slip}
        for slip in (0.0, SLIP)
        for instance in range(instances)
    ]
    steps = size.episodes * STEPS * size.epochs
    (job,) = trainings(Setup(), choices, steps=steps, seeds=size.runs // instances)
    return replace(job, folder=Path(task.partition("/")[2]))


@functools.cache
def best_plan(name: str, instance: int) -> float:
    """What the best plan of a beam search earns."""
    env, params = make(name)
    params = params.replace(instance=jnp.asarray(instance, jnp.int32))
    return float(beam_search(env, params, jax.random.key(0), STEPS, BEAM).value)


def of_task(frame: pd.DataFrame, name: str, slip: float) -> pd.DataFrame:
    """The runs of a task with so many random moves, with their scores."""
    return of_slip(scored(frame[frame["env"] == name], best_plan), slip)


def advantage(name: str, slip: float, first: str, second: str, frame: pd.DataFrame) -> Estimate:
    """Of one method over another on a task."""
    return lead(of_task(frame, name, slip), METHODS[first], METHODS[second])


def plot(frame: pd.DataFrame) -> Figure:
    """The scores over training: a column for each task, moves deterministic above and random below."""
    tasks = {name: task for name, task in TASKS.items() if name in set(frame["env"])}
    figure = Figure(figsize=(0.75 * WIDTH * len(tasks) + 1.2, 2 * HEIGHT), layout="constrained")
    axes = figure.subplots(2, len(tasks), sharex=True, sharey="col", squeeze=False)
    for row, slip in enumerate((0.0, SLIP)):
        for axis, (name, task) in zip(axes[row], tasks.items(), strict=True):
            draw(axis, of_task(frame, name, slip), METHODS)
            axis.set_title(f"{task.title}, {slip:.0%} random" if slip else task.title, fontsize=9)
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("return / best known", fontsize=9)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


def claims() -> tuple[Claim, ...]:
    """What the paper says of its three tasks, and of the others that SubPO-M is above ModPO too."""
    found = []
    for slip, where in ((0.0, ""), (SLIP, ", random moves")):
        for name, task in TASKS.items():
            of = partial(advantage, name, slip, "SubPO-M", "ModPO")
            found.append(Claim(f"{task.title}{where}: SubPO-M above ModPO", of, above(0)))
        for name in ("subrl/gorilla", "subrl/design"):
            of = partial(advantage, name, slip, "SubPO-NM", "SubPO-M")
            text = f"{TASKS[name].title}{where}: SubPO-NM and SubPO-M about equal"
            found.append(Claim(text, of, within(-EQUAL, EQUAL)))
        of = partial(advantage, "subrl/steiner", slip, "SubPO-NM", "SubPO-M")
        found.append(Claim(f"item collection{where}: SubPO-NM above SubPO-M", of, above(0)))
    return tuple(claim._replace(least="small") for claim in found)


figure = PaperFigure(
    title="Submodular rewards on grids",
    source="Prajapat et al. 2024, arXiv:2307.13372, figure 3",
    data=data,
    plot=plot,
    claims=claims(),
)
