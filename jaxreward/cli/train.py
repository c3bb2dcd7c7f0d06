"""`jaxreward train`, and what it shares with the other commands that train."""

from __future__ import annotations

import itertools
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from jaxreward.cli.shell import RUN_FAILED, WIDTH, Number, OptionalPath, Repeated, Text, note, say

# Only what every command needs is imported here; `--help` should not wait for a simulator.
if TYPE_CHECKING:
    import pandas as pd

    from jaxreward.job import Job, Setup
    from jaxreward.spec import Experiment


@dataclass(frozen=True)
class Training:
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
    env: Text = None
    reward: str = "environment"
    steps: Number = None
    seeds: Number = None
    set: Annotated[Repeated, tyro.conf.arg(metavar="NAME=VALUE ...")] = ()
    folder: OptionalPath = None
    resume: bool = False
    log_every: Number = None
    wandb: Text = None
    quiet: bool = False
    traceback: bool = False


@dataclass(frozen=True)
class Train(Training):
    """Train one configuration with one seed or many, in one compiled program."""

    def run(self) -> int:
        from jaxreward.job import Setup
        from jaxreward.settings import parse_settings

        settings = parse_settings(itertools.chain(*self.set))
        return train(self, lambda: Setup(self.agent, required_env(self), self.reward, settings), ({},))


def train(command: Training, setup: Callable[[], Setup], members: tuple[dict, ...]) -> int:
    """Trains one program and shows what came out."""
    from jaxreward.job import Job, default_folder, job_of

    check_folder(command)
    seeds = None if command.seeds is None else counted_seeds(command.seeds)
    if command.env is None and command.resume:
        job = job_of(command.folder or "", command.steps, seeds)
    else:
        what, steps = setup(), required_steps(command)
        folder = command.folder or default_folder(what)
        job = Job(what, folder, steps, members, seeds or (0,), command.log_every)
    experiment = job.experiment()
    if not command.quiet:
        _announce(experiment, job)
    try:
        result = job.train(experiment, wandb=command.wandb, progress=not command.quiet)
    except KeyboardInterrupt as stopped:
        again = shlex.join(["jaxreward", "train", "--resume", "--folder", str(job.folder)])
        raise KeyboardInterrupt(f"go on with\n  {again}") from stopped
    return _finish(job, result.metrics, command.quiet)


def check_folder(command: Training) -> None:
    """Refuses to resume what is not there, and to begin where something is."""
    from jaxreward.store import RunFolder

    if command.folder is None and command.resume:
        raise ValueError("--resume needs --folder: which run to go on with")
    exists = command.folder is not None and RunFolder(command.folder).exists()
    if command.resume and not exists:
        raise ValueError(f"there is no run to resume: {command.folder} is not a run folder")
    if exists and not command.resume:
        raise ValueError(f"{command.folder} already holds a run: go on with it by --resume, or choose another --folder")


def counted_seeds(seeds: int) -> tuple[int, ...]:
    """The seeds that a number of them stands for."""
    if seeds < 1:
        raise ValueError(f"--seeds must be positive, not {seeds}")
    return tuple(range(seeds))


def required_env(command: Training) -> str:
    """The environment, which has no default."""
    if command.env is None:
        raise ValueError("which environment? For example --env CartPole-v1; `jaxreward list environments` shows all")
    return command.env


def required_steps(command: Training) -> int:
    """The number of steps, which has no default."""
    if command.steps is None:
        raise ValueError("say how many environment steps each run takes: --steps 200000")
    return command.steps


def _announce(experiment: Experiment, job: Job) -> None:
    """Says what is about to be trained, and where it goes."""
    members, seeds, setup = len(job.members), len(job.seeds), job.setup
    note(f"{setup.agent} on {setup.env} with reward {setup.reward} -> {job.folder}")
    taken = experiment.iterations(job.steps) * experiment.steps_per_iteration
    whole = f" ({job.steps:,} rounded up to whole iterations of {experiment.steps_per_iteration:,})"
    rounded = "" if taken == job.steps else whole
    counts = f"{members} configuration{'s' * (members > 1)} x {seeds} seed{'s' * (seeds > 1)}"
    runs = f"{members * seeds:,} runs ({counts})" if members * seeds > 1 else "1 run"
    note(f"{runs} of {taken:,} environment steps{rounded}, in one compiled program")


def _finish(job: Job, metrics: pd.DataFrame, quiet: bool) -> int:
    """Draws, reports and prints what came out; the exit code says whether any run did."""
    from rich.console import Console

    from jaxreward.report import report, save_curves
    from jaxreward.summary import rich_table

    by = list(dict.fromkeys(name for member in job.members for name in member))
    figure, page = save_curves(job.folder), report(job.folder)
    if not quiet:
        console = Console(width=None if sys.stdout.isatty() else WIDTH)
        console.print("interquartile means over seeds with 95% bootstrap intervals, best first", highlight=False)
        console.print(rich_table(metrics, by))
        paths = f"run folder  {job.folder}\nfigure      {figure}\nreport      {page}"
        console.print(paths, markup=False, highlight=False)
    last = metrics[metrics["iteration"] == metrics["iteration"].max()]
    if bool(last["failed"].all()):
        return say("failed: no run's numbers stayed finite", RUN_FAILED)
    return 0
