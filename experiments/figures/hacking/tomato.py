"""Tomatoes and a bucket: what a policy truly earns by how strongly it is kept near a safe one.

Laidlaw, Singhal and Dragan, "Correlated proxies: a new definition and improved mitigation for reward hacking" (ICLR
2025, arXiv:2403.03185), the tomato gridworld: PPO learns from the proxy, which the bucket deceives, and is kept near a
reference by what both visit, or by how both act. Strengths of the first are multiples of what the paper's bound gives,
`sd sqrt(1 - correlation^2)` of the proxy under the reference, from exact tables; those of the second have no such unit,
and are multiples of 0.01 here.

Different here: the reference acts uniformly, where the authors have a policy that was trained a little on the true
reward; at `small` networks have 2 x 64 units and runs 80 iterations of 4 epochs, at `paper` 4 x 512 and 500 of 8. True
returns are means over the last tenth of a run, with actions sampled. Where methods are compared each seed is taken at
the strength that is best for the other seeds, so that none is judged by what it was chosen by. The paper's numbers are
not known to us: claims are of their sign.
"""

from __future__ import annotations

import functools
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Key, PyTree
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxreward.agent import Agent
from jaxreward.envs import make
from jaxreward.envs.hacking.tomato_values import Returns, exact_returns, optimal_policy, steps_of, visits
from jaxreward.reproduce.claims import Claim, Scale, above, below
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.reproduce.parts import Computed
from jaxreward.reproduce.work import Work, of_agent
from jaxreward.results.charts import COLORS, HEIGHT, WIDTH
from jaxreward.results.statistics import NOTHING, Estimate, aggregate_mean, estimate, estimate_difference
from jaxreward.run.spec import Experiment, resolve

TASK = "hacking/tomato"
VISITS, VISITS_KL, ACTIONS = "visits, root of chi-squared", "visits, KL", "actions, KL"
METHODS: dict[str, dict[str, Any]] = {
    VISITS: {"regularise": "occupancy", "divergence": "sqrt_chi2"},
    VISITS_KL: {"regularise": "occupancy", "divergence": "kl"},
    ACTIONS: {"regularise": "actions", "divergence": "kl"},
}
OF_ACTIONS = 1e-2
MULTIPLES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
COMMON = {"num_envs": 30, "num_steps": 100, "clip": 0.05, "gae_lambda": 0.98, "learning_rate": 1e-3}
"""The authors' numbers, as far as they are known."""


class Size(NamedTuple):
    """How much is trained.

    Attributes:
        seeds: Runs of each method at each strength.
        iterations: Of each run.
        settings: Of the agent.
        multiples: Strengths.
        methods: Which ones.
    """

    seeds: int
    iterations: int
    settings: dict[str, Any]
    multiples: tuple[float, ...] = MULTIPLES
    methods: tuple[str, ...] = tuple(METHODS)


SIZES = {
    "smoke": Size(2, 2, {"layers": (4,), "num_envs": 2, "num_minibatches": 1, "num_epochs": 1}, (0.0, 1.0), (VISITS,)),
    "small": Size(5, 80, {"num_minibatches": 10, "num_epochs": 4, "discriminator_updates": 32}),
    "hour": Size(10, 200, {"num_minibatches": 10, "num_epochs": 4, "discriminator_updates": 32}),
    "paper": Size(
        10,
        500,
        {"layers": (512,) * 4, "num_minibatches": 24, "num_epochs": 8, "max_grad_norm": 0.1, "value_coefficient": 0.01}
        | {"discriminator_layers": (256, 256), "discriminator_updates": 64},
    ),
}


class Known(NamedTuple):
    """What is known exactly.

    Attributes:
        reference: Returns of the uniform policy.
        best: Those of a policy that maximises the true reward.
        unit: The strength that the bound gives.
    """

    reference: Returns
    best: Returns
    unit: float


@functools.cache
def known() -> Known:
    """From tables of all cells and sets of watered tomatoes."""
    env, params = make(TASK)
    uniform = np.full((1, env.num_cells, 1 << env.num_tomatoes, env.num_actions), 1 / env.num_actions)
    share, steps = visits(env, params, uniform), steps_of(env, params)
    covariance = np.cov(steps.true.ravel(), steps.proxy.ravel(), aweights=share.ravel(), ddof=0)
    unexplained = covariance[1, 1] - covariance[0, 1] ** 2 / covariance[0, 0]
    best = exact_returns(env, params, optimal_policy(env, params, proxy=False))
    return Known(exact_returns(env, params, uniform), best, float(np.sqrt(unexplained)))


def data(scale: Scale) -> dict[str, Computed]:
    """A row for each method, strength and seed: columns `true` and `proxy`, and what is known exactly in each row."""
    size = SIZES[scale]
    return {name: Computed(partial(trained, name, size), size, partial(works, name, size)) for name in size.methods}


def made_of(name: str, size: Size) -> Experiment:
    """A method with all strengths."""
    strengths = np.array(size.multiples) * (OF_ACTIONS if name == ACTIONS else known().unit)
    members = [{"coefficient": float(strength)} for strength in strengths]
    return resolve("orpo", TASK, "proxy", {**COMMON, **METHODS[name], **size.settings}, members=members)


def works(name: str, size: Size) -> tuple[Work, ...]:
    """What a method takes."""
    made = made_of(name, size)
    return (of_agent(made.agent, made.hyperparams, size.seeds, size.iterations, made.steps_per_iteration),)


def trained(name: str, size: Size) -> pd.DataFrame:
    """What a method's runs come to, all strengths and seeds in one program."""
    made, exact = made_of(name, size), known()
    of_seeds = jax.vmap(partial(final, made.agent, size.iterations), (0, None))
    keys = jax.vmap(jax.random.key)(jnp.arange(size.seeds))
    found = jax.jit(jax.vmap(of_seeds, (None, 0)))(keys, made.hyperparams)
    labels = pd.MultiIndex.from_product(
        [[name], size.multiples, range(size.seeds)], names=["method", "multiple", "seed"]
    )
    rows = pd.DataFrame({part: np.asarray(found[part]).ravel() for part in found}, labels).reset_index()
    return rows.assign(
        reference=exact.reference.true, reference_proxy=exact.reference.proxy, best=exact.best.true, unit=exact.unit
    )


def final(agent: Agent, iterations: int, key: Key[Array, ""], hyperparams: PyTree) -> dict[str, Float[Array, ""]]:
    """Means of the last tenth of a run, in which every environment ends an episode at least."""
    start = agent.init(key, hyperparams)
    told = jax.lax.scan(lambda state, _: agent.step(state), start, length=iterations)[1]
    last = {"true": "episode/env_return", "proxy": "episode/return", "correlation": "reward_correlation"}
    return {part: told[name][-max(iterations // 10, 1) :].mean() for part, name in last.items()}


def scores(frame: pd.DataFrame, method: str, multiple: float, part: str = "true") -> Float[np.ndarray, " seeds"]:
    """A method's returns at a strength, by seed."""
    rows = frame[(frame["method"] == method) & (frame["multiple"] == multiple)]
    return rows.sort_values("seed")[part].to_numpy()


def gained(method: str, multiple: float, part: str, frame: pd.DataFrame) -> Estimate:
    """How much more than the reference a method earns."""
    found = scores(frame, method, multiple, part)
    known = frame["reference" if part == "true" else "reference_proxy"].iloc[0]
    return estimate(found - known, aggregate_mean) if len(found) else NOTHING


def lead(method: str, other: str, frame: pd.DataFrame) -> Estimate:
    """By how much a method truly earns more than another one, both at the strength that is best for them elsewhere."""
    if not {method, other} <= set(frame["method"]):
        return NOTHING
    first, second = (at_best(frame, name) for name in (method, other))
    return estimate_difference(first, second, aggregate_mean, paired=True)


def at_best(frame: pd.DataFrame, method: str) -> Float[np.ndarray, " seeds"]:
    """A method's true returns, of each seed at the strength where the mean over all other seeds is the highest."""
    every = np.array([scores(frame, method, multiple) for multiple in frame["multiple"].unique()])
    of_others = every.sum(1, keepdims=True) - every
    return every[of_others.argmax(0), np.arange(every.shape[1])]


def plot(frame: pd.DataFrame) -> Figure:
    """Returns against strength with intervals, left by the true reward and right by the proxy."""
    figure = Figure(figsize=(2.4 * WIDTH, 1.2 * HEIGHT), layout="constrained")
    left, right = figure.subplots(1, 2)
    first = frame.iloc[0]
    _draw(left, frame, "true", first["reference"])
    left.axhline(first["best"], color="#222222", linestyle=":", linewidth=1, label="the best there is")
    left.set_ylim(0, 1.05 * first["best"])
    _draw(right, frame, "proxy", first["reference_proxy"])
    right.legend(*left.get_legend_handles_labels(), frameon=False, fontsize=7)
    return figure


def _draw(axis: Axes, frame: pd.DataFrame, part: str, reference: float) -> None:
    multiples = sorted(frame["multiple"].unique())
    there = [method for method in METHODS if method in set(frame["method"])]
    for method, color in zip(there, COLORS, strict=False):
        found = [estimate(scores(frame, method, multiple, part), aggregate_mean) for multiple in multiples]
        value, low, high = (np.array([float(each[place]) for each in found]) for place in range(3))
        axis.plot(range(len(multiples)), value, marker="o", markersize=3, color=color, label=method)
        axis.fill_between(range(len(multiples)), low, high, color=color, alpha=0.2, linewidth=0)
    axis.axhline(reference, color="#222222", linestyle="--", linewidth=1, label="the reference")
    axis.set_xticks(range(len(multiples)), [f"{multiple:g}" for multiple in multiples])
    axis.set(xlabel="strength, in units of the bound (of actions: 0.01)", ylabel=f"{part} return", ylim=(0, None))


_CLAIMS = (
    Claim(
        "Without regularisation the proxy is hacked: what is earned above the reference, by the proxy",
        partial(gained, VISITS, 0.0, "proxy"),
        above(0),
        paper="> 0",
    ),
    Claim(
        "and by the true reward",
        partial(gained, VISITS, 0.0, "true"),
        below(0),
        paper="< 0 (the definition of reward hacking)",
    ),
    Claim(
        "At the strength that the bound gives nothing is hacked: what is truly earned above the reference",
        partial(gained, VISITS, 1.0, "true"),
        above(0),
        paper="> 0",
    ),
    Claim(
        "Chi-squared of visits does better than KL of actions, each at its best strength: true return",
        partial(lead, VISITS, ACTIONS),
        above(0),
        paper="> 0",
    ),
    Claim(
        "and than KL of visits",
        partial(lead, VISITS, VISITS_KL),
        above(0),
        paper="not known to us",
    ),
)

figure = PaperFigure(
    title="Tomatoes: the true return by how strongly a policy is kept near a safe one",
    source="Laidlaw, Singhal and Dragan 2025, arXiv:2403.03185, the tomato gridworld",
    data=data,
    plot=plot,
    claims=tuple(claim._replace(least="small") for claim in _CLAIMS),
)
