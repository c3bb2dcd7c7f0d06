"""An ant that is paid for what it newly covers of its arena, and one that is paid for where it is.

Prajapat et al., "Submodular reinforcement learning", ICLR 2024 (arXiv:2307.13372), figure 5c: SubPO covers the arena,
ModPO stays where it is. The paper's numbers are not known to us. A score is the number of cells, of 10,000, that are
covered where an episode ends; it is measured on the episodes that are learned from.

SubPO is the actor-critic of the authors' code: one gradient step for each batch of episodes of 400 steps, generalised
advantages (0.99 and 0.95). ModPO is the same with the modular reward, what the position alone would cover, which is the
same nearly everywhere: there is nothing to be gained by going. The authors' code pays it all that is covered so far, at
each step (`subrl/ant?modular=covered`), which is not modular. PPO learns from the rewards of SubPO.

Different here: brax's ant on springs in place of MuJoCo's. The code's entropy bonus of 0.01 is of the mean over eight
actions, which is 0.00125 of their sum. There is no noise on the actions, as brax has none. `small` is for a laptop,
whose two cores step the ant 15,000 times a second: 8 episodes a batch (the code has 15) and 100 iterations (20,001),
with two layers of 64 tanh units, for SubPO and ModPO alike, and half the steps for PPO. That is too short to show what
the paper does: most ants have learned nothing yet. `paper` has the code's numbers.

To see what is covered: `jaxreward evaluate FOLDER/runs/SubPO/000 --member 0 --render`.
"""

from __future__ import annotations

from functools import partial

import pandas as pd
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from jaxreward.experiments.figures.subpo._common import Choice
from jaxreward.experiments.figures.subpo._continuous import Size, draw, jobs, lead, level
from jaxreward.reproduce.claims import Claim, Scale, above, below
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.results.charts import HEIGHT, WIDTH
from jaxreward.reward import Reward, Transition
from jaxreward.rewards.beside import beside
from jaxreward.rewards.sets import modular
from jaxreward.run.job import Job, Setup

CELLS = "episode/cells"
STAYS = 300
"""Cells, 3 % of the arena: what is covered by an ant that doesn't go anywhere is less."""


def coverage_paid() -> Reward:
    """Marginal gains or the modular reward; the newly covered cells are logged beside it."""
    return beside(modular(), cells=cells)


def cells(transition: Transition) -> Float[Array, ""]:
    """The cells that are newly covered; the reward is a tenth for each."""
    return 10 * transition.reward


REWARD = f"{__name__}:coverage_paid"
SUBPO = Setup(
    agent="subpo",
    env="subrl/ant",
    reward=REWARD,
    settings={
        "num_steps": 400,
        "estimator": "gae",
        "discount": 0.99,
        "gae_lambda": 0.95,
        "entropy_coefficient": 0.00125,
        "learning_rate": 1e-2,
    },
)
LAPTOP: Choice = {"num_envs": 8, "layers": (64, 64), "activation": "tanh"}
AUTHORS: Choice = {"num_envs": 15, "layers": (128, 128), "activation": "relu"}
PPO = Setup(agent="ppo", env="subrl/ant", reward=REWARD, settings={"num_envs": 16, "num_steps": 128})


SIZES = {
    "smoke": Size(LAPTOP, {"subpo": 2 * 8 * 400}, 2),
    "small": Size(LAPTOP, {"subpo": 100 * 8 * 400, "ppo": 50 * 8 * 400}, 6),
    "hour": Size(LAPTOP, {"subpo": 500 * 8 * 400, "ppo": 250 * 8 * 400}, 6),
    "paper": Size(AUTHORS, {"subpo": 20_001 * 15 * 400, "ppo": 20_001 * 15 * 400}, 20),
}


def data(scale: Scale) -> dict[str, list[Job]]:
    """Each method; the least scale does without PPO, whose program would take longer to compile than all the rest."""
    return jobs(SUBPO, PPO, SIZES[scale])


def plot(frame: pd.DataFrame) -> Figure:
    """The covered cells over training."""
    figure = Figure(figsize=(1.5 * WIDTH + 1, 1.2 * HEIGHT), layout="constrained")
    axis = figure.subplots()
    draw(axis, frame, CELLS)
    axis.axhline(STAYS, color="#bbbbbb", linewidth=0.8, linestyle=":", label="3 % of the arena")
    axis.set_ylim(bottom=0)
    axis.set_ylabel("covered cells")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


figure = PaperFigure(
    title="An ant that is to cover its arena",
    source="Prajapat et al. 2024, arXiv:2307.13372, figure 5c",
    data=data,
    plot=plot,
    claims=(
        Claim(
            "SubPO covers more than ModPO: difference in cells",
            partial(lead, "SubPO", "ModPO", CELLS),
            above(0),
            least="small",
        ),
        Claim(
            "ModPO stays where it is: the cells it covers, of 10,000",
            partial(level, "ModPO", CELLS),
            below(STAYS),
            least="paper",  # below, no ant goes anywhere
        ),
    ),
)
