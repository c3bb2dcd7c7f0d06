"""What tests of benchmarks run in the place of programs, and how they read what is printed."""

import io
import json
from types import SimpleNamespace

from rich.console import Console


def printed(table):
    console = Console(width=200, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def told(fields):
    """A spec as `contender.py` reads it."""
    return json.loads(json.dumps(fields), object_hook=lambda each: SimpleNamespace(**each))


class FakeContender:
    """One that answers at once, 10 seconds for what it says are 11,000 evaluations of each seed."""

    def __init__(self, python, told, flags, timeout):
        self.told, self.ready, self.runs, self.failure = told, {"trace_s": 1.0, "compile_s": 1.0}, [], ""

    def prepare(self):
        """It is ready."""

    def run(self, seed):
        found = {name: [1.0 + seed] * self.told["seeds"] for name in ("coverage", "best", "qd_score", "updates")}
        found["evaluations"] = [11_000] * self.told["seeds"]
        self.runs.append({"run_s": 11.0, "cpu_s": 22.0, "load": 0.0, "found": found})

    def close(self):
        """There is nothing to end."""
