"""Spaces: what a search may choose, by name, each with the range or the values it is chosen from.

```python
space = {
    "learning_rate": Uniform(1e-5, 1e-2, log=True),
    "num_envs": Choice((16, 64)),
    "reward": Choice(("environment", "my_reward.py:gain")),
    "reward.weights.gain": Given(Uniform(0.0, 1.0), "reward", ("my_reward.py:gain",)),
}
```

As text: `learning_rate=log(1e-5,1e-2)`, `num_envs=choice(16,64)`, `reward.weights.gain=uniform(0,1) if reward=NAME`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from jaxreward.settings.values import Value, parse_value

# Spaces are also those of populations, which need no Optuna; to import it takes a second.
if TYPE_CHECKING:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.trial import BaseTrial


class Uniform(NamedTuple):
    """Any number from `low` to `high`; with `log` its logarithm is uniform."""

    low: float
    high: float
    log: bool = False

    def __str__(self) -> str:
        return f"{'log' if self.log else 'uniform'}({self.low!r},{self.high!r})"

    def check(self) -> None:
        """Refuses an interval that there isn't."""
        _check_interval(self, self.low, self.high, self.log)

    def distribution(self) -> FloatDistribution:
        """As Optuna has it."""
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=self.log)

    def samples(self) -> tuple[Value, ...]:
        """Values that show whether a setting takes all of them; one is certainly no integer."""
        return self.low, self.low + (self.high - self.low) / math.pi, self.high

    def __contains__(self, value: object) -> bool:
        return isinstance(value, float | int) and self.low <= value <= self.high


class Integer(NamedTuple):
    """Any integer from `low` to `high`, both included; with `log` small ones are likelier."""

    low: int
    high: int
    log: bool = False

    def __str__(self) -> str:
        return f"{'log_' if self.log else ''}integer({self.low!r},{self.high!r})"

    def check(self) -> None:
        """Refuses an interval that there isn't."""
        _check_interval(self, self.low, self.high, self.log)
        if not (isinstance(self.low, int) and isinstance(self.high, int)):
            raise ValueError(f"{self} must have integers as bounds")

    def distribution(self) -> IntDistribution:
        """As Optuna has it."""
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, log=self.log)

    def samples(self) -> tuple[Value, ...]:
        """Values that show whether a setting takes all of them."""
        return self.low, self.high

    def __contains__(self, value: object) -> bool:
        return isinstance(value, float | int) and value == int(value) and self.low <= value <= self.high


class Choice(NamedTuple):
    """One of some values: numbers, words or tuples, in no order."""

    values: tuple[Value, ...]

    def __str__(self) -> str:
        return f"choice({','.join(show_value(value) for value in self.values)})"

    def check(self) -> None:
        """Refuses values that can't be told apart."""
        if not self.values:
            raise ValueError("choice() has no values to choose from")
        if len(set(self.values)) < len(self.values):
            raise ValueError(f"{self} has a value twice")

    def distribution(self) -> CategoricalDistribution:
        """As Optuna has it."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution([stored(value) for value in self.values])

    def samples(self) -> tuple[Value, ...]:
        """All values."""
        return self.values

    def __contains__(self, value: object) -> bool:
        return value in self.values


class Given(NamedTuple):
    """Exists only where another choice has one of some values.

    Attributes:
        prior: What it is chosen from then.
        name: The other's.
        values: The other's, at which this exists.
    """

    prior: Prior
    name: str
    values: tuple[Value, ...]

    def __str__(self) -> str:
        return f"{self.prior} if {self.name}={','.join(show_value(value) for value in self.values)}"


Prior: TypeAlias = Uniform | Integer | Choice
Space: TypeAlias = Mapping[str, Prior | Given]


def choice_of(space: Space, trial: BaseTrial) -> dict[str, Value]:
    """What a trial chooses of a space, parents before those that depend on them."""
    choice: dict[str, Value] = {}
    for name in ordered(space):
        if is_active(space[name], choice):
            choice[name] = _suggested(name, prior_of(space[name]), trial)
    return choice


def stored(value: Value) -> Any:
    """A value as a trial keeps it: databases take finite numbers and words."""
    return value if isinstance(value, str | bool) or is_finite(value) else show_value(value)


def is_active(entry: Prior | Given, choice: Mapping[str, Value]) -> bool:
    """Whether a name exists beside what is chosen already."""
    return not isinstance(entry, Given) or (entry.name in choice and choice[entry.name] in entry.values)


def prior_of(entry: Prior | Given) -> Prior:
    """What is chosen from, where it is."""
    return entry.prior if isinstance(entry, Given) else entry


def always(space: Space) -> dict[str, Prior]:
    """The part of a space that is there in every trial."""
    return {name: entry for name, entry in space.items() if not isinstance(entry, Given)}


def ordered(space: Space) -> list[str]:
    """The names, each after the one it depends on.

    Raises:
        ValueError: A name depends on one that isn't searched, or on itself.
    """
    done: list[str] = []
    while len(done) < len(space):
        ready = [n for n, e in space.items() if n not in done and (not isinstance(e, Given) or e.name in done)]
        if not ready:
            raise ValueError(_stuck(space, done))
        done += ready
    return done


def show_value(value: Value) -> str:
    """A value as `jaxreward.settings.values.parse_value` reads it."""
    if isinstance(value, str):
        return value if parse_value(value) == value else repr(value)
    return repr(value).replace(" ", "")


def is_finite(value: object) -> bool:
    """Whether something is a finite number."""
    return isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)


def _suggested(name: str, prior: Prior, trial: BaseTrial) -> Value:
    if isinstance(prior, Uniform):
        return trial.suggest_float(name, prior.low, prior.high, log=prior.log)
    if isinstance(prior, Integer):
        return trial.suggest_int(name, prior.low, prior.high, log=prior.log)
    values = {stored(value): value for value in prior.values}
    return values[trial.suggest_categorical(name, tuple(values))]


def _check_interval(prior: Prior, low: float, high: float, log: bool) -> None:
    if not (is_finite(low) and is_finite(high)):
        raise ValueError(f"{prior} must have two numbers as bounds")
    if low >= high:
        raise ValueError(f"{prior} is empty: the lower bound comes first")
    if log and low <= 0:
        raise ValueError(f"{prior} must have positive bounds: there is no logarithm of {low!r}")


def _stuck(space: Space, done: list[str]) -> str:
    for name, entry in space.items():
        if isinstance(entry, Given) and entry.name not in space:
            near = difflib.get_close_matches(entry.name, space, 1, 0.5)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            return f"{name} depends on {entry.name}, which isn't searched{hint} Searched are: {', '.join(space)}"
    return f"these depend on one another in a circle: {', '.join(name for name in space if name not in done)}"
