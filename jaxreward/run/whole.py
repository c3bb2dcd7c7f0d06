"""Whether the folder of a run that is to go on has all that it should: looked at before anything is trained."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from jaxreward.run.checkpoint import saved_iterations, way_out
from jaxreward.run.store import RunError, RunFolder, read_part


def check_whole(run: RunFolder, described: dict[str, Any], back_to: int | None) -> None:
    """Refuses to go on with a run of which something is gone or damaged.

    Args:
        run: The run.
        described: Its configuration.
        back_to: The iteration that it is to go back to, if any; what came after is not looked at.

    Raises:
        RunError: Says what is missing, and from where it can go on.
    """
    saved = saved_iterations(run.checkpoints, back_to)
    if saved:
        check_metrics(run, described, saved[-1])
    elif back_to is None:
        _check_never_saved(run, described)
    elif back_to > 0:
        there = ", ".join(map(str, saved_iterations(run.checkpoints))) or "none"
        raise RunError(
            f"{run.path} has no checkpoint at or before iteration {back_to}; there are: {there}. {way_out(run.path, 0)}"
        )


def check_metrics(run: RunFolder, described: dict[str, Any], iteration: int) -> None:
    """Checks that all rows up to an iteration are there and can be read.

    Args:
        run: The run.
        described: Its configuration.
        iteration: That of a checkpoint, or of the run's end.

    Raises:
        RunError: Says which are not, and from where the run can go on.
    """
    rows: Counter[int] = Counter()
    damaged: list[Path] = []
    for path in run.parts().values():
        try:
            rows.update(read_part(path)["iteration"].to_pylist())
        except RunError:
            damaged.append(path)
    missing = [at for at in _logged(described, iteration, rows) if rows[at] != _runs(described)]
    if missing:
        news = f"{damaged[0]} is damaged: in" if damaged else "in"
        listed = f"{', '.join(map(str, missing[:5]))}{f' and {len(missing) - 5} more' if len(missing) > 5 else ''}"
        usable = max(saved_iterations(run.checkpoints, missing[0] - 1), default=0)
        raise RunError(
            f"{news} {run.path} rows of the metrics are missing, of the iterations {listed}. Bring back what was "
            f"there; or {way_out(run.path, usable)}"
        )


def _runs(described: dict[str, Any]) -> int:
    return len(described["population"]) * len(described["seeds"])


def _logged(described: dict[str, Any], iteration: int, rows: Counter[int]) -> list[int]:
    """The iterations up to one that were logged: all multiples, and where the run was to end at that time."""
    every, began = described["log_every"], described.get("began", 0)
    if "began" not in described and described.get("start"):  # a folder from before this was kept
        began = min(rows, default=iteration) - 1
    multiples = range(began - began % every + every, iteration + 1, every)
    return sorted({*multiples, *([iteration] if iteration > began else [])})


def _check_never_saved(run: RunFolder, described: dict[str, Any]) -> None:
    """A run may have been killed before its first checkpoint; then it begins again, aloud."""
    if described.get("saved", "finished" in described) or not run.checkpoints.is_dir():
        raise RunError(f"the checkpoints of {run.path} are gone. Bring them back; or {way_out(run.path, 0)}")
    if run.parts():
        warnings.warn(f"{run.path} was stopped before its first checkpoint, so it begins again", stacklevel=3)
