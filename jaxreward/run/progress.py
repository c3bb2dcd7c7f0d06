"""What a person sees while a run goes on: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Shows iterations, environment steps per second over all runs, time left and the mean return.

    Args:
        iterations: How many there are.
        done: How many of them were done before.
        enabled: Whether anything is shown.
    """

    def __init__(self, iterations: int, done: int, enabled: bool) -> None:
        self._iterations, self._start, self._enabled = iterations, done, enabled
        self._console = Console(stderr=True, quiet=not enabled, emoji=False)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[facts]}"),
        )
        terminal = self._console.is_terminal and enabled
        self._bar = Bar(*columns, TimeRemainingColumn(), console=self._console, disable=not terminal)
        self._task = self._bar.add_task("training", total=iterations, completed=done, facts="")
        self._began = time.monotonic()
        self._last_line = -math.inf

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def compiling(self) -> None:
        """Says that the program is being compiled."""
        self._bar.update(self._task, description="compiling")
        if self._bar.disable:
            self.say("compiling ...")

    def compiled(self, seconds: float) -> None:
        """Says how long that took; training begins."""
        self.say(f"compiled in {seconds:.1f} s")
        self._bar.reset(self._task, total=self._iterations, completed=self._start, description="training")
        self._began = time.monotonic()

    def update(self, iteration: int, steps_per_second: float, result: str) -> None:
        """Shows how far it is.

        Args:
            iteration: Iterations done.
            steps_per_second: Environment steps of all runs together, of the last chunk.
            result: What the runs get, in words; nothing if that is not known.
        """
        facts = f"{_short(steps_per_second)} steps/s" + (f"  {result}" if result else "")
        self._bar.update(self._task, completed=iteration, facts=facts)
        if self._bar.disable and self._line_is_due(iteration):
            self.say(f"iteration {iteration}/{self._iterations}  {facts}  {self._left(iteration)}")

    def say(self, line: str) -> None:
        """Prints a line, above the bar if there is one."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _line_is_due(self, iteration: int) -> bool:
        now = time.monotonic()
        due = now - self._last_line >= SECONDS_BETWEEN_LINES or iteration == self._iterations
        self._last_line = now if due else self._last_line
        return due

    def _left(self, iteration: int) -> str:
        elapsed = time.monotonic() - self._began
        seconds = elapsed * (self._iterations - iteration) / max(iteration - self._start, 1)
        return f"{duration(seconds)} left"


def duration(seconds: float) -> str:
    """As hours, minutes and seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def _short(number: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.3g}"
