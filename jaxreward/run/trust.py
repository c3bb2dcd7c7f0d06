"""Whose code is run: a run folder from somebody else is a program of theirs.

A user's own file of state, outside all run folders, has the digests of the code that runs were begun with here and of
what the user has said to trust. A folder can be copied with all that is in it, so nothing in it could say who made it;
and code that has been changed since has another digest.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TypeAlias

from jaxreward.run.store import RunError

Answer: TypeAlias = Callable[[str], bool]
"""Whether the code that a question tells of is to be run."""

_ANSWER: ContextVar[Answer] = ContextVar("answer", default=lambda question: False)


@contextlib.contextmanager
def trusting(answer: Answer | bool = True) -> Iterator[None]:
    """Lets code be run that was not kept here by this user.

    Args:
        answer: Whether to, or who is asked.
    """
    token = _ANSWER.set(answer if callable(answer) else lambda question: bool(answer))
    try:
        yield
    finally:
        _ANSWER.reset(token)


def digest(reference: str, files: Mapping[str, bytes]) -> str:
    """What tells code from any other: its name and the content of all files."""
    whole = hashlib.sha256()
    for part in (reference.encode(), *(part for name in sorted(files) for part in (name.encode(), files[name]))):
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()


def require_trust(code: str, question: str) -> None:
    """Asks whether code is to be run, unless it is this user's or has been trusted before.

    Args:
        code: Its digest.
        question: Whose it is and what it is, as a sentence without its end.

    Raises:
        RunError: It isn't trusted.
    """
    if code in _trusted():
        return
    if not _ANSWER.get()(question):
        raise RunError(
            f"{question}. If you know where the folder is from, or have read the code, say --trust (in Python, do it "
            "within jaxreward.run.trust.trusting()); that is remembered until the code changes"
        )
    remember(code)


def remember(code: str) -> None:
    """Writes down that code is this user's, or trusted."""
    if code in _trusted():
        return
    path = state_file()
    line = f"{code} {datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')}\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
            file.write(line)
    except OSError as error:
        warnings.warn(
            f"can't write {path} ({error.strerror or error}), so this run's code will not be known as yours later",
            stacklevel=2,
        )


def state_file() -> Path:
    """Where digests are kept: below `$XDG_STATE_HOME`, or `~/.local/state`."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()) / "jaxreward" / "trusted"


def _trusted() -> set[str]:
    try:
        return {line.partition(" ")[0] for line in state_file().read_text().splitlines()}
    except OSError:
        return set()
