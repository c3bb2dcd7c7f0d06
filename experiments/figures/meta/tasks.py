"""PPO by the objectives that were discovered, on MinAtar and on brax.

Lu et al., "Discovered policy optimisation" (NeurIPS 2022, arXiv:2210.05639): LPO, evolved, and DPO, a closed form read
off it, learn more than PPO's clipping on tasks they were not made for. Jackson et al. (ICLR 2024, arXiv:2402.05828):
TA-LPO, which knows how much of training has passed, learns more than LPO.

Different here: the papers' bodies could not be read, so their curves are not known. Theirs were evolved on brax and on
MinAtar, in lifetimes of millions of steps; LPO and TA-LPO are here those that come with the package, evolved in
lifetimes of 2,560 steps of Catch: whether such ones serve elsewhere is what this shows. All have the settings of PPO's
presets, and were not tuned. `small` has a tenth of the steps of Breakout, and nothing of brax.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from jaxreward.experiments.figures.baselines import _presets as presets
from jaxreward.experiments.figures.baselines import minatar
from jaxreward.experiments.figures.baselines._presets import RETURN, Size
from jaxreward.reproduce.claims import Claim, Scale, above
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.results.charts import COLORS, HEIGHT, WIDTH, line
from jaxreward.results.curves import curve
from jaxreward.results.statistics import NOTHING, Estimate, aggregate_mean, estimate_difference
from jaxreward.run.job import Job
from jaxreward.run.preset import list_presets

NAMES = {"ppo": "PPO", "dpo": "DPO", "lpo_catch": "LPO", "ta_lpo_catch": "TA-LPO"}
BREAKOUT = "minatar/breakout-ppo"
ALL = tuple(name for name in list_presets() if name.endswith("-ppo") and name.startswith(("minatar/", "brax/")))
SIZES = {
    "smoke": minatar.SIZES["smoke"],
    "small": Size((BREAKOUT,), 5, 0.1),
    "hour": Size((BREAKOUT,), 5, 0.3),
    "paper": Size(ALL, 8),
}


def data(scale: Scale) -> dict[str, Sequence[Job]]:
    """Each task with each objective; at `smoke` with two of them, since each is a program."""
    objectives = list(NAMES)[:2] if scale == "smoke" else list(NAMES)
    return {NAMES[name]: with_objective(SIZES[scale], name) for name in objectives}


def with_objective(size: Size, name: str) -> list[Job]:
    """Every task with an objective."""
    jobs = [presets.job_of(preset, size) for preset in size.presets]
    return [
        replace(job, setup=job.setup.replace({"objective": name}), folder=Path(f"{index:03d}"))
        for index, job in enumerate(jobs)
    ]


def lead(preset: str, first: str, second: str, frame: pd.DataFrame) -> Estimate:
    """How much higher the return of the first objective is at the end; nothing if one was not run."""
    rows = presets.rows(frame, preset)
    if not {first, second} <= set(rows.get("objective", ())):
        return NOTHING
    one, other = (presets.final(rows[rows["objective"] == name]) for name in (first, second))
    return estimate_difference(one, other, aggregate_mean)


def plot(frame: pd.DataFrame) -> Figure:
    """Return over steps, a panel for each task."""
    tasks = list(frame["env"].unique())
    figure = Figure(figsize=(WIDTH * len(tasks) + 1.2, 1.2 * HEIGHT), layout="constrained")
    for axis, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        for (objective, title), color in zip(NAMES.items(), COLORS, strict=False):
            rows = frame[(frame["env"] == task) & (frame["objective"] == objective)]
            if len(rows):
                line(axis, curve(rows, RETURN), title, color)
        axis.set_title(task, fontsize=9)
    axis.legend(frameon=False, fontsize=7)
    figure.supxlabel("environment steps", fontsize=9)
    figure.supylabel("return", fontsize=9)
    return figure


def claims() -> tuple[Claim, ...]:
    """Which objective is above which, in each task."""
    pairs = (("dpo", "ppo"), ("lpo_catch", "ppo"), ("ta_lpo_catch", "lpo_catch"))
    return tuple(
        Claim(
            f"{preset.removesuffix('-ppo')}: {NAMES[first]} ends with a higher return than {NAMES[second]}",
            partial(lead, preset, first, second),
            above(0),
            least="small" if preset == BREAKOUT else "paper",
            takes=(NAMES[first], NAMES[second]),
        )
        for preset in ALL
        for first, second in pairs
    )


figure = PaperFigure(
    title="PPO by objectives that were discovered",
    source="Lu et al. 2022, arXiv:2210.05639, and Jackson et al. 2024, arXiv:2402.05828",
    data=data,
    plot=plot,
    claims=claims(),
)
