"""`jaxreward sweep`."""

from __future__ import annotations

import itertools
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from jaxreward.cli.shell import RUN_FAILED, Number, OptionalPath, Preset, Repeated, Text, note, say
from jaxreward.cli.train import counted_seeds, finish, required_env, with_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxreward.run.job import Setup
    from jaxreward.run.launcher import Outcome
    from jaxreward.run.spec import Experiment
    from jaxreward.sweep import Sweep as Description

UNITS = {"": 1, "B": 1, "K": 1e3, "KB": 1e3, "M": 1e6, "MB": 1e6, "G": 1e9, "GB": 1e9, "T": 1e12, "TB": 1e12}


@dataclass(frozen=True)
class Sweep:
    """Train every combination of some choices with every seed, in as few compiled programs as there can be.

    Choices of hyperparameters and of numbers of the reward and the environment share one program; sizes, agents,
    environments and rewards need one each. Run again on the same folder, a sweep trains what is missing: more seeds,
    values or steps.

    Attributes:
        file: A preset (`jaxreward list presets`), or a TOML file with what follows down to --log-every, see
            `jaxreward.sweep.read_sweep`; an option replaces what it says of that name.
        agent: A name (`jaxreward list agents`), or `module:factory` or `file.py:factory` of your own; ppo by default.
        env: A name (`jaxreward list environments`), or `module:factory` of your own.
        reward: A name (`jaxreward list rewards`), or your own as `path/to/file.py:function`; the environment's by
            default.
        network: A network of your own that reads observations, see `jaxreward train`.
        steps: Environment steps of each run, rounded up to whole iterations.
        seeds: How many seeds; 1 by default.
        set: Settings that are the same everywhere, as NAME=VALUE.
        grid: What to vary, as NAME=A,B,C or NAME=logspace(FIRST,LAST,COUNT) or linspace: names as in --set, and agent,
            env and reward.
        zip: What to vary together, written like --grid; all values of one --zip change at once.
        log_every: Iterations from one row of the metrics to the next; a hundredth of all by default.
        evaluate_every: Iterations from one evaluation to the next, see `jaxreward train`.
        evaluate_episodes: Episodes of each; 16 by default.
        stop_when: When a run may rest, see `jaxreward train`.
        folder: The sweep's folder, new or empty or that of a sweep to be grown; runs/ENVIRONMENT-AGENT-TIME by default.
        resume: Go on with the sweep in --folder. Nothing else need be given, but seeds, values and steps may be added.
        plan: Only say which programs there would be, and what they need.
        memory: What a program may take, such as 4GB; what the machine has by default.
        launcher: Where programs are trained: local or ray.
        address: Of a Ray cluster; a local Ray by default.
        devices: How many devices Ray gives each program; as many as there are here by default.
        wandb: Also log to this Weights & Biases project.
        quiet: Show no progress and no table.
        trust: Run the code in a run folder that was not begun here by you.
        traceback: Show where an error came from.
    """

    file: Preset = None
    agent: Text = None
    env: Text = None
    reward: Text = None
    network: Text = None
    steps: Number = None
    seeds: Number = None
    set: Annotated[Repeated, tyro.conf.arg(metavar="NAME=VALUE ...")] = ()
    grid: Annotated[Repeated, tyro.conf.arg(metavar="NAME=A,B,... ...")] = ()
    zip: Annotated[Repeated, tyro.conf.arg(metavar="NAME=A,B,... ...")] = ()
    log_every: Number = None
    evaluate_every: Number = None
    evaluate_episodes: Number = None
    stop_when: Text = None
    folder: OptionalPath = None
    resume: bool = False
    plan: bool = False
    memory: Annotated[str | None, tyro.conf.arg(metavar="SIZE")] = None
    launcher: str = "local"
    address: Text = None
    devices: Number = None
    wandb: Text = None
    quiet: bool = False
    trust: bool = False
    traceback: bool = False

    def run(self) -> int:
        from jaxreward.run.folder import hold
        from jaxreward.run.job import default_folder, warn_of_long_schedules
        from jaxreward.run.launchers import get_launcher
        from jaxreward.sweep import describe, plan, run_sweep

        sweep = self._sweep()
        folder = (self.folder or default_folder(_shown(sweep, "-"))).absolute()
        launch = get_launcher(
            self.launcher, address=self.address, devices=self.devices, progress=not self.quiet, wandb=self.wandb
        )
        planned = plan(
            sweep, folder, memory=None if self.memory is None else parse_size(self.memory), measure=self.plan
        )
        made = [(job.steps, job.experiment()) for job in planned.jobs[:20]]  # those that are shown
        for steps, experiment in made:
            warn_of_long_schedules(experiment, steps)
        if self.plan or not self.quiet:
            setup = _shown(sweep, " ")
            note(f"{setup.agent} on {setup.env} with reward {setup.reward} -> {folder}")
            note("\n".join([*describe(planned, sweep), *_steps_notes(made)]))
        if self.plan:
            return 0
        with hold(folder):
            try:
                swept = run_sweep(sweep, folder, launch, planned)
            except KeyboardInterrupt as stopped:
                again = shlex.join(["jaxreward", "sweep", "--resume", "--folder", str(folder)])
                raise KeyboardInterrupt(f"go on with\n  {again}") from stopped
            code = 0 if swept.metrics.empty else finish(folder, swept.metrics, sweep.names(), self.quiet, self.wandb)
        return _tell_failures(swept.failures) or code

    def _sweep(self) -> Description:
        """What the file or the folder says, and the options before it."""
        from jaxreward.run.preset import read_preset
        from jaxreward.settings.values import parse_grid, parse_settings
        from jaxreward.sweep import read_sweep, sweep_of

        if self.resume and self.folder is None:
            raise ValueError("--resume needs --folder: which sweep to go on with")
        there = sweep_of(self.folder or "").to_table() if self.resume else {}
        table: dict[str, Any] = read_preset(self.file).table if self.file else there
        given = {n: v for n in ("agent", "env", "reward", "steps", "log_every") if (v := getattr(self, n)) is not None}
        if self.seeds is not None:
            given["seeds"] = list(counted_seeds(self.seeds))
        settings = with_options(parse_settings(itertools.chain(*self.set)), self)
        grid = parse_grid(itertools.chain(*self.grid))
        axes = [{name: values} for name, values in grid.items()] + [parse_grid(texts) for texts in self.zip]
        varied = [name for axis in axes for name in axis]
        _refuse_both({**settings, **given}, varied)
        table = {**_without(table, {*settings, *varied, *given}), **given}
        table["settings"] = {**table.get("settings", {}), **settings}
        table["zip"] = [*table.get("zip", []), *axes]
        if not any("env" in axis for axis in (table.get("grid", {}), *table["zip"])):
            required_env(table.get("env"))
        return read_sweep(table)


def _steps_notes(made: Sequence[tuple[int, Experiment]]) -> list[str]:
    """Where steps are not those that were asked for, and why."""
    told = [f"  {experiment.steps_told(steps)}" for steps, experiment in made if steps % experiment.steps_per_iteration]
    notes = [f"  {experiment.steps_note}" for _, experiment in made if experiment.steps_note]
    return list(dict.fromkeys([*told, *notes]))


def parse_size(text: str) -> int:
    """A number of bytes as people write it.

    Raises:
        ValueError: It isn't one.
    """
    number = text.strip().upper().rstrip("BKMGT")
    unit = text.strip().upper()[len(number) :]
    try:
        return int(float(number) * UNITS[unit])
    except (ValueError, KeyError):
        raise ValueError(f"a size is a number with a unit, such as 500MB or 4GB, not {text!r}") from None


def _refuse_both(single: dict[str, Any], varied: list[str]) -> None:
    twice = sorted(name for name in varied if name in single or varied.count(name) > 1)
    if twice:
        raise ValueError(f"{twice[0]} was given twice: a name has one value, or is in one --grid or --zip")


def _without(table: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """A sweep's table without what it says of some names; what one of them was zipped with stays varied."""
    from jaxreward.run.store import flatten
    from jaxreward.sweep.spec import check_forms

    check_forms(table)
    left = lambda entries: {n: v for n, v in flatten(entries).items() if n not in names}  # noqa: E731
    tables: dict[str, Any] = {name: left(table[name]) for name in ("settings", "grid") if name in table}
    axes = [axis for axis in map(left, table.get("zip", [])) if axis]
    return {**{n: v for n, v in table.items() if n not in names}, **tables, "zip": axes}


def _shown(sweep: Description, gap: str) -> Setup:
    """A sweep's setup for people, with how many there are of what is varied: `2 envs`."""
    from jaxreward.run.job import NAMED

    counts = {name: len(values) for axis in sweep.axes for name, values in axis.items() if name in NAMED}
    return sweep.setup.replace({name: f"{count}{gap}{name}s" for name, count in counts.items()})


def _tell_failures(failures: list[Outcome]) -> int:
    for outcome in failures:
        note(f"{outcome.job.folder.name} was not trained: {outcome.error}")
    return (
        say(f"failed: {len(failures)} program{'s' * (len(failures) > 1)} could not be trained", RUN_FAILED)
        if failures
        else 0
    )
