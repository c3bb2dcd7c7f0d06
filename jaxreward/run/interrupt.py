"""Ctrl-C and SIGTERM: training ends after the chunk it is in, in all processes at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from jaxreward.run.progress import Progress


class Interrupt:
    """Remembers a signal until the loop asks; a second one ends the process at once.

    Args:
        progress: Where it is told.

    Attributes:
        received: The signal's number, 0 if there was none.
    """

    def __init__(self, progress: Progress) -> None:
        self.received = 0
        self._progress = progress
        self._old: dict[int, Any] = {}
        self._waits = True

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._old = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """While nothing is to be saved, a signal ends the run at once."""
        self._waits = False
        yield
        self._waits = True

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received or not self._waits:
            raise end(number)
        self.received = number
        self._progress.say("interrupted: finishing this chunk and saving; once more to stop at once")


def end(number: int, message: str = "") -> BaseException:
    """What ends the process as the signal would have."""
    return KeyboardInterrupt(message) if number == signal.SIGINT else SystemExit(128 + number)
