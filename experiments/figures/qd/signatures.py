"""Where an archive's members are at each moment of their episodes, if novelty is in more than the last position.

Paolo, doctoral thesis, 2022 (arXiv:2203.01027), and a figure stored with the code of STAX (arXiv:2111.01919): novelty
search in collect-ball, its behaviours compared by the last position, by five positions along the episode, or by the
signature of the whole path, without and with time as a further dimension. All members of the final archive are played
again, and what is drawn is the share of 50 x 50 cells in which one of them is at a moment.

The numbers printed beside claims were read off that figure, after 2,500 generations (500,000 evaluations); of how many
runs they are the mean is not known, nor, for certain, the depth of the signatures, which is 5 here. At a fifth of the
episode only a range is known. That signatures and five positions do not differ, for which the authors give a test's p =
0.39, is claimed as a difference within 0.1, a margin of ours.

Point2D is ours; there is no number for it. `small` has it, 50,000 evaluations and 5 seeds, and of collect-ball 125
generations and 3 seeds, which decides none of its claims; `hour` both, 100,000 evaluations and 5 seeds.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, PyTree
from matplotlib.figure import Figure

from jaxreward.agents.quality_diversity.parts.evaluation import Evaluator, make_evaluator
from jaxreward.agents.quality_diversity.parts.exploration import Search
from jaxreward.agents.quality_diversity.parts.space import sampled_steps
from jaxreward.agents.quality_diversity.parts.statistics import BINS, cells_of
from jaxreward.agents.registry import get_agent
from jaxreward.experiments.figures.barfi._common import lead
from jaxreward.experiments.figures.qd._common import (
    BLUE,
    GREEN,
    MARGIN,
    ORANGE,
    READ_OFF,
    RED,
    SMOKE,
    TASKS,
    Method,
    Size,
)
from jaxreward.experiments.figures.qd._searches import computed, searched
from jaxreward.quality_diversity import is_stored
from jaxreward.reproduce.claims import Claim, Scale, above, within
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.reproduce.parts import Computed
from jaxreward.results.charts import HEIGHT, WIDTH, line
from jaxreward.results.curves import curve
from jaxreward.results.statistics import Estimate
from jaxreward.run.spec import Experiment

AGENT = "novelty_search"
LAST, SAMPLES, SIGNATURE, TIMED = "last position", "five positions", "signature", "signature with time"
METHODS = {
    LAST: Method(AGENT, {"behaviour": "final"}, GREEN),
    SAMPLES: Method(AGENT, {"behaviour": "samples", "samples": 5}, ORANGE),
    SIGNATURE: Method(AGENT, {"behaviour": "signature", "depth": 5}, BLUE),
    TIMED: Method(AGENT, {"behaviour": "time_signature", "depth": 5}, RED),
}
AT_END = {LAST: 0.84, SAMPLES: 0.74, SIGNATURE: 0.73, TIMED: 0.70}
"""What the archives' coverage is in the end, as it was read off."""
EARLY, EARLY_NUMBERS = 0.2, f"about 0.42 to 0.48, and 0.36 ({READ_OFF})"
MOMENTS = 25
"""At which an episode is looked at."""
ALL = tuple(METHODS)
SIZES = {
    "smoke": (Size(200, 2, {"point2d": (LAST, SAMPLES)}, SMOKE),),
    "small": (
        Size(50_000, 5, {"point2d": ALL}),
        Size(25_000, 3, {"collect_ball": ALL}),
    ),
    "hour": (Size(100_000, 5, dict.fromkeys(("point2d", "collect_ball"), ALL)),),
    "paper": (Size(500_000, 20, dict.fromkeys(("point2d", "collect_ball"), ALL)),),
}


def data(scale: Scale) -> dict[str, Computed]:
    """The coverage of each seed's archive at each moment."""
    return computed(SIZES[scale], METHODS, moments)


def moments(task: str, name: str, size: Size) -> pd.DataFrame:
    """A row for each seed and moment."""
    experiment, state = searched(task, METHODS[name], size)
    coverage = np.asarray(played_again(experiment, state.search))
    time = np.tile(np.arange(1, MOMENTS + 1) / MOMENTS, len(coverage))
    return pd.DataFrame(
        {"seed": np.repeat(np.arange(len(coverage)), MOMENTS), "time": time, "coverage": coverage.ravel()}
    )


def played_again(experiment: Experiment, search: Search) -> Float[Array, "S M"]:
    """The share of cells in which a member of a seed's archive is, at each moment."""
    config = get_agent(AGENT).Config(**experiment.config["agent_config"])
    watch = lambda _, info: info["descriptor"]  # noqa: E731
    steps = lambda number: sampled_steps(number, MOMENTS)  # noqa: E731
    evaluator = make_evaluator(experiment.env, experiment.env_params, config, watch, steps)
    return jax.jit(lambda search: jax.lax.map(partial(coverage, evaluator, experiment.env_params), search))(search)


def coverage(evaluator: Evaluator, env_params: PyTree, search: Search) -> Float[Array, " M"]:
    """Of one seed."""
    paths = evaluator.evaluate(search.archive.items.genome, env_params, search.start).record
    cells = jax.vmap(partial(cells_of, evaluator.env), 1)(paths)
    there = is_stored(search.archive)[None] & (cells >= 0)
    number = BINS ** paths.shape[-1]
    filled = jax.vmap(lambda row: jnp.zeros(number).at[row].set(1.0, mode="drop"))(jnp.where(there, cells, number))
    return filled.mean(1)


def at(task: str, method: str, time: float, frame: pd.DataFrame) -> Float[np.ndarray, " S"]:
    """Each seed's coverage at a moment."""
    found = frame[(frame["task"] == task) & (frame["method"] == method) & np.isclose(frame["time"], time)]
    return found["coverage"].to_numpy(float)


def lead_at(task: str, first: str, second: str, time: float, frame: pd.DataFrame) -> Estimate:
    """How much greater the first one's coverage is at a moment."""
    return lead(at(task, first, time, frame), at(task, second, time, frame))


def plot(frame: pd.DataFrame) -> Figure:
    """Coverage over the episode, a panel for each task."""
    tasks = list(frame["task"].unique())
    figure = Figure(figsize=(1.2 * WIDTH * len(tasks), 1.2 * HEIGHT), layout="constrained")
    axes = figure.subplots(1, len(tasks), squeeze=False, sharey=True)[0]
    for axis, task in zip(axes, tasks, strict=True):
        for name, method in METHODS.items():
            found = frame[(frame["task"] == task) & (frame["method"] == name)]
            if len(found):
                line(axis, curve(found.assign(env_steps=found["time"]), "coverage"), name, method.color)
        axis.set_title(TASKS[task].title, fontsize=9)
        axis.set_xlabel("time in the episode")
        axis.set_ylim(bottom=0)
        axis.legend(frameon=False, fontsize=8)  # of each: tasks may have other numbers of runs
    axes[0].set_ylabel("coverage of the archive")
    return figure


def claims() -> tuple[Claim, ...]:
    """The order that the authors' figure shows, early and in the end."""
    return (*_claims("collect_ball", "hour", printed=True), *_claims("point2d", "small", printed=False))


def _claims(task: str, least: Scale, printed: bool) -> list[Claim]:
    title = TASKS[task].title
    numbers = lambda one, other: f"{AT_END[one]} and {AT_END[other]} ({READ_OFF})" if printed else ""  # noqa: E731
    found = []
    for name in (SAMPLES, SIGNATURE, TIMED):
        late = f"{title}: in the end the archive by {LAST} covers more than that by {name}: its lead"
        early = f"{title}: at a fifth of the episode the archive by {name} covers more than that by {LAST}: its lead"
        found.append(Claim(late, partial(lead_at, task, LAST, name, 1.0), above(0), numbers(LAST, name), least))
        measure = partial(lead_at, task, name, LAST, EARLY)
        found.append(Claim(early, measure, above(0), EARLY_NUMBERS if printed else "", least))
    same = f"{title}: in the end the archives by {SIGNATURE} and by {SAMPLES} differ by no more than {MARGIN}"
    measure = partial(lead_at, task, SIGNATURE, SAMPLES, 1.0)
    return [*found, Claim(same, measure, within(-MARGIN, MARGIN), numbers(SIGNATURE, SAMPLES), least)]


figure = PaperFigure(
    title="Signatures: the coverage of an archive over the time of its episodes",
    source="Paolo 2022, arXiv:2203.01027, and the code of STAX, arXiv:2111.01919, collect-ball",
    data=data,
    plot=plot,
    claims=claims(),
)
