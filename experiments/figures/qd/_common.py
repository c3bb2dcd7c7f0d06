"""What the figures of quality-diversity share: who searches where, how well, and how that is drawn.

Paolo et al., SERENE (GECCO 2021, arXiv:2102.03140) and STAX (Evolutionary Computation 2024, arXiv:2111.01919), with the
methods they are compared with. What is known to us of their numbers was read off figures stored with the authors' code,
to about 0.02; of how many runs they are the mean is not known. All methods have the same budget of evaluations, the
authors' settings, and the authors' network. Nothing is tuned. TAXONS is as in its own paper, not as in STAX's.

Coverage is the share of 50 x 50 cells in which something ended that exploration tried, or, of MAP-Elites and CMA-ME,
that hold an elite; what emitters found does not count. The reward of an area is the highest so far, 0 before there was
any. Between rows of a table both are interpolated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from jaxreward.agents.registry import get_agent
from jaxreward.experiments.figures.barfi._common import lead, level, run_name
from jaxreward.experiments.figures.subpo._common import Choice
from jaxreward.reproduce.claims import Claim, above
from jaxreward.results.charts import COLORS, HEIGHT, WIDTH, line
from jaxreward.results.curves import curve
from jaxreward.results.statistics import Estimate
from jaxreward.run.job import Job, Setup
from jaxreward.run.spec import Experiment, resolve

COVERAGE, AREA = "coverage", "best/area_"
READ_OFF = "read off a figure, number of runs unknown"
"""What is said of the authors' numbers."""
END = np.inf
"""Evaluations after which all is over."""
MARGIN = 0.1
"""How far below another one a number of at most 1 may be and count as comparable; ours."""
POINTS = 200
"""Of a curve."""
BLUE, RED, GREEN, PINK, ORANGE, SKY, BLACK = COLORS


class Method(NamedTuple):
    """Somebody who searches.

    Attributes:
        agent: See `jaxreward.run.job.Setup`.
        settings: Of its own, beside the task's.
        color: Of its line.
        style: Of its line.
    """

    agent: str
    settings: Choice
    color: str
    style: Literal["-", "--"] = "-"


METHODS = {
    "SERENE": Method("serene", {}, BLUE),
    "STAX": Method("stax", {}, RED),
    "novelty search": Method("novelty_search", {}, GREEN),
    "NSGA-II": Method("novelty_search", {"selection": "nsga2"}, PINK),
    "MAP-Elites": Method("map_elites", {}, ORANGE),
    "CMA-ME": Method("cma_me", {}, SKY),
    "random search": Method("random_search", {}, BLACK),
    "CMA-NS": Method("serene", {"emitter": "cma_es"}, BLUE, "--"),
    "NSLC": Method("novelty_search", {"selection": "nslc"}, GREEN),
    "CMA-ES": Method("cma_es", {}, SKY),
    "TAXONS": Method("taxons", {"capacity": 25_000}, ORANGE),
    "AURORA": Method("aurora", {}, PINK),
}
PUBLISHED = ("SERENE", "STAX", "novelty search", "NSGA-II", "MAP-Elites", "CMA-ME", "random search")
OTHERS = tuple(name for name in METHODS if name not in PUBLISHED)
LEARNED = ("STAX", "TAXONS", "AURORA")
"""Those to whom no space of behaviours is given."""
GIVEN = tuple(name for name in METHODS if name not in LEARNED)
ROWS = {"published": PUBLISHED, "others": ("SERENE", *OTHERS)}
"""Who is drawn together."""


class Task(NamedTuple):
    """Where something is searched.

    Attributes:
        title: Of its panels.
        env: See `jaxreward.envs.make`.
        settings: Of everybody who has a setting of that name: the authors' network, and where behaviours are compared.
    """

    title: str
    env: str
    settings: Choice


TASKS = {
    "point2d": Task("Point2D", "qd/point2d", {}),
    "arm": Task("redundant arm", "qd/arm", {}),
    "hard_maze": Task("hard maze", "qd/hard_maze", {}),
    "curling": Task("Curling", "qd/curling", {"layers": 3}),
    "collect_ball": Task("collect-ball", "qd/collect_ball", {"behaviour": "samples", "samples": 2}),
    "ant_maze": Task("ant maze", "qd/ant_maze", {"layers": 3, "width": 10}),
}


class Size(NamedTuple):
    """How much is searched.

    Attributes:
        budget: Evaluations of each run.
        seeds: Runs of each method.
        methods: By task, who searches there.
        settings: Of everybody who has a setting of that name.
    """

    budget: int
    seeds: int
    methods: Mapping[str, Sequence[str]]
    settings: Choice = {}  # noqa: RUF012


SMOKE: Choice = {"population_size": 10, "chunk_size": 100, "scheduler": "exploring"}
"""Settings with which it is only seen that something works; without emitters, a program compiles much faster."""


def jobs(size: Size, methods: Mapping[str, Method] = METHODS) -> dict[str, list[Job]]:
    """Every method on every task, a program for each; by method."""
    return {name: [_job(task, name, methods[name], size) for task in tasks] for name, tasks in tasks_of(size).items()}


def tasks_of(size: Size) -> dict[str, list[str]]:
    """Where each method is."""
    there = dict.fromkeys(name for names in size.methods.values() for name in names)
    return {name: [task for task, names in size.methods.items() if name in names] for name in there}


def _job(task: str, name: str, method: Method, size: Size) -> Job:
    setup = Setup(method.agent, TASKS[task].env, settings=_settings(task, method, size))
    steps = steps_of(experiment_of(task, method, size), size)
    return Job(setup, Path(run_name(task, name)), steps, seeds=tuple(range(size.seeds)), log_every=1)


def experiment_of(task: str, method: Method, size: Size) -> Experiment:
    """A method on a task."""
    return resolve(method.agent, TASKS[task].env, settings=_settings(task, method, size))


def _settings(task: str, method: Method, size: Size) -> Choice:
    known = get_agent(method.agent).config_defaults()
    common: Choice = {"budget": size.budget, **TASKS[task].settings, **size.settings}
    return {name: value for name, value in common.items() if name in known} | method.settings


def steps_of(experiment: Experiment, size: Size) -> int:
    """Environment steps of the whole budget, were all episodes as long as they may be."""
    return size.budget * experiment.config["agent_config"]["num_steps"]


def rows(frame: pd.DataFrame, task: str, method: str) -> pd.DataFrame:
    """A method's rows of the table."""
    return frame[frame["run"] == run_name(task, method)]


def areas(frame: pd.DataFrame) -> list[str]:
    """The metrics of the reward areas that these rows have."""
    return sorted(name for name in map(str, frame) if name.startswith(AREA) and frame[name].notna().any())


def values(frame: pd.DataFrame, metric: str, evaluations: Float[np.ndarray, " T"]) -> Float[np.ndarray, "R T"]:
    """A metric of each run after so many evaluations; beyond a run's last, what it was in the end."""
    runs = [run.sort_values("iteration") for _, run in frame.groupby("seed")]
    return np.array([np.interp(evaluations, run["evaluations"], run[metric]) for run in runs])


def after(task: str, method: str, metric: str, evaluations: float, frame: pd.DataFrame) -> Float[np.ndarray, " R"]:
    """A metric of each run of a method after so many evaluations; nothing without runs."""
    found = rows(frame, task, method)
    return values(found, metric, np.array([evaluations]))[:, 0] if len(found) else np.zeros(0)


def best(task: str, method: str, of: str, frame: pd.DataFrame) -> Float[np.ndarray, " R"]:
    """Of each run's areas in the end: the reward of the "worst" one, or their "mean"."""
    each = [after(task, method, metric, END, frame) for metric in areas(rows(frame, task, method))]
    if not each:
        return np.zeros(0)
    return np.min(each, axis=0) if of == "worst" else np.mean(each, axis=0)


def level_after(task: str, method: str, metric: str, evaluations: float, frame: pd.DataFrame) -> Estimate:
    """A method's mean of a metric after so many evaluations."""
    return level(after(task, method, metric, evaluations, frame))


def lead_after(task: str, first: str, second: str, metric: str, evaluations: float, frame: pd.DataFrame) -> Estimate:
    """How much higher the first one's mean of a metric is after so many evaluations."""
    return lead(*(after(task, method, metric, evaluations, frame) for method in (first, second)))


def level_of_best(task: str, method: str, of: str, frame: pd.DataFrame) -> Estimate:
    """A method's mean reward of its areas, see `best`."""
    return level(best(task, method, of, frame))


def lead_of_best(task: str, first: str, second: str, of: str, frame: pd.DataFrame) -> Estimate:
    """How much higher the first one's mean reward of its areas is."""
    return lead(*(best(task, method, of, frame) for method in (first, second)))


def not_below(task: str, method: str, metric: str, number: float) -> Claim:
    """That a metric is in the end not below what was read off the authors' figure, by more than `MARGIN`."""
    text = f"{method} is not below the paper by more than {MARGIN}: its {named(metric)}"
    measure = partial(level_after, task, method, metric, END)
    return Claim(text, measure, above(round(number - MARGIN, 2)), f"{number} ({READ_OFF})")


def ahead(task: str, first: str, second: str, metric: str, numbers: tuple[float, float]) -> Claim:
    """That one is ahead of another in a metric in the end, beside both one's numbers that were read off."""
    text = f"{first} is ahead of {second}: its lead in the {named(metric)}"
    measure = partial(lead_after, task, first, second, metric, END)
    return Claim(text, measure, above(0), f"{numbers[0]} and {numbers[1]} ({READ_OFF})")


def comparable(task: str, first: str, second: str) -> list[Claim]:
    """That one is not behind another by more than `MARGIN`, neither in rewards nor in coverage."""
    text = f"{first} is not behind {second} by more than {MARGIN}: its lead in"
    rewards = partial(lead_of_best, task, first, second, "mean")
    coverage = partial(lead_after, task, first, second, COVERAGE, END)
    return [
        Claim(f"{text} the mean over areas of the best reward", rewards, above(-MARGIN)),
        Claim(f"{text} {named(COVERAGE)}", coverage, above(-MARGIN)),
    ]


def named(metric: str) -> str:
    """A metric in words."""
    return metric if metric == COVERAGE else f"best reward in area {int(metric.removeprefix(AREA)) + 1}"


def plot_tasks(
    frame: pd.DataFrame,
    tasks: Sequence[str],
    groups: Mapping[str, Sequence[str]] = ROWS,
    methods: Mapping[str, Method] = METHODS,
) -> Figure:
    """Coverage and the reward of each area over evaluations, a row of panels for each task and group of methods."""
    present = [(task, names) for task in tasks for names in _shown(frame, task, groups)]
    columns = 1 + max(len(areas(rows(frame, task, name))) for task, names in present for name in names)
    size = (0.8 * WIDTH * columns + 1.6, 0.9 * HEIGHT * len(present))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(present), columns, squeeze=False)
    for panels, (task, names) in zip(grid, present, strict=True):
        _draw_row(panels, frame, task, {name: methods[name] for name in names})
    return figure


def _shown(frame: pd.DataFrame, task: str, groups: Mapping[str, Sequence[str]]) -> list[Sequence[str]]:
    """The groups of whom anybody was run but the first, who is in several; if there is none, the first of anybody."""
    run = {name for names in groups.values() for name in names if len(rows(frame, task, name))}
    there = [names for names in groups.values() if run & set(names)]
    return [names for names in there if run & set(names[1:])] or there[:1]


def _draw_row(panels: Sequence[Axes], frame: pd.DataFrame, task: str, methods: Mapping[str, Method]) -> None:
    found = {name: rows(frame, task, name) for name in methods}
    found = {name: part for name, part in found.items() if len(part)}
    metrics = [COVERAGE, *areas(pd.concat(found.values()))]
    for axis, metric in zip(panels, metrics, strict=False):
        for name, part in found.items():
            draw(axis, part, metric, name, methods[name])
        axis.set_title(named(metric), fontsize=9)
        axis.set_xlabel("evaluations")
        axis.set_ylim(bottom=0)
    for axis in panels[len(metrics) :]:
        axis.set_visible(False)
    panels[0].set_ylabel(TASKS[task].title)
    panels[len(metrics) - 1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)


def draw(axis: Axes, frame: pd.DataFrame, metric: str, name: str, method: Method) -> None:
    """A method's metric over evaluations, with the interval over its runs."""
    places = np.linspace(0, frame.groupby("seed")["evaluations"].max().max(), POINTS + 1)[1:]
    places = places[places >= frame["evaluations"].min()]
    each = values(frame, metric, places)
    table = {"env_steps": np.tile(places, len(each)), "seed": np.repeat(np.arange(len(each)), len(places))}
    line(axis, curve(pd.DataFrame({**table, metric: each.ravel()}), metric), name, method.color)
    axis.lines[-1].set_linestyle(method.style)
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.xaxis.set_major_locator(MaxNLocator(4))
