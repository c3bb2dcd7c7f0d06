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
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from jaxreward.experiments.benchmarks import peers
from jaxreward.experiments.benchmarks.comparison import Ratio, compare, ratio
from jaxreward.experiments.benchmarks.contender import tenths
from jaxreward.experiments.benchmarks.race import Contender, Race
from jaxreward.experiments.benchmarks.settings import DEVICES, SEQUENTIAL
from jaxreward.experiments.benchmarks.tables import Measured
from jaxreward.names import check_name
from jaxreward.statistics import Estimate, estimate_difference

AUTHORS = (
    "torch==2.13.0", "numpy==2.4.6", "scipy==1.17.1", "matplotlib==3.11.2", "networkx==3.6.1", "sympy==1.14.0",
    "dill==0.4.1", "PyYAML==6.0.3",
)  # fmt: skip
"""What the authors' tabular code imports, in versions that it works with."""

CURVE_INSTANCE = 1
"""The one that their code loads by default."""

BATCHED = "ours, batched"
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


def main() -> None:
    """Runs what the command line asks for and prints it."""
    options = tyro.cli(Options)
    console = Console() if sys.stdout.isatty() else Console(width=160)
    try:
        measured = run(options, console)
    except (ValueError, RuntimeError, subprocess.SubprocessError) as error:
        sys.exit(str(error))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(_report(options, measured), indent=1, default=str))


def run(options: Options, console: Console) -> list[Measured]:
    """Runs every task, prints its learning curves when it is over and the speeds at the end.

    Raises:
        ValueError: If an option makes no sense, or the checkout is none of the authors' repository.
        RuntimeError: If the authors' code does not finish.
    """
    check(options)
    python = peers.build(AUTHORS, options.cache)
    measured: dict[str, list[Measured]] = {}
    for name in options.tasks:
        measured[name] = race(name, options, python)
        console.print(curve_table(name, measured[name]))
    console.print(speed_table(measured))
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


def race(name: str, options: Options, python: Path) -> list[Measured]:
    """Everybody's runs of one task, round by round; those that are there for their learning curves run only once."""
    task = TASKS[name]
    with Race() as field:
        rows = entries(name, options)
        for row in rows:
            field.enter(Contender(sys.executable, row.spec, row.flags, options.timeout))
        authors = []
        for seed in range(options.rounds):
            authors.append(authors_round(python, task, options, seed))
            for row, contender in zip(rows, field.contenders, strict=True):
                if seed == 0 or row.name not in CURVES:
                    contender.run(seed)
    for row, contender in zip(rows, field.contenders, strict=True):
        row.ready, row.runs, row.failure = contender.ready, contender.runs, contender.failure
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
    epochs = [json.loads(line) for line in _authors(python, authors_spec(task, options, seed), options.timeout)]
    if [epoch["steps"] for epoch in epochs] != [task.steps] * options.epochs:
        raise RuntimeError(f"the authors' code reported {len(epochs)} epochs of {options.epochs} x {task.steps} steps")
    returns = np.array([[epoch["mean_return"] for epoch in epochs]])
    run_s = sum(epoch["seconds"] for epoch in epochs[1:])
    return {"run_s": run_s, "load": os.getloadavg()[0], "tenths": tenths(returns, np.ones_like(returns)).tolist()}


def _authors(python: Path, spec: dict[str, Any], timeout: float) -> list[str]:
    """The lines that their process prints."""
    program = Path(__file__).with_name("run_subpo_authors.py")
    # jaxreward sets XLA flags on import, which are none of theirs.
    environment = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "NPROC")}
    process = subprocess.run(
        [str(python), "-P", str(program), json.dumps(spec)],
        capture_output=True, text=True, timeout=timeout, env=environment, check=False,
    )  # fmt: skip
    if process.returncode:
        said = process.stderr.strip().splitlines() or [f"exit code {process.returncode}"]
        raise RuntimeError(f"the authors' code died: {said[-1]}")
    return process.stdout.splitlines()


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
    return [_entry(name, who, spec(task, options, **told)) for who, told in fields.items()]


def spec(task: Task, options: Options, observation: str = "index", **changes: Any) -> dict[str, Any]:
    """What `run_subpo.py` is told: to do as the authors do unless `changes` say otherwise."""
    made = {"observation": observation, **task.options}
    if task.instances:
        made["instances"] = str(options.checkout.resolve() / "environments" / task.instances)
    return {
        "program": str(Path(__file__).with_name("run_subpo.py")),
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


def _entry(race: str, name: str, told: dict[str, Any]) -> Measured:
    devices = max(n for n in range(1, (os.cpu_count() or 1) + 1) if told["seeds"] % n == 0)
    flags = f"{SEQUENTIAL} {DEVICES}={devices}"
    steps = TASKS[race].steps * told["iterations"] * told["seeds"]
    return Measured(race, name, False, told["seeds"], steps, told, flags, {}, [])


def speed_table(measured: dict[str, list[Measured]]) -> Table:
    """A row for each task: environment steps per second, ours against the authors', and what compiling takes."""
    columns = ("task", "load", "authors", "ours", "× authors (rounds)", "batched", "× authors (rounds)", "compile s")
    table = Table(*columns, title="environment steps/s; compile s: one run / batched")
    for name, rows in measured.items():
        authors, ours, batched = (_named(rows, who) for who in ("authors", "ours", BATCHED))
        load = f"{np.median(authors.each('load')):.1f}"
        against = [cell for row in (ours, batched) for cell in _against(row, authors)]
        compiling = " / ".join(f"{_cold(row):.1f}" for row in (ours, batched))
        table.add_row(name, load, _rate(authors), *against, compiling)
    table.caption = "\n".join(_failures(measured)) or None
    return table


def _against(row: Measured, authors: Measured) -> list[str]:
    if not row.runs:
        return ["failed", ""]
    found = step_ratio(row, authors)
    return [_rate(row), f"{found.median:.0f} ({found.low:.0f} to {found.high:.0f})"]


def step_ratio(row: Measured, peer: Measured) -> Ratio:
    """How many times less a row takes for an environment step, over the rounds."""
    ours, theirs = ([seconds / each.env_steps for seconds in each.each("run_s")] for each in (row, peer))
    return ratio(ours, theirs)


def _rate(row: Measured) -> str:
    return f"{row.env_steps / row.median_s:,.0f}"


def _cold(row: Measured) -> float:
    return row.ready["trace_s"] + row.ready["compile_s"] if row.ready else np.nan


def _failures(measured: dict[str, list[Measured]]) -> list[str]:
    return [f"{name}, {row.name}: {row.failure}" for name, rows in measured.items() for row in rows if row.failure]


def share_table(measured: dict[str, list[Measured]]) -> Table:
    """A row for each task: which part of one run of ours goes where."""
    table = Table("task", "ms an epoch", "environment", "set function", "network", "rest", "of the bound")
    table.title = "where one run's time goes"
    table.caption = "the bound: environment and network, one after the other"
    for name, rows in measured.items():
        ours, *bounds = (_named(rows, who) for who in ("ours", *BOUNDS))
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


def curve_table(name: str, rows: list[Measured]) -> Table:
    """Our learning curves against the authors', tenth by tenth, and how far apart they are over all of training."""
    authors, *ours = (_named(rows, who) for who in ("authors", *CURVES))
    theirs, ours = _tenths(authors), [row for row in ours if row.runs]
    curves = [compare(_tenths(row), theirs) for row in ours]
    title = f"{name}: submodular return, {len(theirs)} runs of the authors'"
    columns = [column for row in ours for column in (f"{row.name}, {row.seeds} seeds", "")]
    table = Table("tenth", "authors", "95% interval", *columns, title=title)
    for i in range(10 if curves else 0):
        interval = f"{curves[0].low[i]:.1f} to {curves[0].high[i]:.1f}"
        cells = [cell for curve in curves for cell in (f"{curve.ours[i]:.1f}", "met" if curve.met[i] else "not met")]
        table.add_row(str(i + 1), f"{curves[0].peer[i]:.1f}", interval, *cells)
    table.caption = "\n".join(f"{row.name}: {verdict(overall(_tenths(row), theirs))}" for row in ours)
    return table


def overall(ours: np.ndarray, theirs: np.ndarray) -> Estimate:
    """The difference of what is returned over all of training, from the tenths of both, `[seeds, 10]`."""
    return estimate_difference(ours.mean(1), theirs.mean(1))


def verdict(difference: Estimate) -> str:
    """What a difference to the authors' says."""
    value, low, high = difference
    said = "better" if low > 0 else "worse" if high < 0 else "no difference shown"
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}] over all of training, {said}"


def _named(rows: Sequence[Measured], name: str) -> Measured:
    return next(row for row in rows if row.name == name)


def _tenths(row: Measured) -> np.ndarray:
    """Returns of all runs, `[seeds, 10]`."""
    return np.concatenate([run["tenths"] for run in row.runs])


def _report(options: Options, measured: list[Measured]) -> dict[str, Any]:
    machine = {"python": sys.version, "platform": platform.platform(), "cores": os.cpu_count(), "jax": version("jax")}
    rows = [dataclasses.asdict(row) for row in measured]
    return {"machine": machine, "authors": AUTHORS, "options": dataclasses.asdict(options), "measured": rows}


if __name__ == "__main__":
    main()
