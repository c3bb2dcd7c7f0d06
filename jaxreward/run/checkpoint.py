"""Checkpoints of the whole state: asynchronous, atomic, checked when they are read.

A state is any pytree of arrays. Orbax stores its leaves by position, beside a JSON record of the host's counters and of
every leaf's path, shape, type and checksum. The record tells a checkpoint of another configuration from a damaged one;
without the checksums the array store would return most altered bytes as numbers.

Of several processes the first writes and reads for all, so a checkpoint is the same whatever their number; but each
holds the whole state for that while, on the host and the largest leaf of it on a device.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import re
import shlex
import shutil
import tempfile
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from jaxreward.names import path_name
from jaxreward.run.distributed import from_leader, is_leader, on_host, put
from jaxreward.run.store import RunError

ALONE = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})
"""Orbax waits for no other process: the others never call it."""

_RENAMED = {"tally": "statistics", "individual": "genotype", "pool": "slots"}
"""Parts of states that had other names in earlier versions."""


class Restored(NamedTuple):
    """What a checkpoint held.

    Attributes:
        iteration: When it was taken.
        state: The state, on the device.
        counters: The host's counters, as they were given to `Checkpoints.save`.
    """

    iteration: int
    state: PyTree
    counters: dict[str, Any]


class Checkpoints:
    """Writes the checkpoints of one run and keeps the newest. All processes call all of it.

    Args:
        folder: Where they go; must exist.
        keep: How many to keep.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        _silence_orbax()
        self._folder, self._manager = folder, None
        if is_leader():
            options = ocp.CheckpointManagerOptions(
                max_to_keep=keep, cleanup_tmp_directories=True, create=False, multiprocessing_options=ALONE
            )
            self._manager = ocp.CheckpointManager(
                _spelt(folder), options=options, item_handlers={"state": _state_handler(), "host": _host_handler()}
            )

    def save(self, iteration: int, state: PyTree, counters: dict[str, Any]) -> None:
        """Copies the state to the host and starts to write it; returns before it is on disk.

        Raises:
            RunError: This or the previous checkpoint could not be written.
        """
        # On a CPU these are views. Orbax copies them before it returns, so the next chunk can take the buffers over.
        leaves = [on_host(_data(leaf)) for leaf in jax.tree.leaves(state)]
        record = {
            "counters": counters,
            "leaves": _describe(state),
            "key_impl": [_key_impl(leaf) for leaf in jax.tree.leaves(state)],
            "crc32": [_checksum(leaf) for leaf in leaves],
        }
        items = ocp.args.Composite(state=ocp.args.PyTreeSave(_stored(leaves)), host=ocp.args.JsonSave(record))
        self._attempt(lambda manager: manager.save(iteration, args=items, force=True))

    def wait(self) -> None:
        """Returns when the last checkpoint is on disk.

        Raises:
            RunError: It could not be written.
        """
        self._attempt(lambda manager: manager.wait_until_finished())

    def close(self) -> None:
        """Ends the writer's threads; that a save failed has been told by `wait`."""
        with contextlib.suppress(Exception):
            self._manager and self._manager.close()

    def _attempt(self, write: Callable[[ocp.CheckpointManager], object]) -> None:
        # Orbax reports a failed write as whatever its array store or its thread raised.
        def attempt() -> None:
            try:
                write(self._manager)
            except Exception as error:
                raise RunError(f"a checkpoint could not be written to {self._folder}: {error}") from error

        from_leader(attempt)


def saved_iterations(folder: Path, at_most: int | None = None) -> list[int]:
    """The iterations of the finished checkpoints in a folder, in order; all, or those that are not later than one."""
    found = sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit() and path.is_dir())
    return found if at_most is None else [iteration for iteration in found if iteration <= at_most]


def way_out(run: Path, iteration: int) -> str:
    """What to do about a run that can only go on from an iteration."""
    command = shlex.join(["jaxreward", "train", "--resume", "--folder", str(run), "--from", str(iteration)])
    does = f"drops what came after iteration {iteration} and goes on from there" if iteration else "begins it again"
    return f"`{command}` (in Python back_to={iteration}) {does}"


def restore(
    folder: Path,
    abstract: PyTree,
    sharding: jax.sharding.Sharding | None = None,
    rows: Any = ...,
    at_most: int | None = None,
) -> Restored | None:
    """Reads the newest checkpoint that is whole, warning of any newer one that isn't.

    Args:
        folder: Where the checkpoints are.
        abstract: The state's structure, of `jax.ShapeDtypeStruct` or arrays.
        sharding: Where the state is put; the default device if not given.
        rows: Which elements of the leading axes are wanted, as a numpy index; all by default.
        at_most: The last iteration that is wanted; any by default.

    Returns:
        What it held, or None if there are no checkpoints of such iterations.

    Raises:
        RunError: The checkpoint is of another configuration, or all are damaged.
    """
    stored = from_leader(lambda: _newest(folder, abstract, at_most))
    if stored is None:
        return None
    iteration, record, leaves = stored
    state = _assemble(abstract, record, [leaf[rows] for leaf in leaves], sharding)
    return Restored(iteration, state, record["counters"])


def remove_after(folder: Path, iteration: int) -> None:
    """Removes the checkpoints later than an iteration: damaged ones that were skipped."""
    for late in saved_iterations(folder):
        if late > iteration:
            shutil.rmtree(folder / str(late))


def state_bytes(abstract: PyTree) -> int:
    """The size of a state on disk, before compression, bytes."""
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(abstract))


def _newest(folder: Path, abstract: PyTree, at_most: int | None) -> tuple[int, dict[str, Any], list[np.ndarray]] | None:
    """The iteration, the record and the leaves of the newest checkpoint that is whole."""
    _silence_orbax()
    iterations = saved_iterations(folder, at_most)
    for iteration in reversed(iterations):
        step = folder / str(iteration)
        try:
            record, leaves = _read(step)
        except Exception as error:  # whatever the reader of a damaged file may raise
            reason = (str(error) or type(error).__name__).splitlines()[0][:200]
            warnings.warn(f"skipped the damaged checkpoint {step}: {reason}", stacklevel=4)
            continue
        _check_structure(step, record["leaves"], _describe(abstract))
        return iteration, record, leaves
    if iterations:
        raise RunError(f"all checkpoints in {folder} are damaged; {way_out(folder.parent, 0)}")
    return None


def _read(step: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    place = _spelt(step)
    record = _host_handler().restore(place / "host", args=ocp.args.JsonRestore())
    leaves = _read_leaves(place / "state", record["leaves"])
    for entry, leaf, expected in zip(record["leaves"], leaves, record["crc32"], strict=True):
        if _checksum(leaf) != expected:
            raise ValueError(f"the checksum of {entry['path']} is wrong")
    return record, leaves


def _assemble(
    abstract: PyTree, record: dict[str, Any], leaves: list[np.ndarray], sharding: jax.sharding.Sharding | None
) -> PyTree:
    arrays = [put(leaf, sharding) for leaf in leaves]
    wrapped = [
        array if impl is None else jax.random.wrap_key_data(array, impl=impl)
        for array, impl in zip(arrays, record["key_impl"], strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(abstract), wrapped)


def _read_leaves(folder: Path, entries: list[dict[str, Any]]) -> list[np.ndarray]:
    empty = [np.zeros(entry["data_shape"], entry["data_dtype"]) for entry in entries]
    handler, stored = _state_handler(), _stored(empty)
    # One by one: a damaged array would leave the reads of others pending in orbax's closed event loop.
    read = {name: _read_leaf(handler, folder, name, leaf) for name, leaf in stored.items()}
    return [read.get(str(index), leaf) for index, leaf in enumerate(empty)]


def _read_leaf(handler: ocp.PyTreeCheckpointHandler, folder: Path, name: str, leaf: np.ndarray) -> np.ndarray:
    as_numpy = {name: ocp.RestoreArgs(restore_type=np.ndarray)}
    return handler.restore(
        folder, args=ocp.args.PyTreeRestore({name: leaf}, restore_args=as_numpy, partial_restore=True)
    )[name]


@functools.cache
def _spelt(folder: Path) -> Path:
    """A folder by a name that the array store can read: it has no backslashes, and takes `gs:/` for a web address."""
    if not re.search(r"\\|:/", f"{folder}/"):
        return folder
    place = Path(tempfile.mkdtemp(prefix="jaxreward-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    (place / "checkpoints").symlink_to(folder)
    return place / "checkpoints"


def _state_handler() -> ocp.PyTreeCheckpointHandler:
    return ocp.PyTreeCheckpointHandler(multiprocessing_options=ALONE)


def _host_handler() -> ocp.JsonCheckpointHandler:
    return ocp.JsonCheckpointHandler(multiprocessing_options=ALONE)


def _stored(leaves: list[np.ndarray]) -> dict[str, np.ndarray]:
    # Orbax refuses arrays without elements; there is nothing in them to store.
    return {str(index): leaf for index, leaf in enumerate(leaves) if leaf.size}


def _check_structure(step: Path, found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    if found == expected or _renamed(found) == expected:
        return
    old, new = ({leaf["path"]: f"{leaf['dtype']}{leaf['shape']}" for leaf in side} for side in (found, expected))
    lines = [f"  {path or 'state'}: {old.get(path, 'absent')} -> {new.get(path, 'absent')}" for path in {**old, **new}
             if old.get(path) != new.get(path)]  # fmt: skip
    more = f"\n  and {len(lines) - 10} more" if len(lines) > 10 else ""
    listing = "\n".join(lines[:10]) or "  the same arrays in another order"
    raise RunError(
        f"the checkpoint {step} is of another configuration; its state differs (stored -> expected):\n{listing}{more}"
    )


def _renamed(leaves: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leaves of a checkpoint of an earlier version by their present names."""
    return [{**leaf, "path": ".".join(_RENAMED.get(part, part) for part in leaf["path"].split("."))} for leaf in leaves]


def _describe(tree: PyTree) -> list[dict[str, Any]]:
    return [_describe_leaf(path_name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _describe_leaf(path: str, leaf: Any) -> dict[str, Any]:
    data = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
    return {
        "path": path,
        "shape": list(leaf.shape),
        "dtype": str(leaf.dtype),  # of a key, its implementation: key<fry>
        "data_shape": list(data.shape),
        "data_dtype": str(data.dtype),
    }


def _data(leaf: jax.Array) -> jax.Array:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _key_impl(leaf: jax.Array) -> str | None:
    return str(jax.random.key_impl(leaf)) if _is_key(leaf) else None


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _checksum(leaf: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data) if leaf.size else 0


def _of_others(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname


def _silence_orbax() -> None:
    """Orbax tells of every save through absl's logger, which others use too: only its own lines are dropped."""
    logging.getLogger("absl").addFilter(_of_others)  # adding it again has no effect
