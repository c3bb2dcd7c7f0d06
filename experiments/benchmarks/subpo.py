"""SubPO against its authors' tabular code: `python -m jaxreward.experiments.benchmarks.subpo --checkout PATH`.

Both train the same policy on the same grid, horizon and batch with the same Adam, for the same number of epochs; an
epoch is a batch of whole episodes and one step of Adam. The authors' `main.py` runs as it is, in an environment of its
own; see `run_subpo_authors.py`. In each round everyone runs once, one after the other, so that the machine's other
load falls on all alike. The authors' runs have a seed of their own in each round and are timed from their second epoch
on, which leaves out their set-up. Ours have everything in them from drawing the parameters on; what compiling takes is
reported beside it.

* `ours` is one run with the authors' estimator: the same work.
* `ours, 20 runs` is that many in one program, spread over seeds and over the authors' instances.

The bounds are what no implementation can beat with XLA's own kernels: the environment alone, stepped with given
actions; the set function on the same episodes, which is what they take longer with their reward; and the matrix
products of the policy alone, forwards for every step in turn and forwards and backwards for all of them.

Learning curves are those of the submodular return, the batch's mean before each update, of the same instance for all:
the authors' runs of all rounds, and of ours 20 seeds each of

* `prefix`: the authors' estimator, their observation, the plain numbers of cell and step, and layers drawn as theirs;
* `to_go`: the same with the policy gradient theorem's estimator and a baseline;
* `our defaults`: that, with row, column and time from 0 to 1 for an observation and layers drawn as ours are, which
  makes all actions about equally likely at first.

What stays different is the history of a policy that has one: theirs reads cells in their order and -1 in slots to come,
ours whole observations and zeros, with a mark in slots that are used. A tenth of training is met if our interquartile
mean over seeds is within the authors' 95% bootstrap interval or above. The difference over all of training says how far
apart the curves are.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from jaxreward.experiments.benchmarks.parts.authors import (
    BATCHED,
    PACKAGES,
    command,
    curve_table,
    entry,
    named,
    race,
    say,
    speed_table,
)
from jaxreward.experiments.benchmarks.parts.settings import program_of
from jaxreward.experiments.benchmarks.parts.tables import Measured
from jaxreward.experiments.benchmarks.peers import environments as peers
from jaxreward.experiments.benchmarks.peers.contender import tenths
from jaxreward.names import check_name

CURVE_INSTANCE = 1
"""The one that their code loads by default."""

BOUNDS = ("environment", "rewarded", "network")
"""Parts of `run_subpo.py`."""

CURVES: dict[str, dict[str, str]] = {
    "prefix": {},
    "to_go": {"estimator": "to_go", "baseline": "batch"},
    "our defaults": {"estimator": "to_go", "baseline": "batch", "observation": "position", "initial": "ours"},
}
"""Contenders that run once, for their learning curves, and what is not as in the authors' code."""


@dataclasses.dataclass(frozen=True)
class Task:
    """One of the authors' tasks.

    Attributes:
        env: Its name among ours.
        params: The name of its parameters among theirs.
        num_envs: Episodes of an epoch.
        learning_rate: Adam's.
        horizon: States of an episode, one more than its steps.
        history: What our policy sees beside the observation.
        instances: The folder of its instances among theirs, empty if it has none.
        options: How our environment is made so that it counts as theirs.
    """

    env: str
    params: str
    num_envs: int = 500
    learning_rate: float = 1e-3
    horizon: int = 40
    history: str = "none"
    instances: str = ""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Environment steps of an epoch."""
        return self.num_envs * (self.horizon - 1)


TASKS = {
    "two_rooms": Task("subrl/two_rooms", "two_rooms/subrl_M", num_envs=3000, learning_rate=2e-2),
    "steiner": Task("subrl/steiner", "steiner/subrl_M", learning_rate=5e-3, instances="steiner_covering"),
    "gp_coverage": Task("subrl/gp_coverage", "GP/subrl_M", instances="GP"),
    "design": Task("subrl/design", "entropy/subrl_M", instances="entropy", options={"offset": True}),
    "uniform": Task("subrl/uniform", "coverage/subrl_M", learning_rate=1e-2, horizon=80),
    "gp_coverage_nm": Task("subrl/gp_coverage", "GP/subrl_NM", history="padded", instances="GP"),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Races SubPO against its authors' code.

    Attributes:
        checkout: Root of a checkout of github.com/manish-pra/non-additive-RL.
        tasks: Which of the authors' tasks.
        epochs: Of each run.
        runs: How many of ours train in one program.
        rounds: How often everyone runs; of the authors' learning curve these are the seeds.
        timeout: Seconds within which a contender has to compile, and to finish each run.
        cache: Where the authors' environment is built, once.
        out: JSON file for everything measured.
    """

    checkout: Path
    tasks: tuple[str, ...] = tuple(TASKS)
    epochs: int = 20
    runs: int = 20
    rounds: int = 3
    timeout: float = 900.0
    cache: Path = peers.CACHE
    out: Path | None = None


def run(options: Options, console: Console) -> list[Measured]:
    """Runs every task, prints its learning curves when it is over and the speeds at the end.

    Raises:
        ValueError: If an option makes no sense, or the checkout is none of the authors' repository.
        RuntimeError: If the authors' code does not finish.
    """
    check(options)
    python = peers.build(PACKAGES, options.cache)
    measured: dict[str, list[Measured]] = {}
    for name in options.tasks:
        measured[name] = task_race(name, options, python)
        console.print(curve_table(name, measured[name], CURVES, "submodular return"))
    console.print(speed_table(measured, "environment steps"))
    console.print(share_table(measured))
    return [row for rows in measured.values() for row in rows]


def check(options: Options) -> None:
    """Refuses options that make no sense."""
    for name in options.tasks:
        check_name("task", name, TASKS)
    if options.epochs < 10:
        raise ValueError(f"--epochs {options.epochs}: learning curves have ten points, give 10 or more")
    if options.runs < 2 or options.rounds < 2:
        raise ValueError(f"--runs {options.runs} --rounds {options.rounds}: intervals need 2 or more of each")
    for path in ("main.py", "utils/environment.py", "params/GP/subrl_M.yaml"):
        if not (options.checkout / path).is_file():
            raise ValueError(f"{options.checkout} has no {path}: give the root of a checkout of non-additive-RL")


def task_race(name: str, options: Options, python: Path) -> list[Measured]:
    """Everybody's runs of one task; those that are there for their learning curves run only once."""
    task, rows = TASKS[name], entries(name, options)
    authors = race(
        rows, lambda seed: authors_round(python, task, options, seed), options.rounds, options.timeout, once=CURVES
    )
    steps = task.steps * (options.epochs - 1)
    return [Measured(name, "authors", True, 1, steps, authors_spec(task, options, 0), "", {}, authors), *rows]


def authors_spec(task: Task, options: Options, seed: int) -> dict[str, Any]:
    """What `run_subpo_authors.py` is told: their parameters, with our task's numbers put in."""
    changes = {
        "env": {"horizon": task.horizon},
        "alg": {"epochs": options.epochs, "lr": task.learning_rate},
        "common": {"batch_size": task.num_envs},
    }
    return {
        "checkout": str(options.checkout.resolve()),
        "params": task.params,
        "changes": changes,
        "instance": CURVE_INSTANCE,
        "seed": seed,
    }


def authors_round(python: Path, task: Task, options: Options, seed: int) -> dict[str, Any]:
    """One run of the authors', as `contender.py` would report it; its first epoch is not timed.

    Raises:
        RuntimeError: If it does not finish.
    """
    program = program_of("subpo_authors")
    epochs = say(python, program, authors_spec(task, options, seed), options.timeout)
    if [epoch["steps"] for epoch in epochs] != [task.steps] * options.epochs:
        raise RuntimeError(f"the authors' code reported {len(epochs)} epochs of {options.epochs} x {task.steps} steps")
    returns = np.array([[epoch["mean_return"] for epoch in epochs]])
    run_s = sum(epoch["seconds"] for epoch in epochs[1:])
    return {"run_s": run_s, "load": os.getloadavg()[0], "tenths": tenths(returns, np.ones_like(returns)).tolist()}


def entries(name: str, options: Options) -> list[Measured]:
    """All contenders but the authors, with nothing measured yet."""
    task = TASKS[name]
    alone = {"seeds": 1, "instance": CURVE_INSTANCE if task.instances else 0}
    fields: dict[str, dict[str, Any]] = {
        "ours": alone,
        BATCHED: {"seeds": options.runs, "instance": None},
        **{part: {**alone, "part": part} for part in BOUNDS},
        **{curve: {**alone, "seeds": options.runs, **changes} for curve, changes in CURVES.items()},
    }
    steps = task.steps * options.epochs
    return [entry(name, who, steps, spec(task, options, **told)) for who, told in fields.items()]


def spec(task: Task, options: Options, observation: str = "index", **changes: Any) -> dict[str, Any]:
    """What `run_subpo.py` is told: to do as the authors do unless `changes` say otherwise."""
    made = {"observation": observation, **task.options}
    if task.instances:
        made["instances"] = str(options.checkout.resolve() / "environments" / task.instances)
    return {
        "program": str(program_of("subpo")),
        "env": task.env,
        "options": made,
        "num_envs": task.num_envs,
        "horizon": task.horizon,
        "learning_rate": task.learning_rate,
        "history": task.history,
        "initial": "theirs",
        "estimator": "prefix",
        "baseline": "none",
        "part": "training",
        "iterations": options.epochs,
        **changes,
    }


def share_table(measured: dict[str, list[Measured]]) -> Table:
    """A row for each task: which part of one run of ours goes where."""
    table = Table("task", "ms an epoch", "environment", "set function", "network", "rest", "of the bound")
    table.title = "where one run's time goes"
    table.caption = "the bound: environment and network, one after the other"
    for name, rows in measured.items():
        ours, *bounds = (named(rows, who) for who in ("ours", *BOUNDS))
        if all(row.runs for row in (ours, *bounds)):
            share = shares(ours.median_s, *(row.median_s for row in bounds))
            epoch = 1e3 * ours.median_s / ours.spec["iterations"]
            cells = [f"{share[part]:.0%}" for part in ("environment", "set function", "network", "rest", "bound")]
            table.add_row(name, f"{epoch:.1f}", *cells)
    return table


def shares(training: float, environment: float, rewarded: float, network: float) -> dict[str, float]:
    """Parts of a training's seconds, from those of the training, of its bounds, and of its rewarded episodes."""
    # A difference that is less than nothing is noise.
    set_function = max(rewarded - environment, 0.0)
    seconds = {
        "environment": environment,
        "set function": set_function,
        "network": network,
        "rest": training - environment - set_function - network,
        "bound": environment + network,
    }
    return {part: each / training for part, each in seconds.items()}


if __name__ == "__main__":
    command(Options, run)
