"""What clipping the probability ratio does for PPO, and by how much to clip it.

Schulman et al., "Proximal policy optimization algorithms", 2017 (arXiv:1707.06347), table 1: scores over seven MuJoCo
tasks, one million steps and three seeds each, normalised so that a random policy has 0 and the best result 1. The paper
has -0.39 without clipping, 0.76 for 0.1, 0.82 for 0.2 and 0.70 for 0.3.

Different here: the tasks at scale `paper` are brax's of the same names but the swimmer, which brax 0.14.2 can't run
with today's JAX, and there are five seeds, as nothing is decided by fewer. Those of `small` are gymnax's with
continuous actions, chosen after CartPole, Acrobot and Pendulum, of which the first was learned perfectly with any
clipping and told nothing. 2,048 steps are collected from 16 environments, not from one. An untrained policy stands for
the random one. A score is the mean return over the last tenth of training, not over the last 100 episodes. A run whose
numbers are not finite counts as the worst of its task. The value loss isn't clipped, nor are gradients, in any variant.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from jaxreward.reproduce.claims import Claim, Scale, above
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.reproduce.parts import trainings
from jaxreward.results.charts import intervals
from jaxreward.results.statistics import Estimate, aggregate_mean, estimate, estimate_difference
from jaxreward.results.tables import final_values
from jaxreward.run.job import Job, Setup
from jaxreward.settings.values import Value

PAPER = {0.1: 0.76, 0.2: 0.82, 0.3: 0.70, math.inf: -0.39}
UNTRAINED = {"clip": 0.2, "learning_rate": 0.0}
SETUP = Setup(
    agent="ppo",
    settings={
        "num_envs": 16,
        "num_steps": 128,
        "num_epochs": 10,
        "num_minibatches": 32,
        "normalise_observations": True,
        "learning_rate": 3e-4,
        "entropy_coefficient": 0.0,
        "value_clip": math.inf,
        "max_grad_norm": math.inf,
    },
)
SMALL = ("Pendulum-v1", "Reacher-misc", "Swimmer-misc")
MUJOCO = ("halfcheetah", "hopper", "inverted_double_pendulum", "inverted_pendulum", "reacher", "walker2d")


class Size(NamedTuple):
    """How much is trained."""

    tasks: tuple[str, ...]
    steps: int
    seeds: int


SIZES = {
    "smoke": Size(("CartPole-v1",), 2048 * 5, 2),
    "small": Size(SMALL, 200_000, 5),
    "hour": Size(SMALL, 1_000_000, 10),
    "paper": Size(tuple(f"brax/{name}" for name in MUJOCO), 1_000_000, 5),
}


def data(scale: Scale) -> dict[str, list[Job]]:
    """Each clipping, and a policy that learns nothing, by task: there they share a program."""
    size = SIZES[scale]
    learners: list[dict[str, Value]] = [{"clip": clip} for clip in PAPER]
    learners.append({**UNTRAINED})
    trained = partial(trainings, SETUP, steps=size.steps, seeds=size.seeds)
    return {task: trained([{"env": task, **learner} for learner in learners]) for task in size.tasks}


def scores(frame: pd.DataFrame) -> pd.DataFrame:
    """Normalised scores: columns `env`, `clip`, `seed`, `score`; the untrained policy is left out."""
    configurations = frame[["run", "member", "seed", "env", "clip", "learning_rate"]].drop_duplicates()
    values = final_values(frame).merge(configurations, on=["run", "member", "seed"])
    values["value"] = values["value"].fillna(values.groupby("env")["value"].transform("min"))
    trained = values["learning_rate"] != UNTRAINED["learning_rate"]
    random = values[~trained].groupby("env")["value"].mean()
    best = values[trained].groupby(["env", "clip"])["value"].mean().groupby("env").max()
    score = (values["value"] - values["env"].map(random)) / values["env"].map(best - random)
    return values.assign(score=score)[trained]


def of_clip(frame: pd.DataFrame, clip: float) -> pd.DataFrame:
    """The scores of one clipping, `[seeds, tasks]`."""
    chosen = frame[frame["clip"].isin([clip])]
    return chosen.pivot_table(index="seed", columns="env", values="score", dropna=False)


def advantage(clip: float, frame: pd.DataFrame) -> Estimate:
    """How much better 0.2 is, in normalised score."""
    normalised = scores(frame)
    ours, other = (of_clip(normalised, each).to_numpy() for each in (0.2, clip))
    return estimate_difference(ours, other, aggregate_mean)


def plot(frame: pd.DataFrame) -> Figure:
    """The mean normalised score of each clipping, over all tasks and on each."""
    normalised = scores(frame)
    tables = {name(clip): of_clip(normalised, clip) for clip in PAPER}
    tasks = {
        task: {key: estimate(table[task].to_numpy(), aggregate_mean) for key, table in tables.items()}
        for task in frame["env"].unique()
    }
    everything = {key: estimate(table.to_numpy(), aggregate_mean) for key, table in tables.items()}
    return intervals({"all tasks": everything, **tasks} if len(tasks) > 1 else tasks, "mean normalised score")


def name(clip: float) -> str:
    """What a clipping is called."""
    return "no clipping" if math.isinf(clip) else f"clip {clip}"


figure = PaperFigure(
    title="PPO with and without clipping",
    source="Schulman et al. 2017, arXiv:1707.06347, table 1",
    data=data,
    plot=plot,
    claims=tuple(
        Claim(
            f"Clipping at 0.2 scores higher than {name(clip)}: difference of mean normalised scores",
            partial(advantage, clip),
            above(0),
            paper=f"{PAPER[0.2]} - {score} = {PAPER[0.2] - score:.2f}".replace("- -", "+ "),
            least="small",
        )
        for clip, score in PAPER.items()
        if clip != 0.2
    ),
)
