"""The command line: `jaxreward train | sweep | list | report | evaluate`.

What a user gets wrong ends as one message and exit code 2; a run that fails, as exit code 1; Ctrl-C, as 130 with how to
go on. `--traceback` shows where an error came from.
"""

from __future__ import annotations

import itertools
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from jaxreward.cpu_scheduler import use_every_core

# Only what every command needs is imported here; `--help` should not wait for a simulator.
if TYPE_CHECKING:
    import pandas as pd

    from jaxreward.spec import Experiment

USER_ERROR, RUN_FAILED, INTERRUPTED = 2, 1, 130
WIDTH = 120
"""Of a table that is written to a file."""

_Text = Annotated[str | None, tyro.conf.arg(metavar="NAME")]
_Number = Annotated[int | None, tyro.conf.arg(metavar="INT")]
_Repeated = Annotated[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction]
"""Options that take several values and may come several times: by default the last would silently win."""
_Path = Annotated[Path | None, tyro.conf.arg(metavar="PATH")]


@dataclass(frozen=True)
class _Run:
    """What training one configuration and a grid have in common.

    Attributes:
        agent: A name (`jaxreward list agents`), or `module:factory` or `file.py:factory` of your own.
        env: A name (`jaxreward list environments`), or `module:factory` of your own. Options follow as in
            `brax/ant?backend=generalized`.
        reward: A name (`jaxreward list rewards`), or your own as `path/to/file.py:function`.
        steps: Environment steps of each run, rounded up to whole iterations.
        seeds: How many seeds, all trained at once.
        set: Settings as NAME=VALUE: hyperparameters (learning_rate=1e-3), the reward's (reward.goal=2) and the
            environment's (env.gravity=10) numbers, sizes (num_envs=32).
        folder: The run folder; runs/ENVIRONMENT-AGENT-TIME by default.
        resume: Go on with the run in --folder. Nothing else need be given, but --steps may grow.
        log_every: Iterations from one row of the metrics to the next; a hundredth of all by default.
        wandb: Also log to this Weights & Biases project.
        quiet: Show no progress and no table.
        traceback: Show where an error came from.
    """

    agent: str = "ppo"
    env: _Text = None
    reward: str = "environment"
    steps: _Number = None
    seeds: _Number = None
    set: Annotated[_Repeated, tyro.conf.arg(metavar="NAME=VALUE ...")] = ()
    folder: _Path = None
    resume: bool = False
    log_every: _Number = None
    wandb: _Text = None
    quiet: bool = False
    traceback: bool = False


@dataclass(frozen=True)
class Train(_Run):
    """Train one configuration with one seed or many, in one compiled program."""


@dataclass(frozen=True)
class Sweep(_Run):
    """Train every combination of a grid with every seed, in one compiled program.

    Attributes:
        grid: What to vary, as NAME=A,B,C or NAME=logspace(FIRST,LAST,COUNT) or linspace: names as in --set, except
            sizes.
    """

    grid: Annotated[_Repeated, tyro.conf.arg(metavar="NAME=A,B,... ...")] = ()


@dataclass(frozen=True)
class Listing:
    """Show the agents with their settings, the environments and the rewards there are.

    Attributes:
        what: What to show; everything by default.
        all: Also name each of brax's and MuJoCo Playground's environments, which takes some seconds.
        traceback: Show where an error came from.
    """

    what: tyro.conf.Positional[Literal["everything", "agents", "environments", "rewards"]] = "everything"
    all: bool = False
    traceback: bool = False


@dataclass(frozen=True)
class Report:
    """Make a self-contained HTML page of one run folder, or of several to compare them.

    Attributes:
        folders: The run folders.
        out: The page; report.html in the run folder, or in the current folder for several.
        traceback: Show where an error came from.
    """

    folders: tyro.conf.Positional[tuple[Path, ...]]
    out: _Path = None
    traceback: bool = False


@dataclass(frozen=True)
class Evaluate:
    """Run episodes with the newest checkpoint of a run, and draw one of them if asked.

    Attributes:
        folder: The run folder.
        member: Which configuration, by its number; the best one by default.
        seed: Which seed; the first by default.
        episodes: How many episodes.
        stochastic: Sample actions as in training, instead of taking the most likely ones.
        render: Draw one episode to the run folder: a GIF, or a page with brax's viewer.
        key: The seed of the episodes.
        traceback: Show where an error came from.
    """

    folder: tyro.conf.Positional[Path]
    member: _Number = None
    seed: _Number = None
    episodes: int = 100
    stochastic: bool = False
    render: bool = False
    key: int = 0
    traceback: bool = False


_sub = tyro.conf.subcommand
Command = (
    Annotated[Train, _sub("train")]
    | Annotated[Sweep, _sub("sweep")]
    | Annotated[Listing, _sub("list")]
    | Annotated[Report, _sub("report")]
    | Annotated[Evaluate, _sub("evaluate")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: The command line without the program's name; the process's own by default.

    Returns:
        The exit code.
    """
    command = tyro.cli(
        Command,
        prog="jaxreward",
        description="Reinforcement learning in which the reward function is the thing you design.",
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    warnings.formatwarning = _one_line
    use_every_core()
    return _guarded(lambda: _COMMANDS[type(command)](command), command.traceback)


def _guarded(action: Callable[[], int], show_traceback: bool) -> int:
    """Runs an action; every error is one message, unless where it came from is asked for."""
    from jaxreward.store import RunError

    try:
        return action()
    except KeyboardInterrupt as stopped:
        return _say(f"interrupted{f': {stopped}' if stopped.args else ''}", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (RunError, ValueError, ImportError, OSError) as error:
        if show_traceback:
            traceback.print_exc()
        return _say(f"error: {_shortened(str(error))}", USER_ERROR)
    except Exception as error:
        if show_traceback:
            traceback.print_exc()
        hint = "" if show_traceback else " (--traceback shows where)"
        return _say(f"failed: {type(error).__name__}: {_shortened(str(error))}{hint}", RUN_FAILED)


def _train(command: Train | Sweep) -> int:
    from jaxreward.spec import resolve
    from jaxreward.sweep import default_folder, experiment_of, sweep

    _check_folder(command)
    if command.env is None and command.resume:
        experiment = experiment_of(command.folder or "")
    else:
        experiment = resolve(command.agent, _env(command), command.reward, _settings(command))
    folder = command.folder or default_folder(experiment)
    seeds = command.seeds if command.seeds or command.resume else 1
    if not command.quiet:
        _announce(experiment, command.steps, seeds, folder)
    try:
        result = sweep(
            experiment,
            steps=command.steps,
            seeds=seeds,
            folder=folder,
            log_every=command.log_every,
            resume="require" if command.resume else False,
            wandb=command.wandb,
            progress=not command.quiet,
        )
    except KeyboardInterrupt as stopped:
        again = shlex.join(["jaxreward", "train", "--resume", "--folder", str(folder)])
        raise KeyboardInterrupt(f"go on with\n  {again}") from stopped
    return _finish(experiment, folder, result.metrics, command.quiet)


def _check_folder(command: _Run) -> None:
    from jaxreward.store import RunFolder

    if command.folder is None and command.resume:
        raise ValueError("--resume needs --folder: which run to go on with")
    if command.folder is not None and not command.resume and RunFolder(command.folder).exists():
        raise ValueError(f"{command.folder} already holds a run: go on with it by --resume, or choose another --folder")


def _env(command: _Run) -> str:
    if command.env is None:
        raise ValueError("which environment? For example --env CartPole-v1; `jaxreward list environments` shows all")
    return command.env


def _settings(command: Train | Sweep) -> dict:
    from jaxreward.settings import parse_grid, parse_settings

    settings = parse_settings(itertools.chain(*command.set))
    grid = parse_grid(itertools.chain(*command.grid)) if isinstance(command, Sweep) else {}
    twice = sorted(set(settings) & set(grid))
    if twice:
        raise ValueError(f"{twice[0]} is both in --set and in --grid")
    return {**settings, **grid}


def _announce(experiment: Experiment, steps: int | None, seeds: int | None, folder: Path) -> None:
    """Says what is about to be trained, and where it goes."""
    members = len(experiment.population)
    what = experiment.config
    _note(f"{what['agent']} on {what['env']} with reward {what['reward']} -> {folder}")
    if steps is None or seeds is None:
        return
    taken = experiment.iterations(steps) * experiment.steps_per_iteration
    rounded = (
        "" if taken == steps else f" ({steps:,} rounded up to whole iterations of {experiment.steps_per_iteration:,})"
    )
    counts = f"{members} configuration{'s' * (members > 1)} x {seeds} seed{'s' * (seeds > 1)}"
    runs = f"{members * seeds:,} runs ({counts})" if members * seeds > 1 else "1 run"
    _note(f"{runs} of {taken:,} environment steps{rounded}, in one compiled program")


def _finish(experiment: Experiment, folder: Path, metrics: pd.DataFrame, quiet: bool) -> int:
    """Draws, reports and prints what came out; the exit code says whether any run did."""
    from rich.console import Console

    from jaxreward.report import report, save_curves
    from jaxreward.summary import rich_table

    by = list(experiment.population[0])
    figure, page = save_curves(folder), report(folder)
    if not quiet:
        console = Console(width=None if sys.stdout.isatty() else WIDTH)
        console.print("interquartile means over seeds with 95% bootstrap intervals, best first", highlight=False)
        console.print(rich_table(metrics, by))
        console.print(f"run folder  {folder}\nfigure      {figure}\nreport      {page}", markup=False, highlight=False)
    last = metrics[metrics["iteration"] == metrics["iteration"].max()]
    if bool(last["failed"].all()):
        return _say("failed: no run's numbers stayed finite", RUN_FAILED)
    return 0


def _list(command: Listing) -> int:
    wanted = ("agents", "environments", "rewards") if command.what == "everything" else (command.what,)
    sections = {"agents": _agents, "environments": lambda: _environments(command.all), "rewards": _rewards}
    print("\n\n".join(sections[name]() for name in wanted))
    return 0


def _agents() -> str:
    from jaxreward.agents.registry import get_agent, list_agents

    lines = ["agents (--agent), with their settings (--set, --grid) and sizes (--set) and the defaults"]
    for name in list_agents():
        spec = get_agent(name)
        for kind, defaults in (("settings", spec.hyperparam_defaults()), ("sizes", spec.config_defaults())):
            lines += [f"  {name} {kind}", *(f"    {setting} = {value}" for setting, value in defaults.items())]
    return "\n".join([*lines, "  your own: module:factory or path/to/file.py:factory"])


def _environments(everything: bool) -> str:
    import gymnax.registration

    from jaxreward.envs.registry import list_envs

    named = list_envs() if everything else list(gymnax.registration.registered_envs)
    others = [] if everything else ["brax/NAME, such as brax/ant; playground/NAME (--all names each)"]
    own = ["your own: module:factory"]
    return "\n".join(["environments (--env)", *(f"  {line}" for line in [*named, *others, *own])])


def _rewards() -> str:
    from jaxreward.rewards.registry import list_rewards

    known = [f"  {name:<12} {description}" for name, description in list_rewards().items()]
    own = "  your own: path/to/file.py:function or module:function; its numbers are the settings reward.NAME"
    return "\n".join(["rewards (--reward)", *known, own])


def _report(command: Report) -> int:
    from jaxreward.report import report

    if not command.folders:
        raise ValueError("which run folders? For example jaxreward report runs/*")
    print(report(list(command.folders), command.out))
    return 0


def _evaluate(command: Evaluate) -> int:
    from jaxreward.evaluate import describe, evaluate

    evaluation = evaluate(
        command.folder,
        member=command.member,
        seed=command.seed,
        episodes=command.episodes,
        stochastic=command.stochastic,
        render=command.render,
        key=command.key,
    )
    print(describe(evaluation))
    if evaluation.picture:
        print(f"one episode is drawn in {evaluation.picture}")
    return 0


_COMMANDS: dict[type, Callable] = {Train: _train, Sweep: _train, Listing: _list, Report: _report, Evaluate: _evaluate}


def _say(message: str, code: int) -> int:
    print(f"jaxreward: {message}", file=sys.stderr)
    return code


def _note(message: str) -> None:
    print(message, file=sys.stderr)


def _shortened(message: str, lines: int = 15) -> str:
    first, *rest = message.strip().splitlines() or [""]
    return "\n".join([first, *rest[: lines - 1]])


def _one_line(message: Warning | str, category: type[Warning], *_: object, **__: object) -> str:
    return f"jaxreward: warning: {message}\n"


if __name__ == "__main__":
    sys.exit(main())
