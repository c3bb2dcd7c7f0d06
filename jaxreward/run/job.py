"""Named agents, environments and rewards, trained in one compiled program: what every command is made of.

A `Job` is plain data. It says what is trained and where it is kept, and can be sent to another process. Choices that
need programs of their own are told apart by `split`.
"""

from __future__ import annotations

import functools
import os
import re
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jax.sharding import Mesh
from jax.tree_util import tree_leaves_with_path

from jaxreward.agents.registry import POPULATION
from jaxreward.names import path_name
from jaxreward.rewards.registry import ENVIRONMENT
from jaxreward.run.code import code_of, keep_code, places_of
from jaxreward.run.distributed import from_leader
from jaxreward.run.folder import hold_together
from jaxreward.run.resume import check_new
from jaxreward.run.spec import Experiment, resolve, reward_source, static_names
from jaxreward.run.store import RunFolder, differences, named_values, to_json
from jaxreward.run.train import Result, Start, train
from jaxreward.run.whole import check_metrics
from jaxreward.settings.values import Value

NAMED = ("agent", "env", "reward")
"""Choices that are fields of a `Setup`; all others are settings."""


@dataclass(frozen=True)
class Setup:
    """What is the same for all runs of a program.

    Attributes:
        agent: See `jaxreward.agents.registry.get_agent`.
        env: See `jaxreward.envs.make`.
        reward: See `jaxreward.rewards.registry.get_reward`.
        settings: By name a single value: sizes, and hyperparameters that are not the defaults.
    """

    agent: str = "ppo"
    env: str = "CartPole-v1"
    reward: str = ENVIRONMENT
    settings: dict[str, Value] = field(default_factory=dict)

    def replace(self, choices: dict[str, Any]) -> Setup:
        """This setup with other names or settings."""
        named = {name: choices.get(name, getattr(self, name)) for name in NAMED}
        return Setup(**named, settings={**self.settings, **{n: v for n, v in choices.items() if n not in NAMED}})


class Group(NamedTuple):
    """Choices that can share a program.

    Attributes:
        setup: With the choices that shape the program in it.
        members: The others, of each: traced numbers.
        indices: Where each was among all choices.
    """

    setup: Setup
    members: list[dict[str, Value]]
    indices: list[int]


@dataclass(frozen=True)
class Job:
    """Runs that train together: members that differ in traced numbers, each with all seeds.

    Attributes:
        setup: What is the same for all of them.
        folder: The run folder.
        steps: Environment steps of each run, rounded up to whole iterations.
        members: The settings of each; all have the setup's otherwise.
        seeds: Which.
        log_every: Iterations to a row of the metrics; a hundredth of all by default.
        start: The run whose members it goes on from, if it doesn't begin at nothing.
    """

    setup: Setup
    folder: Path
    steps: int
    members: tuple[dict[str, Value], ...] = ({},)
    seeds: tuple[int, ...] = (0,)
    log_every: int | None = None
    start: Start | None = None

    def places(self) -> dict[str, str]:
        """The user's files and modules that its names refer to, see `jaxreward.run.code.places_of`."""
        return places_of(vars(self.setup))

    def experiment(self) -> Experiment:
        """What its names stand for, in a run that was begun: with the code that it kept.

        Raises:
            RunError: That code is not trusted, see `jaxreward.run.trust`.
            ValueError: See `jaxreward.run.spec.resolve`.
        """
        setup, run = self.setup, RunFolder(self.folder)
        names = setup.agent, setup.env, setup.reward, setup.settings, self.members
        known = run.read_config()["iterations"] if self.steps == 0 and run.exists() else 0
        with code_of(run):
            return resolve(*names, steps=self.steps, iterations=known)

    def finished(self) -> bool:
        """Whether its folder holds the whole of it.

        Raises:
            RunError: It has been trained to its end, and some of its metrics are gone or damaged.
        """
        run = RunFolder(self.folder)
        if not run.finished():
            return False
        described = run.read_config()
        check_metrics(run, described, described.get("rested", described["finished"]))
        return described["iterations"] >= self.experiment().iterations(self.steps)

    def train(
        self,
        experiment: Experiment | None = None,
        *,
        wandb: str | None = None,
        progress: bool = True,
        checkpoint_every: int | None = None,
        mesh: Mesh | Literal["widest"] | None = "widest",
        back_to: int | None = None,
    ) -> Result:
        """Trains what of it is not done yet.

        Args:
            experiment: What `experiment` gives, where it is at hand.
            wandb: A Weights & Biases project.
            progress: Whether to show progress.
            checkpoint_every: See `jaxreward.run.train.train`.
            mesh: The devices; all local ones by default.
            back_to: See `jaxreward.run.train.train`.

        Raises:
            RunError: See `jaxreward.run.train.train`.
            ValueError: See `jaxreward.run.spec.resolve`.
        """
        experiment = experiment or self.experiment()
        run = RunFolder(self.folder)
        from_leader(lambda: None if run.exists() else check_new(run))
        with hold_together(run.path):
            from_leader(lambda: None if run.exists() else _keep_source(self, run))
            return train(
                experiment.agent,
                experiment.hyperparams,
                iterations=experiment.iterations(self.steps),
                folder=run.path,
                seeds=list(self.seeds),
                population=experiment.population,
                config=experiment.config,
                log_every=self.log_every,
                checkpoint_every=checkpoint_every,
                resume=True,
                back_to=back_to,
                wandb=wandb,
                progress=progress,
                mesh=mesh,
                start=self.start,
                evaluation=experiment.evaluation,
            )


def warn_of_long_schedules(experiment: Experiment, steps: int) -> None:
    """Warns of what is to change over more steps than a run has: it may be trained further, and may be a mistake.

    In a population each member follows a schedule by its own steps.
    """
    own = getattr(experiment.hyperparams, "env_params", None)
    params = experiment.env_params if own is None else own
    leaves = ((path_name(path), leaf) for path, leaf in tree_leaves_with_path(params))
    asked = {name: leaf for name, leaf in leaves if f".{name}".endswith(".progress.number")}
    if not asked:
        return
    config = experiment.config
    members = config["agent_config"]["population"] if config["agent"].startswith(POPULATION) else 1
    taken, whose = steps // members, "a member of the population" if members > 1 else "the run"
    for name, numbers in sorted(asked.items()):
        for number in np.unique(np.asarray(numbers)):
            if number > taken:
                warnings.warn(
                    f"{name}={number:,.0f} is longer than {whose}, which has {taken:,} steps: the schedule gets to "
                    f"{taken / number:.2g} of its way; expected {taken:,} or less to see its end",
                    stacklevel=3,
                )


def split(setup: Setup, choices: Sequence[dict[str, Value]]) -> list[Group]:
    """Sorts choices by the program they need: those that differ in traced numbers alone share one.

    Args:
        setup: What is not chosen.
        choices: By name, `agent`, `env`, `reward` or a setting; they need not have the same names.

    Raises:
        ValueError: A name does not exist.
    """
    groups: dict[str, Group] = {}
    shaping_names = functools.cache(static_names)  # which makes an environment
    for index, choice in enumerate(choices):
        named = {name: value for name, value in choice.items() if name in NAMED}
        changed = setup.replace(named)
        static = shaping_names(changed.agent, changed.env, tuple(name for name in choice if name not in NAMED))
        shaping = {name: value for name, value in choice.items() if name in static}
        group = Group(changed.replace(shaping), [], [])
        group = groups.setdefault(repr((named, shaping)), group)
        group.members.append({n: v for n, v in choice.items() if n not in named and n not in static})
        group.indices.append(index)
    return list(groups.values())


def job_of(folder: str | os.PathLike[str], steps: int | None = None) -> Job:
    """The job whose run is in a folder.

    Args:
        folder: The run folder.
        steps: To train further; as long as it was meant to by default.

    Raises:
        RunError: The folder holds no run.
        ValueError: It was not made from names, or they no longer exist.
    """
    described = RunFolder(folder).read_config()
    config = described["config"]
    missing = [key for key in (*NAMED, "settings") if key not in config]
    if missing:
        raise ValueError(f"the run in {folder} was not made by name: its config has no {', '.join(missing)}")
    setup = Setup(config["agent"], config["env"], config["reward"], _values(config["settings"]))
    start = described.get("start")
    job = Job(
        setup=setup,
        folder=Path(folder),
        steps=steps or 0,
        members=tuple(_values(member) for member in described["population"]),
        seeds=tuple(described["seeds"]),
        log_every=described["log_every"],
        start=Start(Path(start["folder"]), tuple(start["members"])) if start else None,
    )
    if steps is not None:
        return job
    steps = described["iterations"] * job.experiment().steps_per_iteration
    return replace(job, steps=steps)


def asked_for(
    job: Job,
    *,
    named: Mapping[str, str] | None = None,
    settings: Mapping[str, Value] | None = None,
    steps: int | None = None,
    seeds: tuple[int, ...] | None = None,
    log_every: int | None = None,
) -> list[str]:
    """How what a user asks for differs from a job, a line `name: there -> asked for` for each; nothing if it doesn't.

    Args:
        job: What there is.
        named: Names of the agent, the environment and the reward, as far as they were given.
        settings: As far as they were given; those that are the defaults of what there is are no difference.
        steps: If they were given; only fewer are a difference.
        seeds: If they were given.
        log_every: If it was given.

    Raises:
        ValueError: A setting does not exist, or a number is not positive.
    """
    there = {**{name: getattr(job.setup, name) for name in NAMED}, "seeds": list(job.seeds), "log_every": job.log_every}
    asked = {**(named or {}), "seeds": seeds and list(seeds), "log_every": log_every}
    lines = [f"{name}: {there[name]} -> {v}" for name, v in asked.items() if v is not None and v != there[name]]
    if steps is not None and job.experiment().iterations(steps) < job.experiment().iterations(job.steps):
        lines.append(f"steps: {job.steps:,} -> {steps:,} (may only grow)")
    return lines + _other_settings(job, settings or {})


def _other_settings(job: Job, settings: Mapping[str, Value]) -> list[str]:
    own = {name: [member[name] for member in job.members if name in member] for name in settings}
    lines = [f"{name}: {', '.join(map(str, values))} -> {settings[name]}" for name, values in own.items() if values]
    if lines or not settings:
        return lines
    other = replace(job, setup=job.setup.replace(dict(settings)))
    return differences(_effective(job, settings), _effective(other, settings))


def _effective(job: Job, settings: Iterable[str]) -> dict[str, Any]:
    """What a job comes to: sizes, traced numbers, and those settings that an environment's factory alone has seen."""
    experiment, setup = job.experiment(), job.setup
    with code_of(RunFolder(job.folder)):
        of_factory = [name for name in static_names(setup.agent, setup.env, settings) if name.startswith("env.")]
    options = {name: setup.settings.get(name) for name in of_factory}
    numbers = {**named_values(experiment.env_params), **named_values(experiment.hyperparams)}
    sizes = {**experiment.config["agent_config"], **options, "evaluation": experiment.config.get("evaluation")}
    return {"config": to_json(sizes), "hyperparams": numbers}


def default_folder(setup: Setup) -> Path:
    """A folder of this name that is not there yet: `runs/<environment>-<agent>-<time>`."""
    name = re.sub(r"[^\w.-]+", "-", f"{setup.env.partition('?')[0]}-{setup.agent}")
    first = Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    others = (first.with_name(f"{first.name}-{number}") for number in range(2, 1000))
    return next(path for path in (first, *others) if not path.exists())


def _values(stored: dict[str, Any]) -> dict[str, Value]:
    """Settings as JSON has kept them: tuples as lists, infinities as words."""
    infinities = {"inf": float("inf"), "-inf": float("-inf")}
    as_number = lambda value: infinities.get(value, value) if isinstance(value, str) else value  # noqa: E731
    return {name: tuple(v) if isinstance(v, list) else as_number(v) for name, v in stored.items()}


def _keep_source(job: Job, run: RunFolder) -> None:
    """Puts a copy of the user's code beside the results: what a reward was is part of what came out."""
    places, source = job.places(), reward_source(job.setup.reward)
    if not places:
        return
    run.create()
    keep_code(run, places)
    if source is not None:
        (run.path / "reward.py").write_text(source)
