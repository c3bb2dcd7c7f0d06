"""Indices beyond an array in the code of users: JAX clamps them (or drops what is written), without a word.

A program that was traced tells which indices are constants, so these are found without running it. Where an index
depends on data, `jax.experimental.checkify` looks at it while samples are computed.
"""

from __future__ import annotations

import ast
import functools
import linecache
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import numpy as np
from jax.experimental import checkify

from jaxreward.lookup import is_library, is_users

Place = tuple[str, int]
"""A file and a line."""

_LARGEST = 4096
"""Elements of a constant that is computed to see where it points."""


class Access(NamedTuple):
    """A place of the program where an array is indexed.

    Attributes:
        place: The file and the line of the user's code.
        shape: Of the array.
        starts: Where it is looked at, `[..., k]`; None if that depends on data.
        axes: Which axes those are, `k` of them.
        window: How much is looked at, of all axes.
    """

    place: Place
    shape: tuple[int, ...]
    starts: np.ndarray | None
    axes: tuple[int, ...]
    window: tuple[int, ...]

    def beyond(self) -> str | None:
        """What is wrong with it; None if nothing is, or that depends on data."""
        if self.starts is None:
            return None
        sizes = np.asarray([self.shape[axis] for axis in self.axes])
        room = sizes - np.asarray([self.window[axis] for axis in self.axes])
        wrong = np.argwhere((self.starts < 0) | (self.starts > room))
        if not len(wrong):
            return None
        start, axis, size = (x[tuple(wrong[0])] for x in np.broadcast_arrays(self.starts, self.axes, sizes))
        index = start - size if start < 0 else start  # one below zero was counted from the end
        where = f"{self.place[0]}:{self.place[1]}"
        return f"index {index} is beyond axis {axis} of an array of shape {self.shape}, at {where}{_HINT}"


def check_indices(fn: Callable[..., Any], abstract: tuple, sample: Callable[[], tuple] | None = None) -> None:
    """Refuses a function that reads or writes beyond an array in code of the user's.

    An access that says what is outside, `mode="fill"` and the like, is meant so.

    Args:
        fn: A function of arrays.
        abstract: Its arguments, or their shapes.
        sample: Gives arguments that may occur, with a leading axis on every leaf; only called where an index depends
            on data. Without it such indices are not looked at, nor are they within a trace.

    Raises:
        ValueError: With the index, the array's shape, the file and the line.
    """
    accesses = find_accesses(fn, abstract)
    for problem in filter(None, (access.beyond() for access in accesses)):
        raise ValueError(problem)
    if sample is None or all(access.starts is not None for access in accesses):
        return
    each = lambda *samples: jax.lax.map(lambda one: fn(*one), samples)  # noqa: E731
    error, _ = jax.jit(checkify.checkify(each, errors=checkify.index_checks))(*sample())
    try:
        found = error.get_exception()
    except jax.errors.ConcretizationTypeError:  # within a trace there are no numbers to look at
        return
    if found is None:
        return
    like = [access.place for access in accesses if access.starts is None and access.shape == found.operand_shape]
    place = place_of(found.traceback_info.frames, like[0] if like else None)
    if place is not None and not _says_mode(place):
        raise ValueError(f"{str(found).splitlines()[0].rstrip('. ')}, at {place[0]}:{place[1]}{_HINT}")


def find_accesses(fn: Callable[..., Any], abstract: tuple) -> list[Access]:
    """All places in code of the user's where a function indexes an array."""
    closed = jax.make_jaxpr(fn)(*abstract)
    accesses: list[Access] = []
    with jax.ensure_compile_time_eval():
        _Search(accesses).walk(closed.jaxpr, dict(zip(closed.jaxpr.constvars, closed.consts, strict=True)))
    return [access for access in accesses if not _says_mode(access.place)]


def place_of(frames: Sequence[Any], outside: Place | None = None) -> Place | None:
    """The innermost file and line of traced code, if the user's own code is there and not this library's.

    Args:
        frames: Of the traced code, the innermost first; they end at a function that is jitted.
        outside: The place of what called that function.
    """
    for frame in frames:
        if is_library(frame.file_name):
            return None
        if is_users(frame.file_name):
            return frame.file_name, frame.line_num
    return outside


_HINT = "; JAX would not say so and go on with another element (where that is meant, say `mode=...`)"


class _Search(NamedTuple):
    """What is found on the way through a program, and where it was called from."""

    accesses: list[Access]
    outside: Place | None = None

    def walk(self, jaxpr: Any, known: dict[Any, Any]) -> list[Any]:
        """Computes what is known before the program runs; returns what is known of its results, None otherwise."""
        value = lambda var: var.val if isinstance(var, jex.Literal) else known.get(var)  # noqa: E731
        for eqn in jaxpr.eqns:
            values = [value(var) for var in eqn.invars]
            trace = eqn.source_info.traceback
            place = place_of(trace.frames if trace else (), self.outside)
            if place is not None:
                self.accesses.extend(_accesses(eqn, values, place))
            known.update(zip(eqn.outvars, self._replace(outside=place)._results(eqn, values), strict=True))
        return [value(var) for var in jaxpr.outvars]

    def _results(self, eqn: Any, values: list[Any]) -> list[Any]:
        """What is known of an equation's results, once the programs within it were walked through."""
        inner = list(jex.jaxprs_in_params(eqn.params))
        same = len(inner) == 1 and eqn.primitive.name in ("jit", "pjit") and len(inner[0].invars) == len(values)
        for jaxpr in inner:
            results = self.walk(jaxpr, dict(zip(jaxpr.invars, values, strict=True)) if same else {})
        if same:
            return results
        small = all(math.prod(getattr(var.aval, "shape", ())) <= _LARGEST for var in eqn.outvars)
        if inner or not small or eqn.effects or any(value is None for value in values):
            return [None] * len(eqn.outvars)
        computed = eqn.primitive.bind(*values, **eqn.params)
        return list(computed) if eqn.primitive.multiple_results else [computed]


def _accesses(eqn: Any, values: list[Any], place: Place) -> list[Access]:
    """How an equation indexes an array, if it does."""
    kind = eqn.primitive.name.replace("-", "_")
    read = _scatter if kind.startswith("scatter") else _READS.get(kind)
    if read is None:
        return []
    starts, axes, window = read(eqn, values)
    known = None if any(start is None for start in starts) else np.concatenate([_row(start) for start in starts], -1)
    return [Access(place, eqn.invars[0].aval.shape, known, tuple(axes), tuple(window))]


def _row(start: Any) -> np.ndarray:
    """A start, or several along the last axis."""
    return np.asarray(start)[None] if np.ndim(start) == 0 else np.asarray(start)


@functools.cache
def _statements(path: str) -> list[tuple[int, int]]:
    """The first and the last line of each statement of a file, the innermost last."""
    try:
        tree = ast.parse(Path(path).read_text())
    except (OSError, ValueError, SyntaxError):
        return []
    return [(node.lineno, node.end_lineno or node.lineno) for node in ast.walk(tree) if isinstance(node, ast.stmt)]


def _says_mode(place: Place) -> bool:
    """Whether the statement at a place says what is to be outside of an array."""
    path, line = place
    around = [lines for lines in _statements(path) if lines[0] <= line <= lines[1]] or [(line, line)]
    first, last = min(around, key=lambda lines: lines[1] - lines[0])
    return any("mode=" in linecache.getline(path, number) for number in range(first, last + 1))


def _dynamic_slice(eqn: Any, values: list[Any]) -> tuple:
    return values[1:], range(len(values) - 1), eqn.params["slice_sizes"]


def _dynamic_update_slice(eqn: Any, values: list[Any]) -> tuple:
    return values[2:], range(len(values) - 2), eqn.invars[1].aval.shape


def _gather(eqn: Any, values: list[Any]) -> tuple:
    return values[1:2], eqn.params["dimension_numbers"].start_index_map, eqn.params["slice_sizes"]


def _scatter(eqn: Any, values: list[Any]) -> tuple:
    numbers = eqn.params["dimension_numbers"]
    hidden = {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
    window = iter(eqn.invars[2].aval.shape[axis] for axis in numbers.update_window_dims)
    sizes = [1 if axis in hidden else next(window) for axis in range(len(eqn.invars[0].aval.shape))]
    return values[1:2], numbers.scatter_dims_to_operand_dims, sizes


_READS: dict[str, Callable[[Any, list[Any]], tuple]] = {
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "gather": _gather,
}
