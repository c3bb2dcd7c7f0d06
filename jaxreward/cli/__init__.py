"""The command line, `jaxreward COMMAND`.

What a user gets wrong ends as one message and exit code 2; a run that fails, as exit code 1; Ctrl-C, as 130 with how to
go on. `--traceback` shows where an error came from.
"""

from __future__ import annotations

import importlib.metadata
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, get_args

import tyro

from jaxreward.cli.compare import Compare
from jaxreward.cli.demonstrate import Demonstrate
from jaxreward.cli.distance import Distance
from jaxreward.cli.evaluate import Evaluate
from jaxreward.cli.export import Export
from jaxreward.cli.listing import Listing
from jaxreward.cli.report import Report
from jaxreward.cli.reproduce import Reproduce
from jaxreward.cli.results import Results
from jaxreward.cli.search import Search
from jaxreward.cli.shell import asked, guarded, one_line
from jaxreward.cli.sweep import Sweep
from jaxreward.cli.train import Train
from jaxreward.cli.watch import Watch
from jaxreward.compilation.cpu_scheduler import use_every_core
from jaxreward.names import check_name

_sub = tyro.conf.subcommand
Command = (
    Annotated[Train, _sub("train")]
    | Annotated[Sweep, _sub("sweep")]
    | Annotated[Search, _sub("search")]
    | Annotated[Watch, _sub("watch")]
    | Annotated[Evaluate, _sub("evaluate")]
    | Annotated[Demonstrate, _sub("demonstrate")]
    | Annotated[Export, _sub("export")]
    | Annotated[Compare, _sub("compare")]
    | Annotated[Results, _sub("results")]
    | Annotated[Distance, _sub("distance")]
    | Annotated[Report, _sub("report")]
    | Annotated[Reproduce, _sub("reproduce")]
    | Annotated[Listing, _sub("list")]
)
_COMMANDS = tuple(get_args(each)[1].name for each in get_args(Command))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: The command line without the program's name; the process's own by default.

    Returns:
        The exit code.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        print(f"jaxreward {importlib.metadata.version('jaxreward')}")
        return 0
    if given and not given[0].startswith("-") and given[0] not in _COMMANDS:
        return guarded(lambda: _refuse(given[0]), show_traceback=False)
    command = tyro.cli(
        Command,
        prog="jaxreward",
        description="Reinforcement learning in which the reward function is the thing you design.",
        args=given,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    warnings.formatwarning = one_line
    use_every_core()
    return guarded(lambda: _run(command), command.traceback)


def _refuse(given: str) -> int:
    """What is no command is answered with the nearest.

    Raises:
        ValueError: Always.
    """
    check_name("command", given, _COMMANDS, f"There are: {', '.join(_COMMANDS)}.")
    raise AssertionError("it is no command")


def _run(command: Command) -> int:
    """Runs a command, which asks before it runs the code of others."""
    from jaxreward.run.trust import trusting

    with trusting(getattr(command, "trust", False) or asked):
        return command.run()
