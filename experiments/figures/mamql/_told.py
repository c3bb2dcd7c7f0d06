"""What figures of MAMQL tell of their runs: shares, leads and ratios with intervals, and how that is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxreward.experiments.figures.mamql._common import DEMONSTRATOR, METHODS
from jaxreward.reproduce.claims import Claim, above, below
from jaxreward.results.charts import COLORS, HEIGHT, WIDTH, line
from jaxreward.results.curves import Curve
from jaxreward.results.statistics import (
    NOTHING,
    Estimate,
    aggregate_mean,
    estimate,
    estimate_difference,
    estimate_ratio,
)

LEVEL, TIMES = 0.95, 2.0
"""Which share of a demonstrator's return is its level, which is ours; and the least that the paper says of many."""
STARC = "starc"
"""The column of distances of recovered rewards."""
PUBLISHED = "often more than 2-5x (the abstract, of all measures)"


def scores(frame: pd.DataFrame, method: str, number: int, part: str = "return") -> Float[np.ndarray, " seeds"]:
    """A method's returns at the end of runs with so many transitions, or what else `part` says, by seed.

    The demonstrator's are those of all its episodes.
    """
    if method == DEMONSTRATOR:
        return frame.loc[frame["method"] == method, part].to_numpy()
    rows = frame[(frame["method"] == method) & (frame["number"] == number)]
    rows = rows[rows["updates"] == rows["updates"].max()].sort_values("seed")
    return rows[part].to_numpy() if part in rows else np.array([])


def lead(method: str, other: str, number: int, frame: pd.DataFrame, part: str = "return") -> Estimate:
    """By how much a method's return, or what else, is greater than another one's."""
    first, second = (scores(frame, name, number, part) for name in (method, other))
    if not len(first) or not len(second):
        return NOTHING
    return estimate_difference(first, second, aggregate_mean, paired=True)


def times(method: str, other: str, number: int, frame: pd.DataFrame, part: str = "return") -> Estimate:
    """How many times another one's a method's return is, or what else."""
    first, second = (scores(frame, name, number, part) for name in (method, other))
    return estimate_ratio(first, second) if len(first) and len(second) else NOTHING


def excess(method: str, other: str, factor: float, number: int, frame: pd.DataFrame, part: str = "return") -> Estimate:
    """How much greater a method's return is, or what else, than so many times another one's."""
    first, second = (scores(frame, name, number, part) for name in (method, other))
    return estimate_difference(first, factor * second, aggregate_mean) if len(first) and len(second) else NOTHING


def demonstrated(frame: pd.DataFrame) -> float:
    """The demonstrator's mean return."""
    return float(frame[frame["method"] == DEMONSTRATOR]["return"].mean())


def claims_of(level: int, few: Sequence[int], *, ratios: bool = True) -> tuple[Claim, ...]:
    """What the abstract says, reward, sample efficiency and recovery, in numbers that are ours but for the transitions.

    Args:
        level: The number of transitions with which the demonstrator's level is to be reached.
        few: Numbers of transitions with which MAMQL is to be ahead of all others.
        ratios: Whether returns are positive, so that one can be so many times another.
    """
    reached = f"MAMQL is at its demonstrator's level with {level:,} transitions: its share of that return"
    share, more = partial(times, "MAMQL", DEMONSTRATOR, level), partial(excess, "MAMQL", DEMONSTRATOR, LEVEL, level)
    found = [Claim(reached, share, above(LEVEL), contrast=more)]
    others = ("independent IQ-Learn", "cloning", "MA-AIRL")
    for number in few:
        for other in others:
            text = f"MAMQL is ahead of {other} with {number:,} transitions: its lead"
            found.append(Claim(text, partial(lead, "MAMQL", other, number), above(0)))
    if ratios:
        for other in others:
            text = f"MAMQL is paid twice what {other} is, or more, with {few[0]:,} transitions: how many times"
            measure, more = partial(times, "MAMQL", other, few[0]), partial(excess, "MAMQL", other, TIMES, few[0])
            found.append(Claim(text, measure, above(TIMES), paper=PUBLISHED, contrast=more))
    for other in ("independent IQ-Learn", "MA-AIRL"):
        found += _of_reward(level, other)
    return tuple(claim._replace(least="small") for claim in found)


def _of_reward(level: int, other: str) -> list[Claim]:
    """That MAMQL's reward is nearer to the true one than another one's, and that it is half as far."""
    nearer = f"MAMQL's reward is nearer to the true one than {other}'s: by how much, in the STARC distance"
    half = f"MAMQL's reward is half as far from the true one as {other}'s, or less: its part of that distance"
    by, share = partial(lead, other, "MAMQL", level, part=STARC), partial(times, "MAMQL", other, level, part=STARC)
    more = partial(excess, other, "MAMQL", TIMES, level, part=STARC)
    return [Claim(nearer, by, above(0)), Claim(half, share, below(1 / TIMES), paper=PUBLISHED, contrast=more)]


def plot(frame: pd.DataFrame) -> Figure:
    """Returns against the number of transitions and against updates, and how far recovered rewards are."""
    measured = STARC in frame and bool(frame[STARC].notna().any())
    figure = Figure(figsize=((2 + measured) * 1.1 * WIDTH, 1.2 * HEIGHT), layout="constrained")
    axes = figure.subplots(1, 2 + measured)
    learned = frame[frame["method"] != DEMONSTRATOR]
    numbers = sorted(learned["number"].unique())
    _lines(axes[0], learned, numbers, lambda method, number: scores(learned, method, number))
    axes[0].set(xlabel="demonstrated transitions", ylabel="return of an agent")
    number = learned["number"].max()
    most = learned[learned["number"] == number]

    def at(method: str, update: int) -> Float[np.ndarray, " seeds"]:
        return scores(most[most["updates"] == update], method, number)

    _lines(axes[1], most, sorted(most["updates"].unique()), at)
    axes[1].set(xlabel="steps of Adam, from the most transitions", ylabel="return of an agent")
    for axis in axes[:2]:
        axis.axhline(demonstrated(frame), color="#222222", linestyle="--", linewidth=1, label=DEMONSTRATOR)
    if measured:
        _distances(axes[2], learned, number)
    names = axes[0].get_legend_handles_labels()
    figure.legend(*names, loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    return figure


def _lines(
    axis: Axes, frame: pd.DataFrame, places: Sequence[int], found: Callable[[str, int], Float[np.ndarray, " seeds"]]
) -> None:
    """A line with its intervals for each method."""
    for method, color in zip(METHODS, COLORS, strict=False):
        if method in set(frame["method"]):
            each = [estimate(found(method, place), aggregate_mean) for place in places]
            mean, low, high, runs = np.array(each, float).T
            line(axis, Curve(np.asarray(places), mean, low, high, int(np.nan_to_num(runs).max())), method, color, "o")


def _distances(axis: Axes, learned: pd.DataFrame, number: int) -> None:
    """How far the reward of each method that recovers one is from the true one, with its interval."""
    shown = [(name, scores(learned, name, number, STARC), color) for name, color in zip(METHODS, COLORS, strict=False)]
    shown = [each for each in shown if np.isfinite(each[1]).any()]
    for place, (_, found, color) in enumerate(shown):
        mean, low, high, _ = estimate(found, aggregate_mean)
        axis.errorbar(mean, place, xerr=[[mean - low], [high - mean]], fmt="o", color=color, capsize=3, clip_on=False)
    axis.set(yticks=range(len(shown)), yticklabels=[name for name, *_ in shown], xlim=(0, None))
    axis.set_xlabel("STARC distance of a reward")
    axis.invert_yaxis()
