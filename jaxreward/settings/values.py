"""Settings as text: `learning_rate=1e-3`, and grids of them, `learning_rate=1e-3,3e-4` or `logspace(1e-4,1e-2,5)`."""

from __future__ import annotations

import ast
import itertools
import math
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Value = bool | int | float | str | tuple
"""What a setting can be."""

Settings = Mapping[str, Value | Sequence[Value]]
"""By name a value, or a list of values of a grid; a tuple is a single value."""

_SPACES: dict[str, Callable[..., np.ndarray]] = {"linspace": np.linspace, "logspace": np.geomspace}


def parse_settings(texts: Iterable[str]) -> dict[str, Value]:
    """Single values, each as `NAME=VALUE`.

    Raises:
        ValueError: If one is not of that form, has several values, or a name comes twice.
    """
    grid = parse_grid(texts)
    for name, values in grid.items():
        if len(values) > 1:
            raise ValueError(
                f"{name} was set to {len(values)} values; several values are a grid: `jaxreward sweep --grid`. "
                "A single value with commas takes brackets, such as layers=(64,64)"
            )
    return {name: values[0] for name, values in grid.items()}


def parse_grid(texts: Iterable[str]) -> dict[str, list[Value]]:
    """Values to try, each name as `NAME=A,B,C`, `NAME=linspace(FIRST,LAST,COUNT)` or `NAME=logspace(...)`.

    Raises:
        ValueError: If one is not of that form, or a name comes twice.
    """
    parts = named_parts(texts, "a setting is NAME=VALUE, such as learning_rate=1e-3")
    return {name: _values(f"{name}={right}", right) for name, right in parts.items()}


def named_parts(texts: Iterable[str], form: str) -> dict[str, str]:
    """What is right of the first `=` of each text, by what is left of it.

    Args:
        texts: Each with both.
        form: What they look like, for the message.

    Raises:
        ValueError: One is not of that form, or a name comes twice.
    """
    parts: dict[str, str] = {}
    for text in texts:
        name, equals, right = (part.strip() for part in text.partition("="))
        if not (name and equals and right):
            raise ValueError(f"{form}; got {text!r}")
        if name in parts:
            raise ValueError(f"{name} was given twice")
        parts[name] = right
    return parts


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The table of a TOML file.

    Raises:
        ValueError: There is no such file, or it is no TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise ValueError(f"there is no file {path}") from error
    except IsADirectoryError as error:
        raise ValueError(
            f"{path} is a folder, not a TOML file; what was begun in it goes on with --resume --folder {path}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from error


def one_value(value: Any) -> Value:
    """A setting as TOML or JSON has it: a list is a tuple, and text is read as on the command line."""
    if isinstance(value, list):
        return tuple(one_value(item) for item in value)
    return parse_value(value) if isinstance(value, str) else value


def listed_values(name: str, value: Any) -> list[Value]:
    """Values to try as TOML or JSON has them: a list, or text as on the command line, such as `logspace(1e-4,1,5)`."""
    if isinstance(value, str):
        return _values(f"{name}={value}", value)
    return [one_value(item) for item in value] if isinstance(value, list) else [one_value(value)]


def product(grid: Mapping[str, Sequence[Value]]) -> list[dict[str, Value]]:
    """Every combination of a grid's values, the last name varying fastest; `[{}]` for an empty grid."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def parse_value(text: str) -> Value:
    """A number, `true` or `false`, a tuple such as `(64,64)`, or else the text itself."""
    text = text.strip()
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.lower().lstrip("+-") in ("inf", "infinity"):
        return float(text)
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return tuple(value) if isinstance(value, list) else value


def convert(name: str, value: Value, like: Any) -> Any:
    """A value as the type of the one it replaces; 1e3 is an integer where one is expected.

    Raises:
        ValueError: If it can't be that.
    """
    kind = _kind(like)
    if isinstance(value, bool) or kind == "bool":
        if not (isinstance(value, bool) and kind == "bool"):
            raise ValueError(f"{name} must be {_WORDS[kind]}, not {value!r}")
        return value
    if kind == "float" and isinstance(value, int | float) and not math.isnan(value):
        return float(value)
    if kind == "int" and isinstance(value, int | float) and math.isfinite(value) and value == int(value):
        return int(value)
    if kind == "tuple":
        items = value if isinstance(value, tuple) else (value,)
        return tuple(convert(name, item, like[0] if like else item) for item in items)
    if kind == "str" and isinstance(value, str):
        return value
    raise ValueError(f"{name} must be {_WORDS[kind]}, not {value!r}")


_WORDS = {
    "bool": "true or false",
    "int": "an integer",
    "float": "a number",
    "tuple": "a tuple such as (64,64)",
    "str": "a word",
}


def _kind(like: Any) -> str:
    if isinstance(like, str | tuple):
        return type(like).__name__
    return {"b": "bool", "i": "int", "u": "int"}.get(np.asarray(like).dtype.kind, "float")


def _values(text: str, right: str) -> list[Value]:
    call = re.fullmatch(r"(\w+)\((.*)\)", right)
    if call and call[1] in _SPACES:
        return _spaced(text, call[1], [parse_value(part) for part in call[2].split(",")])
    values = [parse_value(part) for part in _split(right)]
    if len(set(values)) < len(values):
        raise ValueError(f"{text} has a value twice")
    return values


def _spaced(text: str, kind: str, arguments: list[Value]) -> list[Value]:
    numbers = [a for a in arguments if isinstance(a, int | float) and not isinstance(a, bool)]
    usable = len(arguments) == 3 and len(numbers) == 3 and isinstance(numbers[2], int) and numbers[2] > 1
    if not usable or (kind == "logspace" and min(numbers[:2]) <= 0):
        positive = " with positive ends" if kind == "logspace" else ""
        raise ValueError(f"expected {kind}(FIRST,LAST,COUNT){positive} and a count of 2 or more; got {text!r}")
    first, last, count = numbers
    return [float(f"{value:.6g}") for value in _SPACES[kind](first, last, int(count))]


def _split(text: str) -> list[str]:
    """Parts between the commas that are in no brackets and no quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if character in "'\"":
            quote = "" if character == quote else quote or character
        depth += 0 if quote else (character in "([") - (character in ")]")
        if character == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return parts
