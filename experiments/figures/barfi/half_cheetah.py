"""A cheetah that is to run, and is charged for its effort: as much as is good for it, and four times as much.

Gupta et al., "Behavior Alignment via Reward Function Optimization", NeurIPS 2023 (arXiv:2310.19007), HalfCheetah. The
paper's numbers are not known to us, and returns are no measure of theirs: the physics are brax's, not MuJoCo's. The
primary reward is the forward velocity, the auxiliary one minus the squared norm of the action. Charged four times over,
it is better for the naive sum to stand still.

Methods, and how they are tuned, are as in `barfi_gridworld`. Here the alignment reward has two numbers, an addition and
the auxiliary reward's weight, which start at the naive sum; the discount is fixed; the policy is Gaussian with a layer
of 32; gradients are scaled down to a norm of 1; returns have a baseline, the batch's mean (the authors' code has a
running one). The implicit gradient is of all of the policy's params, in their code of its last layer's.

`small` has 200 steps an episode in place of 1,000, 240 episodes in place of 10,000, and the methods of the first row
alone: it shows that they run, and no claim is decided by it.
"""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from jaxreward.experiments.figures.barfi._common import (
    MAIN,
    METHODS,
    Size,
    Task,
    final,
    final_lead,
    lead,
    methods,
    plot_tasks,
)
from jaxreward.experiments.figures.subpo._common import Choice
from jaxreward.reproduce.claims import Claim, Scale, above
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.reproduce.parts import Stages
from jaxreward.results.statistics import Estimate
from jaxreward.settings.space import Choice as OneOf
from jaxreward.settings.space import Space, Uniform

WEIGHTS = {"one": 1.0, "four": 4.0}
RANGES: Space = {
    "learning_rate": Uniform(3.75e-5, 2e-4, log=True),
    "value_learning_rate": Uniform(3.75e-5, 2e-3, log=True),
    "reward_learning_rate": Uniform(1.25e-3, 5e-3, log=True),
    "reward_penalty": OneOf((1.0, 2.0)),
    "alpha": Uniform(2.5e-4, 2e-3, log=True),
}
LAYER: Choice = {"layers": (32,), "entropy_coefficient": 0.0}
ADAM: Choice = {**LAYER, "optimiser": "adam"}
BARFI: Choice = {
    "learned": "numbers",
    "primary": "fixed",
    "buffer": 50,
    "warm_up": 35,
    "warm_up_updates": False,
    "first_rounds": 2,
    "baseline": "mean",
    "discount_learning_rate": 0.0,
    "discount_penalty": 0.0,
    "max_grad_norm": 1.0,
}


def tasks(steps: int) -> dict[str, Task]:
    """With each weight of the auxiliary reward."""
    settings: dict[str, Choice] = {"barfi": {**ADAM, **BARFI}, "reinforce": ADAM, "lirpg": LAYER, "bipars": LAYER}
    env = f"barfi/half_cheetah?max_steps_in_episode={steps}&scale="
    return {
        name: Task(f"charged {weight:.0f} times the squared action", f"{env}{weight}", steps, RANGES, settings)
        for name, weight in WEIGHTS.items()
    }


ALL = dict.fromkeys(WEIGHTS, tuple(METHODS))
SIZES = {
    "smoke": Size({"four": 45}, 1, 1, 2, {"four": ("BARFI", "naive sum")}),
    "small": Size(dict.fromkeys(WEIGHTS, 240), 4, 1, 4, dict.fromkeys(WEIGHTS, MAIN)),
    "hour": Size(dict.fromkeys(WEIGHTS, 1_000), 4, 1, 5, dict.fromkeys(WEIGHTS, MAIN)),
    "paper": Size(dict.fromkeys(WEIGHTS, 10_000), 20, 5, 15, ALL),
}
STEPS = {"smoke": 10, "small": 200, "hour": 200, "paper": 1_000}


def data(scale: Scale) -> dict[str, Stages]:
    """Tunes all methods with each weight, and trains them."""
    return methods(tasks(STEPS[scale]), SIZES[scale])


def plot(frame: pd.DataFrame) -> Figure:
    """The distance run, in the units of the primary reward, over episodes."""
    return plot_tasks(frame, tasks(STEPS["paper"]), "primary return")


def not_worse(frame: pd.DataFrame) -> Estimate:
    """BARFI's final return, less 0.95 times that of the naive sum, charged once."""
    return lead(final(frame, "one", "BARFI"), 0.95 * final(frame, "one", "naive sum"))


figure = PaperFigure(
    title="HalfCheetah: charged for its effort, once and four times over",
    source="Gupta et al. 2023, arXiv:2310.19007, HalfCheetah",
    data=data,
    plot=plot,
    claims=(
        Claim(
            "BARFI ends above the naive sum, charged four times over",
            partial(final_lead, "four", "BARFI", "naive sum"),
            above(0),
            least="paper",
        ),
        Claim(
            "BARFI has at least 0.95 of the naive sum's return, charged once",
            not_worse,
            above(0),
            least="paper",
            takes=("BARFI", "naive sum"),
        ),
    ),
)
