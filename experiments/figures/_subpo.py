"""What the figures of submodular reinforcement learning share: who learns, and how well, curve by curve."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from jaxreward.charts import COLORS, line
from jaxreward.figures import curve
from jaxreward.results import final_values
from jaxreward.settings import Value
from jaxreward.statistics import Estimate, aggregate_mean, estimate, estimate_difference

SLIP = 0.1
"""How often actions are random where moves are; how often they were in the paper is not known."""

NOTHING = Estimate(math.nan, math.nan, math.nan)

Choice = dict[str, Value]
Normaliser = Callable[[pd.DataFrame], pd.Series]
"""What a return counts as 1, by row."""


class Method(NamedTuple):
    """Somebody who learns.

    Attributes:
        settings: What is said to train it.
        found: Where its rows have these values.
    """

    settings: Choice
    found: Mapping[str, Value]

    def rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Its rows of a table of metrics."""
        chosen = np.ones(len(frame), bool)
        for column, value in self.found.items():
            chosen &= (frame[column] == value).to_numpy() if column in frame else False
        return frame[chosen]


def subpo(share: float = 0.0, discount: float = 1.0, **settings: Value) -> Method:
    """SubPO, or ModPO where `share` of the reward is modular."""
    static = {"history": "none", "estimator": "to_go", "baseline": "batch", **settings}
    found = {f"agent_config.{name}": value for name, value in static.items()}
    traced: Choice = {"agent": "subpo", "reward": "modular", "reward.share": share, "discount": discount}
    return Method({**traced, **static}, {**traced, **found})


def returns(frame: pd.DataFrame, normaliser: Normaliser) -> pd.DataFrame:
    """The true return of each run at its end, as share of what counts as 1: columns of a run, and `value`."""
    runs = ["run", "member", "seed"]
    values = final_values(frame, "episode/env_return")
    scale = frame.assign(scale=normaliser(frame)).groupby(runs)["scale"].first().reset_index()
    values = values.merge(scale, on=runs)
    return values.assign(value=values["value"] / values["scale"])


def final(frame: pd.DataFrame, method: Method, normaliser: Normaliser) -> np.ndarray:
    """Of all runs of a method, `[runs, 1]`: instances and seeds are runs alike."""
    rows = method.rows(frame)
    return np.zeros((0, 1)) if rows.empty else returns(rows, normaliser)["value"].to_numpy(float)[:, None]


def level(frame: pd.DataFrame, method: Method, normaliser: Normaliser) -> Estimate:
    """The mean over its runs; nothing if there are none."""
    scores = final(frame, method, normaliser)
    return estimate(scores, aggregate_mean) if scores.size else NOTHING


def lead(frame: pd.DataFrame, first: Method, second: Method, normaliser: Normaliser) -> Estimate:
    """How much higher the first one's mean is; nothing if one of them has no runs."""
    ours, others = (final(frame, method, normaliser) for method in (first, second))
    return estimate_difference(ours, others, aggregate_mean) if ours.size and others.size else NOTHING


def draw(axis: Axes, frame: pd.DataFrame, methods: Mapping[str, Method], normaliser: Normaliser) -> None:
    """A learning curve for each method, over environment steps, with the interval over its runs."""
    for index, (name, method) in enumerate(methods.items()):
        rows = method.rows(frame)
        if rows.empty:
            continue
        share = rows["episode/env_return"] / normaliser(rows)
        runs = rows["member"] * 1000 + rows["seed"]
        drawn = curve(rows.assign(share=share, seed=runs), "share")
        line(axis, drawn, name, COLORS[index % len(COLORS)])
