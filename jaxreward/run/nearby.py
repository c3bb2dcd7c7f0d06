"""What is near a folder that is not what was meant: what it is instead, what is in it, or which is called alike."""

from __future__ import annotations

import difflib
import shlex
from pathlib import Path

SIGNS = {"config.json": "run", "sweep.json": "sweep", "study.json": "search"}
"""The file by which a folder shows whose it is."""
_GO_ON = {"run": "train", "sweep": "sweep", "search": "search"}


def sign_of(folder: Path) -> str | None:
    """The file by which a folder shows whose it is, if it does."""
    return next((sign for sign in reversed(SIGNS) if (folder / sign).is_file()), None)


def hint(folder: Path) -> str:
    """What to say behind a message that a folder is not what was meant; nothing where nothing is near."""
    sign = sign_of(folder)
    if sign is not None:
        command = shlex.join(["jaxreward", _GO_ON[SIGNS[sign]], "--resume", "--folder", str(folder)])
        return f"; it is that of a {SIGNS[sign]}, which `{command}` goes on with"
    if folder.is_dir():
        inside = _within(folder)
        more = f" and {len(inside) - 1} more" if len(inside) > 1 else ""
        return f"; there is {inside[0]}{more}" if inside else ""
    near = _within(folder.parent if folder.parent.is_dir() else Path())
    # By their names alone: whole paths are alike by what they share.
    close = difflib.get_close_matches(folder.name, [path.name for path in near], 1, 0.5)
    if close:
        return f"; did you mean {near[0].parent / close[0]}?"
    return f"; the newest there is {near[0]}" if near else ""


def _within(place: Path) -> list[Path]:
    """The runs, sweeps and searches in a folder, the newest first."""
    found = {path.parent for sign in SIGNS for path in place.glob(f"*/{sign}")}
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)
