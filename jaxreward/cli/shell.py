"""What all commands share: kinds of options, messages and exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from rich.console import Console

USER_ERROR, RUN_FAILED, INTERRUPTED = 2, 1, 130
WIDTH = 120
"""Of a table that is written to a file."""

Text = Annotated[str | None, tyro.conf.arg(metavar="NAME")]
Preset = Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="PRESET|FILE.toml")]
Number = Annotated[
    int | None,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: whole_number(words[0]),
        is_instance=lambda value: value is None or isinstance(value, int),
        str_from_instance=lambda value: [str(value)],
    ),
]
Repeated = Annotated[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction]
"""Options that take several values and may come several times: by default the last would silently win."""
OptionalPath = Annotated[
    Path | None,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda words: named_path(words[0]),
        is_instance=lambda value: value is None or isinstance(value, Path),
        str_from_instance=lambda value: [str(value)],
    ),
]


def named_path(text: str) -> Path:
    """A path that a user gave.

    Raises:
        ValueError: It is empty, which would be the current folder.
    """
    if not text.strip():
        raise ValueError(f"a path needs a name, not {text!r}; '.' is the current folder")
    return Path(text)


def whole_number(text: str) -> int:
    """An integer as people write it: `200000`, `200_000` or `2e5`.

    Raises:
        ValueError: It isn't one.
    """
    with contextlib.suppress(ValueError):
        return int(text)
    with contextlib.suppress(ValueError):
        if float(text).is_integer():
            return int(float(text))
    raise ValueError(f"{text!r} is no whole number")


def console(quiet: bool = False) -> Console:
    """Where tables and text go, as they are: a folder may be called `[bold]` or `:smile:`."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else WIDTH
    return Console(width=width, quiet=quiet, highlight=False, markup=False, emoji=False)


def asked(question: str) -> bool:
    """Whether a person at a terminal agrees; nobody else does."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"jaxreward: {question}. Run it? [y/N] ", file=sys.stderr, end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def guarded(action: Callable[[], int], show_traceback: bool) -> int:
    """Runs an action; every error is one message, unless where it came from is asked for."""
    from jaxreward.lookup import describe_failure, in_users_code
    from jaxreward.run.store import RunError

    try:
        return action()
    except KeyboardInterrupt as stopped:
        return say(f"interrupted{f': {stopped}' if stopped.args else ''}", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (RunError, ValueError, ImportError, OSError) as error:
        if show_traceback:
            traceback.print_exc()
        text = describe_failure(error) if in_users_code(error) else _shortened(str(error))
        return say(f"error: {text}", USER_ERROR)
    except Exception as error:
        if show_traceback:
            traceback.print_exc()
        if in_users_code(error):
            return say(f"error: {describe_failure(error)}", USER_ERROR)
        hint = "" if show_traceback else " (--traceback shows where)"
        return say(f"failed: {type(error).__name__}: {_shortened(str(error))}{hint}", RUN_FAILED)


def say(message: str, code: int) -> int:
    """Tells the user how a command ended, and returns its exit code."""
    print(f"jaxreward: {message}", file=sys.stderr)
    return code


def note(message: str) -> None:
    """Tells the user something on the way."""
    print(message, file=sys.stderr)


def one_line(message: Warning | str, category: type[Warning], *_: object, **__: object) -> str:
    """How a warning is shown."""
    return f"jaxreward: warning: {message}\n"


def _shortened(message: str, lines: int = 15) -> str:
    first, *rest = message.strip().splitlines() or [""]
    return "\n".join([first, *rest[: lines - 1]])
