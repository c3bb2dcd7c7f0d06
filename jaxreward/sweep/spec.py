"""What a sweep is: plain data, the same in Python, in a TOML file and in the sweep's folder."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxreward.contract.sizes import MOST_SEEDS
from jaxreward.names import check_name
from jaxreward.run.job import NAMED, Setup
from jaxreward.run.store import flatten, to_json
from jaxreward.settings.values import Value, convert, listed_values, one_value, read_toml

ENTRIES = (*NAMED, "settings", "steps", "seeds", "log_every", "grid", "zip")
"""What a sweep's table may say."""

Axis = Mapping[str, Sequence[Value]]
"""Values of one name, or of several names that change together."""

_FORMS: dict[str, tuple[type, str]] = {
    "agent": (str, 'agent = "ppo"'),
    "env": (str, 'env = "CartPole-v1"'),
    "reward": (str, 'reward = "my_reward.py:upright"'),
    "settings": (Mapping, "[settings]\n  discount = 0.98"),
    "grid": (Mapping, "[grid]\n  num_envs = [16, 64]"),
    "zip": (list, "[[zip]]\n  clip = [0.1, 0.2]\n  gae_lambda = [0.9, 0.95]"),
}
"""Of entries that are no numbers, what each is, and an example."""


@dataclass(frozen=True)
class Sweep:
    """What is trained in all combinations.

    Attributes:
        setup: What is the same in all of them.
        steps: Environment steps of each run.
        seeds: The seeds each combination is trained with.
        axes: What is varied: names of settings, or `agent`, `env` and `reward`, with their values.
        log_every: Iterations to a row of the metrics; a hundredth of all by default.

    Raises:
        ValueError: The names of an axis have different numbers of values, an axis has none or one twice, a name is in
            two places, a seed is there twice, or a number is not positive.
    """

    setup: Setup
    steps: int
    seeds: tuple[int, ...] = (0,)
    axes: tuple[Axis, ...] = field(default=())
    log_every: int | None = None

    def __post_init__(self) -> None:
        self._check_forms()
        for name, number in (("steps", self.steps), ("log_every", self.log_every)):
            if number is not None and number < 1:
                raise ValueError(f"{name} must be positive, not {number}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"a seed is there twice: {list(self.seeds)}")
        taken = set(self.setup.settings)
        for axis in self.axes:
            _check_axis(axis)
            for name in axis:
                if name in taken:
                    raise ValueError(f"{name} is set in two places; a name has one value, or is in one axis")
                taken.add(name)

    def _check_forms(self) -> None:
        """Refuses what is not of the form that it has in the examples here."""
        if not isinstance(self.setup, Setup):
            raise ValueError(f"setup must be like Setup(env='CartPole-v1'), not {self.setup!r}")
        for name in ("steps", "log_every"):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int | float | None):
                raise ValueError(f"{name} must be a whole number, not {number!r}")
        if not _is_list(self.seeds) or not self.seeds or not all(map(_is_seed, self.seeds)):
            several = f": for {self.seeds} of them, tuple(range({self.seeds}))" if isinstance(self.seeds, int) else ""
            raise ValueError(f"seeds must be one or more integers, like (0, 1, 2), not {self.seeds!r}{several}")
        if not _is_list(self.axes) or not all(map(_is_axis, self.axes)):
            raise ValueError(f"axes must be like ({{'learning_rate': [1e-3, 1e-4]}},), not {self.axes!r}")

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Sweep:
        """The sweep that a file describes, see `read_sweep`.

        Raises:
            ValueError: There is no such file, it is no TOML, or no sweep.
        """
        return read_sweep(read_toml(path))

    def names(self) -> list[str]:
        """What is varied."""
        return [name for axis in self.axes for name in axis]

    def choices(self) -> list[dict[str, Value]]:
        """Every combination; the last axis varies fastest."""
        combined = itertools.product(*map(_rows, self.axes))
        return [{name: value for row in rows for name, value in row.items()} for rows in combined]

    def to_table(self) -> dict[str, Any]:
        """As `read_sweep` takes it."""
        named = {name: getattr(self.setup, name) for name in NAMED if name not in self.names()}
        numbers = {"steps": self.steps, "seeds": list(self.seeds), "log_every": self.log_every}
        return {**named, "settings": to_json(self.setup.settings), **numbers, "zip": to_json(self.axes)}


def read_sweep(table: Mapping[str, Any]) -> Sweep:
    """A sweep of the table of a TOML or JSON file.

    ```toml
    env = "CartPole-v1"
    steps = 200_000
    seeds = 8
    settings = { discount = 0.98 }

    [grid]
    learning_rate = "logspace(1e-4,1e-2,5)"
    num_envs = [16, 64]

    [[zip]]
    clip = [0.1, 0.2]
    gae_lambda = [0.9, 0.95]
    ```

    Raises:
        ValueError: An entry does not exist, is missing or is of another form, or a name is in two places.
    """
    for name in table:
        check_name("entry of a sweep", name, ENTRIES)
    check_forms(table)
    grid = flatten(table.get("grid", {}))
    axes = [{name: value} for name, value in grid.items()] + [flatten(axis) for axis in table.get("zip", [])]
    varied = {name for axis in axes for name in axis}
    _check_named(table, varied)
    if table.get("steps") is None:
        raise ValueError("a sweep needs steps, for example steps = 200_000")
    settings = {name: one_value(value) for name, value in flatten(table.get("settings", {})).items()}
    return Sweep(
        setup=Setup(**{name: table[name] for name in NAMED if name in table}, settings=settings),
        steps=convert("steps", table["steps"], 1),
        seeds=read_seeds(table.get("seeds", 1)),
        axes=tuple({name: listed_values(name, value) for name, value in axis.items()} for axis in axes),
        log_every=None if table.get("log_every") is None else convert("log_every", table["log_every"], 1),
    )


def read_seeds(seeds: Any) -> tuple[int, ...]:
    """Seeds given by their number or one by one.

    Raises:
        ValueError: They are neither.
    """
    if isinstance(seeds, int) and seeds > MOST_SEEDS:
        raise ValueError(f"there can be {MOST_SEEDS:,} seeds at most, not {seeds:,}")
    listed = range(seeds) if isinstance(seeds, int) and not isinstance(seeds, bool) else seeds
    if not isinstance(listed, Sequence) or not listed or not all(map(_is_seed, listed)):
        raise ValueError(f"seeds must be how many or a list of integers from 0 to 2**31 - 1, not {seeds!r}")
    return tuple(listed)


def identity(setup: Setup) -> str:
    """A configuration as a text that is the same however it is split into setup and choices."""
    named = {name: getattr(setup, name) for name in NAMED}
    return json.dumps(_canonical({**named, **setup.settings}), sort_keys=True)


def _is_seed(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_axis(value: Any) -> bool:
    """Whether something has lists of values by name."""
    if not isinstance(value, Mapping):
        return False
    return all(isinstance(name, str) and _is_list(values) for name, values in value.items())


def check_forms(table: Mapping[str, Any]) -> None:
    """Refuses entries that are text instead of a table, and the like.

    Raises:
        ValueError: One is; shows how it is written.
    """
    for name, (kind, example) in _FORMS.items():
        value = table.get(name)
        listed = all(isinstance(axis, Mapping) for axis in value) if name == "zip" and isinstance(value, list) else True
        if name in table and not (isinstance(value, kind) and listed):
            raise ValueError(f"{name} must be written like\n  {example}\nnot {name} = {value!r}")


def _check_named(table: Mapping[str, Any], varied: set[str]) -> None:
    """Refuses an agent, environment or reward that is both single and varied, and a lack of an environment."""
    twice = [name for name in NAMED if name in table and name in varied]
    if twice:
        raise ValueError(f"{twice[0]} is set in two places; it has one value, or is in one axis")
    if "env" not in varied and not table.get("env"):
        raise ValueError(f"a sweep needs env, for example {_FORMS['env'][1]}")


def _rows(axis: Axis) -> Iterator[dict[str, Value]]:
    return (dict(zip(axis, values, strict=True)) for values in zip(*axis.values(), strict=True))


def _check_axis(axis: Axis) -> None:
    sizes = {name: len(values) for name, values in axis.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"names that change together need as many values each; there are {sizes}")
    if not all(sizes.values()):
        raise ValueError(f"{next(iter(axis))} has no values")
    rows = [json.dumps(_canonical(row)) for row in _rows(axis)]
    if len(set(rows)) < len(rows):
        raise ValueError(f"{' and '.join(axis)} has a value twice: {[list(values) for values in axis.values()]}")


def _canonical(value: Any) -> Any:
    """1 and 1.0 are the same setting, and so are a tuple and the list that JSON makes of it."""
    if isinstance(value, Mapping):
        return {name: _canonical(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return str(float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else value
