"""Tuned settings by name: the TOML files of `experiments/presets/`, and a user's own.

A preset says what a sweep's file says, see `jaxreward.sweep.read_sweep`, and of itself what it is for (`about`) and
what it gave (`measured`: the machine, and the environment steps per second of all its runs together).
"""

from __future__ import annotations

import difflib
import math
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from jaxreward.names import check_name
from jaxreward.settings.values import read_toml

SUFFIX = ".toml"
MEASURED = ("machine", "steps_per_second", "result")
"""What may be told of what a preset gave."""


class Preset(NamedTuple):
    """What a file says.

    Attributes:
        table: Agent, environment, reward, steps, seeds and settings, as far as it names them.
        about: What it is for, in a line.
        measured: Of whoever tuned it: `machine`, `steps_per_second` and `result`.
    """

    table: dict[str, Any]
    about: str = ""
    measured: dict[str, Any] = {}  # noqa: RUF012, nobody changes it

    def time_told(self, steps: int, seeds: int) -> str:
        """How long so many runs took where it was measured, nothing if it was not."""
        rate = self.measured.get("steps_per_second")
        if not rate:
            return ""
        minutes = steps * seeds / rate / 60
        return (
            f"{_duration(minutes)} at {rate:,.0f} steps/s, as measured on {self.measured.get('machine', 'a machine')}"
        )


def read_preset(name: str) -> Preset:
    """The preset called `name`, such as `classic/cartpole-ppo`, or that of a user's TOML file.

    Raises:
        ValueError: There is neither; says which is nearest. Or what it says of itself is of another form.
    """
    own = Path(name)
    if own.suffix == SUFFIX or own.exists():
        table = read_toml(own)
    elif name in (known := list_presets()):
        table = read_toml(_folder() / f"{name}{SUFFIX}")
    else:
        near = difflib.get_close_matches(name, known, 1, 0.5)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(
            f"there is no file and no preset {name!r}{hint} `jaxreward list presets` shows all; your own is FILE.toml"
        )
    about, measured = table.pop("about", ""), table.pop("measured", {})
    _check_told(name, about, measured)
    return Preset(table, about, measured)


def list_presets() -> list[str]:
    """The names of the presets that come with the package."""
    folder = _folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob(f"*/*{SUFFIX}"))


def _check_told(name: str, about: Any, measured: Any) -> None:
    """Refuses what a file says of itself if it can't be told."""
    if not isinstance(about, str) or not isinstance(measured, dict):
        raise ValueError(f'{name}: expected about = "TEXT" and a table [measured], not {about!r} and {measured!r}')
    for entry in measured:
        check_name(f"entry of [measured] in {name} called", entry, MEASURED)
    rate = measured.get("steps_per_second", 1)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
        raise ValueError(f"{name}: steps_per_second = {rate!r}; expected a positive number")


def _folder() -> Path:
    return Path(str(files("jaxreward.experiments"))) / "presets"


def _duration(minutes: float) -> str:
    if minutes < 1:
        return f"about {max(1, round(60 * minutes))} s"
    return f"about {minutes:.0f} min" if minutes < 90 else f"about {minutes / 60:.1f} h"
