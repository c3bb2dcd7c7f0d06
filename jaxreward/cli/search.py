"""`jaxreward search`."""

from __future__ import annotations

import itertools
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from jaxreward.cli.shell import RUN_FAILED, Number, OptionalPath, Repeated, Text, console, note, say
from jaxreward.cli.train import with_options

if TYPE_CHECKING:
    from jaxreward.run.launcher import Launcher
    from jaxreward.search.outcome import Confirmed
    from jaxreward.search.study import Session

TABLE_ENTRIES = (
    *("agent", "env", "reward", "steps", "seeds", "trials", "sampler", "scheduler"),
    *("reduction", "min_steps", "min_seeds", "batch", "seed", "log_every"),
)
"""Options that are entries of a search's table under the same name."""


@dataclass(frozen=True)
class Search:
    """Search for the settings that train best, a generation of configurations in each compiled program.

    Attributes:
        file: A TOML file with all of what follows down to --log-every; options go before what it says.
        agent: A name (`jaxreward list agents`), or `module:factory` or `file.py:factory` of your own; ppo by default.
        env: A name (`jaxreward list environments`), or `module:factory` of your own.
        reward: A name (`jaxreward list rewards`), or your own as `path/to/file.py:function`; the environment's by
            default.
        network: A network of your own that reads observations, see `jaxreward train`.
        set: Settings that are the same in all trials, as NAME=VALUE.
        space: What is searched, as NAME=log(LOW,HIGH), uniform(LOW,HIGH), integer(LOW,HIGH), log_integer(LOW,HIGH) or
            choice(A,B,...), and maybe ` if OTHER=VALUE` after it. Names are those of --set, and agent, env and reward.
        steps: Environment steps of each run that is trained to its end.
        seeds: Of each trial; 4 by default.
        trials: How many configurations are tried; 64 by default.
        objective: What is made better, as METRIC, STATISTIC:METRIC or minimise:STATISTIC:METRIC; final:episode/return
            by default, or final:episode/env_return where the reward is searched, and average_reward and
            average_env_reward in their place where the environment never ends. Statistics are final (interquartile
            mean over seeds), mean, worst (seed) and auc (area under the curve). Several make a Pareto front.
        sampler: random, quasi-random, tpe (random in its first 10 trials), cma-es or nsga-ii; tpe by default.
        scheduler: none, halving or hyperband: whether the worse part of a generation is stopped early.
        reduction: Of how many trials one goes on, where some are stopped; 3 by default.
        min_steps: The fewest steps before trials are compared; a 27th of --steps by default.
        min_seeds: The fewest seeds with which trials are compared; all by default.
        batch: Trials in a generation, which train together; hyperband has numbers of its own.
        seed: Of the choices.
        log_every: Iterations from one row of the metrics to the next; a hundredth of all by default.
        evaluate_every: Iterations from one evaluation to the next, see `jaxreward train`; what they come to can be the
            objective, as evaluation/env_return.
        evaluate_episodes: Episodes of each; 16 by default.
        skip_defaults: Do not try the settings without a search first.
        confirm: Fresh seeds on which the best configuration and the defaults are trained again at the end; 0 for none.
        storage: An Optuna URL that several machines share; study.db in the folder by default.
        name: Of the study in the storage; AGENT-ENVIRONMENT by default.
        folder: Where the runs are kept, new or empty; runs/search-ENVIRONMENT-AGENT-TIME by default.
        resume: Go on with the study in --folder; nothing else need be given, but --trials may grow.
        launcher: Where runs are trained: local or ray.
        address: Of a Ray cluster; a local Ray by default.
        devices: How many devices Ray gives each program; as many as there are here by default.
        quiet: Show no progress and no table.
        trust: Run the code in a run folder that was not begun here by you.
        traceback: Show where an error came from.
    """

    file: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="FILE.toml")] = None
    agent: Text = None
    env: Text = None
    reward: Text = None
    network: Text = None
    set: Annotated[Repeated, tyro.conf.arg(metavar="NAME=VALUE ...")] = ()
    space: Annotated[Repeated, tyro.conf.arg(metavar="NAME=KIND(...) ...")] = ()
    steps: Number = None
    seeds: Number = None
    trials: Number = None
    objective: Annotated[Repeated, tyro.conf.arg(metavar="OBJECTIVE ...")] = ()
    sampler: Text = None
    scheduler: Text = None
    reduction: Number = None
    min_steps: Number = None
    min_seeds: Number = None
    batch: Number = None
    seed: Number = None
    log_every: Number = None
    evaluate_every: Number = None
    evaluate_episodes: Number = None
    skip_defaults: bool = False
    confirm: int = 10
    storage: Text = None
    name: Text = None
    folder: OptionalPath = None
    resume: bool = False
    launcher: str = "local"
    address: Text = None
    devices: Number = None
    quiet: bool = False
    trust: bool = False
    traceback: bool = False

    def run(self) -> int:
        from jaxreward.run.folder import hold
        from jaxreward.run.job import default_folder
        from jaxreward.run.launchers import get_launcher
        from jaxreward.search.spec import read_search
        from jaxreward.search.study import run

        if self.confirm < 0:
            raise ValueError(f"--confirm takes a number of seeds, 0 for none, not {self.confirm}")
        search = read_search(self._table())
        launch = get_launcher(self.launcher, address=self.address, devices=self.devices, progress=not self.quiet)
        new = default_folder(search.setup)
        folder = self.folder or new.with_name(f"search-{new.name}")
        tell = (lambda line: None) if self.quiet else note
        try:
            session = run(
                search, folder, storage=self.storage, name=self.name, launch=launch, resume=self.resume, say=tell
            )
            with hold(session.folder.path):
                return _finish(session, self, launch)
        except KeyboardInterrupt as stopped:
            again = shlex.join(["jaxreward", "search", "--resume", "--folder", str(folder)])
            raise KeyboardInterrupt(f"go on with\n  {again}") from stopped

    def _table(self) -> dict[str, Any]:
        """What is searched: what the file or the resumed folder says, and the options before it."""
        from jaxreward.run.store import flatten
        from jaxreward.settings.text import parse_space
        from jaxreward.settings.values import parse_settings, read_toml

        there = self._resumed()
        table = read_toml(self.file) if self.file else there
        given = {name: getattr(self, name) for name in TABLE_ENTRIES}
        table |= {name: value for name, value in given.items() if value is not None}
        settings = with_options(parse_settings(itertools.chain(*self.set)), self)
        table["settings"] = {**flatten(table.get("settings", {})), **settings}
        space = parse_space(itertools.chain(*self.space))
        table["space"] = {**table.get("space", {}), **{name: str(prior) for name, prior in space.items()}}
        if self.objective:
            table["objectives"] = list(itertools.chain(*self.objective))
        if self.skip_defaults:
            table["baseline"] = False
        return table

    def _resumed(self) -> dict[str, Any]:
        from jaxreward.search.folder import StudyFolder

        if not self.resume:
            return {}
        if self.folder is None:
            raise ValueError("--resume needs --folder: which study to go on with")
        return StudyFolder(self.folder).read()["search"]


def _finish(session: Session, command: Search, launch: Launcher) -> int:
    """Prints the best trials, and what they are worth on fresh seeds; the exit code says whether there is any."""
    from jaxreward.search.outcome import best_trials, confirm, found, train_command, write_best
    from jaxreward.search.picture import save_picture

    if not best_trials(session):
        return say("failed: no trial was trained to its end with numbers that stayed finite", RUN_FAILED)
    out = console(command.quiet)
    _show_trials(session, out)
    if command.confirm:
        if not command.quiet:
            note(f"training the best and the defaults again on {command.confirm} fresh seeds")
        best = confirm(session, command.confirm, launch)
        _show_confirmed(session, best, out)
    else:
        best = found(session)
        out.print("the best of many noisy values is too good to be true: --confirm SEEDS measures it again")
    path, figure = write_best(session, best), save_picture(session)
    search = session.search
    again = train_command(search.setup, best[0].choice, search.steps, max(search.seeds, 10))
    which = "the best" if len(search.objectives) == 1 else f"trial {best[0].trial}"
    out.print(f"train {which} with\n  {again}", soft_wrap=True)
    out.print(f"study   {session.folder.path}\nbest    {path}\nfigure  {figure}", soft_wrap=True)
    return 0


def _show_trials(session: Session, out: Any) -> None:
    from rich.table import Table

    from jaxreward.results.summary import show
    from jaxreward.search.outcome import best_trials, chosen, dominated_volume, seen

    search = session.search
    several = len(search.objectives) > 1
    names = list(search.space)
    table = Table()
    for column in ["trial", *(objective.name for objective in search.objectives), *names]:
        table.add_column(column, justify="right")
    trials = best_trials(session)
    measured = seen(session, trials)
    for trial in trials:
        choice = chosen(session, trial)
        values = [_interval(each) for each in measured.get(trial.number, [{"value": value} for value in trial.values])]
        table.add_row(str(trial.number), *values, *(show(choice.get(name, "-")) for name in names))
    title = "trials that no other betters in all objectives" if several else "the best trials, as they were seen"
    out.print(f"{title}, with 95% intervals over {search.seeds} seeds", soft_wrap=True)
    out.print(table)
    if several:
        out.print(f"hypervolume from the worst value of each objective: {dominated_volume(session):.6g}")


def _show_confirmed(session: Session, confirmed: list[Confirmed], out: Any) -> None:
    from rich.table import Table

    search = session.search
    seeds = int(confirmed[0].measured[0]["seeds"])
    table = Table()
    for column in ["trial", *(objective.name for objective in search.objectives)]:
        table.add_column(column, justify="right")
    for each in confirmed:
        name = "defaults" if each.trial is None else str(each.trial)
        table.add_row(name, *map(_interval, each.measured))
    out.print(f"on {seeds} fresh seeds, with 95% intervals; a search picks the luckiest, so believe these numbers")
    out.print(table)


def _interval(measured: dict[str, float]) -> str:
    """A value, with its interval if there is one."""
    from jaxreward.results.summary import show

    value, low, high = (measured.get(name, float("nan")) for name in ("value", "low", "high"))
    return f"{show(value)} [{show(low)}, {show(high)}]" if low == low else show(value)
