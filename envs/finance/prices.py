"""Prices from a file, looked at before anything is traded on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

LONGEST_GAP = 7
"""Days between two prices: more than a weekend with holidays is a gap."""
TIMES = ("date", "day", "time", "timestamp", "datetime", "month", "year", "index")
"""Names of a column that is no asset."""


def read_prices(path: str | Path) -> tuple[Float[np.ndarray, "T n"], tuple[str, ...]]:
    """Prices of assets and their names, from a CSV file: a column for each, by its name, and a row for each time.

    The first column may be dates, such as 2024-05-31. Nothing is filled in or left out.

    Raises:
        ValueError: If there is no such file, a price is missing, no number or not above 0, or dates do not rise or
            have a gap of more than a week; says which.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file of prices {str(path)!r}; expected a CSV file with a column for each asset")
    table = pd.read_csv(path, skipinitialspace=True)
    _check_first(path, table)
    if len(table.columns) and not _are_numbers(table.iloc[:, 0]):
        _check_dates(path, table.iloc[:, 0])
        table = table.iloc[:, 1:]
    if table.shape[0] < 2 or not table.shape[1]:
        raise ValueError(f"{path} has {table.shape[0]} rows of {table.shape[1]} assets; expected 2 rows and an asset")
    prices = table.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    wrong = np.argwhere(~(np.isfinite(prices) & (prices > 0)))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(
            f"{path}, line {row + 2}: the price of {table.columns[column]} is {_shown(table.iloc[row, column])}; "
            f"expected a number above 0 ({len(wrong)} such in all). Fill gaps or cut them off before"
        )
    return prices, tuple(map(str, table.columns))


def _are_numbers(column: pd.Series) -> bool:
    return bool(pd.to_numeric(column, errors="coerce").notna().any())


def _check_first(path: Path, table: pd.DataFrame) -> None:
    """Refuses numbers in the place of dates, which would be an asset."""
    first = str(table.columns[0]).strip().lower() if len(table.columns) else ""
    if (first in TIMES or first.startswith("unnamed")) and _are_numbers(table.iloc[:, 0]):
        raise ValueError(
            f"{path}: the column {str(table.columns[0])!r} has numbers; expected dates such as 2024-05-31, or no such "
            "column"
        )


def _check_dates(path: Path, column: pd.Series) -> None:
    dates = pd.to_datetime(column, errors="coerce", format="ISO8601")
    if dates.isna().any():
        row = int(np.argmax(dates.isna()))
        raise ValueError(f"{path}, line {row + 2}: {_shown(column[row])} is no date; expected one such as 2024-05-31")
    days = dates.diff().dt.total_seconds().to_numpy()[1:] / 86_400
    for wrong, what in ((days <= 0, "not behind"), (days > LONGEST_GAP, f"more than {LONGEST_GAP} days behind")):
        if wrong.any():
            row = int(np.argmax(wrong)) + 1
            raise ValueError(
                f"{path}, line {row + 2}: {column[row]} is {what} {column[row - 1]}; expected prices at dates that "
                "rise without gaps"
            )


def _shown(value: Any) -> str:
    return "missing" if pd.isna(value) else f"'{value}'" if isinstance(value, str) else str(value)
