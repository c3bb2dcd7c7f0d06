"""Contenders as processes that are all alive at once and run one at a time, in turns."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jaxreward.experiments.benchmarks.parts.settings import DEVICES
from jaxreward.experiments.benchmarks.parts.tables import Measured

CONTENDER = Path(__file__).parents[1] / "peers" / "contender.py"


class ContenderError(RuntimeError):
    """A contender died or did not answer in time."""


class Contender:
    """A process of `contender.py`, or of another program that answers so, asked over stdin and stdout.

    Attributes:
        ready: What it said when it had compiled, seconds and versions; see `contender.py`.
        runs: What it said after each run.
        failure: Why it is out of the race, empty while it is in.
    """

    def __init__(
        self, python: Path | str, spec: dict[str, Any], flags: str, timeout: float, program: Path = CONTENDER
    ) -> None:
        """Starts it; `ready` waits for it to compile. `timeout` is in seconds, for each answer."""
        self.timeout = timeout
        self.ready: dict[str, Any] = {}
        self.runs: list[dict[str, Any]] = []
        self.failure = ""
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed in `close`
        self._answers: queue.Queue[str] = queue.Queue()
        command = [str(python), "-P", str(program), json.dumps(spec)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, env=_environ(flags), text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def prepare(self) -> None:
        """Waits until it has compiled."""
        self.ready = self._attempt(None)

    def run(self, seed: int) -> None:
        """Has it train once, unless it is out of the race."""
        if not self.failure and (answer := self._attempt({"run": seed})):
            self.runs.append(answer)

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._reader.join()
        with contextlib.suppress(BrokenPipeError), self._log, self._process:
            pass

    def _attempt(self, message: dict[str, Any] | None) -> dict[str, Any]:
        try:
            return self._ask(message)
        except (ContenderError, BrokenPipeError) as error:
            self.failure = str(error)
            self._process.kill()
            return {}

    def _ask(self, message: dict[str, Any] | None) -> dict[str, Any]:
        if message is not None:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        try:
            line = self._answers.get(timeout=self.timeout)
        except queue.Empty:
            raise ContenderError(f"no answer within {self.timeout:g} s") from None
        if not line:
            raise ContenderError(f"died: {self._last_words()}")
        return json.loads(line)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def _last_words(self) -> str:
        self._process.wait()
        self._log.seek(0)
        lines = [line for line in self._log.read().splitlines() if line.strip()]
        return lines[-1] if lines else f"exit code {self._process.returncode}, nothing on stderr"


def _environ(flags: str) -> dict[str, str]:
    """Ours without the persistent compilation cache, which would hide what compilation costs."""
    # Programs that span devices wait for each other forever with fewer threads; see
    # jaxreward.compilation.cpu_scheduler.
    threads = {"NPROC": str(2 * (os.cpu_count() or 1))} if DEVICES in flags else {}
    return {**os.environ, **threads, "XLA_FLAGS": flags, "JAX_ENABLE_COMPILATION_CACHE": "false"}


class Race:
    """Contenders in their order; as a context manager it ends their processes."""

    def __init__(self) -> None:
        self.contenders: list[Contender] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for contender in self.contenders:
            contender.close()

    def enter(self, contender: Contender) -> None:
        """Lets one in and waits until it has compiled, so that no two compile at a time."""
        self.contenders.append(contender)
        contender.prepare()

    def round(self, seed: int) -> None:
        """Has everyone run once, one after the other, so that the machine's other load falls on all of them alike."""
        for contender in self.contenders:
            contender.run(seed)


def take_turns(rows: list[Measured], python: Path, rounds: int, timeout: float) -> list[Measured]:
    """Runs everybody, round by round, and puts what they said into the rows.

    Args:
        rows: Who runs, with nothing measured yet.
        python: What peers run on.
        rounds: How often.
        timeout: Seconds within which a contender has to compile, and to finish each run.
    """
    with Race() as race:
        for row in rows:
            race.enter(Contender(python if row.is_peer else sys.executable, row.spec, row.flags, timeout))
        for seed in range(rounds):
            race.round(seed)
    for row, contender in zip(rows, race.contenders, strict=True):
        row.ready, row.runs, row.failure = contender.ready, contender.runs, contender.failure
    return rows
