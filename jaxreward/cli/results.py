"""`jaxreward results`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from jaxreward.cli.shell import OptionalPath, Text, console, note

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

LARGEST_SHOWN = 200
"""Rows of an answer that are printed; a file or another format has all."""
LARGEST_TURNED = 3
"""Rows that are printed one beside the other, a line for each column, where columns don't fit."""
NAMED_HIDDEN = 8
"""Columns that are named where they don't fit."""
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
        csv: A new file for the whole answer, as CSV.
        json: The same as JSON, a list with an object for each row.
        parquet: The same as Parquet.
        out: The same as what the file's name ends in: .csv, .json or .parquet.
        traceback: Show where an error came from.
    """

    sql: tyro.conf.Positional[Text] = None
    places: Annotated[tuple[Path, ...], tyro.conf.arg(name="in", metavar="PATH ...")] = (Path("runs"),)
    format: Literal["table", "csv", "json", "markdown"] = "table"
    csv: OptionalPath = None
    json: OptionalPath = None
    parquet: OptionalPath = None
    out: OptionalPath = None
    traceback: bool = False

    def run(self) -> int:
        from jaxreward.results.tables import query

        files = self._files()
        _check_new(files)
        if self.sql is None:
            if files:
                raise ValueError(f"which question is {next(iter(files))} to have the answer of? {_EXAMPLE}")
            for table in ("runs", "final", "metrics"):
                _describe(table, query(f"DESCRIBE {table}", self.places))
            note(_EXAMPLE)
            return 0
        if not self.sql.strip():
            raise ValueError(f"the question is empty; {_EXAMPLE}")
        if os.path.isdir(self.sql):  # Path raises where a question is longer than a name can be
            raise ValueError(f"{self.sql} is a folder, and no question; ask of it with --in {self.sql}, {_EXAMPLE}")
        answer = query(self.sql, self.places)
        for path, write in files.items():
            write(answer, path)
            note(f"{len(answer):,} rows -> {path}")
        if not files:
            _print(answer, self.format)
        return 0

    def _files(self) -> dict[Path, Callable[[pd.DataFrame, Path], object]]:
        """What writes each file that is asked for."""
        named = {".csv": self.csv, ".json": self.json, ".parquet": self.parquet}
        files = {path: _WRITERS[kind] for kind, path in named.items() if path is not None}
        if self.out is None:
            return files
        if self.out.suffix not in _WRITERS:
            raise ValueError(f"--out must end in {', '.join(_WRITERS)}; got {self.out}")
        return {**files, self.out: _WRITERS[self.out.suffix]}


def _check_new(files: Iterable[Path]) -> None:
    """Refuses before anything is asked to write where something is, or where nothing can be."""
    for path in files:
        if path.exists() or path.is_symlink():
            raise ValueError(f"{path} is there already; name a new file for the answer, or remove that one")
        if not path.absolute().parent.is_dir():
            raise ValueError(f"there is no folder {path.absolute().parent} to put {path.name} into")


def _describe(table: str, columns: pd.DataFrame) -> None:
    print(table)
    for name, kind in zip(columns["column_name"], columns["column_type"], strict=True):
        print(f"  {name:<40} {kind.lower()}")


def _csv(answer: pd.DataFrame, path: Path | None) -> str | None:
    return answer.to_csv(path, index=False)


def _parquet(answer: pd.DataFrame, path: Path) -> None:
    answer.to_parquet(path, index=False)


def _json(answer: pd.DataFrame, path: Path | None) -> str | None:
    return answer.to_json(path, orient="records", double_precision=15)


_WRITERS: dict[str, Callable[[pd.DataFrame, Path], object]] = {".csv": _csv, ".parquet": _parquet, ".json": _json}


def _print(answer: pd.DataFrame, kind: str) -> None:
    if kind == "csv":
        print(_csv(answer, None), end="")
    elif kind == "json":
        print(_json(answer, None))
    elif kind == "markdown":
        rows = [list(answer.columns), ["---"] * answer.shape[1], *answer.to_numpy().tolist()]
        print("\n".join(f"| {' | '.join(map(_markdown, row))} |" for row in rows))
    else:
        _print_table(answer)


def _print_table(answer: pd.DataFrame) -> None:
    """An answer as a table, what does not fit turned or cut, with a word on how to see the rest."""
    from rich.console import Group
    from rich.text import Text

    out, shown = console(), answer.head(LARGEST_SHOWN)
    cells = [
        list(map(str, answer.columns)),
        *([_cell(value) for value in row] for row in shown.itertuples(index=False)),
    ]
    fitting = _fitting(cells, out.width)
    if fitting == len(cells[0]):
        out.print(Group(_table(cells), Text(_rest(answer, fitting))) if len(answer) > len(shown) else _table(cells))
    elif len(shown) <= LARGEST_TURNED:
        turned = [["", *(str(number + 1) for number in range(len(shown)))], *map(list, zip(*cells, strict=True))]
        out.print(_table(turned))
    else:
        out.print(Group(_table([row[:fitting] for row in cells]), Text(_rest(answer, fitting))))


def _fitting(cells: Sequence[Sequence[str]], width: int) -> int:
    """How many columns fit beside each other, at least one."""
    used, count = 1, 0
    for column in zip(*cells, strict=True):
        used += 3 + max(max(map(_width, cell.splitlines()), default=0) for cell in column)
        if used > width:
            break
        count += 1
    return max(count, 1)


def _table(cells: Sequence[Sequence[str]]) -> Table:
    from rich.table import Table

    table = Table(*cells[0])
    for row in cells[1:]:
        table.add_row(*row)
    return table


def _width(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _rest(answer: pd.DataFrame, columns: int) -> str:
    """What is not shown, and how to see it."""
    parts = []
    if len(answer) > LARGEST_SHOWN:
        parts.append(f"the first {LARGEST_SHOWN} of {len(answer):,} rows; --csv FILE has all")
    if columns < answer.shape[1]:
        hidden = ", ".join(f'"{name}"' for name in answer.columns[columns : columns + NAMED_HIDDEN])
        more = " and so on" if columns + NAMED_HIDDEN < answer.shape[1] else ""
        parts.append(
            f"the first {columns} of {answer.shape[1]} columns, as many as fit; not shown are {hidden}{more}. SELECT "
            f"those you want, or add LIMIT {LARGEST_TURNED}: so few rows are shown column by column; --csv FILE has all"
        )
    return "\n".join(parts)


def _markdown(value: object) -> str:
    """A cell in one line, in which nothing ends it."""
    return " ".join(_cell(value).replace("|", "\\|").splitlines())


def _cell(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
