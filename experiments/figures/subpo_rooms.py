"""Two rooms and a corridor between them: who explores the building, who stays in one room, and who stays where he is.

Prajapat et al., "Submodular reinforcement learning", ICLR 2024 (arXiv:2307.13372), figure 5a: SubPO-NM, which remembers
where it was, covers both rooms, SubPO-M gets stuck in one, ModPO fails. The paper's numbers are not known to us.

A score is the area covered, as share of the 68 cells there are, all of which can be covered in the 40 of an episode.
Beside the paper's methods there are: a policy that sees which cells it visited; the gain of the next step alone, all
gains so far (as in the authors' code) and the whole return in place of what follows an action; PPO on the same
marginal gains; and a bonus for each visit that falls with their number. Moves are deterministic in the upper panel,
random in a tenth of all steps in the lower one.

Different here: observations are row, column and time from 0 to 1 (theirs are plain numbers), SubPO subtracts the mean
of the other episodes at the same step, layers are initialised otherwise, and `small` has 500 episodes a batch where the
paper's code has 3,000.

To see a method's walk: `jaxreward evaluate FOLDER/runs/000 --member 0 --render`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from jaxreward.agents.subpo.planners import beam_search, greedy
from jaxreward.charts import HEIGHT, WIDTH
from jaxreward.claims import Claim, Scale, above, below
from jaxreward.envs import make
from jaxreward.experiments.figures._subpo import SLIP, Choice, Method, draw, lead, level, subpo
from jaxreward.job import Job, Setup
from jaxreward.reproduce import PaperFigure, trainings
from jaxreward.reward import Reward
from jaxreward.rewards import count_bonus
from jaxreward.statistics import Estimate

TASK = "subrl/two_rooms"
CELLS = 68
ONE_ROOM = 40 / CELLS
"""A room of 28 cells and the corridor of 12."""
VISITS = "jaxreward.experiments.figures.subpo_rooms:visits"


def visits() -> Reward:
    """One over the root of how often the episode was in a cell."""
    return count_bonus(lambda transition: transition.next_state.env.cell, 7 * 14, scope="episode")


PPO: Choice = {"agent": "ppo", "num_steps": 39, "num_epochs": 4, "discount": 1.0, "max_grad_norm": 0.5}
METHODS = {
    "SubPO-M": subpo(),
    "SubPO-NM": subpo(history="padded"),
    "SubPO-NM, visited": subpo(history="visited"),
    "ModPO": subpo(share=1.0),
    "gain of the next step": subpo(discount=0.0),
    "all gains so far": subpo(estimator="prefix", baseline="none"),
    "whole return": subpo(estimator="return"),
    "PPO": Method(PPO, {"agent": "ppo"}),
    "bonus for visits": Method({"agent": "subpo", "reward": VISITS}, {"agent": "subpo", "reward": VISITS}),
}


class Size(NamedTuple):
    """How much is trained."""

    episodes: int
    epochs: int
    seeds: int
    methods: tuple[str, ...] = tuple(METHODS)


SIZES = {
    "smoke": Size(16, 3, 2, ("SubPO-M", "SubPO-NM", "ModPO", "bonus for visits")),
    "small": Size(500, 140, 10),
    "paper": Size(3000, 140, 20),
}


def data(scale: Scale) -> Sequence[Job]:
    """Each method, without and with random moves."""
    size = SIZES[scale]
    common: Choice = {"env": TASK, "num_envs": size.episodes, "layers": (64, 32)}
    rates: dict[str, Choice] = {"subpo": {"learning_rate": 2e-2}, "ppo": {"learning_rate": 1e-3}}
    choices = [
        {**common, **rates[str(method.settings["agent"])], **method.settings, "env.env.slip": slip}
        for method in (METHODS[name] for name in size.methods)
        for slip in (0.0, SLIP)
    ]
    return trainings(Setup(), choices, steps=size.episodes * 39 * size.epochs, seeds=size.seeds)


def of_slip(frame: pd.DataFrame, slip: float) -> pd.DataFrame:
    """The runs with so many random moves."""
    return frame[np.isclose(frame["env.env.slip"], slip)]


def all_cells(frame: pd.DataFrame) -> pd.Series:
    """What counts as 1."""
    return pd.Series(float(CELLS), frame.index)


def score(name: str, frame: pd.DataFrame) -> Estimate:
    """Of a method, where moves are deterministic."""
    return level(of_slip(frame, 0.0), METHODS[name], all_cells)


def advantage(first: str, second: str, frame: pd.DataFrame) -> Estimate:
    """Of a method over another, where moves are deterministic."""
    return lead(of_slip(frame, 0.0), METHODS[first], METHODS[second], all_cells)


@functools.cache
def planned() -> dict[str, float]:
    """What planners cover that know the building: the one that looks a step ahead, on average, and a beam search."""
    env, params = make(TASK)
    myopic = jax.vmap(lambda key: greedy(env, params, key, 39).value)(jax.random.split(jax.random.key(0), 50))
    beam = beam_search(env, params, jax.random.key(0), 39, 1000).value
    return {"myopic planner": float(myopic.mean()) / CELLS, "beam search": float(beam) / CELLS}


def plot(frame: pd.DataFrame) -> Figure:
    """The share of the building that is covered, over training."""
    figure = Figure(figsize=(1.5 * WIDTH + 2, 2 * HEIGHT), layout="constrained")
    axes = figure.subplots(2, sharex=True, sharey=True)
    for axis, slip in zip(axes, (0.0, SLIP), strict=True):
        draw(axis, of_slip(frame, slip), METHODS, all_cells)
        axis.set_title(f"{slip:.0%} of moves random" if slip else "deterministic", fontsize=9)
        axis.set_ylabel("share covered")
        axis.axhline(ONE_ROOM, color="#bbbbbb", linewidth=0.8, linestyle=":")
    for (name, value), style in zip(planned().items(), ("--", "-."), strict=True):
        axes[0].axhline(value, color="#777777", linewidth=0.9, linestyle=style, label=name)
    axes[-1].set_xlabel("environment steps")
    axes[-1].xaxis.set_major_formatter(EngFormatter(sep=""))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


figure = PaperFigure(
    title="Building exploration: two rooms",
    source="Prajapat et al. 2024, arXiv:2307.13372, figure 5a",
    data=data,
    plot=plot,
    claims=(
        Claim(
            "SubPO-NM leaves the first room: it covers more than one room and the corridor",
            partial(score, "SubPO-NM"),
            above(ONE_ROOM),
            least="small",
        ),
        Claim(
            "SubPO-M stays in one room: it covers less than that room and the corridor",
            partial(score, "SubPO-M"),
            below(ONE_ROOM),
            least="small",
        ),
        Claim("SubPO-NM covers more than SubPO-M", partial(advantage, "SubPO-NM", "SubPO-M"), above(0), least="small"),
        Claim("SubPO-M covers more than ModPO", partial(advantage, "SubPO-M", "ModPO"), above(0), least="small"),
        Claim("SubPO-NM covers more than ModPO", partial(advantage, "SubPO-NM", "ModPO"), above(0), least="small"),
        Claim(
            "What follows an action says more of it than all gains so far, which the released code weighs it by",
            partial(advantage, "SubPO-M", "all gains so far"),
            above(0),
            least="small",
        ),
    ),
)
