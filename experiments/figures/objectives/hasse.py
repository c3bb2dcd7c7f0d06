"""Which formalism of objectives can state what another one states.

Subramani et al., "On the expressivity of objective-specification formalisms in reinforcement learning" (ICLR 2024,
arXiv:2310.11840), the Hasse diagram of their figure 1. It is drawn from what is verified here: that one formalism
states all of another, by saying objectives drawn at random in its words and comparing values or orders; that it does
not, by a task that the other states and of which it is shown that this one can't.

The paper's own drawing was not at hand, so that lines are not compared with its; which are the 17 is put together from
what it says of them. Tasks and constructions are ours. What is shown of tasks is exact in single MDPs, and where there
is a discount, at some discounts. That RM does not state two of the tasks follows from its continuity, and that GOMORL
states more than any number from a theorem on lexicographic orders; of both it is the premises that are verified.
"""

from __future__ import annotations

from functools import partial
from textwrap import fill
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool
from matplotlib.figure import Figure

from jaxreward.mdp import TabularMDP
from jaxreward.objectives import FORMALISMS, preferences, summaries
from jaxreward.objectives.reductions import Reduction, endless_world, reductions, world
from jaxreward.objectives.separations import is_shown, statements_hold
from jaxreward.objectives.tasks import SEPARATIONS
from jaxreward.reproduce.claims import Claim, Scale, below, exact, within
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.reproduce.parts import Computed
from jaxreward.results.statistics import Estimate

NAMES = list(FORMALISMS)
CLASSES = (("INMR", "IMORL", "FTR"), ("OMORL", "FOMR", "FTLR"), ("GOMORL", "OMO", "TLO"))
"""Formalisms of which the paper says that they state the same."""
FIVE = ("RRL", "ONMR", "RM", "LTL", "LAR")
"""Of which it says that each states something that none of the others does."""
ROUNDING = 1e-9
"""Of values; computations are in float64."""
PLACES = {"LAR": -3.6, "LTL": -1.8, "RRL": 1.8, "ONMR": 3.6, "FTR": -1.8, "GOMORL": -1.8, "FPR": 1.8}
"""Of a formalism across; 0 by default."""


class Size(NamedTuple):
    """How many worlds reductions are tried in, of how many policies, and at which discounts tasks are looked at."""

    worlds: int
    policies: int
    discounts: tuple[float, ...]


SIZES = {
    "smoke": Size(1, 4, (0.9,)),
    "small": Size(3, 12, (0.5, 0.9, 0.99)),
    "hour": Size(10, 30, (0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99, 0.999)),
    "paper": Size(10, 30, (0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99, 0.999)),
}


def data(scale: Scale) -> Computed:
    """A row for each reduction, statement of a task and separation."""
    size = SIZES[scale]
    return Computed(partial(verified, size), size)


def verified(size: Size) -> pd.DataFrame:
    """The same."""
    with jax.enable_x64(True):
        found = [row for seed in range(size.worlds) for row in reduced(size, seed)]
        found += [
            {"kind": "stated", "upper": formalism, "task": task, "holds": holds}
            for (task, formalism), holds in statements_hold().items()
        ]
        found += [
            {"kind": "separated", "upper": one.formalism, "task": one.task, "holds": is_shown(one, size.discounts)}
            for one in SEPARATIONS
        ]
    return pd.DataFrame(found)


def reduced(size: Size, seed: int) -> list[dict[str, object]]:
    """How far the two statements of each reduction are apart, in one world."""
    rng = np.random.default_rng(seed)
    worlds = world(rng), endless_world(rng)
    tried = reductions(worlds[0], rng)
    policies = rng.dirichlet(np.ones(2), (size.policies, 6))
    gaps = jax.jit(lambda mdps, policies: [gap(one, mdps[one.endless], policies) for one in tried])(worlds, policies)
    return [
        {
            "kind": "reduced",
            "seed": seed,
            "upper": one.upper,
            "lower": one.lower,
            "gap": float(apart),
            "holds": bool(told),
        }
        for one, (apart, told) in zip(tried, gaps, strict=True)
    ]


def gap(one: Reduction, mdp: TabularMDP, policies: Array) -> tuple[Array, Array]:
    """The largest difference of values, of orders the share of pairs put otherwise; and if any are told apart."""
    if all(objective.is_number for objective in one.said):
        first, second = (summaries(objective, mdp, policies) for objective in one.said)
        return abs(first - second).max(), first.std() > 1e-3
    first, second = (preferences(objective, mdp, policies) for objective in one.said)
    return (first != second).mean(), (first & ~first.T).any()


def states(frame: pd.DataFrame) -> Bool[np.ndarray, "17 17"]:
    """Whether the first formalism states all of the second, by reductions and those that follow from them."""
    rows = frame[frame["kind"] == "reduced"]
    sure = ((rows["gap"] < ROUNDING) & (rows["holds"] == True)).groupby([rows["upper"], rows["lower"]]).all()  # noqa: E712
    known = np.eye(len(NAMES), dtype=bool)
    for upper, lower in sure.index[sure]:
        known[NAMES.index(upper), NAMES.index(lower)] = True
    for _ in range(len(NAMES).bit_length()):
        known = known @ known
    return known


def lacks(frame: pd.DataFrame) -> Bool[np.ndarray, "17 17"]:
    """Whether the first formalism is shown not to state a task of the second, or it follows."""
    known = np.zeros((len(NAMES), len(NAMES)), bool)
    stated, separated = (frame[(frame["kind"] == kind) & (frame["holds"] == True)] for kind in ("stated", "separated"))  # noqa: E712
    for first, second in separated.merge(stated, on="task")[["upper_x", "upper_y"]].itertuples(index=False):
        known[NAMES.index(first), NAMES.index(second)] = True
    above = states(frame)
    return above.T @ known @ above.T  # what is below the first lacks it too, and all above the second state it


def counted(wanted: list[tuple[str, str]], frame: pd.DataFrame) -> Estimate:
    """Of how many pairs the first is shown to lack something of the second."""
    known = lacks(frame)
    return exact(sum(known[NAMES.index(first), NAMES.index(second)] for first, second in wanted))


def own(frame: pd.DataFrame) -> Estimate:
    """How many of the five state a task that all others of them are shown not to state."""
    stated, separated = (frame[(frame["kind"] == kind) & (frame["holds"] == True)] for kind in ("stated", "separated"))  # noqa: E712
    above = states(frame)

    def lacking(task: str) -> set[str]:
        direct = [NAMES.index(name) for name in separated[separated["task"] == task]["upper"]]
        return {NAMES[i] for i in range(len(NAMES)) if any(above[j, i] for j in direct)}

    has = {
        name for name, task in stated[["upper", "task"]].itertuples(index=False) if set(FIVE) - {name} <= lacking(task)
    }
    return exact(len(has & set(FIVE)))


def largest_gap(within_classes: bool, frame: pd.DataFrame) -> Estimate:
    """Of all reductions, between formalisms that are said to state the same, or of others."""
    alike = [any({a, b} <= set(one) for one in CLASSES) for a, b in frame[["upper", "lower"]].itertuples(index=False)]
    rows = frame[(frame["kind"] == "reduced") & (np.array(alike) == within_classes)]
    return exact(rows["gap"].max())


def undecided(frame: pd.DataFrame) -> Estimate:
    """How many ordered pairs of formalisms are not decided, or are decided both ways."""
    return exact((states(frame) == lacks(frame)).sum())


def cover(known: Bool[np.ndarray, "17 17"]) -> list[tuple[str, str]]:
    """The lines of the diagram: formalisms that state more than others with nothing between them, one of a class."""
    shown = [i for i, name in enumerate(NAMES) if not any(name in one and name != drawn_as(one) for one in CLASSES)]
    more = known & ~known.T
    return [
        (NAMES[i], NAMES[j])
        for i in shown
        for j in shown
        if more[i, j] and not any(more[i, k] and more[k, j] for k in shown)
    ]


def drawn_as(one: tuple[str, ...]) -> str:
    """Which of a class stands for all."""
    return next(name for name in ("FTR", "OMORL", "GOMORL") if name in one)


def plot(frame: pd.DataFrame) -> Figure:
    """Formalisms above those that they state all of."""
    lines = cover(states(frame))
    names = {name for line in lines for name in line}
    height: dict[str, int] = {}

    def level(name: str) -> int:
        height[name] = max((level(low) + 1 for high, low in lines if high == name), default=0)
        return height[name]

    figure = Figure(figsize=(7.2, 6.0), layout="constrained")
    axis = figure.subplots()
    places = {name: (PLACES.get(name, 0.0), level(name)) for name in sorted(names)}
    for upper, lower in lines:
        axis.plot(*zip(places[upper], places[lower], strict=True), color="0.6", linewidth=1, zorder=1)
    for name, place in places.items():
        axis.text(*place, label(name), ha="center", va="center", fontsize=8.5, bbox=box(name), zorder=2)
    axis.set_xlim(-4.6, 4.6)
    axis.set_ylim(-0.5, max(height.values()) + 0.5)
    axis.set_axis_off()
    return figure


def box(name: str) -> dict[str, str]:
    """The five of which each has something of its own are marked."""
    colour = "#dbe8f6" if name in FIVE else "white"
    return {"boxstyle": "round,pad=0.4", "facecolor": colour, "edgecolor": "0.4"}


def label(name: str) -> str:
    """A formalism, or all of its class, and the title of the one that stands for it."""
    members = next((one for one in CLASSES if name in one), (name,))
    return f"{', '.join(members)}\n{fill(FORMALISMS[name].title, 22)}"


def claims() -> tuple[Claim, ...]:
    """What the paper says of formalisms, and that the diagram leaves nothing open."""
    pairs = [(a, b) for a in ("MR", "LAR", "LTL") for b in ("MR", "LAR", "LTL") if a != b]
    return (
        Claim(
            "Each of RRL, ONMR, RM, LTL and LAR states something that no other of them does: of how many it is shown",
            own,
            within(5, 5),
            "each",
        ),
        Claim(
            "INMR, IMORL and FTR state the same; OMORL, FOMR and FTLR; GOMORL, OMO and TLO: the largest difference",
            partial(largest_gap, True),
            below(ROUNDING),
            "the same",
        ),
        Claim(
            "Formalisms state all of those they are drawn above: the largest difference",
            partial(largest_gap, False),
            below(ROUNDING),
        ),
        Claim(
            "Of MR, LAR and LTL none states all of another: ordered pairs of which it is shown",
            partial(counted, pairs),
            within(6, 6),
        ),
        Claim(
            "GOMORL and FPR each state what the other does not",
            partial(counted, [("GOMORL", "FPR"), ("FPR", "GOMORL")]),
            within(2, 2),
        ),
        Claim("Ordered pairs of formalisms that are left open, or contradict", undecided, within(0, 0)),
    )


figure = PaperFigure(
    title="Which formalisms of objectives state what others state",
    source="Subramani et al. 2024, arXiv:2310.11840, figure 1",
    data=data,
    plot=plot,
    claims=claims(),
)
