"""What the figures of behaviour alignment share: who learns, how settings are chosen, how good they are, how drawn.

Gupta et al., Behavior Alignment via Reward Function Optimization, NeurIPS 2023 (arXiv:2310.19007). All methods have the
same budget of tuning, which the authors' had not: as many configurations, drawn at random, each trained with as many
seeds and episodes. The best by its mean final return, of the primary reward, is trained again with seeds that no
configuration was tried with; these runs alone are drawn and decide claims.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from jaxreward.experiments.figures.subpo._common import NOTHING, Choice
from jaxreward.reproduce.claims import Claim, above
from jaxreward.reproduce.parts import Stages
from jaxreward.results.charts import COLORS, HEIGHT, WIDTH, line
from jaxreward.results.curves import curve
from jaxreward.results.statistics import Estimate, aggregate_mean, estimate, estimate_difference
from jaxreward.results.tables import final_values
from jaxreward.run.job import Job, Setup
from jaxreward.settings.space import Choice as OneOf
from jaxreward.settings.space import Space, choice_of

RETURN = "episode/env_return"
"""Of the primary reward."""
FIRST_FRESH_SEED = 1_000
"""Final runs have this seed and those after it."""
STARTS = {"auxiliary": OneOf((0.0, 1.0))}
"""Whether LIRPG's policy learns from the auxiliary reward as well; in its paper there is none."""
KEPT: Choice = {"discount_learning_rate": 0.0}
"""BARFI without a learned discount, all else as it was tuned."""
BLUE, RED, GREEN, PINK, ORANGE, SKY, BLACK = COLORS


class Method(NamedTuple):
    """Somebody who learns.

    Attributes:
        agent: See `jaxreward.run.job.Setup`.
        reward: See there.
        searched: What of a task's ranges it is tuned in, those that it has.
        settings: Of its own, beside the task's.
        color: Of its line.
        style: Of its line.
    """

    agent: str
    reward: str
    searched: tuple[str, ...]
    settings: Choice
    color: str
    style: Literal["-", "--"] = "-"


FROM_THE_SUM = "BARFI, from the sum"
"""BARFI whose reward starts as the naive sum in place of a random one: what does it lose by unlearning its warm-up?"""
_POLICY = ("learning_rate", "entropy_coefficient")
_PHI = (*_POLICY, "reward_learning_rate", "reward_penalty")
_DISCOUNT = ("discount_learning_rate", "discount_penalty", "alpha")
_ACTOR = ("learning_rate", "value_learning_rate")
_TD: Choice = {"weight": "td_error", "entropy_coefficient": 0.0}
_UNROLLED: Choice = {"solver": "unrolled", "discount_learning_rate": 0.0, "max_grad_norm": 1.0}
_ONLINE = (*_POLICY, "reward_learning_rate")
_RMSPROP: Choice = {"optimiser": "rmsprop"}
METHODS = {
    "BARFI": Method("barfi", "environment", (*_PHI, *_DISCOUNT), {}, BLUE),
    FROM_THE_SUM: Method("barfi", "environment", (*_PHI, *_DISCOUNT), {"initial": "sum"}, SKY),
    "BARFI, unrolled": Method("barfi", "environment", _PHI, _UNROLLED, BLUE, "--"),
    "naive sum": Method("reinforce", "auxiliary", _POLICY, {}, RED),
    "naive sum, actor-critic": Method("reinforce", "auxiliary", _ACTOR, _TD, RED, "--"),
    "primary only": Method("reinforce", "environment", _POLICY, {}, BLACK),
    "potential": Method("reinforce", "auxiliary_potential", _POLICY, {}, GREEN),
    "potential, actor-critic": Method("reinforce", "auxiliary_potential_kept", _ACTOR, _TD, GREEN, "--"),
    "LIRPG": Method("lirpg", "environment", (*_ONLINE, "auxiliary"), _RMSPROP, PINK),
    "BiPaRS": Method("bipars", "environment", _ONLINE, _RMSPROP, ORANGE),
}
MAIN = ("BARFI", "BARFI, unrolled", "naive sum", "primary only")
OTHERS = tuple(name for name in METHODS if name not in MAIN)
"""Those that are drawn in the upper row and, beside BARFI, in the lower one."""


class Task(NamedTuple):
    """An environment with one of its auxiliary rewards, and what is known of learning there.

    Attributes:
        title: Of its panel.
        env: See `jaxreward.envs.make`.
        num_steps: Of the longest episode.
        ranges: What is searched.
        settings: By agent what its methods have here, where they have something.
    """

    title: str
    env: str
    num_steps: int
    ranges: Space
    settings: Mapping[str, Choice]


class Size(NamedTuple):
    """How much is trained.

    Attributes:
        episodes: By task, of each run, while tuning and in the end.
        configurations: Tried of each method on each task.
        tuning_seeds: Each of them with so many.
        seeds: Of the final runs.
        methods: By task, who learns there.
    """

    episodes: Mapping[str, int]
    configurations: int
    tuning_seeds: int
    seeds: int
    methods: Mapping[str, tuple[str, ...]]


def run_name(task: str, method: str) -> str:
    """What the folder of a method's runs on a task is called."""
    return re.sub(r"\W+", "-", f"{task} {method}").replace("_", "-")


def candidates(tasks: Mapping[str, Task], size: Size) -> list[Job]:
    """All configurations of all methods on all tasks, a program for each method on a task."""
    return [_candidates(task, tasks[task], name, size) for task in tasks for name in size.methods.get(task, ())]


def _candidates(key: str, task: Task, name: str, size: Size) -> Job:
    method = METHODS[name]
    setup = Setup(
        method.agent,
        task.env,
        method.reward,
        {"num_steps": task.num_steps, **task.settings.get(method.agent, {}), **method.settings},
    )
    space = {name: prior for name, prior in {**task.ranges, **STARTS}.items() if name in method.searched}
    steps = size.episodes[key] * task.num_steps
    members, seeds = draws(space, size.configurations), tuple(range(size.tuning_seeds))
    return Job(setup, Path("tuning") / run_name(key, name), steps, members, seeds)


def draws(space: Space, number: int) -> tuple[Choice, ...]:
    """Configurations drawn at random; of a name that two spaces share in equal ranges they draw the same."""
    import optuna  # takes seconds, which listing figures should not

    from jaxreward.search.samplers import make_sampler

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=make_sampler("random", 0, number, {}))
    optuna.logging.set_verbosity(verbosity)
    return tuple(choice_of(space, study.ask()) for _ in range(number))


def methods(
    tasks: Mapping[str, Task], size: Size, others: Mapping[str, Sequence[Choice]] | None = None
) -> dict[str, Stages]:
    """The stages of each method by its name, see `stages`."""

    def alone(name: str) -> Size:
        return size._replace(methods={task: (name,) for task, names in size.methods.items() if name in names})

    learning = {name for names in size.methods.values() for name in names}
    return {name: stages(tasks, alone(name), others) for name in METHODS if name in learning}


def stages(tasks: Mapping[str, Task], size: Size, others: Mapping[str, Sequence[Choice]] | None = None) -> Stages:
    """Tunes all methods, unless there is one configuration, and then trains each as it was best.

    Where nothing was trained, to plan what would be, it is the first.

    Args:
        tasks: By name.
        size: How much.
        others: By run name, what else is set when the best configuration is trained again: a member for each, the first
            of which is the one that `rows` finds.
    """
    jobs = candidates(tasks, size)
    chosen = [job.members[0] for job in jobs]
    if size.configurations > 1 and (tuned := (yield jobs)) is not None:
        chosen = [best(tuned, job) for job in jobs]
    seeds = tuple(range(FIRST_FRESH_SEED, FIRST_FRESH_SEED + size.seeds))
    final = []
    for job, choice in zip(jobs, chosen, strict=True):
        members = tuple({**choice, **other} for other in (others or {}).get(job.folder.name, ({},)))
        final.append(replace(job, folder=Path("final") / job.folder.name, members=members, seeds=seeds))
    return final


def best(tuned: pd.DataFrame, job: Job) -> Choice:
    """The member with the highest mean over seeds of the return in the last tenth; one with a failed seed is none."""
    values = final_values(tuned[tuned["run"] == job.folder.name], RETURN)
    means = values.groupby("member")["value"].agg(lambda each: each.mean(skipna=False))
    return job.members[int(means.fillna(-math.inf).to_numpy().argmax())]


def rows(frame: pd.DataFrame, task: str, method: str) -> pd.DataFrame:
    """A method's rows of the final table, as it was tuned."""
    return frame[(frame["run"] == run_name(task, method)) & (frame["member"] == 0)]


def final(frame: pd.DataFrame, task: str, method: str) -> Float[np.ndarray, " R"]:
    """What each run of a method returned in its last tenth; nothing if there are none."""
    found = rows(frame, task, method)
    return final_values(found, RETURN)["value"].to_numpy(float) if len(found) else np.zeros(0)


def throughout(frame: pd.DataFrame, task: str, method: str) -> Float[np.ndarray, " R"]:
    """What each run of a method returned on average over all its episodes; nothing if there are none."""
    return _over_all_episodes(rows(frame, task, method))


def _over_all_episodes(found: pd.DataFrame) -> Float[np.ndarray, " R"]:
    counted = found.assign(weighted=found[RETURN] * found["episode/count"]).groupby(["member", "seed"])
    return (counted["weighted"].sum(min_count=1) / counted["episode/count"].sum()).to_numpy(float)


def level(values: Float[np.ndarray, " R"]) -> Estimate:
    """The mean over runs; nothing if there are none."""
    return estimate(values, aggregate_mean) if len(values) else NOTHING


def lead(first: Float[np.ndarray, " R"], second: Float[np.ndarray, " S"]) -> Estimate:
    """How much higher the first mean is; nothing if there are no runs of one."""
    return estimate_difference(first, second, aggregate_mean) if len(first) and len(second) else NOTHING


def final_level(task: str, method: str, frame: pd.DataFrame) -> Estimate:
    """A method's mean final return."""
    return level(final(frame, task, method))


def final_lead(task: str, first: str, second: str, frame: pd.DataFrame) -> Estimate:
    """How much higher the first one's mean final return is."""
    return lead(final(frame, task, first), final(frame, task, second))


def lead_throughout(task: str, first: str, second: str, frame: pd.DataFrame) -> Estimate:
    """How much higher the first one's mean return over all episodes is."""
    return lead(throughout(frame, task, first), throughout(frame, task, second))


def keeps_discount(frame: pd.DataFrame) -> pd.Series:
    """Which rows are of members that were trained beside the tuned one with `KEPT`."""
    if "discount_learning_rate" not in frame:
        return pd.Series(False, frame.index)
    return (frame["member"] > 0) & (frame["discount_learning_rate"] == 0)


def lead_of_learned_discount(task: str, frame: pd.DataFrame) -> Estimate:
    """How much higher BARFI's mean return over all episodes is than with its discount kept, seed by seed."""
    kept = frame[(frame["run"] == run_name(task, "BARFI")) & keeps_discount(frame)]
    learned = throughout(frame, task, "BARFI")
    if kept.empty or not len(learned):
        return NOTHING
    return estimate_difference(learned, _over_all_episodes(kept), aggregate_mean, paired=True)


def helps_to_learn(task: str, hint: str) -> Claim:
    """That BARFI's discount does something for it.

    That it falls would be no claim: the penalty on it sees to that whatever is learned, and without one it stays.
    """
    text = f"BARFI earns more with the discount that it learns than with 0.99, {hint}: what it adds to its mean return"
    return Claim(text, partial(lead_of_learned_discount, task), above(0), takes=("BARFI",))


def not_worse_from_the_sum(task: str, margin: float, hint: str) -> Claim:
    """That BARFI keeps what its warm-up has taught it if its reward starts as the naive sum."""
    text = f"BARFI that starts as the naive sum is not worse than it by more than {margin:g}, {hint} (ours): its lead"
    return Claim(text, partial(final_lead, task, FROM_THE_SUM, "naive sum"), above(-margin))


def plot_tasks(frame: pd.DataFrame, tasks: Mapping[str, Task], label: str) -> Figure:
    """Learning curves, a column for each task."""
    figure = Figure(figsize=(1.1 * WIDTH * len(tasks) + 1.9, 2 * HEIGHT), layout="constrained")
    axes = figure.subplots(2, len(tasks), sharex="col", sharey=True, squeeze=False)
    draw_rows(figure, axes, frame, {name: task.title for name, task in tasks.items()}, label)
    return figure


def draw_rows(figure: Figure, axes: np.ndarray, frame: pd.DataFrame, titles: Mapping[str, str], label: str) -> None:
    """Learning curves in two rows of panels `[2, tasks]`: the main methods above, the others below beside BARFI."""
    for row, methods in zip(axes, (MAIN, ("BARFI", *OTHERS)), strict=True):
        for axis, task in zip(row, titles, strict=True):
            draw(axis, frame, task, methods)
            axis.set_visible(bool(axis.lines))
        row[0].set_ylabel(label)
        _legend(row)
    for axis, title in zip(axes[0], titles.values(), strict=True):
        axis.set_title(title, fontsize=9)
    for axis in axes[1]:
        axis.set_xlabel("episodes")


def draw(axis: Axes, frame: pd.DataFrame, task: str, methods: Sequence[str], metric: str = RETURN) -> None:
    """A learning curve for each method that was trained, with the interval over its seeds."""
    for name in methods:
        found = rows(frame, task, name)
        if found.empty:
            continue
        played = found.sort_values("iteration").groupby(["member", "seed"])["episode/count"].cumsum()
        line(axis, curve(found.assign(env_steps=played), metric), name, METHODS[name].color)
        axis.lines[-1].set_linestyle(METHODS[name].style)
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.xaxis.set_major_locator(MaxNLocator(5))


def _legend(row: Sequence[Axes]) -> None:
    """Names all lines of a row of panels at its right end."""
    named = {label: handle for axis in row for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    row[-1].legend(list(named.values()), list(named), loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
