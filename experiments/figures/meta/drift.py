"""Which way an objective pushes a policy: by how far it has moved, how good the action was, and how late in life it is.

Jackson et al., "Discovering temporally-aware reinforcement learning algorithms" (ICLR 2024, arXiv:2402.05828): of
TA-LPO, evolved on a single environment, an analysis shows importance ratios clipped differently, and updates becoming
smaller, as a lifetime passes. Beside it are PPO and DPO (Lu et al. 2022, arXiv:2210.05639), for which time does not
pass. Drawn is the slope of what is climbed, `d(r A - D) / dr`, over ratios and advantages: red makes an action
likelier, blue less likely, and white leaves it.

Different here: the paper's body could not be read, so neither its settings nor its numbers are known; what it says is
taken from its abstract, reviews and summaries. TA-LPO is evolved from nothing on Catch, in lifetimes of 20
iterations of 128 steps, where the paper's are those of brax or MinAtar: a lifetime of seconds, which has little room
for a schedule. The size of updates is the mean of the slope's magnitude over the grid, relative to that of `r A`.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, PyTree
from matplotlib.figure import Figure

from jaxreward.agent import Agent, vmap
from jaxreward.agents.baselines import ppo
from jaxreward.agents.meta.lpo_es import Config, Hyperparams, lpo_es
from jaxreward.envs import make
from jaxreward.learning.drifts import get_drift
from jaxreward.learning.objective import Drift, Lifetime
from jaxreward.reproduce.claims import Claim, Scale, above, below, exact
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.reproduce.parts import Computed
from jaxreward.reproduce.work import of_agent
from jaxreward.results.statistics import Estimate, aggregate_mean, estimate

EVOLVED, NAMES = "ta_lpo", {"ppo": "PPO", "dpo": "DPO", "ta_lpo": "TA-LPO"}
TOTAL, TIMES = 20, (0.0, 0.25, 0.5, 0.75, 1.0)
RATIOS, ADVANTAGES = np.linspace(0.41, 2.01, 33), np.linspace(-2, 2, 33)
"""None of the ratios is where clipping begins, where the slope is two numbers."""


HYPERPARAMS = Hyperparams(
    sigma=0.1, sigma_decay=0.998, learning_rate_decay=0.995, b1=0.9, inner=ppo.Hyperparams(learning_rate=0.03)
)


class Size(NamedTuple):
    """How much is evolved.

    Attributes:
        runs: Times that an objective is evolved.
        generations: Of each.
        population: Candidates of each generation.
    """

    runs: int
    generations: int
    population: int


SIZES = {"smoke": Size(2, 2, 4), "small": Size(5, 100, 32), "hour": Size(8, 400, 64), "paper": Size(8, 800, 64)}


def data(scale: Scale) -> Computed:
    """The slope by objective, run, how much of the lifetime has passed, ratio and advantage."""
    size = SIZES[scale]
    one = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], HYPERPARAMS)
    works = lambda: (of_agent(evolution(size), one, size.runs, size.generations),)  # noqa: E731
    return Computed(partial(slopes, size), size, works)


def slopes(size: Size) -> pd.DataFrame:
    """A row for each objective, run and place."""
    fixed = {name: get_drift(name).init(jax.random.key(0)) for name in ("ppo", "dpo")}
    found = [(name, 0, params) for name, params in fixed.items()]
    evolved = jax.device_get(evolve(size))
    found += [(EVOLVED, run, jax.tree.map(lambda leaf, r=run: leaf[r], evolved)) for run in range(size.runs)]
    return pd.concat([table(name, run, params) for name, run, params in found], ignore_index=True)


def evolution(size: Size) -> Agent:
    """What evolves an objective."""
    env, env_params = make("Catch-bsuite")
    config = Config(
        population_size=size.population,
        shaping="pairwise",
        objective=EVOLVED,
        inner_iterations=TOTAL,
        judged_iterations=4,
        num_envs=8,
        num_steps=16,
        layers=(16,),
    )
    return lpo_es(env, env_params, config)


def evolve(size: Size) -> PyTree:
    """Params of objectives, leaves `[runs, ...]`."""
    agent = vmap(evolution(size))
    generation = jax.jit(lambda state: agent.step(state)[0])
    state = jax.jit(agent.init)(jax.random.split(jax.random.key(0), size.runs), HYPERPARAMS)
    for _ in range(size.generations):
        state = generation(state)
    return state.params


def table(name: str, run: int, params: PyTree) -> pd.DataFrame:
    """The slopes of one objective, a row for each point."""
    slopes = jax.jit(partial(slope, name))(params)
    places = pd.MultiIndex.from_product([TIMES, ADVANTAGES, RATIOS], names=["time", "advantage", "ratio"])
    return places.to_frame(index=False).assign(objective=name, seed=run, slope=np.asarray(slopes).reshape(-1))


def slope(name: str, params: PyTree) -> Float[Array, "times advantages ratios"]:
    """`d(r A - D) / dr` on the grid."""
    drift = get_drift(name)

    def climbed(ratio: Array, advantage: Array, time: Array) -> Array:
        life = Lifetime(jnp.round(time * TOTAL).astype(jnp.int32), jnp.asarray(float(TOTAL)))
        return ratio * advantage - drift.apply(params, Drift(ratio, advantage), life)

    over = lambda fn, axis: jax.vmap(fn, [0 if place == axis else None for place in range(3)])  # noqa: E731
    everywhere = over(over(over(jax.grad(climbed), 0), 1), 2)
    return everywhere(jnp.asarray(RATIOS), jnp.asarray(ADVANTAGES), jnp.asarray(TIMES))


def update_size(frame: pd.DataFrame, time: float) -> np.ndarray:
    """How large the evolved updates are at a time, of each run."""
    chosen = frame[(frame["objective"] == EVOLVED) & (frame["time"] == time)]
    size = chosen["slope"].abs().groupby(chosen["seed"]).mean()
    return size.to_numpy() / np.abs(chosen["advantage"]).mean()


def annealed(frame: pd.DataFrame) -> Estimate:
    """By how much updates are smaller at the end than at the start."""
    return estimate(update_size(frame, 0.0) - update_size(frame, 1.0), aggregate_mean)


def changed(objective: str, frame: pd.DataFrame) -> float:
    """The most that a slope at any place changes in a lifetime."""
    slopes = frame[frame["objective"] == objective].groupby(["seed", "advantage", "ratio"])["slope"]
    return float((slopes.max() - slopes.min()).max())


def plot(frame: pd.DataFrame) -> Figure:
    """A row for each objective, the mean over runs, and a column for each time."""
    figure, axes = plt.subplots(
        len(NAMES), len(TIMES), figsize=(9, 6), sharex=True, sharey=True, layout="constrained", squeeze=False
    )
    for row, objective in zip(axes, NAMES, strict=True):
        for axis, time in zip(row, TIMES, strict=True):
            chosen = frame[(frame["objective"] == objective) & (frame["time"] == time)]
            mean = chosen.pivot_table(index="advantage", columns="ratio", values="slope").to_numpy()
            extent = (RATIOS[0], RATIOS[-1], ADVANTAGES[0], ADVANTAGES[-1])
            image = axis.imshow(mean, "RdBu_r", vmin=-2, vmax=2, extent=extent, origin="lower", aspect="auto")
            axis.grid(visible=False)
            axis.set_title(f"{NAMES[objective]}, n/N = {time:g}", fontsize=8)
    figure.supxlabel("ratio r", fontsize=9)
    figure.supylabel("advantage A", fontsize=9)
    figure.colorbar(image, ax=axes, label="d(rA - D)/dr")
    return figure


figure = PaperFigure(
    title="What objectives make of a ratio and an advantage, over a lifetime",
    source="Jackson et al. 2024, arXiv:2402.05828, section 5.3",
    data=data,
    plot=plot,
    claims=(
        Claim(
            "TA-LPO's updates become smaller: their size at the start less that at the end",
            annealed,
            above(0),
            least="small",
        ),
        Claim(
            "PPO and DPO do the same all their life: the most that a slope changes",
            lambda frame: exact(changed("ppo", frame) + changed("dpo", frame)),
            below(1e-6),
        ),
    ),
)
