"""Two rooms and a corridor between them: who explores the building, who stays in one room, and who stays where he is.

Prajapat et al., "Submodular reinforcement learning", ICLR 2024 (arXiv:2307.13372), figure 5a: SubPO-NM, which remembers
where it was, covers both rooms, SubPO-M gets stuck in one, ModPO fails. The paper's numbers are not known to us.

A score is the area covered, as share of the 68 cells there are, all of which can be covered in the 40 of an episode. A
room of 28 cells and the corridor of 12 make 0.59, the dotted line: the two claims that a policy stays in one room, or
covers both, are about its mean score being below or above that.

Beside the paper's methods there are, at the right: to_go's alternatives, which weigh an action by the gain of the next
step alone, by all gains so far without a baseline (as the authors' code does) or by the whole return; PPO on the same
marginal gains; and SubPO-M rewarded by a bonus for each visit, one over the root of how often the episode was in the
cell. The lines across are a uniformly random policy, a planner that looks one step ahead (the mean of 50 plans, ties at
random) and a beam search of width 2,000. Moves are deterministic above and random in a tenth of all steps below; how
random the paper's were, where they were, is not known.

Different here: observations are row, column and time from 0 to 1 (theirs are plain numbers), SubPO subtracts the mean
of the other episodes at the same step, layers are initialised otherwise, and `small` has 300 episodes a batch where the
paper's code has 3,000. All learn at the authors' rate of 0.02 but PPO, which does at 0.001.

`jaxreward evaluate FOLDER/runs/SubPO-M/000 --member 0 --stochastic --render` draws an episode of SubPO-M as an
animation. Which member is whose is in each run's `config.json`; `--seed` and `--key` choose other episodes.
"""

from __future__ import annotations

import functools
from functools import partial
from typing import NamedTuple

import jax
import pandas as pd
from jaxtyping import Array, Float, Key
from matplotlib.figure import Figure

from jaxreward.agents.subpo.parts.planners import beam_search, greedy, replay
from jaxreward.envs import make
from jaxreward.experiments.figures.subpo._common import SLIP, Choice, Method, draw, lead, level, of_slip, scored, subpo
from jaxreward.reproduce.claims import Claim, Scale, above, below
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.reproduce.parts import trainings
from jaxreward.results.charts import HEIGHT, WIDTH
from jaxreward.results.statistics import Estimate
from jaxreward.reward import Reward
from jaxreward.rewards import count_bonus
from jaxreward.run.job import Job, Setup

TASK = "subrl/two_rooms"
STEPS = 39
CELLS = 68
ONE_ROOM = 40 / CELLS
"""A room of 28 cells and the corridor of 12."""
VISITS = "jaxreward.experiments.figures.subpo.rooms:visits"
RANDOM_EPISODES, MYOPIC_PLANS, BEAM = 1_000, 50, 2_000


def visits() -> Reward:
    """One over the root of how often the episode was in a cell."""
    return count_bonus(lambda transition: transition.next_state.env.cell, 7 * 14, scope="episode")


BONUS: Choice = {"agent": "subpo", "reward": VISITS}
PPO: Choice = {"agent": "ppo", "num_steps": STEPS, "discount": 1.0, "learning_rate": 1e-3}
PAPERS = {
    "SubPO-M": subpo(),
    "SubPO-NM": subpo(history="padded"),
    "SubPO-NM, visited": subpo(history="visited"),
    "ModPO": subpo(share=1.0),
}
OTHERS = {
    "SubPO-M": PAPERS["SubPO-M"],
    "next gain alone": subpo(discount=0.0),
    "all gains so far": subpo(estimator="prefix", baseline="none"),
    "whole return": subpo(estimator="return"),
    "PPO": Method(PPO, {"agent": "ppo"}),
    "bonus for visits": Method(BONUS, BONUS),
}
METHODS = PAPERS | OTHERS


class Size(NamedTuple):
    """How much is trained."""

    episodes: int
    epochs: int
    seeds: int
    methods: tuple[str, ...] = tuple(METHODS)


SIZES = {
    "smoke": Size(16, 3, 2, ("SubPO-NM", "bonus for visits")),  # `subpo_grids` trains SubPO-M and ModPO
    "small": Size(300, 140, 6),
    "hour": Size(3000, 140, 20),
    "paper": Size(3000, 140, 20),
}


def data(scale: Scale) -> dict[str, list[Job]]:
    """Each method, without and with random moves."""
    size = SIZES[scale]
    common: Choice = {"env": TASK, "env.instance": 0, "num_envs": size.episodes, "layers": (64, 32)}

    def trained(name: str) -> list[Job]:
        choices = [{**common, "learning_rate": 2e-2, **METHODS[name].settings, "env.env.slip": s} for s in (0.0, SLIP)]
        return trainings(Setup(), choices, steps=size.episodes * STEPS * size.epochs, seeds=size.seeds)

    return {name: trained(name) for name in size.methods}


def scores(frame: pd.DataFrame, slip: float) -> pd.DataFrame:
    """The runs with so many random moves, with the share of all cells that they covered."""
    return of_slip(scored(frame, lambda *_: float(CELLS)), slip)


def score(name: str, frame: pd.DataFrame) -> Estimate:
    """Of a method, where moves are deterministic."""
    return level(scores(frame, 0.0), METHODS[name])


def advantage(first: str, second: str, slip: float, frame: pd.DataFrame) -> Estimate:
    """Of a method over another."""
    return lead(scores(frame, slip), METHODS[first], METHODS[second])


@functools.cache
def references() -> dict[str, float]:
    """What those cover who do not learn, where moves are deterministic: a random policy, and planners."""
    env, params = make(TASK)
    key_random, key_myopic, key_beam = jax.random.split(jax.random.key(0), 3)

    @jax.jit
    def of_chance(key: Key[Array, ""]) -> Float[Array, " N"]:
        actions = jax.random.randint(key, (RANDOM_EPISODES, STEPS), 0, env.num_actions)
        return jax.vmap(lambda each: replay(env, params, key, each)[0].value)(actions)

    random = of_chance(key_random)
    myopic = jax.vmap(lambda key: greedy(env, params, key, STEPS).value)(jax.random.split(key_myopic, MYOPIC_PLANS))
    beam = beam_search(env, params, key_beam, STEPS, BEAM).value
    covered = {"random": random.mean(), "one-step planner": myopic.mean(), "beam search": beam}
    return {name: float(cells) / CELLS for name, cells in covered.items()}


def plot(frame: pd.DataFrame) -> Figure:
    """The share covered over training: the paper's methods and others, without and with random moves."""
    figure = Figure(figsize=(2.4 * WIDTH, 2.6 * HEIGHT), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey=True)
    for row, slip in enumerate((0.0, SLIP)):
        for axis, methods in zip(axes[row], (PAPERS, OTHERS), strict=True):
            draw(axis, scores(frame, slip), methods)
            axis.axhline(ONE_ROOM, color="#777777", linewidth=0.9, linestyle=":", label="one room and corridor")
            axis.set_title(f"{slip:.0%} of moves random" if slip else "deterministic moves", fontsize=9)
        axes[row, 0].set_ylabel("share covered")
    for (name, value), style in zip(references().items(), ((0, (1, 3)), "--", "-."), strict=True):
        axes[0, 0].axhline(value, color="#777777", linewidth=0.9, linestyle=style, label=name)
    for axis, above_it in zip(axes[1], axes[0], strict=True):
        axis.set_xlabel("epoch")
        axis.legend(
            *above_it.get_legend_handles_labels(),
            loc="upper center",
            bbox_to_anchor=(0.5, -0.25),
            ncols=2,
            frameon=False,
        )
    return figure


def claims() -> tuple[Claim, ...]:
    """What the paper says of the building, and that the theorem's estimator is better than the released one."""
    release = "SubPO-M covers more with the theorem's estimator than with the released code's, all gains so far"
    found = [
        Claim("SubPO-NM covers more than a room and the corridor", partial(score, "SubPO-NM"), above(ONE_ROOM)),
        Claim("SubPO-M stays in one room: it covers less than that", partial(score, "SubPO-M"), below(ONE_ROOM)),
        Claim(release, partial(advantage, "SubPO-M", "all gains so far", 0.0), above(0)),
    ]
    for slip, where in ((0.0, ""), (SLIP, ", with random moves")):
        for first, second in (("SubPO-NM", "SubPO-M"), ("SubPO-M", "ModPO"), ("SubPO-NM", "ModPO")):
            text = f"{first} covers more than {second}{where}"
            found.append(Claim(text, partial(advantage, first, second, slip), above(0)))
    return tuple(claim._replace(least="small") for claim in found)


figure = PaperFigure(
    title="Building exploration: two rooms",
    source="Prajapat et al. 2024, arXiv:2307.13372, figure 5a",
    data=data,
    plot=plot,
    claims=claims(),
)
