"""A run is a folder: its configuration, its metrics, its checkpoints and nothing else.

```
config.json          what was run and with which versions, revision and device
metrics.parquet/     a dataset of one part per logged chunk, one row per member and seed; one part in all when finished
checkpoints/         the newest states, see `jaxreward.run.checkpoint`
tensorboard/         the same curves for TensorBoard
```

Every file is written next to its place and then moved there, so a reader never sees half of one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib.metadata
import json
import math
import os
import platform
import re
import shlex
import shutil
import subprocess
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import jax
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import PyTree

from jaxreward.names import path_name
from jaxreward.run.nearby import hint

PACKAGES = ("jaxreward", "jax", "jaxlib", "flax", "optax", "numpy")
IDENTITY = ("config", "hyperparams", "population", "seeds", "log_every", "start")
"""The entries of `config.json` that make a run the run it is; `iterations` may grow."""
_ENTRIES: dict[str, type] = {"config": dict, "population": list, "seeds": list, "iterations": int}
"""What every `config.json` of a run has, and of which type."""
_HELD: dict[str, Callable[[Any], bool]] = {
    "population": lambda member: isinstance(member, dict),
    "seeds": lambda seed: isinstance(seed, int) and not isinstance(seed, bool),
}
"""What its lists have in them, at least one of it."""
LARGEST_ARRAY = 10_000
"""Elements up to which an array is written out in `config.json`; of a larger one, its checksum."""


class RunError(RuntimeError):
    """A run that can't be started, resumed or written; the message says what to do."""


class RunFolder:
    """One run on disk.

    Args:
        path: The folder; it need not exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = absolute(path)
        self.config_file = self.path / "config.json"
        self.metrics_folder = self.path / "metrics.parquet"
        self.checkpoints = self.path / "checkpoints"
        self.best = self.path / "best"
        self.tensorboard = self.path / "tensorboard"

    def exists(self) -> bool:
        """Whether a run has been started in the folder."""
        return self.config_file.is_file()

    def finished(self) -> bool:
        """Whether the run has been trained to its end."""
        if not self.exists():
            return False
        config = self.read_config()
        return config.get("finished", -1) >= config["iterations"]

    def create(self) -> None:
        """Makes the folders.

        Raises:
            RunError: They can't be made or written to.
        """
        try:
            for folder in (self.path, self.metrics_folder, self.checkpoints, self.tensorboard):
                folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / ".writable", b"")
            (self.path / ".writable").unlink()
        except OSError as error:
            raise RunError(f"can't write to the run folder {self.path}: {error.strerror or error}") from error

    def read_config(self) -> dict[str, Any]:
        """The content of `config.json`.

        Raises:
            RunError: The folder holds no run, or its configuration can't be read.
        """
        if not self.exists():
            raise RunError(f"{self.path} is not a run folder: it has no config.json{hint(self.path)}")
        described = read_json(self.config_file, _ENTRIES)
        wrong = [name for name, holds in _HELD.items() if not described[name] or not all(map(holds, described[name]))]
        if wrong:
            raise RunError(f"{self.config_file} is no run's: its {wrong[0]} is {_shortened(described[wrong[0]])}")
        return described

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Writes `config.json`."""
        write_atomically(self.config_file, json.dumps(config, indent=2, allow_nan=False).encode())

    def write_part(self, iteration: int, table: pa.Table) -> None:
        """Adds the rows logged at an iteration to the metrics."""
        write_atomically(self.metrics_folder / f"part-{iteration:012d}.parquet", _parquet(table))

    def parts(self) -> dict[int, Path]:
        """The files of the metrics by the last iteration that is in each, in order."""
        by_iteration = {_iteration(path): path for path in sorted(self.metrics_folder.glob("part-*.parquet"))}
        merged = max(self.metrics_folder.glob("all-*.parquet"), default=None)
        if merged is None:
            return by_iteration
        later = {at: path for at, path in by_iteration.items() if at > _iteration(merged)}
        return {_iteration(merged): merged, **later}

    def compact(self) -> None:
        """Makes one file of all parts: thousands of runs are read ten times faster so.

        Raises:
            RunError: A part is damaged.
        """
        parts = self.parts()
        if len(parts) > 1:
            self._merge(max(parts), self.table())

    def drop_all_parts(self) -> None:
        """Removes all metrics and curves, damaged ones too."""
        for path in [*self.metrics_folder.glob("*.parquet"), *self.metrics_folder.glob("*.tmp")]:
            path.unlink()
        shutil.rmtree(self.tensorboard, ignore_errors=True)

    def drop_parts_after(self, iteration: int) -> None:
        """Removes the metrics of what was done after an iteration, and unfinished files."""
        merged = [at for at, path in self.parts().items() if path.stem.startswith("all-") and at > iteration]
        if merged:
            table = self.table()
            self._merge(iteration, table.filter(pc.less_equal(table["iteration"], iteration)))
        late = [path for at, path in self.parts().items() if at > iteration]
        for path in [*late, *self.metrics_folder.glob("*.tmp")]:
            path.unlink()

    def _merge(self, iteration: int, table: pa.Table) -> None:
        """Puts a table in the place of all parts; a reader sees the old ones or the new one."""
        old = set(self.metrics_folder.glob("*.parquet"))
        merged = self.metrics_folder / f"all-{iteration:012d}.parquet"
        write_atomically(merged, _parquet(table))
        # The newest merged file is the one that is read: what it stands for goes first.
        for path in sorted(old - {merged}, key=lambda path: path.stem.startswith("all-")):
            path.unlink()

    def table(self) -> pa.Table:
        """All rows logged so far.

        Raises:
            RunError: A part is damaged.
        """
        tables = [read_part(path) for path in self.parts().values()]
        return pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})

    def metrics(self) -> pd.DataFrame:
        """All rows logged so far: `iteration, env_steps, wall_seconds, member, seed, failed`, overrides and metrics.

        Raises:
            RunError: A part is damaged.
        """
        return self.table().to_pandas()


def absolute(folder: str | os.PathLike[str]) -> Path:
    """The path of a folder as a user gave it; `~` is the home directory unless there is a folder of that very name.

    Raises:
        RunError: It is empty, which would be the current folder, or no text, so that no file of JSON could say it.
    """
    if os.fspath(folder) == "":
        raise RunError("a folder needs a name; '.' is the current one")
    given = Path(folder)
    try:
        str(given).encode()
    except UnicodeEncodeError as error:
        raise RunError(f"the name of the folder {os.fsencode(given)!r} is not UTF-8; rename it") from error
    with contextlib.suppress(RuntimeError):  # `~somebody`, where there is nobody of that name
        return (given if given.exists() else given.expanduser()).absolute()
    return given.absolute()


def read_part(part: Path) -> pa.Table:
    """The rows in a file of metrics.

    Raises:
        RunError: It is damaged.
    """
    return _opened(part, pq.read_table)


def read_schema(part: Path) -> pa.Schema:
    """The columns of a file of metrics, without its rows.

    Raises:
        RunError: It is damaged.
    """
    return _opened(part, pq.read_schema)


def read_json(path: Path, entries: Mapping[str, type] | None = None) -> dict[str, Any]:
    """The table in a JSON file.

    Args:
        path: The file.
        entries: What there must be in it, and of which type.

    Raises:
        RunError: It is damaged, or something else.
    """
    entries = entries or {}
    try:
        table = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is not valid JSON: {error}") from error
    found = table if isinstance(table, dict) else {}
    wrong = [name for name, kind in entries.items() if not isinstance(found.get(name), kind)]
    if wrong or found is not table:
        expected = f"a table with {', '.join(entries)}" if entries else "a table"
        given = f"it has no {wrong[0]}" if found is table and wrong[0] not in found else f"it is {_shortened(table)}"
        raise RunError(f"{path} is not what jaxreward writes: expected {expected}, but {given}")
    return found


def write_atomically(path: Path, content: bytes | pa.Buffer) -> None:
    """Writes a file so that it is there whole or not at all, also after `kill -9` or a full disk."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def named_values(tree: PyTree) -> dict[str, Any]:
    """A pytree's leaves as JSON values by dotted path, e.g. `{"learning_rate": 0.001, "reward.goal": [1.0, 2.0]}`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_name(path) or "value": to_json(_array_value(leaf)) for path, leaf in leaves}


def to_json(value: Any) -> Any:
    """A value that JSON can hold: NaN and infinities become strings, unknown objects their `repr`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return to_json(_array_value(value))
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    # An address would make a function or object differ from itself when the run is resumed.
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted keys; lists are values, an empty mapping adds nothing."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    join = lambda key: f"{prefix}.{key}" if prefix else str(key)  # noqa: E731
    return {name: leaf for key, item in value.items() for name, leaf in flatten(item, join(key)).items()}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """How two configurations differ, a line `key: old -> new` for each entry.

    A size that an agent did not have yet is none where nobody asked for it: its default is what went on before.
    """
    before, after = ({k: v for key in IDENTITY for k, v in flatten(c.get(key), key).items()} for c in (old, new))
    for entries in (before, after):
        entries.pop("config.headline", None)  # what is drawn first
    asked = {f"config.agent_config.{name}" for name in (new.get("config") or {}).get("settings", {})}
    later = lambda key: key.startswith("config.agent_config.") and key not in asked  # noqa: E731
    keys = [*before, *(key for key in after if key not in before and not later(key))]
    show = lambda side, key: _shortened(side[key]) if key in side else "absent"  # noqa: E731
    return [
        f"{key}: {show(before, key)} -> {show(after, key)}"
        for key in keys
        if key not in before or key not in after or before[key] != after[key]
    ]


def provenance() -> dict[str, Any]:
    """With what a run is run: versions, git revision of the working directory, device, XLA flags and the time."""
    device = jax.devices()[0]
    return {
        "versions": {**{name: _version(name) for name in PACKAGES}, "python": platform.python_version()},
        "git": _git_revision(),
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _array_value(leaf: Any) -> Any:
    array = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
    if array.dtype.kind not in "biuf":
        array = array.astype(np.float32)
    if array.size <= LARGEST_ARRAY:
        # Through text, so that the float32 nearest to 0.1 is written as 0.1.
        return array.astype(str).astype(float).tolist() if array.dtype.kind == "f" else array.tolist()
    return {"shape": list(array.shape), "dtype": str(array.dtype), "crc32": zlib.crc32(array.tobytes())}


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _parquet(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue()


def _iteration(part: Path) -> int:
    return int(part.stem.rpartition("-")[2])


def _opened(part: Path, read: Callable[[BinaryIO], Any]) -> Any:
    """What is read of a file; opened here, since Arrow sees patterns and partitions in some names."""
    try:
        with open(part, "rb") as file:
            return read(file)
    except (OSError, pa.ArrowInvalid) as error:
        again = shlex.join(["jaxreward", "train", "--resume", "--folder", str(part.parent.parent)])
        raise RunError(f"the metrics file {part} is damaged ({error}); `{again}` says what can be done") from error


def _shortened(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_revision() -> dict[str, Any] | None:
    revision, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    return None if revision is None else {"revision": revision, "dirty": bool(changes)}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
