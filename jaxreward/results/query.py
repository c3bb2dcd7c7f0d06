"""Questions in SQL across any number of runs: DuckDB over their Parquet files, where they lie.

There are three tables. `metrics` has a row for each logged chunk, member and seed; `final` has each run's values over
the last tenth of its iterations; `runs` has a row for each run folder. All of them have what was trained as columns:
agent, environment, reward and so on, and every setting by its one name, whether it was set, varied or left as it is. In
`runs` a setting that the members differ in is null.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow.fs import LocalFileSystem

from jaxreward.contract.agents import RATES, RETURNS
from jaxreward.results.described import agreed, entries, run_names, settings_of
from jaxreward.run.record import COLUMNS
from jaxreward.run.store import RunError, RunFolder, read_part, read_schema

FINAL_FRACTION = 0.1
"""The part of a run's iterations, its last, over which its final value is a mean."""
_LOCKS = (
    "SET python_enable_replacements = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
"""A question reads the runs and nothing else: no file, no network, no variable of this process."""
_OF_THE_QUESTION = (duckdb.ParserException, duckdb.SyntaxException, duckdb.BinderException, duckdb.CatalogException)
"""Errors that are found before anything is read."""


@contextlib.contextmanager
def connect(folders: Sequence[RunFolder]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB connection with the three tables, open within the block; metrics are read when they are asked for.

    Args:
        folders: The runs; they are called by their folder's name, with as much of its path as tells them apart.

    Raises:
        RunError: A folder holds no run.
    """
    described = [folder.read_config() for folder in folders]
    names = run_names([folder.path for folder in folders])
    settings = [settings_of(config) for config in described]
    configs = _table({"run": name} | entries(config) for name, config in zip(names, described, strict=True))
    members = _table(
        {**row, "run": name, "member": number}
        for name, rows in zip(names, settings, strict=True)
        for number, row in enumerate(rows)
    )
    facts = _table(
        {"run": name, "path": str(folder.path), **_facts(config)}
        for name, folder, config in zip(names, folders, described, strict=True)
    )
    parts = [(path, name) for name, folder in zip(names, folders, strict=True) for path in folder.parts().values()]
    shared = _table(agreed(rows) for rows in settings)
    runs = _beside(_beside(facts, configs), shared)
    searched = {name for config in described for member in config["population"] for name in member}
    with duckdb.connect() as connection:
        connection.register("configs", configs)
        connection.register("members", members)
        connection.register("runs", runs)
        connection.register("parts", _numbered(parts))
        logged = _create_metrics(connection, configs, members, [path for path, _ in parts], searched)
        _create_final(connection, {*configs.columns, *members.columns, *COLUMNS} - (logged - {*searched, *COLUMNS}))
        for lock in _LOCKS:
            connection.execute(lock)
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


def _beside(table: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """A table with the columns of another that it does not have."""
    return pd.concat([table, other[other.columns.difference(table.columns, False)]], axis=1)


def _create_metrics(
    connection: duckdb.DuckDBPyConnection,
    configs: pd.DataFrame,
    members: pd.DataFrame,
    parts: list[Path],
    searched: set[str],
) -> set[str]:
    """What was logged, and beside it what was trained; gives the names of what was logged.

    A setting that some runs varied, and so logged, is a setting of the others too. A metric that is called like one
    that nobody varied hides it.
    """
    if not parts:
        connection.execute("CREATE VIEW metrics AS SELECT * FROM configs JOIN members USING (run) LIMIT 0")
        return set()
    logged = _logged(parts)
    connection.register("logged", logged)
    filled = {name for name in map(str, members) if name in searched and name in logged.schema.names}
    first = [*COLUMNS, *sorted(filled), *RETURNS, *RATES]  # a table is cut to what fits
    names = [*(name for name in first if name in logged.schema.names), *logged.schema.names]
    chosen = [
        "run",
        *(
            _filled(name, logged.schema.field(name), members[name]) if name in filled else f"rows.{_quoted(name)}"
            for name in dict.fromkeys(names)
            if name != "_part"
        ),
        *(f"configs.{_quoted(name)}" for name in map(str, configs) if name not in [*names, "run"]),
        *(f"members.{_quoted(name)}" for name in map(str, members) if name not in [*names, *configs]),
    ]
    connection.execute(
        f"CREATE VIEW metrics AS SELECT {_columns(chosen)} "
        "FROM (SELECT *, row_number() OVER () AS _row FROM logged) AS rows JOIN parts USING (_part) "
        "JOIN configs USING (run) LEFT JOIN members ON members.run = configs.run AND members.member = rows.member "
        "ORDER BY _row"
    )
    return set(logged.schema.names)


def _filled(name: str, logged: pa.Field, setting: pd.Series) -> str:
    """A column that was logged where it was varied, with the setting where it was not; text where types differ."""
    numbers = pa.types.is_floating(logged.type) or pa.types.is_integer(logged.type)
    alike = numbers and pd.api.types.is_numeric_dtype(setting) and not pd.api.types.is_bool_dtype(setting)
    kind = "" if alike else "::VARCHAR"
    return f"coalesce(rows.{_quoted(name)}{kind}, members.{_quoted(name)}{kind}) AS {_quoted(name)}"


def _logged(parts: Sequence[Path]) -> ds.Dataset:
    """All files of metrics as one table, read when it is asked for; its column `_part` says from which a row is.

    The files are given one by one: in a name that is looked for, a bracket or `seed=7` means something.
    """
    schema, kind, disk = _common(map(read_schema, parts)), ds.ParquetFileFormat(), LocalFileSystem()
    numbered = [
        kind.make_fragment(str(path), disk, partition_expression=ds.field("_part") == number)
        for number, path in enumerate(parts)
    ]
    return ds.FileSystemDataset(numbered, schema.append(pa.field("_part", pa.int64())), kind, disk)


def _common(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """The columns of all schemas, each of a type that holds its values everywhere: text where no other does."""
    fields: dict[str, pa.Field] = {}
    for schema in dict.fromkeys(schema.remove_metadata() for schema in schemas):
        for field in schema:
            fields[field.name] = _wider(fields.get(field.name, field), field)
    return pa.schema(fields.values())


def _wider(first: pa.Field, second: pa.Field) -> pa.Field:
    try:
        return pa.unify_schemas([pa.schema([first]), pa.schema([second])], promote_options="permissive").field(0)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.field(first.name, pa.string())


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


def _numbered(parts: Sequence[tuple[Path, str]]) -> pd.DataFrame:
    """The files of metrics, and the run that each is of."""
    files, runs = [str(path) for path, _ in parts], [name for _, name in parts]
    return pd.DataFrame({"file": files, "run": runs, "_part": range(len(parts))})


def _explained(error: duckdb.Error, connection: duckdb.DuckDBPyConnection) -> RunError | ValueError:
    message = str(error).strip()
    if isinstance(error, duckdb.PermissionException) or "locked" in message:
        return ValueError(
            f"a question reads the runs and nothing else, so this is refused: {message.splitlines()[0]}\n"
            "`jaxreward results` writes its answer to a file with --csv, --json or --parquet FILE"
        )
    if not isinstance(error, _OF_THE_QUESTION):
        for (file,) in connection.execute("SELECT file FROM parts").fetchall():
            read_part(Path(file))
    return ValueError(
        f"{message}\nthe tables are metrics, final and runs; columns with a slash or a dot take double quotes"
    )


def _columns(expressions: Iterable[str]) -> str:
    return ", ".join(expressions)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
