"""The command line, `jaxreward COMMAND`.

What a user gets wrong ends as one message and exit code 2; a run that fails, as exit code 1; Ctrl-C, as 130 with how to
go on. `--traceback` shows where an error came from.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, get_args, get_type_hints

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
_COMMANDS = {get_args(each)[1].name: get_args(each)[0] for each in get_args(Command)}
_POSITIONAL = {id(tyro.conf.Positional), *map(id, get_args(tyro.conf.Positional[int])[1:])}
"""What marks a field as no option."""


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
    unknown = _unknown_option(given)
    if unknown:
        return guarded(lambda: _refuse_option(given[0], unknown), show_traceback=False)
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


def _unknown_option(given: Sequence[str]) -> str:
    """The first option that the command has not; tyro's own and `--help` are let through."""
    if not given or given[0] not in _COMMANDS:
        return ""
    words = [word.partition("=")[0].replace("_", "-") for word in given[1:] if re.match(r"--[a-z]", word)]
    known = _options(given[0])
    return next((word for word in words if word not in known and not word.startswith("--tyro-")), "")


def _options(command: str) -> set[str]:
    """What a command's options are called: as its fields, unless they are given another name."""
    hints = get_type_hints(_COMMANDS[command], include_extras=True)
    said = {field: get_args(hint)[1:] for field, hint in hints.items()}
    options = {field: each for field, each in said.items() if not _POSITIONAL & {id(one) for one in each}}
    given = {field: [getattr(one, "name", None) for one in each] for field, each in options.items()}
    names = [next(filter(None, others), None) or field for field, others in given.items()]
    return {"--help", *(f"--{name.replace('_', '-')}" for name in names)}


def _refuse_option(command: str, given: str) -> int:
    """What is no option is answered with the nearest of its command.

    Raises:
        ValueError: Always.
    """
    check_name(f"option of jaxreward {command}", given, _options(command), f"`jaxreward {command} --help` lists them.")
    raise AssertionError("it is no option")


def _run(command: Command) -> int:
    """Runs a command, which asks before it runs the code of others."""
    from jaxreward.run.trust import trusting

    with trusting(getattr(command, "trust", False) or asked):
        return command.run()
