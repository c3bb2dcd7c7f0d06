"""A race car that is paid for its progress, and one that is paid for where it is: who finishes the lap.

Prajapat et al., "Submodular reinforcement learning", ICLR 2024 (arXiv:2307.13372), figure 5b: SubPO finishes, ModPO
gets stuck. The paper's numbers are not known to us. A score is the share of the lap that is behind the car where an
episode ends, by leaving the track, at the finish or after 700 steps; it is measured on the episodes that are learned
from.

SubPO is the actor-critic of the authors' code: one gradient step for each batch of 8 episodes, generalised advantages
(0.99 and 0.95). ModPO is the same with the code's modular reward, the distance from the start at each step in place of
the progress of the step. PPO learns from the rewards of SubPO. Actions are executed as chosen in the left panel, with
Gaussian noise of 0.1 in the right one; what noise there was in the paper is not known.

Different here: the track is a generated one. The code's entropy bonus of 0.01 is of the mean over two actions, which is
0.005 of their sum. `small` is for a laptop: policy and value are memoryless (the code has a GRU, but the state hides no
more than the yaw rate) with two layers of 64 tanh units, Adam's step size is 0.004 (0.01), and there are 900 iterations
(10,001), for SubPO and ModPO alike. `paper` has the code's numbers, its GRU one layer that policy and value share. PPO
has its usual settings, and fewer steps as it needs fewer.

To see a lap: `jaxreward evaluate FOLDER/runs/SubPO/000 --member 0 --render`.
"""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from jaxreward.experiments.figures.subpo._common import Choice
from jaxreward.experiments.figures.subpo._continuous import Size, draw, jobs, lead, level
from jaxreward.reproduce.claims import Claim, Scale, above, below
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.results.charts import HEIGHT, WIDTH
from jaxreward.results.statistics import Estimate
from jaxreward.reward import Reward, Transition
from jaxreward.rewards.beside import beside
from jaxreward.rewards.sets import modular
from jaxreward.run.job import Job, Setup

LAP = "episode/lap"
NOISES = (0.0, 0.1)


def progress_paid() -> Reward:
    """Marginal gains or the modular reward; the share of the lap is logged beside it."""
    return beside(modular(), lap=lap)


def lap(transition: Transition) -> Float[Array, ""]:
    """The share of the lap that is behind the car, where its episode ends."""
    return jnp.where(transition.terminated | transition.truncated, transition.info["progress"], 0.0)


REWARD = f"{__name__}:progress_paid"
SUBPO = Setup(
    agent="subpo",
    env="subrl/car",
    reward=REWARD,
    settings={
        "num_envs": 8,
        "num_steps": 700,
        "estimator": "gae",
        "discount": 0.99,
        "gae_lambda": 0.95,
        "entropy_coefficient": 0.005,
    },
)
LAPTOP: Choice = {"layers": (64, 64), "activation": "tanh", "learning_rate": 4e-3}
AUTHORS: Choice = {"history": "gru", "memory": 128, "layers": (), "learning_rate": 1e-2}
PPO = Setup(agent="ppo", env="subrl/car", reward=REWARD, settings={"num_envs": 32, "num_steps": 64})
ITERATION = 8 * 700
SIZES = {
    "smoke": Size(LAPTOP, {"subpo": 2 * ITERATION}, 2),
    "small": Size(LAPTOP, {"subpo": 900 * ITERATION, "ppo": 1_500_000}, 5),
    "hour": Size(LAPTOP, {"subpo": 3_000 * ITERATION, "ppo": 1_500_000}, 8),
    "paper": Size(AUTHORS, {"subpo": 10_001 * ITERATION, "ppo": 5_000_000}, 20),
}


def data(scale: Scale) -> dict[str, list[Job]]:
    """Each method, without and with noise; the least scale does without PPO, which takes as long to compile."""
    return jobs(SUBPO, PPO, SIZES[scale], [{"env.noise": noise} for noise in NOISES])


def of_noise(noise: float, frame: pd.DataFrame) -> pd.DataFrame:
    """The runs with so much noise."""
    return frame[np.isclose(frame["env.noise"], noise)]


def reached(name: str, noise: float, frame: pd.DataFrame) -> Estimate:
    """A method's mean share of the lap at the end of training."""
    return level(name, LAP, of_noise(noise, frame))


def advantage(noise: float, frame: pd.DataFrame) -> Estimate:
    """How much more of the lap SubPO has than ModPO."""
    return lead("SubPO", "ModPO", LAP, of_noise(noise, frame))


def plot(frame: pd.DataFrame) -> Figure:
    """The share of the lap over training."""
    figure = Figure(figsize=(2 * WIDTH + 2, 1.1 * HEIGHT), layout="constrained")
    axes = figure.subplots(1, len(NOISES), sharey=True)
    for axis, noise in zip(axes, NOISES, strict=True):
        draw(axis, of_noise(noise, frame), LAP)
        axis.set_title(f"noise of {noise} on the actions" if noise else "no noise", fontsize=9)
        axis.set_ylim(-0.02, 1.05)
    axes[0].set_ylabel("share of the lap")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


figure = PaperFigure(
    title="Car racing: who finishes the lap",
    source="Prajapat et al. 2024, arXiv:2307.13372, figure 5b",
    data=data,
    plot=plot,
    claims=(
        Claim(
            "SubPO finishes the lap: its mean share of it", partial(reached, "SubPO", 0.0), above(0.9), least="small"
        ),
        Claim("ModPO gets stuck: its mean share of the lap", partial(reached, "ModPO", 0.0), below(0.5), least="small"),
        Claim(
            "SubPO gets further than ModPO, in shares of the lap",
            partial(advantage, 0.0),
            above(0),
            least="small",
            takes=("SubPO", "ModPO"),
        ),
        Claim(
            "SubPO gets further than ModPO where actions are noisy",
            partial(advantage, 0.1),
            above(0),
            least="small",
            takes=("SubPO", "ModPO"),
        ),
    ),
)
