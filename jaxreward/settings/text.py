"""Spaces as text: `learning_rate=log(1e-5,1e-2)`, and as tables of a TOML file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from jaxreward.settings.space import Choice, Given, Integer, Prior, Uniform, is_finite, show_value
from jaxreward.settings.values import Value, named_parts, parse_value

FORMS = "uniform(LOW,HIGH), log(LOW,HIGH), integer(LOW,HIGH), log_integer(LOW,HIGH) or choice(A,B,...)"


_KINDS: dict[str, tuple[type, dict[str, bool]]] = {
    "uniform": (Uniform, {}),
    "log": (Uniform, {"log": True}),
    "integer": (Integer, {}),
    "log_integer": (Integer, {"log": True}),
}


def parse_space(texts: Iterable[str]) -> dict[str, Prior | Given]:
    """A space of texts, each as `NAME=KIND(...)` or `NAME=KIND(...) if OTHER=VALUE,VALUE`.

    Raises:
        ValueError: One is not of that form, or a name comes twice.
    """
    parts = named_parts(texts, "a choice is NAME=KIND(...), such as learning_rate=log(1e-5,1e-2)")
    return {name: parse_prior(name, right) for name, right in parts.items()}


def read_space(table: Mapping[str, Any]) -> dict[str, Prior | Given]:
    """A space of a TOML table: texts as `parse_space` takes them after the `=`, or lists to choose from.

    Nested tables are names with dots. A choice between rewards beside a choice within one needs quotes: `"reward"` and
    `"reward.goal"`.

    Raises:
        ValueError: An entry is of another form.
    """
    space: dict[str, Prior | Given] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            space |= {f"{name}.{inner}": prior for inner, prior in read_space(value).items()}
        elif isinstance(value, list):
            space[name] = Choice(tuple(tuple(item) if isinstance(item, list) else item for item in value))
        elif isinstance(value, str):
            space[name] = parse_prior(name, value)
        else:
            raise ValueError(f"{name} in the space is {value!r}; expected a list of values, or a text: {FORMS}")
    return space


def parse_prior(name: str, text: str) -> Prior | Given:
    """What a name is chosen from, for example `log(1e-5,1e-2)` or `choice(16,64) if agent=ppo`.

    Raises:
        ValueError: It is not of that form.
    """
    found = re.fullmatch(r"\s*(\w+)\((.*?)\)(?:\s+if\s+([\w.]+)\s*=\s*(.*?))?\s*", text)
    if not found:
        raise ValueError(f"{name} is chosen from {text!r}; expected {FORMS}, and maybe ` if OTHER=VALUE` after it")
    kind, inside, other, values = found.groups()
    prior = _prior(name, kind, _values(inside))
    return prior if other is None else Given(prior, other, _values(values))


def _values(text: str) -> tuple[Value, ...]:
    """The values between commas that are in no brackets."""
    return tuple(parse_value(part) for part in re.split(r",(?![^(\[]*[)\]])", text)) if text.strip() else ()


def _prior(name: str, kind: str, values: tuple[Value, ...]) -> Prior:
    if kind == "choice":
        return Choice(values)
    if kind not in _KINDS:
        near = difflib.get_close_matches(kind, [*_KINDS, "choice"], 1, 0.4)
        hint = f"; did you mean {near[0]}(...)?" if near else ""
        raise ValueError(f"{name} is chosen from {kind}(...), which is none of {FORMS}{hint}")
    if len(values) != 2 or not all(is_finite(value) for value in values):
        raise ValueError(f"{name}: {kind} takes two numbers, {kind}(LOW,HIGH), not {show_values(values) or 'none'}")
    make, options = _KINDS[kind]
    bounds = [_as_bound(make, value) for value in values]
    return make(*bounds, **options)


def _as_bound(make: type, value: Any) -> float | int:
    """1e3 is an integer where one is wanted."""
    if make is Uniform:
        return float(value)
    return int(value) if value == int(value) else value


def show_values(values: Iterable[Value]) -> str:
    """Values with commas between."""
    return ",".join(show_value(value) for value in values)
