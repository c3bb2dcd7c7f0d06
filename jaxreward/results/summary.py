"""What is quoted of runs: a row for each configuration, with intervals over its seeds."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from jaxreward.contract.agents import RATES, RETURNS
from jaxreward.learning.evaluation import EVALUATED_RATES, EVALUATED_RETURNS
from jaxreward.results.tables import summarise

RETURN, ENV_RETURN = RETURNS
RATE, ENV_RATE = RATES
NAMES = {
    RETURN: "return",
    ENV_RETURN: "environment's return",
    RATE: "reward a step",
    ENV_RATE: "environment's reward a step",
    EVALUATED_RETURNS[0]: "return, evaluated",
    EVALUATED_RETURNS[1]: "environment's return, evaluated",
    EVALUATED_RATES[0]: "reward a step, evaluated",
    EVALUATED_RATES[1]: "environment's reward a step, evaluated",
}
"""What the headline metrics are called to people."""
_PAIRS = (RETURNS, RATES, EVALUATED_RETURNS, EVALUATED_RATES)


def headline_metrics(frame: pd.DataFrame, declared: Sequence[str] = ()) -> list[str]:
    """The metrics to judge a run by, the first before all.

    Args:
        frame: The metrics.
        declared: What is named before the runs' returns, see `declared_metrics`.

    Returns:
        What is declared; the environment's own return, and the return of the given reward if it differs; behind each,
        what it is for each agent of a game or each objective. Where something is declared, returns are left out that
        there is none of.
    """
    results = _without_twins(frame, [name for name in declared if name in frame])
    returns = [name for name in (ENV_RETURN, RETURN) if name in frame and name not in results]
    there = [name for name in returns if not results or frame[name].notna().any()]
    whole = [*results, *_without_twins(frame, there)]
    return [name for metric in whole for name in (metric, *_each(frame, metric))]


def given_beside(metric: str, others: Sequence[str]) -> str | None:
    """The metric of the reward that was given, where the first one is of the environment's own and they differ."""
    return next((given for given, own in _PAIRS if own == metric and given in others), None)


def _each(frame: pd.DataFrame, metric: str) -> list[str]:
    """The metrics of each agent or objective that one is the mean of."""
    numbers = itertools.takewhile(lambda k: f"{metric}/{k}" in frame, itertools.count())
    return [f"{metric}/{k}" for k in numbers]


def name_of(metric: str) -> str:
    """What a metric is called to people."""
    whole, _, part = metric.rpartition("/")
    return f"{NAMES[whole]}/{part}" if whole in NAMES else NAMES.get(metric, metric)


def declared_metrics(described: Iterable[Mapping[str, Any]]) -> list[str]:
    """What all these runs are judged by before returns, from their `config.json`; see `jaxreward.run.spec.headline`.

    It is what their agents call their results, such as what a search covers, and rewards a step where no environment
    ever ends.
    """
    lists = [each["config"].get("headline") or [] for each in described]
    return [name for name in (lists[0] if lists else []) if all(name in other for other in lists)]


def configurations(described: Mapping[str, Any]) -> list[str]:
    """The columns that tell the members of a run apart, from its `config.json`; none for a single configuration."""
    return list(dict.fromkeys(name for member in described["population"] for name in member))


def summary(frame: pd.DataFrame, by: list[str], metric: str) -> pd.DataFrame:
    """The final values of each configuration, best first; see `jaxreward.results.tables.summarise`.

    Args:
        frame: The metrics of one run.
        by: What its configurations differ in.
        metric: One of its columns.
    """
    # Members are told apart by their number as well: a float column is no safe key.
    table = summarise(frame, metric, by=["member", *by])
    return table.sort_values("iqm", ascending=False, na_position="last", kind="stable").reset_index(drop=True)


def cells(row: pd.Series) -> list[str]:
    """A row's mean, interquartile mean and seeds as text, NaN runs beside the seeds."""
    estimates = [with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in ("iqm", "mean")]
    failed = f" ({int(row['failed'])} not finite)" if row["failed"] else ""
    return [*estimates, f"{int(row['seeds'])}{failed}"]


def show(value: Any) -> str:
    """A number in at most 4 digits, anything else as it is."""
    if not isinstance(value, float | np.floating):
        return str(value)
    return f"{value:.4g}"


def rich_table(frame: pd.DataFrame, by: list[str], largest: int = 40, declared: Sequence[str] = ()) -> Table:
    """What came out of a run, for a terminal: the headline metrics of each configuration, its `largest` best rows."""
    metrics = headline_metrics(frame, declared)
    tables = [summary(frame, by, metric).set_index("member") for metric in metrics]
    table = Table()
    for name in [*by, *map(name_of, metrics), "seeds"]:
        table.add_column(name, justify="right")
    for member in tables[0].index[:largest]:
        row = tables[0].loc[member]
        estimates = [cells(each.loc[member])[0] for each in tables]
        table.add_row(*(show(row[name]) for name in by), *estimates, cells(row)[-1])
    if len(tables[0]) > largest:
        table.caption = f"the {largest} best of {len(tables[0])} configurations; the report has more"
    return table


def _without_twins(frame: pd.DataFrame, names: list[str]) -> list[str]:
    """Names without those of the environment's own metrics where the given reward's are the same."""
    pairs = [pair for pair in _PAIRS if set(pair) <= set(names)]
    twins = [own for given, own in pairs if frame[given].equals(frame[own])]
    return [name for name in names if name not in twins]


def with_interval(value: float, low: float, high: float) -> str:
    """A number with its interval, as far as there are any."""
    if np.isnan(value):
        return "-"
    return show(value) if np.isnan(low) else f"{show(value)} [{show(low)}, {show(high)}]"
