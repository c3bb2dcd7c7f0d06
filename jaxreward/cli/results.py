"""`jaxreward results`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from jaxreward.cli.shell import WIDTH, OptionalPath, Text, note

if TYPE_CHECKING:
    import pandas as pd

LARGEST_SHOWN = 200
"""Rows of an answer that are printed; a file or another format has all."""
_EXAMPLE = """for example
  jaxreward results 'SELECT learning_rate, avg("episode/return") FROM final GROUP BY ALL ORDER BY ALL'"""


@dataclass(frozen=True)
class Results:
    """Ask a question in SQL across all runs, or show what can be asked for.

    Attributes:
        sql: The question, in DuckDB's dialect, of the tables metrics (a row for each logged chunk, member and seed),
            final (each run's values over the last tenth of its iterations) and runs (a row for each run folder).
        places: Run folders, or folders with runs in them.
        format: How the answer is printed.
        out: A file for the whole answer: .csv, .parquet or .json.
        traceback: Show where an error came from.
    """

    sql: tyro.conf.Positional[Text] = None
    places: Annotated[tuple[Path, ...], tyro.conf.arg(name="in", metavar="PATH ...")] = (Path("runs"),)
    format: Literal["table", "csv", "json", "markdown"] = "table"
    out: OptionalPath = None
    traceback: bool = False

    def run(self) -> int:
        from jaxreward.results.tables import query

        if self.sql is None:
            for table in ("runs", "final", "metrics"):
                _describe(table, query(f"DESCRIBE {table}", self.places))
            note(_EXAMPLE)
            return 0
        answer = query(self.sql, self.places)
        if self.out is not None:
            _write(answer, self.out)
        else:
            _print(answer, self.format)
        return 0


def _describe(table: str, columns: pd.DataFrame) -> None:
    print(table)
    for name, kind in zip(columns["column_name"], columns["column_type"], strict=True):
        print(f"  {name:<40} {kind.lower()}")


def _write(answer: pd.DataFrame, path: Path) -> None:
    writers = {".csv": _csv, ".parquet": _parquet, ".json": _json}
    if path.suffix not in writers:
        raise ValueError(f"--out must end in {', '.join(writers)}; got {path}")
    writers[path.suffix](answer, path)
    note(f"{len(answer):,} rows -> {path}")


def _csv(answer: pd.DataFrame, path: Path | None) -> str | None:
    return answer.to_csv(path, index=False)


def _parquet(answer: pd.DataFrame, path: Path) -> None:
    answer.to_parquet(path, index=False)


def _json(answer: pd.DataFrame, path: Path | None) -> str | None:
    return answer.to_json(path, orient="records", double_precision=15)


def _print(answer: pd.DataFrame, kind: str) -> None:
    if kind == "csv":
        print(_csv(answer, None), end="")
    elif kind == "json":
        print(_json(answer, None))
    elif kind == "markdown":
        rows = [list(answer.columns), ["---"] * answer.shape[1], *answer.to_numpy().tolist()]
        print("\n".join(f"| {' | '.join(map(_cell, row))} |" for row in rows))
    else:
        _print_table(answer)


def _print_table(answer: pd.DataFrame) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*map(str, answer.columns))
    for row in answer.head(LARGEST_SHOWN).itertuples(index=False):
        table.add_row(*map(_cell, row))
    if len(answer) > LARGEST_SHOWN:
        table.caption = f"the first {LARGEST_SHOWN} of {len(answer):,} rows; --out has all"
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


def _cell(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
