"""What the figures of average-reward RL share: who learns where, how settings are chosen, what is lost, how drawn.

He, Zhong and Yang, "Sample-efficient learning of infinite-horizon average-reward MDPs with general function
approximation", ICLR 2024 (arXiv:2404.12648), has no experiments; what these figures claim is ours.

All methods have the same budget of tuning: as many settings of the one number that matters most to each, tried in the
same two rivers with seeds that are not used again.

What is lost is the gap regret, the sum of what each action loses against the best one in the long run: the regret
without the luck of rewards and transitions. It is shown as a share of the most that can be lost, the steps times the
difference of the best reward rate and the worst.

All look at each step whether to plan, but UCRL3, whose planning is so dear that it does at each twentieth.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float
from matplotlib.axes import Axes

from jaxreward.agents.loop.parts.world import finite_world
from jaxreward.envs import make
from jaxreward.mdp import TabularMDP, average_policy_iteration
from jaxreward.reproduce.parts import trainings
from jaxreward.results.charts import COLORS
from jaxreward.results.curves import curve
from jaxreward.results.statistics import Estimate, aggregate_mean, estimate, estimate_difference
from jaxreward.run.job import Job, Setup
from jaxreward.settings.values import Value

Choice = dict[str, Value]

NOTHING = Estimate(math.nan, math.nan, math.nan)
LOST, SHARE = "gap_regret", "share"
BLUE, RED, GREEN, PINK, ORANGE, SKY, BLACK = COLORS
SWIM, LONG = "average/river_swim", "average/river_swim?variant=statrl&num_states=25&large=0.99"
TASKS = {
    SWIM: "RiverSwim, 6 states",
    LONG: "RiverSwim, 25 states",
    "average/river_swim?variant=strehl_littman": "RiverSwim of Strehl and Littman",
    "average/jump_river_swim": "JumpRiverSwim",
    "average/six_arms": "SixArms",
    "average/access_control": "access control",
}
TUNED_IN = (SWIM, LONG)
LARGE = (LONG, "average/access_control")
"""Of many states."""
FIRST_TUNING_SEED = 1_000
"""Tuning has this seed and those after it; final runs those from 0."""


ROWS = 40
"""Of a run's metrics."""


class Method(NamedTuple):
    """Somebody who learns.

    Attributes:
        agent: See `jaxreward.run.job.Setup`.
        settings: Of its own.
        searched: The number that is tuned, and what is tried.
        color: Of its line.
        style: Of its line.
        dear: Whether its planning takes too long in many states for a figure of minutes.
    """

    agent: str
    settings: Choice
    searched: tuple[str, tuple[float, ...]]
    color: str
    style: Literal["-", "--", ":"] = "-"
    dear: bool = False

    def choices(self) -> list[Choice]:
        """What is tried."""
        name, values = self.searched
        return [{**self.settings, name: value} for value in values]

    def rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Its rows of a table of metrics."""
        chosen = frame["agent"] == self.agent
        for name, value in self.settings.items():
            column = name
            chosen = chosen & (frame[column] == value if column in frame else False)
        return frame[chosen]


_DELTA = ("delta", (0.01, 0.05, 0.2, 0.8))
_PSEUDO = ("regularisation", (0.03, 0.1, 0.3, 1.0))
METHODS = {
    "LOOP (ell)": Method("loop", {"planner": "ell"}, _PSEUDO, BLUE),
    "LOOP (box)": Method("loop", {"planner": "box"}, _PSEUDO, SKY),
    "UCRL2": Method("ucrl2", {}, _DELTA, RED),
    "UCRL2B": Method("ucrl2b", {}, _DELTA, ORANGE),
    "UCRL3": Method("ucrl3", {"steps_per_check": 20}, _DELTA, PINK, dear=True),
    "KL-UCRL": Method("kl_ucrl", {}, _DELTA, RED, "--"),
    "PSRL": Method("psrl", {}, ("prior_following", (0.003, 0.01, 0.03, 0.1)), GREEN),
    "IMED-RL": Method("imed_rl", {}, ("offset", (0.0, 0.3, 0.7, 1.0)), GREEN, "--"),
    "optimistic Q": Method("optimistic_q", {}, ("bonus", (0.01, 0.03, 0.1, 0.3)), BLACK),
    "differential Q": Method("differential_q", {}, ("step_size", (0.01, 0.03, 0.1, 0.3)), BLACK, "--"),
    "RVI Q": Method("rvi_q", {}, ("exploration", (0.01, 0.03, 0.1, 0.3)), BLACK, ":"),
}


def trained(choices: Sequence[Choice], steps: int, seeds: range, folder: str) -> list[Job]:
    """The jobs of choices, in a folder."""
    common = Setup(settings={"num_steps": steps // ROWS})
    jobs = trainings(common, choices, steps=steps, seeds=len(seeds), log_every=1)
    return [replace(job, folder=Path(folder) / job.folder, seeds=tuple(seeds)) for job in jobs]


@functools.cache
def most_lost(task: str, steps: int) -> float:
    """The steps times the difference of the best and the worst reward rate there is.

    Args:
        task: Its name.
        steps: How many are taken.

    Raises:
        ValueError: It is less than twice the noise of the sum of so many rewards: nobody could be told from anybody.
    """
    env, params = make(task)
    world = finite_world(env, params, "a comparison of regrets")
    mdp = world.mdp(params)
    best, negative_worst = extreme_gains(mdp)
    most = steps * float(best + negative_worst)
    width = np.ptp(np.asarray(mdp.reward)[np.asarray(mdp.transition) > 0])
    noise = width / 2 * math.sqrt(steps)  # no reward in a range has a larger standard deviation
    if most < 2 * noise:
        raise ValueError(
            f"{steps} steps of {task} lose at most {most:.3g}, and their rewards have a noise of {noise:.3g}: expected "
            "more than twice that, in more steps or another task"
        )
    return most


@jax.jit
def extreme_gains(mdp: TabularMDP) -> Float[Array, " 2"]:
    """The best reward rate of an MDP, and that of the one that pays the negative."""
    signed = jnp.stack([mdp.reward, -mdp.reward])
    return jax.vmap(lambda reward: average_policy_iteration(mdp._replace(reward=reward)).gain.max())(signed)


def final(frame: pd.DataFrame, metric: str) -> Float[np.ndarray, " runs"]:
    """What a metric ends with, by seed."""
    return (
        frame.loc[frame.groupby(["run", "member", "seed"])["iteration"].idxmax()].sort_values("seed")[metric].to_numpy()
    )


def with_share(frame: pd.DataFrame) -> pd.DataFrame:
    """A table of metrics with what was lost by then as a share of the most that all steps can lose."""
    most = {task: most_lost(str(task), int(steps)) for task, steps in frame.groupby("env")["env_steps"].max().items()}
    return frame.assign(share=frame[LOST] / frame["env"].map(most))


def shares(frame: pd.DataFrame, task: str, method: str) -> Float[np.ndarray, " seeds"]:
    """What a method lost in a task, by seed."""
    rows = METHODS[method].rows(frame[frame["env"] == task])
    return final(with_share(rows), SHARE) if len(rows) else np.zeros(0)


def lead(task: str, first: str, second: str, frame: pd.DataFrame) -> Estimate:
    """How much less the first one loses; nothing if one has no runs."""
    less, more = shares(frame, task, first), shares(frame, task, second)
    return estimate_difference(more, less, aggregate_mean) if len(less) and len(more) else NOTHING


def mean(values: Float[np.ndarray, " runs"]) -> Estimate:
    """Of runs; nothing if there are none."""
    return estimate(values, aggregate_mean) if len(values) else NOTHING


def draw(axis: Axes, frame: pd.DataFrame, name: str, metric: str = LOST) -> None:
    """A method's line, its interval shaded."""
    method = METHODS[name]
    drawn = curve(frame, metric)
    axis.plot(drawn.steps, drawn.mean, method.style, color=method.color, linewidth=1.4, label=name)
    axis.fill_between(drawn.steps, drawn.low, drawn.high, color=method.color, alpha=0.15, linewidth=0)
