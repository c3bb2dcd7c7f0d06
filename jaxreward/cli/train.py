"""`jaxreward train`, and what it shares with `jaxreward sweep`."""

from __future__ import annotations

import itertools
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from jaxreward.cli.shell import RUN_FAILED, Number, OptionalPath, Preset, Repeated, Text, console, note, say

# Only what every command needs is imported here; `--help` should not wait for a simulator.
if TYPE_CHECKING:
    import pandas as pd

    from jaxreward.run.job import Job
    from jaxreward.run.spec import Experiment


@dataclass(frozen=True)
class Train:
    """Train one configuration with one seed or many, in one compiled program.

    Several processes, on one machine or many, train one program together when each is started with the same arguments.

    Attributes:
        file: A preset (`jaxreward list presets`), or a TOML file of your own with what follows down to --log-every; an
            option replaces what it says of that name.
        agent: A name (`jaxreward list agents`), or `module:factory` or `file.py:factory` of your own; ppo by default.
        env: A name (`jaxreward list environments`), or `module:factory` of your own. Options follow as in
            `brax/ant?backend=generalized`.
        reward: A name (`jaxreward list rewards`), or your own as `path/to/file.py:function`; the environment's by
            default.
        objective: What keeps PPO's policy near the one that acted, the setting `objective`: a name (`jaxreward list
            objectives`), or your own as `path/to/file.py:function`. (That of a search is what it makes better.)
        network: A network of your own that reads observations before the agent's layers, the setting `network`:
            `path/to/file.py:factory` of a flax module.
        steps: Environment steps of each run, rounded up to whole iterations.
        seeds: How many seeds, all trained at once.
        set: Settings as NAME=VALUE: hyperparameters (learning_rate=1e-3), the reward's (reward.goal=2) and the
            environment's (env.gravity=10) numbers, sizes (num_envs=32).
        folder: The run folder, new or empty; runs/ENVIRONMENT-AGENT-TIME by default.
        resume: Go on with the run in --folder. Nothing else need be given, but --steps may grow.
        back_to: With --resume, the iteration to go back to: goes on from the last checkpoint at or before it and drops
            what came after; 0 begins the run again.
        log_every: Iterations from one row of the metrics to the next; a hundredth of all by default.
        evaluate_every: Iterations from one evaluation to the next: whole fresh episodes of the policy as it is, of its
            most likely actions, logged as evaluation/env_return and so on; the best checkpoint is kept. Nothing that
            is learned depends on it. --set evaluation.sampled=true samples actions, evaluation.steps=N cuts episodes.
        evaluate_episodes: Episodes of each; 16 by default.
        stop_when: A condition such as "evaluation/env_return>=475" or "episode/return>=475": a run rests when a row
            meets it, and training ends when all do.
        wandb: Also log to this Weights & Biases project.
        quiet: Show no progress and no table.
        trust: Run the code in a run folder that was not begun here by you.
        traceback: Show where an error came from.
        distributed: This is one of several processes, on a cluster that JAX knows: Slurm, Open MPI, Kubernetes, TPU.
        coordinator: HOST:PORT of the first of them, elsewhere.
        processes: How many there are, elsewhere.
        process: Which of them this is, from 0, elsewhere.
    """

    file: Preset = None
    agent: Text = None
    env: Text = None
    reward: Text = None
    objective: Text = None
    network: Text = None
    steps: Number = None
    seeds: Number = None
    set: Annotated[Repeated, tyro.conf.arg(metavar="NAME=VALUE ...")] = ()
    folder: OptionalPath = None
    resume: bool = False
    back_to: Annotated[Number, tyro.conf.arg(name="from", metavar="ITERATION")] = None
    log_every: Number = None
    evaluate_every: Number = None
    evaluate_episodes: Number = None
    stop_when: Text = None
    wandb: Text = None
    quiet: bool = False
    trust: bool = False
    traceback: bool = False
    distributed: bool = False
    coordinator: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT")] = None
    processes: Number = None
    process: Number = None

    def run(self) -> int:
        from jaxreward.run.distributed import from_leader, initialize, is_leader
        from jaxreward.run.folder import hold_together

        if self.distributed or any(x is not None for x in (self.coordinator, self.processes, self.process)):
            initialize(self.coordinator, self.processes, self.process)  # before anything that uses JAX is imported
        from jaxreward.run.job import warn_of_long_schedules
        from jaxreward.run.memory import check_memory

        job = from_leader(lambda: _job(self))
        experiment = job.experiment()
        check_memory(experiment, len(job.seeds))
        if is_leader():
            warn_of_long_schedules(experiment, job.steps)
        if is_leader() and not self.quiet:
            _announce(experiment, job, self.file)
        with hold_together(job.folder):
            try:
                result = job.train(experiment, wandb=self.wandb, progress=not self.quiet, back_to=self.back_to)
            except KeyboardInterrupt as stopped:
                again = shlex.join(["jaxreward", "train", "--resume", "--folder", str(job.folder)])
                raise KeyboardInterrupt(f"go on with\n  {again}") from stopped
            return finish(job.folder, result.metrics, [], self.quiet, self.wandb) if is_leader() else 0


def _job(command: Train) -> Job:
    from jaxreward.settings.values import parse_settings

    if command.resume and command.file is not None:
        raise ValueError(f"--resume goes on with what is in --folder and reads no file; leave out {command.file}")
    _check_folder(command)
    named = {name: value for name in ("agent", "env", "reward") if (value := getattr(command, name)) is not None}
    objective = [] if command.objective is None else [f"objective={command.objective}"]
    settings = with_options(parse_settings(itertools.chain(objective, *command.set)), command)
    seeds = None if command.seeds is None else counted_seeds(command.seeds)
    if command.resume:
        asked = {"named": named, "settings": settings, "seeds": seeds, "log_every": command.log_every}
        return _resumed(command.folder or Path(), command.steps, asked)
    given = {**named, "seeds": seeds and list(seeds), "steps": command.steps, "log_every": command.log_every}
    return _new({name: value for name, value in given.items() if value is not None}, settings, command)


def _new(given: dict[str, Any], settings: dict[str, Any], command: Train) -> Job:
    """A run of what was given, and of the file where nothing was."""
    from jaxreward.run.job import Job, default_folder
    from jaxreward.run.preset import read_preset
    from jaxreward.sweep import read_sweep

    table = {**read_preset(command.file).table, **given} if command.file else given
    table["settings"] = {**table.get("settings", {}), **settings}
    required_env(table.get("env"))
    _required_steps(table.get("steps"))
    one = read_sweep(table)
    if one.axes:
        raise ValueError(f"{command.file} varies {', '.join(one.names())}: `jaxreward sweep {command.file}` trains it")
    return Job(
        one.setup, command.folder or default_folder(one.setup), one.steps, seeds=one.seeds, log_every=one.log_every
    )


def _resumed(folder: Path, steps: int | None, asked: dict[str, Any]) -> Job:
    """The run in a folder, after a check that nothing else is asked for."""
    from jaxreward.run.job import asked_for, job_of
    from jaxreward.run.store import RunError

    changes = asked_for(job_of(folder), steps=steps, **asked)
    if changes:
        listing = "\n  ".join(changes)
        raise RunError(f"can't resume {folder} with another configuration (there -> asked for):\n  {listing}")
    return job_of(folder, steps)


def _check_folder(command: Train) -> None:
    """Refuses to resume what is not there or not whole, and to begin where something is."""
    from jaxreward.run.resume import previous_config
    from jaxreward.run.store import RunFolder

    if command.folder is not None:
        previous_config(RunFolder(command.folder), "require" if command.resume else False, command.back_to)
    elif command.resume:
        raise ValueError("--resume needs --folder: which run to go on with")
    elif command.back_to is not None:
        raise ValueError("--from needs --resume: a new run begins at nothing")


_OPTIONS = {
    "evaluation.every": "evaluate_every",
    "evaluation.episodes": "evaluate_episodes",
    "evaluation.stop_when": "stop_when",
    "network": "network",
}
"""Settings that have options of their own."""


def counted_seeds(seeds: int) -> tuple[int, ...]:
    """The seeds that a number of them stands for."""
    from jaxreward.contract.sizes import MOST_SEEDS

    if not 1 <= seeds <= MOST_SEEDS:
        raise ValueError(f"--seeds must be positive and at most {MOST_SEEDS:,}, not {seeds:,}")
    return tuple(range(seeds))


def with_options(settings: dict[str, Any], command: Any) -> dict[str, Any]:
    """Settings with those that options of their own stand for."""
    given = {name: getattr(command, option, None) for name, option in _OPTIONS.items()}
    given = {name: value for name, value in given.items() if value is not None}
    twice = sorted(set(given) & set(settings))
    if twice:
        option = _OPTIONS[twice[0]].replace("_", "-")
        raise ValueError(f"{twice[0]} was given twice: by --set and by --{option}")
    return settings | given


def required_env(env: str | None) -> str:
    """The environment, which has no default."""
    if env is None:
        raise ValueError("which environment? For example --env CartPole-v1; `jaxreward list environments` shows all")
    return env


def _required_steps(steps: int | None) -> None:
    """The number of steps has no default."""
    if steps is None:
        raise ValueError("say how many environment steps each run takes: --steps 200000")


def _announce(experiment: Experiment, job: Job, preset: str | None) -> None:
    """Says what is about to be trained, where it goes, and how long a preset took where it was tuned."""
    from jaxreward.run.preset import read_preset

    seeds, setup = len(job.seeds), job.setup
    note(f"{setup.agent} on {setup.env} with reward {setup.reward} -> {job.folder}")
    note(f"{seeds:,} run{'s' * (seeds > 1)} of {experiment.steps_told(job.steps)}, in one compiled program")
    if experiment.steps_note:
        note(experiment.steps_note)
    if preset and (told := read_preset(preset).time_told(job.steps, seeds)):
        note(told)


def finish(folder: Path, metrics: pd.DataFrame, by: list[str], quiet: bool, wandb: str | None = None) -> int:
    """Draws, reports, tracks and prints what came out; the exit code says whether any run did."""
    from jaxreward.report import report
    from jaxreward.results.curves import learning_curves, save_png
    from jaxreward.results.described import title_of
    from jaxreward.results.summary import declared_metrics, given_beside, headline_metrics, rich_table
    from jaxreward.results.tables import find_runs
    from jaxreward.results.tracking import track_results
    from jaxreward.run.store import RunFolder

    for run in find_runs(folder):
        track_results(run, wandb)
    described = [RunFolder(run).read_config() for run in find_runs(folder)]
    declared = declared_metrics(described)
    first, *others = headline_metrics(metrics, declared)
    curves = learning_curves(metrics, first, by, title_of(described), beside=given_beside(first, others))
    figure, page = save_png(curves, folder / "curves.png"), report(folder)
    if not quiet:
        out = console()
        out.print("interquartile means over seeds with 95% intervals, best first")
        out.print(rich_table(metrics, by, declared=declared))
        out.print(f"folder      {folder}\nfigure      {figure}\nreport      {page}")
    if bool(metrics.groupby(["member", "seed"])["failed"].any().all()):
        return say("failed: no run's numbers stayed finite", RUN_FAILED)
    return 0
