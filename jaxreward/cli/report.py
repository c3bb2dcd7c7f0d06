"""`jaxreward report`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from jaxreward.cli.shell import OptionalPath


@dataclass(frozen=True)
class Report:
    """Make a self-contained HTML page of runs, sweeps and reproduced figures; several are compared.

    Attributes:
        folders: Their folders, or folders with any of them in them, such as runs figures.
        out: The page; report.html in the folder, or in the current folder for several.
        traceback: Show where an error came from.
    """

    folders: tyro.conf.Positional[tuple[Path, ...]]
    out: OptionalPath = None
    traceback: bool = False

    def run(self) -> int:
        from jaxreward.report import report

        if not self.folders:
            raise ValueError("which run folders? For example jaxreward report runs/* figures")
        print(report(list(self.folders), self.out))
        return 0
