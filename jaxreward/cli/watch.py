"""`jaxreward watch`."""

from __future__ import annotations

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
    from jaxreward.run.nearby import hint, sign_of

    sign = sign_of(folder)
    if sign is not None:
        return sign
    problem = (
        f"{folder} is the folder of no run, sweep or search" if folder.is_dir() else f"there is no folder {folder}"
    )
    raise ValueError(f"{problem}{hint(folder)}")


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
