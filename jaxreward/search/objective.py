"""What a search makes better: one number of a configuration's runs over all its seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import numpy as np
import pandas as pd

from jaxreward.contract.agents import RATES, RETURNS
from jaxreward.contract.wrappers import never_ends
from jaxreward.envs.registry import make
from jaxreward.names import check_name
from jaxreward.results.statistics import aggregate_iqm, aggregate_mean, estimate, iqm
from jaxreward.results.tables import final_values
from jaxreward.run.job import Job, Setup

RUN = ["choice", "seed"]
"""What tells runs of a generation apart."""

STATISTICS = {
    "final": "the interquartile mean over seeds of the final values",
    "mean": "the mean over seeds of the final values",
    "worst": "the final value of the worst seed",
    "auc": "the interquartile mean over seeds of the mean over all environment steps: the area under the curve",
}
"""Numbers that sum a metric up. A final value is the mean over the last tenth of training."""


class Objective(NamedTuple):
    """A metric, how it is summed up, and which way is better.

    Attributes:
        metric: A column of the metrics.
        statistic: One of `STATISTICS`.
        maximise: Whether more is better.
    """

    metric: str = "episode/return"
    statistic: str = "final"
    maximise: bool = True

    @property
    def name(self) -> str:
        """As `parse_objective` reads it."""
        return f"{'' if self.maximise else 'minimise:'}{self.statistic}:{self.metric}"

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """As Optuna calls it."""
        return "maximize" if self.maximise else "minimize"


def parse_objective(text: str) -> Objective:
    """An objective as `[minimise:][STATISTIC:]METRIC`, for example `worst:episode/return` or `minimise:loss/value`.

    Raises:
        ValueError: There is no such statistic; whether there is such a metric, `check_metrics` knows.
    """
    *options, metric = text.split(":")
    maximise = not (options and options[0] in ("minimise", "minimize"))
    statistics = options if maximise else options[1:]
    if len(statistics) > 1 or not metric:
        raise ValueError(f"an objective is METRIC, STATISTIC:METRIC or minimise:STATISTIC:METRIC, not {text!r}")
    statistic = statistics[0] if statistics else "final"
    check_name("statistic", statistic, STATISTICS)
    return Objective(metric, statistic, maximise)


def metric_names(setup: Setup) -> list[str]:
    """The metrics that a training will have numbers of, found without compiling anything."""
    experiment = Job(setup, Path(), 1).experiment()
    state = jax.eval_shape(experiment.agent.init, jax.random.key(0), experiment.member(0))
    names = sorted(jax.eval_shape(experiment.agent.step, state)[1])
    evaluated: list[str] = []
    if experiment.evaluation is not None:
        evaluated = sorted(jax.eval_shape(experiment.evaluation.run, state, experiment.member(0), jax.random.key(0)))
    there = [name for name in names if not (never_ends(experiment.env) and name.startswith("episode/"))]
    return [*there, *evaluated]


def default_objective(setup: Setup, space: Iterable[str]) -> Objective:
    """What is made better unless something is said: the return, or the reward a step where the environment never ends.

    It is that of the environment's own reward where the given one is searched: returns of different rewards are no
    measure of one another.
    """
    given, own = RATES if never_ends(make(setup.env)[0]) else RETURNS
    return Objective(own if any(name.partition(".")[0] == "reward" for name in space) else given)


def check_metrics(objectives: Iterable[Objective], setup: Setup) -> None:
    """Refuses objectives that a training can't have, before anything compiles.

    Raises:
        ValueError: There is no such metric or statistic (says which is nearest), or an objective comes twice.
    """
    names, seen = metric_names(setup), set()
    for objective in objectives:
        check_name("statistic", objective.statistic, STATISTICS)
        check_name("metric", objective.metric, names, f"There are: {', '.join(names)}.")
        if objective._replace(maximise=True) in seen:
            raise ValueError(f"{objective.name} is given twice")
        seen.add(objective._replace(maximise=True))


def scores(frame: pd.DataFrame, objective: Objective) -> pd.Series:
    """What each configuration is worth.

    Args:
        frame: Rows of the metrics (`jaxreward.run.record.table`) with a column `choice`: which configuration they are
            of. The rows of a run that went on from another stand below those of the other.
        objective: What is asked for.

    Returns:
        By `choice` the value; NaN where a seed's numbers were not finite, or no episode of it ended in the whole of
        training.
    """
    runs = seed_values(frame, objective)
    combined = runs.groupby("choice").agg(_over_seeds(objective))
    return combined.rename(objective.name)


def intervals(frame: pd.DataFrame, objective: Objective, confidence: float = 0.95) -> pd.DataFrame:
    """What each configuration is worth, with an interval over its seeds.

    Args:
        frame: As for `scores`.
        objective: What is asked for.
        confidence: Of the intervals.

    Returns:
        By `choice` the columns `value`, `low`, `high` and `seeds`; the ends are NaN for fewer than two seeds, and for
        the worst of them, whose spread they say nothing of.
    """
    rows = {}
    for choice, values in seed_values(frame, objective).groupby("choice"):
        value, low, high = _over_seeds(objective)(values), np.nan, np.nan
        if np.isfinite(value) and objective.statistic != "worst":
            aggregate = aggregate_mean if objective.statistic == "mean" else aggregate_iqm
            _, low, high, _ = estimate(values.to_numpy(), aggregate, confidence)
        rows[choice] = {"value": value, "low": low, "high": high, "seeds": len(values)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("choice")


def seed_values(frame: pd.DataFrame, objective: Objective) -> pd.Series:
    """What each seed of each configuration is worth, by `choice` and `seed`; see `scores`."""
    of_runs = _area if objective.statistic == "auc" else _final
    failed = frame.groupby(RUN)["failed"].any()
    return of_runs(frame, objective.metric).mask(failed)


def _over_seeds(objective: Objective) -> Callable[[pd.Series], float]:
    """A statistic over seeds; without a number for each of them there is none."""
    worst = np.min if objective.maximise else np.max
    others: dict[str, Callable[..., np.ndarray]] = {"worst": worst, "mean": np.mean}
    statistic = others.get(objective.statistic, iqm)
    return lambda values: np.nan if values.isna().any() else float(statistic(values.to_numpy()))


def _final(frame: pd.DataFrame, metric: str) -> pd.Series:
    """Final values; where no episode ended in the last tenth of training, what was last known of one."""
    runs = frame.drop(columns="run", errors="ignore").assign(member=frame["choice"])
    values = final_values(runs, metric).rename(columns={"member": "choice"}).set_index(RUN)["value"]
    known = frame.dropna(subset=metric).sort_values("iteration").groupby(RUN)[metric].last()
    return values.fillna(known.reindex(values.index).astype(float))


def _area(frame: pd.DataFrame, metric: str) -> pd.Series:
    """Means over environment steps; where no episode ended, what was last known holds, at first what came next."""
    ordered = frame.sort_values([*RUN, "iteration"])
    values = ordered.groupby(RUN)[metric].transform(lambda curve: curve.ffill().bfill()).astype(float)
    steps = ordered.groupby(RUN)["env_steps"].diff().fillna(ordered["env_steps"])
    sums = ordered[RUN].assign(area=values * steps, steps=steps).groupby(RUN)
    return sums["area"].agg(lambda areas: areas.sum(skipna=False)) / sums["steps"].sum()
