"""How well distances between rewards tell what it costs to maximise the wrong one, in random MDPs.

Skalse et al., "STARC: a general framework for quantifying differences between reward functions" (ICLR 2024,
arXiv:2309.15257), figure 1: 128 environments of 32 states and 4 actions, in each 8 pairs of rewards, between those of
each pair 16 rewards on the way from the one to the other. A distance is as good as its correlation with the regret,
over all of them. It is a canonicalisation, a norm by which rewards are scaled, and a norm of what is left between them:
42 variants of each canonicalisation, 24 of that which minimises a norm by shaping.

The numbers of the paper were read off its figure. Regrets are exact here, where the authors estimate them by rollouts,
and the mean of both directions. Intervals are of the jackknife over environments. Margins in claims are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Key
from matplotlib.figure import Figure
from scipy.stats import t as student

from jaxreward.distances import NORMS, canonicalise, norm_of, regret
from jaxreward.mdp import TabularMDP
from jaxreward.reproduce.claims import Claim, Scale, above, within
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.reproduce.parts import Computed
from jaxreward.reproduce.work import of_function
from jaxreward.results.statistics import Estimate

DISCOUNT = 0.95
KINDS = {
    "none": "none",
    "epic": "EPIC",
    "dard": "DARD",
    "minimal_potential": "minimal potential",
    "val_potential": "VAL potential",
    "val": "VAL (STARC)",
}
OF_SHAPING = ("l1", "l2", "weighted_l1", "weighted_l2")
"""Norms that have a least reward by shaping."""
FORMS = [(kind, norm) for kind in KINDS for norm in (OF_SHAPING if kind == "minimal_potential" else ("",))]
"""Canonical forms."""
ROUNDING = 1e-12
"""Of a norm, relative to that of the reward; computations are in float64."""
FEATURES = ("count", "x", "y", "xx", "yy", "xy")
MARGIN = 0.05
"""Of the published ends of a range."""
PUBLISHED = {"lowest": 0.707, "highest": 0.873}
"""Correlations of the variants of VAL that scale rewards."""


class Size(NamedTuple):
    """How much is computed.

    Attributes:
        runs: Environments.
        pairs: Of rewards in each.
        steps: Between the two rewards of a pair.
        states: Of an environment.
        norms: Which ones are tried.
    """

    runs: int
    pairs: int
    steps: int
    states: int = 32
    norms: tuple[str, ...] = NORMS


SIZES = {
    "smoke": Size(6, 2, 4, 5, ("l2", "weighted_linf")),
    "small": Size(32, 8, 16),
    "hour": Size(128, 8, 16),
    "paper": Size(128, 8, 16),
}


def data(scale: Scale) -> Computed:
    """What a correlation needs of each environment and variant: the sums of distances, regrets and their products."""
    size = SIZES[scale]
    works = lambda: (of_function(partial(sums, size), 1, size.runs, double=True),)  # noqa: E731
    return Computed(partial(computed, size), size, works)


def computed(size: Size) -> pd.DataFrame:
    """A row for each environment and variant."""
    with jax.enable_x64(True):
        one = jax.jit(partial(sums, size))
        found = [jax.tree.map(np.asarray, one(key)) for key in jax.random.split(jax.random.key(42), size.runs)]
    rows = [
        {"seed": number, "kind": kind, "norm": norm, "metric": metric, **dict(zip(FEATURES, values, strict=True))}
        for number, environment in enumerate(found)
        for (kind, norm, metric), values in zip(tried(size), environment, strict=True)
    ]
    return pd.DataFrame(rows)


def tried(size: Size) -> list[tuple[str, str, str]]:
    """All variants: how rewards are made canonical, scaled (or not, ""), and compared."""
    norms = lambda kind: [n for n in ("", *size.norms) if kind != "minimal_potential" or n in OF_SHAPING]  # noqa: E731
    return [(kind, norm, metric) for kind in KINDS for norm in norms(kind) for metric in size.norms]


def form_of(kind: str, norm: str) -> tuple[str, str]:
    """The canonical form that is scaled by a norm: one for all norms, but for that which makes it least."""
    return (kind, norm) if kind == "minimal_potential" else (kind, "")


def sums(size: Size, key: Key[Array, ""]) -> Float[Array, "V 6"]:
    """Of one environment, for each variant: the number of rewards, and the sums of distances and regrets."""
    key_mdp, key_pairs = jax.random.split(key)
    mdp = random_world(key_mdp, size.states)
    pairs = jax.vmap(partial(distances_and_regrets, size, mdp))(jax.random.split(key_pairs, size.pairs))
    distance, lost = pairs[0].reshape(-1, pairs[0].shape[-1]), pairs[1].reshape(-1, 1)
    features = jnp.stack(
        jnp.broadcast_arrays(jnp.ones_like(distance), distance, lost, distance**2, lost**2, distance * lost), -1
    )
    return features.sum(0)


def distances_and_regrets(
    size: Size, mdp: TabularMDP, key: Key[Array, ""]
) -> tuple[Float[Array, "N V"], Float[Array, " N"]]:
    """Of the first reward of a pair to those on the way to the second."""
    first, second = jax.vmap(partial(random_reward, mdp))(jax.random.split(key))
    here = mdp._replace(reward=first)
    from_here = scaled(size, here)
    rows = np.array(
        [(FORMS.index(form_of(kind, norm)), ("", *size.norms).index(norm)) for kind, norm, _ in tried(size)]
    )
    columns = np.array([size.norms.index(metric) for *_, metric in tried(size)])

    def to(reward: Float[Array, "S A S"]) -> tuple[Float[Array, " V"], Float[Array, ""]]:
        there = mdp._replace(reward=reward)
        apart = norms_of(size.norms, from_here - scaled(size, there), mdp.transition)
        lost = regret(here, reward, DISCOUNT), regret(there, first, DISCOUNT)
        return apart[rows[:, 0], rows[:, 1], columns], (lost[0] + lost[1]) / 2

    shares = jnp.arange(1, size.steps + 1) / size.steps
    return jax.vmap(to)(first[None] + (second - first)[None] * shares[:, None, None, None])


def scaled(size: Size, mdp: TabularMDP) -> Float[Array, "F 1+K S A S"]:
    """The reward of an MDP in each canonical form, as it is and scaled by each norm."""
    forms = jnp.stack([canonicalise(kind, mdp, DISCOUNT, norm=norm or "l2") for kind, norm in FORMS])
    lengths, whole = (norms_of(size.norms, rewards, mdp.transition) for rewards in (forms, mdp.reward[None]))
    told = lengths > ROUNDING * whole  # a reward of nothing but shaping is none
    factors = jnp.where(told, 1 / jnp.where(told, lengths, 1.0), 0.0)
    factors = jnp.concatenate([jnp.ones_like(factors[:, :1]), factors], 1)
    return forms[:, None] * factors[..., None, None, None]


def norms_of(
    names: tuple[str, ...], rewards: Float[Array, "*batch S A S"], transition: Float[Array, "S A S"]
) -> Float[Array, "*batch K"]:
    """Norms of many rewards."""
    flat = rewards.reshape(-1, *rewards.shape[-3:])
    found = jax.vmap(lambda reward: jnp.stack([norm_of(name, reward, transition) for name in names]))(flat)
    return found.reshape(*rewards.shape[:-3], len(names))


def random_world(key: Key[Array, ""], states: int, actions: int = 4) -> TabularMDP:
    """Some five next states of 32 for each state and action, with random probabilities; no reward yet.

    Logits are standard normal, those up to a threshold of 1 are all but impossible (for more states the authors raise
    the threshold), and episodes start anywhere.
    """
    logits = jax.random.normal(key, (states, actions, states))
    transition = jax.nn.softmax(jnp.where(logits > 1, logits, -20.0), -1)
    return TabularMDP(transition, jnp.zeros_like(transition), jnp.full(states, 1 / states), jnp.zeros(states, bool))


def random_reward(mdp: TabularMDP, key: Key[Array, ""]) -> Float[Array, "S A S"]:
    """Standard normal; by chance sparse (only above 3), scaled, moved and shaped."""
    keys = jax.random.split(key, 9)
    chance = lambda key, probability: jax.random.bernoulli(key, probability)  # noqa: E731
    most = lambda key: 10 * jax.random.uniform(key)  # noqa: E731
    reward = jax.random.normal(keys[0], mdp.reward.shape)
    reward = jnp.where(chance(keys[1], 0.2) & (reward <= 3), 0.0, reward)
    reward = reward * jnp.where(chance(keys[2], 0.7), most(keys[3]), 1.0)
    reward = reward + jnp.where(chance(keys[4], 0.3), most(keys[5]), 0.0)
    size, shift = jax.random.uniform(keys[6], (2,))
    potential = jax.random.normal(keys[7], (mdp.num_states,)) * 10 * size + shift
    shaping = DISCOUNT * potential[None, None, :] - potential[:, None, None]
    return reward + jnp.where(chance(keys[8], 0.5), shaping, 0.0)


def correlation(frame: pd.DataFrame, kind: str, norm: str, metric: str, without: int | None = None) -> float:
    """Of a variant's distances with the regrets, over all environments or all but one."""
    found = frame[(frame["kind"] == kind) & (frame["norm"] == norm) & (frame["metric"] == metric)]
    n, x, y, xx, yy, xy = found[found["seed"] != without][list(FEATURES)].sum()
    return float((xy - x * y / n) / np.sqrt((xx - x * x / n) * (yy - y * y / n)))


def correlations(frame: pd.DataFrame, kind: str, without: int | None = None) -> Float[np.ndarray, " variants"]:
    """Of all variants of a canonicalisation that scale rewards."""
    known = frame[(frame["kind"] == kind) & (frame["norm"] != "")][["norm", "metric"]].drop_duplicates()
    pairs = known.itertuples(index=False, name=None)
    return np.array([correlation(frame, kind, norm, metric, without) for norm, metric in pairs])


def jackknife(frame: pd.DataFrame, measure: Callable[[int | None], float]) -> Estimate:
    """A measure with the interval that leaving out one environment after the other gives."""
    environments = frame["seed"].unique()
    whole, left_out = measure(None), np.array([measure(number) for number in environments])
    runs = len(environments)
    spread = np.sqrt((runs - 1) / runs * np.sum((left_out - left_out.mean()) ** 2))
    reach = student.ppf(0.975, runs - 1) * spread
    return Estimate(whole, whole - reach, whole + reach, runs)


def lead(other: str, frame: pd.DataFrame) -> Estimate:
    """How much higher VAL correlates than another canonicalisation, scaled and compared by the sum of squares."""
    of = lambda kind, without: correlation(frame, kind, "l2", "l2", without)  # noqa: E731
    return jackknife(frame, lambda without: of("val", without) - of(other, without))


def end(which: str, frame: pd.DataFrame) -> Estimate:
    """The lowest or the highest correlation of the variants of VAL."""
    choose = {"lowest": np.min, "highest": np.max}[which]
    return jackknife(frame, lambda without: float(choose(correlations(frame, "val", without))))


def safe(frame: pd.DataFrame) -> Estimate:
    """By how much the worst variant of VAL is above the median one of EPIC, DARD and VAL potential."""

    def above_median(without: int | None) -> float:
        others = [correlations(frame, kind, without) for kind in ("epic", "dard", "val_potential")]
        return float(np.min(correlations(frame, "val", without)) - np.median(np.concatenate(others)))

    return jackknife(frame, above_median)


def plot(frame: pd.DataFrame) -> Figure:
    """Each variant's correlation with the regret, a column for each canonicalisation."""
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axis = figure.subplots()
    for place, (kind, title) in enumerate(KINDS.items()):
        mine = frame[frame["kind"] == kind][["norm", "metric"]].drop_duplicates()
        values = {pair: correlation(frame, kind, *pair) for pair in mine.itertuples(index=False, name=None)}
        spread = np.linspace(-0.25, 0.25, len(values))
        colours = [
            "0.7" if not norm else "tab:red" if norm == metric == "l2" else "tab:blue" for norm, metric in values
        ]
        axis.scatter(place + spread, list(values.values()), c=colours, s=14)
        axis.text(place, -0.13, title, ha="center", va="top", fontsize=9)
    for colour, told in (("tab:blue", "scaled"), ("tab:red", "scaled and compared by l2"), ("0.7", "not scaled")):
        axis.scatter([], [], c=colour, s=14, label=told)
    axis.set_xticks([])
    axis.set_ylim(-0.1, 1)
    axis.set_ylabel("correlation with the regret")
    axis.legend(loc="lower right", frameon=False, fontsize=8)
    return figure


def claims() -> tuple[Claim, ...]:
    """The order of the families, and that no way to scale spoils VAL."""
    found = [
        Claim(
            f"Scaled and compared by l2, VAL tells regret better than {KINDS[other]}: its lead",
            partial(lead, other),
            above(0),
        )
        for other in ("none", "epic", "dard", "val_potential", "minimal_potential")
    ]
    for which, value in PUBLISHED.items():
        text = f"Of all ways to scale and compare, the {which} correlation of VAL is near the published one"
        near = within(value - MARGIN, value + MARGIN)
        found.append(Claim(text, partial(end, which), near, f"{value} (read off the figure)"))
    text = "The worst variant of VAL is above the median one of EPIC, DARD and VAL potential: by how much"
    found.append(Claim(text, safe, above(0), "above two thirds of them (read off the figure)"))
    return tuple(claim._replace(least="small") for claim in found)


figure = PaperFigure(
    title="Which distance between rewards tells regret",
    source="Skalse et al. 2024, arXiv:2309.15257, figure 1",
    data=data,
    plot=plot,
    claims=claims(),
)
