"""What the figures of submodular reinforcement learning share: who learns, how well, and how that is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from jaxreward.results.charts import COLORS, line
from jaxreward.results.curves import curve
from jaxreward.results.statistics import NOTHING, Estimate, aggregate_mean, estimate
from jaxreward.results.tables import final_values
from jaxreward.settings.values import Value

SLIP = 0.1
"""How often actions are random where moves are; how often they were in the paper is not known."""

Choice = dict[str, Value]


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
    traced: Choice = {"agent": "subpo", "reward": "modular", "reward.share": share, "discount": discount}
    return Method({**traced, **static}, {**traced, **static})


def scored(frame: pd.DataFrame, plan: Callable[[str, int], float]) -> pd.DataFrame:
    """A table of metrics with a column `score`: the true return as share of the best that is known of the instance.

    Args:
        frame: The metrics of all runs.
        plan: What a planner earns on an instance of a task. Where the mean of some run's batch is higher, that is the
            best known: with random moves too, an episode is a walk that could have been planned.
    """
    learned = frame.groupby(["env", "env.instance"], as_index=False)["episode/env_return"].max()
    plans = [plan(*place) for place in zip(learned["env"], learned["env.instance"].astype(int), strict=True)]
    learned["best"] = np.maximum(learned.pop("episode/env_return"), plans)
    best = frame[["env", "env.instance"]].merge(learned, how="left")["best"]
    return frame.assign(score=frame["episode/env_return"] / best.to_numpy())


def of_slip(frame: pd.DataFrame, slip: float) -> pd.DataFrame:
    """The runs with so many random moves."""
    return frame[np.isclose(frame["env.env.slip"], slip)]


def final_scores(frame: pd.DataFrame, method: Method) -> pd.Series:
    """A method's mean final score on each instance or, where there is a single one, that of each seed."""
    rows = method.rows(frame)
    if rows.empty:
        return pd.Series(dtype=float)
    runs = ["run", "member", "seed"]
    values = final_values(rows, "score").merge(rows[[*runs, "env.instance"]].drop_duplicates(), on=runs)
    table = values.pivot(index="env.instance", columns="seed", values="value")
    return table.mean(axis=1, skipna=False) if len(table) > 1 else table.iloc[0]


def level(frame: pd.DataFrame, method: Method) -> Estimate:
    """A method's mean final score; nothing if it has no runs."""
    return _mean(final_scores(frame, method))


def lead(frame: pd.DataFrame, first: Method, second: Method) -> Estimate:
    """How much higher the first one's mean is, compared on each instance or seed; nothing if one has no runs."""
    return _mean(final_scores(frame, first) - final_scores(frame, second))


def _mean(values: pd.Series) -> Estimate:
    return estimate(values.to_numpy()[:, None], aggregate_mean) if len(values) else NOTHING


def draw(axis: Axes, frame: pd.DataFrame, methods: Mapping[str, Method]) -> None:
    """A learning curve for each method, the score over epochs with the interval over its runs."""
    for (name, method), color in zip(methods.items(), COLORS, strict=False):
        rows = method.rows(frame)
        if not rows.empty:
            runs = rows.groupby(["member", "seed"]).ngroup()
            drawn = curve(rows.assign(env_steps=rows["iteration"], seed=runs), "score")
            line(axis, drawn, name, color)
