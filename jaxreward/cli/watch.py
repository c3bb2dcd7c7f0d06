"""`jaxreward watch`."""

from __future__ import annotations

import difflib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from jaxreward.cli.shell import console

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from jaxreward.results.watch import Watched

BEST_SHOWN = 5
"""Configurations of which it is shown how good they are."""
_SIGNS = ("config.json", "sweep.json", "study.json")
"""What a run, a sweep and a search have in their folders."""


@dataclass(frozen=True)
class Watch:
    """Follow a run, a sweep or a search from another terminal: how far it is, the best so far, and what failed.

    It only reads, and ends when there is nothing more to come; Ctrl-C ends it too, and not what it watches.

    Attributes:
        folder: The folder of the run, the sweep or the search.
        once: Print how it stands, and end.
        every: Seconds from one look to the next.
        traceback: Show where an error came from.
    """

    folder: tyro.conf.Positional[Path]
    once: bool = False
    every: float = 2.0
    traceback: bool = False

    def run(self) -> int:
        if not self.every > 0:
            raise ValueError(f"--every takes seconds, more than 0, not {self.every:g}")
        kind = kind_of(self.folder)
        if self.once:
            console().print(shown(look(self.folder, kind)))
            return 0
        try:
            self._follow(kind)
        except KeyboardInterrupt:
            return 0
        return 0

    def _follow(self, kind: str) -> None:
        if not sys.stdout.isatty():
            for watched in self._looks(kind):
                console().print(shown(watched))
            return
        from rich.live import Live

        with Live(console=console(), auto_refresh=False) as live:
            for watched in self._looks(kind):
                live.update(shown(watched), refresh=True)

    def _looks(self, kind: str) -> Iterator[Watched]:
        """One look after another, until nothing more will come."""
        while True:
            watched = look(self.folder, kind)
            yield watched
            if watched.over:
                return
            time.sleep(self.every)


def kind_of(folder: Path) -> str:
    """By which file a folder shows what it is of.

    Raises:
        ValueError: It is neither a run's nor a sweep's nor a search's; says which is nearest.
    """
    for sign in reversed(_SIGNS):
        if (folder / sign).is_file():
            return sign
    if folder.is_dir():
        inside = _watchable(folder)
        hint = f"; there is {inside[0]}" if inside else ""
        raise ValueError(f"{folder} is the folder of no run, sweep or search{hint}{_more(inside)}")
    near = _watchable(folder.parent if folder.parent.is_dir() else Path())
    close = difflib.get_close_matches(str(folder), map(str, near), 1, 0.5) or [str(path) for path in near[:1]]
    raise ValueError(f"there is no folder {folder}" + (f"; did you mean {close[0]}?" if close else ""))


def look(folder: Path, kind: str) -> Watched:
    """How it stands."""
    from jaxreward.results.watch import watch_run, watch_sweep

    if kind == "study.json":
        from jaxreward.search.watch import watch_search

        return watch_search(folder)
    return watch_sweep(folder) if kind == "sweep.json" else watch_run(folder)


def shown(watched: Watched) -> RenderableType:
    """That for a terminal."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    from jaxreward.results.summary import rich_table

    bar = Table.grid(padding=1)
    bar.add_row(ProgressBar(1.0, watched.done, width=40), f"{100 * watched.done:.0f} %, {watched.state}")
    parts: list[RenderableType] = [Text(watched.title), bar, Text("\n".join(watched.facts))]
    if len(watched.metrics):
        parts.append(Text("the best so far, interquartile means over seeds with 95% intervals"))
        parts.append(rich_table(watched.metrics, watched.by, BEST_SHOWN, watched.declared))
    parts += [Text(f"failed: {line}") for line in watched.failures]
    return Group(*parts)


def _watchable(place: Path) -> list[Path]:
    """The runs, sweeps and searches in a folder, the newest first."""
    found = {path.parent for sign in _SIGNS for path in place.glob(f"*/{sign}")}
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def _more(inside: list[Path]) -> str:
    return f" and {len(inside) - 1} more" if len(inside) > 1 else ""
