"""What the presets of MinAtar (Young and Tian 2019, arXiv:1903.03176) learn, at ten million steps.

The returns that PPO is measured with are those by which Goldie et al. ("How should we meta-learn reinforcement learning
algorithms?", 2025) divide theirs in these games, as their code has them: PPO's own after ten million steps.
`small` has a tenth of the steps of Breakout alone, and decides none of these claims; `hour` has all of PPO's there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from jaxreward.experiments.figures.baselines._presets import Size, jobs, panels, result
from jaxreward.reproduce.claims import Claim, Scale, above
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.run.job import Job
from jaxreward.run.preset import list_presets

PUBLISHED = {"asterix": 15.04, "breakout": 50.08, "freeway": 61.84, "space_invaders": 167.09}
"""What PPO comes to, by the authors' code."""
SHARE = 0.9
"""Of that, which is as good; ours."""
TITLES = {
    "Breakout-MinAtar": "Breakout",
    "Asterix-MinAtar": "Asterix",
    "Freeway-MinAtar": "Freeway",
    "SpaceInvaders-MinAtar": "Space Invaders",
}
PRESETS = tuple(name for name in list_presets() if name.startswith("minatar/"))
BREAKOUT = tuple(name for name in PRESETS if "breakout" in name)
SIZES = {
    "smoke": Size(("minatar/breakout-ppo",), 2, 0.0002, {"num_envs": 2, "num_steps": 16, "layers": (4,)}),
    "small": Size(BREAKOUT, 5, 0.1),
    "hour": Size(("minatar/breakout-ppo",), 5),
    "paper": Size(PRESETS, 16),
}


def data(scale: Scale) -> dict[str, Sequence[Job]]:
    """Each preset's runs."""
    return jobs(SIZES[scale])


def plot(frame: pd.DataFrame) -> Figure:
    """Learning curves, a panel for each game."""
    return panels(TITLES, frame)


def claims() -> tuple[Claim, ...]:
    """PPO does as well as published."""
    return tuple(
        Claim(
            f"{game.replace('_', ' ')}: PPO's return is above {SHARE} of the published one",
            partial(result, f"minatar/{game}-ppo"),
            above(SHARE * value),
            f"{value} (the authors' code)",
            "hour" if game == "breakout" else "paper",
        )
        for game, value in PUBLISHED.items()
    )


figure = PaperFigure(
    title="Presets of MinAtar",
    source="Goldie et al. 2025, the code, by whose returns of PPO it is measured; the experiment is ours",
    data=data,
    plot=plot,
    claims=claims(),
)
