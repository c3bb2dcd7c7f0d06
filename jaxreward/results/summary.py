"""What is quoted of runs: a row for each configuration, with intervals over its seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from jaxreward.results.tables import summarise

RETURN, ENV_RETURN = "episode/return", "episode/env_return"
NAMES = {RETURN: "return", ENV_RETURN: "environment's return"}
"""What the headline metrics are called to people."""


def headline_metrics(frame: pd.DataFrame) -> list[str]:
    """The metrics to judge a run by: the environment's own return, and the return of the given reward if it differs."""
    present = [name for name in (ENV_RETURN, RETURN) if name in frame]
    if len(present) == 2 and frame[RETURN].equals(frame[ENV_RETURN]):
        return [RETURN]
    return present


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
    estimates = [_with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in ("iqm", "mean")]
    failed = f" ({int(row['failed'])} not finite)" if row["failed"] else ""
    return [*estimates, f"{int(row['seeds'])}{failed}"]


def show(value: Any) -> str:
    """A number in at most 4 digits, anything else as it is."""
    if not isinstance(value, float | np.floating):
        return str(value)
    return f"{value:.4g}"


def rich_table(frame: pd.DataFrame, by: list[str], largest: int = 40) -> Table:
    """What came out of a run, for a terminal: the headline metrics of each configuration, its `largest` best rows."""
    metrics = headline_metrics(frame)
    tables = [summary(frame, by, metric).set_index("member") for metric in metrics]
    table = Table()
    for name in [*by, *(NAMES[metric] for metric in metrics), "seeds"]:
        table.add_column(name, justify="right")
    for member in tables[0].index[:largest]:
        row = tables[0].loc[member]
        estimates = [cells(each.loc[member])[0] for each in tables]
        table.add_row(*(show(row[name]) for name in by), *estimates, cells(row)[-1])
    if len(tables[0]) > largest:
        table.caption = f"the {largest} best of {len(tables[0])} configurations; the report has more"
    return table


def _with_interval(value: float, low: float, high: float) -> str:
    if np.isnan(value):
        return "-"
    return show(value) if np.isnan(low) else f"{show(value)} [{show(low)}, {show(high)}]"
