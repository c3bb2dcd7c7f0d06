"""Questions in SQL across any number of runs: DuckDB over their Parquet files, where they lie.

There are three tables. `metrics` has a row for each logged chunk, member and seed; `final` has each run's values over
the last tenth of its iterations; `runs` has a row for each run folder. All of them have the entries of the runs'
`config` as columns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import duckdb
import pandas as pd

from jaxreward.run.record import COLUMNS
from jaxreward.run.store import RunError, RunFolder, flatten

FINAL_FRACTION = 0.1
"""The part of a run's iterations, its last, over which its final value is a mean."""


@contextlib.contextmanager
def connect(folders: Sequence[RunFolder]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB connection with the three tables, open within the block; metrics are read when they are asked for.

    Args:
        folders: The runs; they are called by their folder's name, by its path where names are not unique.

    Raises:
        RunError: A folder holds no run.
    """
    described = [folder.read_config() for folder in folders]
    unique = len({folder.path.name for folder in folders}) == len(folders)
    names = [folder.path.name if unique else str(folder.path) for folder in folders]
    configs = _table({"run": name} | _cells(config) for name, config in zip(names, described, strict=True))
    facts = _table(
        {"run": name, "path": str(folder.path), **_facts(config)}
        for name, folder, config in zip(names, folders, described, strict=True)
    )
    parts = [(str(path), name) for name, folder in zip(names, folders, strict=True) for path in folder.parts().values()]
    runs = pd.concat([facts, configs[configs.columns.difference(facts.columns, False)]], axis=1)
    searched = {name for config in described for member in config.get("population", ()) for name in member}
    with duckdb.connect() as connection:
        connection.register("configs", configs)
        connection.register("runs", runs)
        connection.register("parts", pd.DataFrame(parts, columns=["file", "run"]).assign(part=range(len(parts))))
        _create_metrics(connection, list(configs.columns))
        _create_final(connection, {*configs.columns, *COLUMNS, *searched})
        yield connection


def ask(connection: duckdb.DuckDBPyConnection, sql: str) -> pd.DataFrame:
    """The answer to a question.

    Raises:
        RunError: A metrics file is damaged.
        ValueError: The question can't be answered; the message is DuckDB's and says what there is.
    """
    try:
        return connection.execute(sql).df()
    except duckdb.Error as error:
        raise _explained(error, connection) from error


def _cells(described: dict[str, Any]) -> dict[str, Any]:
    """The entries of a run's `config`, as cells of a table."""
    config = flatten(described["config"])
    return {k: str(v) if isinstance(v, list | dict) else v for k, v in config.items() if k not in ("run", "")}


def _facts(described: dict[str, Any]) -> dict[str, Any]:
    iterations = described["iterations"]
    return {
        "started": described.get("started"),
        "finished": described.get("finished", -1) >= iterations,
        "iterations": iterations,
        "members": len(described["population"]),
        "seeds": len(described["seeds"]),
        "revision": (described.get("git") or {}).get("revision"),
        "device": described.get("device", {}).get("kind"),
    }


def _table(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """A table whose columns have one type each: text where they would have several."""
    table = pd.DataFrame(list(rows))
    for name in table:
        if len({type(value) for value in table[name].dropna()}) > 1:
            table[name] = table[name].map(str, na_action="ignore")
    return table


def _create_metrics(connection: duckdb.DuckDBPyConnection, configured: list[str]) -> None:
    connection.execute("SET VARIABLE files = (SELECT list(file ORDER BY part) FROM parts)")
    files = "read_parquet(getvariable('files'), union_by_name = true, filename = true, file_row_number = true)"
    try:
        logged = connection.execute(f"SELECT * FROM {files} LIMIT 0").df() if _any_parts(connection) else None
    except duckdb.Error as error:
        raise _explained(error, connection) from error
    if logged is None:
        connection.execute("CREATE VIEW metrics AS SELECT * FROM configs LIMIT 0")
        return
    config = _columns(f"configs.{_quoted(name)}" for name in configured if name not in logged)
    connection.execute(
        f"CREATE VIEW metrics AS SELECT {config}, logged.* EXCLUDE (filename, file_row_number) FROM {files} AS logged "
        "JOIN parts ON parts.file = filename JOIN configs USING (run) ORDER BY part, file_row_number"
    )


def _create_final(connection: duckdb.DuckDBPyConnection, described: set[str]) -> None:
    """As `jaxreward.results.tables.final_values`, of all metrics at once."""
    columns = connection.execute("SELECT * FROM metrics LIMIT 0").df().dtypes
    if "iteration" not in columns:
        connection.execute("CREATE VIEW final AS SELECT * FROM metrics")
        return
    chosen = [_final(str(name), str(kind), name in described) for name, kind in columns.items()]
    connection.execute(
        f"CREATE VIEW final AS SELECT {_columns(chosen)} FROM "
        "(SELECT *, max(iteration) OVER (PARTITION BY run, member, seed) AS _last FROM metrics) "
        f"WHERE iteration > {1 - FINAL_FRACTION}::DOUBLE * _last GROUP BY run, member, seed ORDER BY run, member, seed"
    )


def _final(name: str, kind: str, described: bool) -> str:
    """One column of `final`: means weighted by episodes for `episode/*`, plain means otherwise."""
    column, count = _quoted(name), _quoted("episode/count")
    if name in ("run", "member", "seed"):
        return column
    if name in COLUMNS:
        return f"max({column}) AS {column}"
    if described or not kind.startswith(("int", "float", "bool")):
        return f"first({column}) AS {column}"
    if name.startswith("episode/") and name != "episode/count":
        return f"sum({column} * {count}) FILTER ({count} > 0) / nullif(sum({count}), 0) AS {column}"
    return f"avg({column}) AS {column}"


def _explained(error: duckdb.Error, connection: duckdb.DuckDBPyConnection) -> RunError | ValueError:
    message = str(error).strip()
    if isinstance(error, duckdb.IOException) or "magic bytes" in message or "parquet" in message.lower():
        return RunError(f"a metrics file is damaged; move it or its run away: {message}")
    return ValueError(
        f"{message}\nthe tables are metrics, final and runs; columns with a slash or a dot take double quotes"
    )


def _any_parts(connection: duckdb.DuckDBPyConnection) -> bool:
    return connection.execute("SELECT count(*) FROM parts").fetchall()[0][0] > 0


def _columns(expressions: Iterable[str]) -> str:
    return ", ".join(expressions)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
