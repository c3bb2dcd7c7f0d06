"""What a search leaves: an archive of what is new, and one of what earned.

Paolo et al., "Sparse Reward Exploration via Novelty Search and Emitters", GECCO 2021 (arXiv:2102.03140), and STAX, 2024
(arXiv:2111.01919). Both return two archives. Drawn is where the episodes of their members ended, over the task's own
picture as an episode starts: at the left the archive of novelty, which gets some of each generation drawn at random,
and beside it the archive of rewards, coloured by area. One run of each is drawn; claims are about all.

There are no numbers to compare with; the figure is for looking at. Claimed is only what emitters are for: the archive
of rewards has members from every area, and they earn more than those of novelty's that earn anything. Both are of what
exploration found, and one of what emitters made of it, too. That novelty's is spread wider is no claim, as the archive
of rewards can only be where areas are. `small` has Point2D and the arm with SERENE, 50,000 and 10,000 evaluations, 5
seeds; `hour` Curling too, and 100,000; `paper` all tasks, both methods, and 500,000. An archive of rewards has room for
one in 16 evaluations; what comes later is left out. See `_common` for what the methods have in common.
"""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int, PyTree
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxreward.agents.quality_diversity.parts.genotypes import Genotypes
from jaxreward.envs import make
from jaxreward.experiments.figures.barfi._common import level
from jaxreward.experiments.figures.qd._common import METHODS, ORANGE, SMOKE, TASKS, Size
from jaxreward.experiments.figures.qd._searches import computed, searched
from jaxreward.reproduce.claims import Claim, Scale, above, within
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.reproduce.parts import Computed
from jaxreward.results.charts import COLORS
from jaxreward.results.statistics import Estimate
from jaxreward.run.spec import Experiment

NOVELTY, REWARD = "novelty", "reward"
EXTENTS = {
    "point2d": (-1, 1, -1, 1),
    "arm": (-20 / 360.52, 380 / 360.52, 395 / 360.52, -5 / 360.52),
    "hard_maze": (0, 1, 1, 0),
    "curling": (-1.5, 1.5, -1.5, 1.5),
    "collect_ball": (0, 1, 1, 0),
    "ant_maze": (-0.5, 0.5, -0.5, 0.5),
}
"""Where each task's picture ends in its descriptor's coordinates: left, right, below, above."""
CLAIMED: tuple[tuple[str, str, Scale], ...] = (
    ("point2d", "SERENE", "small"),
    ("arm", "SERENE", "hour"),
    ("arm", "STAX", "paper"),
    ("curling", "SERENE", "hour"),
    ("curling", "STAX", "paper"),
)
PIXELS = 256
BOTH = ("SERENE", "STAX")
SIZES = {
    "smoke": (Size(400, 2, {"point2d": ("SERENE",)}, SMOKE),),
    "small": (Size(50_000, 5, {"point2d": ("SERENE",)}), Size(10_000, 5, {"arm": ("SERENE",)})),
    "hour": (Size(100_000, 5, dict.fromkeys(("point2d", "arm", "curling"), ("SERENE",))),),
    "paper": (Size(500_000, 5, dict.fromkeys(TASKS, BOTH)),),
}


def data(scale: Scale) -> dict[str, Computed]:
    """A row for each member of each archive."""
    return computed(SIZES[scale], METHODS, lambda task, name, size: members(*searched(task, METHODS[name], size)))


def members(experiment: Experiment, state: PyTree) -> pd.DataFrame:
    """Where the members of both archives ended, of all seeds."""
    novel, rewarded = state.search.archive, state.emitters.rewards
    both = {NOVELTY: (novel.items, novel.size), REWARD: (rewarded.items.genotype, rewarded.size)}
    parts = [ends(*archive).assign(archive=name) for name, archive in both.items()]
    return pd.concat(parts, ignore_index=True)


def ends(genotypes: Genotypes, sizes: Int[Array, " S"]) -> pd.DataFrame:
    """A row for each that is stored; leaves of the genotypes are `[S, capacity, ...]`."""
    outcome = jax.tree.map(np.asarray, genotypes.outcome)
    seeds, rows = np.nonzero(np.arange(outcome.area.shape[1]) < np.asarray(sizes)[:, None])
    places = outcome.descriptor[seeds, rows]
    earned = {"area": outcome.area[seeds, rows], "reward": outcome.reward[seeds, rows]}
    return pd.DataFrame({"seed": seeds, "x": places[:, 0], "y": places[:, 1], **earned})


def of(frame: pd.DataFrame, task: str, method: str, archive: str) -> pd.DataFrame:
    """The rows of an archive."""
    return frame[(frame["task"] == task) & (frame["method"] == method) & (frame["archive"] == archive)]


def climbed(task: str, method: str, frame: pd.DataFrame) -> Estimate:
    """How much more the archive of rewards' members earn than novelty's who earn, as a share of these.

    Of each seed, in the mean over areas that have members in both archives; nothing where a seed has no such area.
    """
    means = [_means(of(frame, task, method, name)) for name in (REWARD, NOVELTY)]
    gained = (means[0] / means[1] - 1).groupby("seed").mean()
    seeds = of(frame, task, method, NOVELTY)["seed"].unique()
    return level(gained.reindex(seeds).to_numpy(float))


def _means(frame: pd.DataFrame) -> pd.Series:
    """The mean reward of each seed's members in each area, of those that earned."""
    return frame[(frame["area"] >= 0) & (frame["reward"] > 0)].groupby(["seed", "area"])["reward"].mean()


def areas_met(task: str, method: str, frame: pd.DataFrame) -> Estimate:
    """The share of a task's areas from which the archive of rewards has members, of each seed."""
    seeds = of(frame, task, method, NOVELTY)["seed"].unique()
    found = of(frame, task, method, REWARD)
    met = found[found["area"] >= 0].groupby("seed")["area"].nunique().reindex(seeds, fill_value=0)
    return level(met.to_numpy(float) / make(TASKS[task].env)[0].num_areas) if len(seeds) else level(np.zeros(0))


def plot(frame: pd.DataFrame) -> Figure:
    """A row of pictures for each task, the two archives of each method side by side."""
    tasks = [task for task in TASKS if task in set(frame["task"])]
    columns = [(name, archive) for name in BOTH if name in set(frame["method"]) for archive in (NOVELTY, REWARD)]
    figure = Figure(figsize=(2.5 * len(columns) + 0.6, 2.6 * len(tasks) + 0.4), layout="constrained")
    grid = figure.subplots(len(tasks), len(columns), squeeze=False)
    for row, task in zip(grid, tasks, strict=True):
        row[0].set_ylabel(TASKS[task].title)
        for axis, (name, archive) in zip(row, columns, strict=True):
            draw(axis, task, of(frame, task, name, archive))
    for axis, (name, archive) in zip(grid[0], columns, strict=True):
        axis.set_title(f"{name}, {archive}", fontsize=9)
    return figure


def draw(axis: Axes, task: str, frame: pd.DataFrame) -> None:
    """The first seed's members over the task's picture."""
    axis.imshow(picture(task), extent=EXTENTS[task], alpha=0.6)
    found = frame[frame["seed"] == frame["seed"].min()]
    colors = [COLORS[area] if area >= 0 else ORANGE for area in found["area"]]
    axis.scatter(found["x"], found["y"], s=5, c=colors, linewidths=0)
    axis.axis(EXTENTS[task])
    axis.grid(visible=False)
    axis.set_xticks([])
    axis.set_yticks([])


def picture(task: str) -> Float[np.ndarray, "P P 3"]:
    """A task's own picture as an episode starts."""
    env, params = make(TASKS[task].env)
    _, state = env.reset_env(jax.random.key(0), params)
    return oriented(task, np.asarray(jax.jit(lambda state: env.image(state, params, PIXELS))(state)))


def oriented(task: str, image: Float[np.ndarray, "P P 3"]) -> Float[np.ndarray, "P P 3"]:
    """The picture with the first coordinate to the right: Point2D's has it downwards."""
    return np.rot90(image) if task == "point2d" else image


def claims() -> tuple[Claim, ...]:
    """What the two archives are for."""
    found = []
    for task, name, least in CLAIMED:
        where = f"{TASKS[task].title}, {name}"
        higher = f"{where}: members of the archive of rewards earn more than novelty's who earn, by what share"
        met = f"{where}: the archive of rewards has members from every area, share of them"
        found.append(Claim(higher, partial(climbed, task, name), above(0), least=least))
        found.append(Claim(met, partial(areas_met, task, name), within(1, 1), least=least))
    return tuple(found)


figure = PaperFigure(
    title="The two archives that a search leaves",
    source="Paolo et al. 2021, arXiv:2102.03140, and 2024, arXiv:2111.01919, their archives",
    data=data,
    plot=plot,
    claims=claims(),
)
