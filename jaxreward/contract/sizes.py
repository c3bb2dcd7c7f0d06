"""Sizes with their ranges: a field of a config says what it may be, and whoever makes a config is told what it may not.

`num_envs: int = size(64)` is 64 unless something else is said, and 1 or more.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from typing import Any, NamedTuple, TypeVar

Value = TypeVar("Value", int, float, tuple[int, ...])

MOST = 2**31 - 1
"""What an integer within a program can be."""
MOST_SEEDS = 1_000_000
"""How many runs of one configuration there can be."""
_RANGE = "range"


class Limits(NamedTuple):
    """The least and the most that a number, or each of several, may be."""

    least: float
    most: float

    def __str__(self) -> str:
        if not math.isfinite(self.least):
            return "a finite number"
        most = f" and at most {self.most:g}" if math.isfinite(self.most) and self.most != MOST else ""
        return f"at least {self.least:g}{most}"

    def hold(self, value: Any) -> bool:
        """Whether a finite number is within."""
        return math.isfinite(value) and self.least <= value <= self.most


def size(default: Value, least: float = 1, most: float = MOST) -> Value:
    """A field of a config: a number, or a tuple of them, within a range.

    Args:
        default: What it is unless something else is said.
        least: The least it may be, or each of several.
        most: The most.
    """
    return dataclasses.field(default=default, metadata={_RANGE: Limits(least, most)})


class Sized:
    """A config whose sizes are checked wherever one is made: by a command, a sweep, a search or in Python."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            limits = limits_of(field)
            if limits is not None:
                _check(field.name, getattr(self, field.name), field.default, limits)
        _check_steps(self)


def limits_of(field: dataclasses.Field) -> Limits | None:
    """The range that a field says."""
    return field.metadata.get(_RANGE)


def _check(name: str, value: Any, default: Any, limits: Limits) -> None:
    if isinstance(default, tuple):
        if not isinstance(value, tuple | list):
            raise ValueError(f"{name} must be a tuple of integers, such as {default or (64, 64)}; got {value!r}")
        for item in value:
            _check(f"each of {name}", item, 0, limits)
        return
    whole = isinstance(default, int)
    if not (_is_whole(value) if whole else _is_whole(value) or isinstance(value, float)):
        raise ValueError(f"{name} must be {'an integer' if whole else 'a number'}; got {value!r}")
    if not limits.hold(value):
        raise ValueError(f"{name} must be {limits}; got {value}" + (f" (no more than {MOST})" if value > MOST else ""))


def _is_whole(value: Any) -> bool:
    try:
        operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool)


def _check_steps(config: Any) -> None:
    """Refuses iterations of more steps than an integer within the program counts."""
    if hasattr(config, "num_envs") and hasattr(config, "num_steps") and config.num_envs * config.num_steps > MOST:
        raise ValueError(
            f"num_envs={config.num_envs} times num_steps={config.num_steps} is more than the {MOST} steps that an "
            f"iteration can have; with so many environments num_steps is at most {MOST // config.num_envs}"
        )
