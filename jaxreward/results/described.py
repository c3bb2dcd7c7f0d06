"""What runs were trained with, from their `config.json`: names of runs, and settings by the names that they have."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxreward.rewards.registry import ENVIRONMENT
from jaxreward.run.job import NAMED
from jaxreward.run.store import flatten

MOST_NAMED = 3
"""Agents, environments or rewards that a title spells out."""
_PARTS = ("settings", "agent_config")
"""Entries of a run's `config` with settings: as they were asked for, and sizes as they were."""


def run_names(paths: Sequence[Path]) -> list[str]:
    """What runs are called: as much of the end of each path as no other path ends in."""
    ends: dict[tuple[str, ...], int] = {}
    for path in paths:
        for length in range(1, len(path.parts) + 1):
            ends[path.parts[-length:]] = ends.get(path.parts[-length:], 0) + 1
    return [_shortest(path.parts, ends) for path in paths]


def _shortest(parts: tuple[str, ...], ends: Mapping[tuple[str, ...], int]) -> str:
    lengths = range(1, len(parts) + 1)
    return str(Path(*parts[-next((length for length in lengths if ends[parts[-length:]] == 1), len(parts)) :]))


def entries(described: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a run's `config` that are no settings, as cells of a table."""
    config = {name: value for name, value in described["config"].items() if name not in _PARTS}
    return _cells({name: value for name, value in flatten(config).items() if name not in ("run", "")})


def asked_settings(described: Mapping[str, Any]) -> list[str]:
    """The names of what was set for all members of a run."""
    return list(flatten(described["config"].get("settings") or {}))


def settings_of(described: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each member of a run was trained with, by the names that `--set` and `--grid` take, defaults too.

    What is the environment's or the reward's is there as far as it was set or varied.
    """
    config = described["config"]
    asked = {name: value for part in _PARTS for name, value in flatten(config.get(part) or {}).items()}
    wrapped = config.get("reward", ENVIRONMENT) not in (ENVIRONMENT, "env")
    rows = []
    for number, member in enumerate(described["population"]):
        numbers = {
            public_name(name, wrapped): _number(values[number])
            for name, values in (described.get("hyperparams") or {}).items()
            if isinstance(values, list) and number < len(values) and not isinstance(values[number], list)
        }
        told = {**asked, **numbers, **member}
        rows.append(_cells({name: _number(value) for name, value in told.items() if name}))
    return rows


def public_name(name: str, wrapped: bool) -> str:
    """What a user calls a hyperparameter: `reward.*` and `env.*` for what is in `env_params`.

    Args:
        name: Its path in the hyperparams.
        wrapped: Whether the environment has another reward than its own, whose params are beside the environment's.
    """
    inside = name.removeprefix("env_params.")
    if inside == name or wrapped:
        return inside
    return f"env.{inside}"


def _number(value: Any) -> Any:
    """JSON has no infinity, so there it is text."""
    return float(value) if value in ("inf", "-inf", "nan") else value


def _cells(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, list | dict) else value for name, value in values.items()}


def title_of(described: Iterable[Mapping[str, Any]]) -> str:
    """What was trained on what, and for which reward, of one run or several; nothing of runs made in Python."""
    configs = [each["config"] for each in described if "agent" in each["config"]]
    if not configs:
        return ""
    agent, env, reward = (_told(name, [str(config.get(name)) for config in configs]) for name in NAMED)
    own = "the environment's own reward" if reward in (ENVIRONMENT, "env") else f"reward {reward}"
    return f"{agent} on {env} for {reward if reward.endswith(' rewards') else own}"


def _told(name: str, values: list[str]) -> str:
    """Different names, or how many there are."""
    unique = list(dict.fromkeys(values))
    return ", ".join(unique) if len(unique) <= MOST_NAMED else f"{len(unique)} {name}s"


def agreed(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Settings that all members of a run have alike."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: rows[0][name] for name in names if all(_same(row.get(name), rows[0].get(name)) for row in rows)}


def _same(one: Any, other: Any) -> bool:
    both = isinstance(one, float) and isinstance(other, float)
    return one == other or (both and math.isnan(one) and math.isnan(other))
