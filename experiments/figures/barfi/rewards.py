"""What BARFI's reward becomes in the grid world: what it adds where, what the auxiliary reward counts there.

Gupta et al., "Behavior Alignment via Reward Function Optimization", NeurIPS 2023 (arXiv:2310.19007); see
`barfi_gridworld` for the task. The learned reward is the primary one plus `x_0(s) + x_aux(s) r_aux`, both linear in the
state's features and drawn at random at first, so that they are about zero on average. Until episode 155 the policy
learns from the naive sum, and nothing changes in the maps.

Maps are means over seeds, at 33 x 33 places. The box in the middle is where the bad auxiliary reward is paid, the one
in the corner is the goal. Below is the learned discount, with 95% intervals of its mean.

Settings are those of the authors' code, not tuned: all steps 0.005, discount penalty 0.25, no penalty on the reward.
That it learns to pay less for what misleads is claimed here as a change, not as a number: `x_aux` in the box at the
end, less what it was at the start. That the discount falls is no claim, as the penalty on it sees to that; which of the
two auxiliary rewards it falls further with is decided by what is learned. `small` has half of the authors' 40 seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, PyTree
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jaxreward.agent import vmap
from jaxreward.envs.barfi.box_world import GOAL
from jaxreward.envs.barfi.tasks import BONUS_BOX, FEATURES
from jaxreward.experiments.figures.subpo._common import NOTHING
from jaxreward.reproduce.claims import Claim, Scale, above, below
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.reproduce.parts import Computed
from jaxreward.reproduce.work import Work, of_agent
from jaxreward.results.charts import COLORS, line
from jaxreward.results.curves import curve
from jaxreward.results.statistics import Estimate, aggregate_mean, estimate, estimate_difference
from jaxreward.run.spec import Experiment, resolve

TASKS = ("bad", "good")
MAPS = {"added": "x_0", "auxiliary": "x_aux"}
"""In the order of the alignment reward's params."""
DISCOUNT, IN_BOX = "discount", "auxiliary in the box"
POINTS = 33
DELTA = 3
"""Episodes of an iteration."""


class Size(NamedTuple):
    """How much is trained.

    Attributes:
        tasks: With which auxiliary rewards.
        iterations: From one snapshot to the next.
        snapshots: After the first one.
        seeds: How many.
    """

    tasks: tuple[str, ...]
    iterations: int
    snapshots: int
    seeds: int


SIZES = {
    "smoke": Size(("bad",), 30, 2, 2),
    "small": Size(("bad", "good"), 167, 4, 20),
    "hour": Size(("bad", "good"), 167, 4, 40),
    "paper": Size(("bad", "good"), 167, 4, 40),
}


def places() -> Float[Array, "P 2"]:
    """The grid of positions, x varying fastest."""
    axis = jnp.linspace(0.0, 1.0, POINTS)
    y, x = jnp.meshgrid(axis, axis, indexing="ij")
    return jnp.stack([x.ravel(), y.ravel()], 1)


def learned(params: PyTree) -> Float[Array, "S 2 P"]:
    """`x_0` and `x_aux` at all places, of each seed's alignment reward."""
    features = jax.vmap(FEATURES["gridworld"])(places())
    return jnp.einsum("skf,pf->skp", params["weights"], features) + params["bias"][:, :, None]


def data(scale: Scale) -> dict[str, Computed]:
    """Maps (means over seeds), `x_aux` in the box and the discount (of each seed), by episodes; by task."""
    size = SIZES[scale]
    return {task: Computed(partial(table, task, size), size, partial(works, task, size)) for task in size.tasks}


def table(task: str, size: Size) -> pd.DataFrame:
    """The rows of one task."""
    return pd.concat(list(trained(task, size)), ignore_index=True).assign(task=task)


def made(task: str) -> Experiment:
    """What is trained on a task."""
    return resolve("barfi", f"barfi/gridworld?auxiliary={task}", settings={"primary": "fixed"})


def works(task: str, size: Size) -> tuple[Work, ...]:
    """What that takes."""
    experiment, iterations = made(task), size.iterations * size.snapshots
    steps = experiment.steps_per_iteration
    return (of_agent(experiment.agent, experiment.hyperparams, size.seeds, iterations, steps),)


def trained(task: str, size: Size) -> Iterator[pd.DataFrame]:
    """The rows of one task, as training goes on."""
    experiment = made(task)
    agent = vmap(experiment.agent)

    @jax.jit
    def go_on(state: PyTree) -> tuple[PyTree, Float[Array, "T S"]]:
        state, metrics = jax.lax.scan(lambda now, _: agent.step(now), state, None, size.iterations)
        return state, metrics["outer/discount"]

    state = jax.jit(agent.init)(jax.vmap(jax.random.key)(jnp.arange(size.seeds)), experiment.member(0))
    yield snapshot(state.params.aligned.reward, 0)
    for number in range(size.snapshots):
        state, discount = go_on(state)
        iteration = number * size.iterations + 1 + np.arange(size.iterations)
        yield by_seed(DISCOUNT, DELTA * iteration, np.asarray(discount))
        yield snapshot(state.params.aligned.reward, DELTA * int(iteration[-1]))


def snapshot(params: PyTree, episodes: int) -> pd.DataFrame:
    """The maps after some episodes, and `x_aux` in the box."""
    values = np.asarray(learned(params))
    x, y = np.asarray(places()).T
    maps = zip(MAPS, values.mean(0), strict=True)
    rows = [pd.DataFrame({"quantity": name, "x": x, "y": y, "value": value}) for name, value in maps]
    (left, bottom), (right, top) = BONUS_BOX
    in_box = (x >= left) & (x <= right) & (y >= bottom) & (y <= top)
    box = by_seed(IN_BOX, np.array([episodes]), values[:, 1, in_box].mean(-1)[None])
    return pd.concat([part.assign(episodes=episodes) for part in (*rows, box)], ignore_index=True)


def by_seed(quantity: str, episodes: np.ndarray, values: Float[np.ndarray, "T S"]) -> pd.DataFrame:
    """A row for each time and seed."""
    seeds = np.tile(np.arange(values.shape[1]), len(values))
    times = np.repeat(episodes, values.shape[1])
    return pd.DataFrame({"quantity": quantity, "episodes": times, "seed": seeds, "value": values.ravel()})


def of(frame: pd.DataFrame, task: str, quantity: str) -> pd.DataFrame:
    """The rows of a task's quantity."""
    return frame[(frame["task"] == task) & (frame["quantity"] == quantity)]


def by_time(frame: pd.DataFrame, task: str, quantity: str) -> Float[np.ndarray, "T S"]:
    """A task's quantity at each time it was measured, of each seed."""
    return of(frame, task, quantity).pivot(index="episodes", columns="seed", values="value").to_numpy(float)


def change(task: str, quantity: str, frame: pd.DataFrame) -> Estimate:
    """By how much a quantity has risen in the end, the mean over seeds; nothing where it was not measured."""
    table = by_time(frame, task, quantity)
    return estimate(table[-1] - table[0], aggregate_mean) if len(table) else NOTHING


def discount_gap(frame: pd.DataFrame) -> Estimate:
    """How much lower the discount ends with the good auxiliary reward than with the bad one; penalties are the same."""
    good, bad = (by_time(frame, task, DISCOUNT) for task in ("good", "bad"))
    return estimate_difference(bad[-1], good[-1], aggregate_mean) if len(good) and len(bad) else NOTHING


def plot(frame: pd.DataFrame) -> Figure:
    """A row of maps for each task and part of its reward, a column for each snapshot; the discounts below."""
    tasks = [task for task in TASKS if task in set(frame["task"])]
    times = sorted(of(frame, tasks[0], "added")["episodes"].unique())
    heights = (1.6 * len(tasks) * len(MAPS), 2.2)
    figure = Figure(figsize=(1.6 * len(times) + 1.4, sum(heights)), layout="constrained")
    above, below_it = figure.subfigures(2, 1, height_ratios=heights, squeeze=False)[:, 0]
    axes = above.subplots(len(tasks) * len(MAPS), len(times), sharex=True, sharey=True, squeeze=False)
    rows = [(task, name) for task in tasks for name in MAPS]
    for row, (task, name) in zip(axes, rows, strict=True):
        image = draw_maps(row, of(frame, task, name), times)
        above.colorbar(image, ax=list(row), aspect=12)
        row[0].set_ylabel(f"{MAPS[name]}, {task}")
    for axis, time in zip(axes[0], times, strict=True):
        axis.set_title(f"{time} episodes" if time == times[0] else str(time), fontsize=9)
    draw_discounts(below_it.subplots(), frame, tasks)
    return figure


def draw_maps(row: np.ndarray, frame: pd.DataFrame, times: list[int]) -> object:
    """One part of the reward at all times, on one scale whose middle is zero."""
    limit = frame["value"].abs().max()
    for axis, time in zip(row, times, strict=True):
        table = frame[frame["episodes"] == time].pivot(index="y", columns="x", values="value").to_numpy()
        image = axis.imshow(
            table, origin="lower", extent=(0, 1, 0, 1), cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest"
        )
        axis.grid(visible=False)
        axis.set_xticks([])
        axis.set_yticks([])
        for (left, bottom), (right, top) in (BONUS_BOX, GOAL):
            axis.add_patch(Rectangle((left, bottom), right - left, top - bottom, fill=False, linewidth=0.8))
    return image


def draw_discounts(axis: Axes, frame: pd.DataFrame, tasks: list[str]) -> None:
    """The learned discount over training."""
    for task, color in zip(tasks, COLORS, strict=False):
        found = of(frame, task, DISCOUNT)
        every_tenth = found[(found["episodes"] // DELTA) % 10 == 0]
        line(axis, curve(every_tenth.assign(env_steps=every_tenth["episodes"]), "value"), task, color)
    axis.set_xlabel("episodes")
    axis.set_ylabel("learned discount")
    axis.legend(title="auxiliary reward", loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)


tells_hints_apart = Claim(
    "The learned discount ends lower with the good auxiliary reward than with the bad one: by how much",
    discount_gap,
    above(0),
)
ignores = Claim(
    "The bad auxiliary reward comes to count less where it is paid: how its weight there changes",
    partial(change, "bad", IN_BOX),
    below(0),
)

figure = PaperFigure(
    title="What BARFI's reward becomes in the grid world",
    source="Gupta et al. 2023, arXiv:2310.19007, the learned reward in the grid world",
    data=data,
    plot=plot,
    claims=tuple(claim._replace(least="small") for claim in (tells_hints_apart, ignores)),
)
