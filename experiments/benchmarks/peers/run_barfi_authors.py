"""The BARFI authors' grid world, `barfi-gw/src/main.py` of github.com/Dhawgupta/gupta2023behavior, as it is.

Started as `python run_barfi_authors.py SPEC`, SPEC being JSON of `barfi.authors_spec`; it runs in an environment of its
own. On stdout goes one JSON line for each episode: `seconds` since the one before (for the first, since the start,
set-up included) and `return`, of the primary reward.

Their code writes its results into the working directory and beside its sources. It gets a temporary folder made of
links into the checkout, with the experiment it is to run. What it prints after each episode is read as it comes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import runpy
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

EPISODE = re.compile(r"\d+ :: Rewards (\S+) ::")


def main() -> None:
    """Trains once."""
    spec, out = json.loads(sys.argv[1]), sys.stdout
    sys.dont_write_bytecode = True  # or it would go into the checkout
    os.environ["MPLBACKEND"] = "Agg"
    report = lambda line: print(json.dumps(line), file=out, flush=True)  # noqa: E731
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(Episodes(report)):
        run(prepare(Path(spec["checkout"]), Path(folder), spec["experiment"]))


class Episodes(io.TextIOBase):
    """A stream that reports each episode they print, and passes everything on to stderr."""

    def __init__(self, report: Callable[[dict[str, float]], None]) -> None:
        self.report = report
        self.since = time.perf_counter()

    def write(self, text: str) -> int:
        """Reads what is printed."""
        if said := EPISODE.match(text):
            now = time.perf_counter()
            self.report({"seconds": now - self.since, "return": float(said[1])})
            self.since = now
        return sys.stderr.write(text)


def prepare(checkout: Path, folder: Path, experiment: dict[str, Any]) -> Path:
    """Makes their workspace, links into `checkout/barfi-gw` and the experiment as `benchmark.json`.

    Args:
        checkout: Of their repository.
        folder: Where the workspace goes.
        experiment: What one of their experiment files says, without lists.
    """
    workspace = folder / "barfi-gw"  # it looks for itself under that name
    workspace.mkdir()
    for path in (checkout / "barfi-gw").iterdir():
        (workspace / path.name).symlink_to(path.resolve())
    (workspace / "benchmark.json").write_text(json.dumps(experiment))
    return workspace


def run(workspace: Path) -> None:
    """Runs their `main.py`, which seeds itself."""
    os.chdir(workspace)
    sys.path.insert(0, str(workspace))
    sys.argv = ["main.py", "benchmark.json", "0"]
    runpy.run_path(str(workspace / "src" / "main.py"), run_name="__main__")


if __name__ == "__main__":
    main()
