"""BARFI against its authors' code: `python -m jaxreward.experiments.benchmarks.barfi --checkout PATH`.

Both learn in the grid world from the same features with the same numbers, those of the authors' experiments, and do all
the same work for as many episodes: three new ones, a step of the reward and the discount by a truncated Neumann series
on 15 earlier ones, 15 steps of the policy on one earlier episode each. Where their code does something odd, so does
ours here. Their `main.py` runs as it is, in an environment of its own; see `run_barfi_authors.py`. Their runs are timed
from the second episode on, which leaves out their set-up, and write a log, which ours don't. Ours have everything in
them from drawing the params on; what compiling takes is reported beside it.

* `ours` is one run: the same work.
* `ours, batched` is `--runs` of them in one program, with seeds of their own.

Naive REINFORCE, the sum of both rewards, is raced the same way.

The bounds are the environment alone, episodes of given actions with their rewards, and the products with the policy's
weights alone, forwards for every step played, forwards and backwards for every step learned from.

Learning curves are of the primary reward's return: the authors' runs of all rounds, and ours of all rounds' programs.
What stays different: where an episode is cut off, their last step is one sub-step long; and their discount starts at
0.99005.

With `--sweep` it is the authors' whole search instead, 20 configurations with 40 seeds each, in one program, against as
many of their processes at once as there are cores. `--episodes` is 2,000 in the paper's experiments.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from jaxreward.experiments.benchmarks.parts.authors import (
    BATCHED,
    PACKAGES,
    cold,
    command,
    curve_table,
    entry,
    faster,
    race,
    rate,
    say,
    share_table,
    speed_table,
    tenths_of,
)
from jaxreward.experiments.benchmarks.parts.settings import program_of
from jaxreward.experiments.benchmarks.parts.tables import Measured
from jaxreward.experiments.benchmarks.peers import environments as peers
from jaxreward.experiments.benchmarks.peers.contender import tenths
from jaxreward.names import check_name
from jaxreward.results.statistics import aggregate_mean, estimate

DELTA = 3
"""New episodes of an iteration."""
STEPS = 51
"""The authors average over one step more than an episode has."""

NUMBERS = {
    "learning_rate": ("actor_lr", 5e-3),
    "discount": ("gamma", 0.99),
    "entropy_coefficient": ("actor_reg", 0.25),
    "reward_learning_rate": ("reward_lr", 5e-3),
    "discount_learning_rate": ("gamma_lr", 5e-3),
    "discount_penalty": ("gamma_L2", 0.25),
    "reward_penalty": ("reward_L2", 0.0),
    "alpha": ("Neumann_alpha", 5e-4),
}
"""Hyperparameters: what the authors call them, and their values."""

GRID = {
    "learning_rate": (5e-3, 1e-3),
    "discount_penalty": (0.06125, 0.25, 1.0, 4.0, 16.0),
    "reward_penalty": (0.0, 0.06125),
}
"""What the authors searched in the grid world."""

FIXED = {
    "optim": "rmsprop", "batch_size": 1, "buffer_size": 1000, "delta": DELTA, "Neumann_loops": 5, "approx": "Neumann",
    "raw_basis": False, "NN_basis_dim": "16", "state_lr": 1e-3, "critic_lr": 5e-3,
}  # fmt: skip
"""The rest of the authors' experiments."""

BOUNDS = ("environment", "products")
"""Parts of `run_barfi.py`."""
SWEEP = "ours, all in one program"


@dataclasses.dataclass(frozen=True)
class Task:
    """One of the authors' experiments in the grid world.

    Attributes:
        agent: Ours.
        options: Of our agent, where theirs is not as ours is by default.
        reads: Of an iteration: how many episodes are read at once, and how often forwards and backwards.
        theirs: The agent among theirs.
        world: The environment among theirs.
        auxiliary: The auxiliary reward among ours.
        numbers: Which of `NUMBERS` it has.
    """

    agent: str
    options: dict[str, Any]
    reads: tuple[tuple[int, int], ...]
    theirs: str
    world: str
    auxiliary: str
    numbers: tuple[str, ...] = tuple(NUMBERS)


# The policy's 15 steps, the gradient of the primary reward; then at the fixed point the update's own, a product with
# its derivative for each of 5 terms, and one with that in the reward.
_barfi = ("barfi", {"primary": "fixed", "outer_batch": 4, "warm_up_batch": 2}, ((1, 15), (4, 1), (15, 7)))
_reinforce = ("reinforce", {"used": 1}, ((1, 1),))
_few = ("learning_rate", "discount", "entropy_coefficient")

TASKS = {
    "barfi_bad": Task(*_barfi, "BarfiNeumann", "Maze_badreward", "bad"),
    "barfi_good": Task(*_barfi, "BarfiNeumann", "Maze_goodreward", "good_as_shipped"),
    "reinforce_bad": Task(*_reinforce, "REINFORCE", "Maze_badreward", "bad", _few),
    "reinforce_good": Task(*_reinforce, "REINFORCE", "Maze_goodreward", "good_as_shipped", _few),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Races BARFI against its authors' code.

    Attributes:
        checkout: Root of a checkout of github.com/Dhawgupta/gupta2023behavior.
        tasks: Which of the authors' experiments.
        episodes: Of each run, rounded up to whole iterations of three.
        runs: How many of ours train in one program.
        rounds: How often everyone runs; of the authors' learning curve these are the seeds.
        sweep: The authors' search over hyperparameters instead; of BARFI's experiments.
        seeds: Of each configuration in the search.
        timeout: Seconds within which a contender has to compile, and to finish each run.
        cache: Where the authors' environment is built, once.
        out: JSON file for everything measured.
    """

    checkout: Path
    tasks: tuple[str, ...] = tuple(TASKS)
    episodes: int = 2000
    runs: int = 20
    rounds: int = 3
    sweep: bool = False
    seeds: int = 40
    timeout: float = 1800.0
    cache: Path = peers.CACHE
    out: Path | None = None

    @property
    def iterations(self) -> int:
        """Of each run."""
        return -(-self.episodes // DELTA)


def run(options: Options, console: Console) -> list[Measured]:
    """Runs every task; prints learning curves and then speeds, or what the search found and how fast.

    Raises:
        ValueError: If an option makes no sense, or the checkout is none of the authors' repository.
        RuntimeError: If the authors' code does not finish.
    """
    check(options)
    python = peers.build(PACKAGES, options.cache)
    measured: dict[str, list[Measured]] = {}
    for name in options.tasks:
        if options.sweep:
            measured[name] = search(name, options, python)
        else:
            measured[name] = task_race(name, options, python)
            console.print(curve_table(name, measured[name], [BATCHED], "primary return"))
    if options.sweep:
        console.print(sweep_table(measured))
    else:
        console.print(speed_table(measured, "episodes"), share_table(measured, BOUNDS, "episode"))
    return [row for rows in measured.values() for row in rows]


def check(options: Options) -> None:
    """Refuses options that make no sense."""
    known = [name for name in TASKS if TASKS[name].agent == "barfi" or not options.sweep]
    for name in options.tasks:
        check_name("task with --sweep" if options.sweep else "task", name, known)
    if options.iterations < 10:
        raise ValueError(f"--episodes {options.episodes}: learning curves have ten points, give {10 * DELTA} or more")
    if min(options.runs, options.rounds, options.seeds) < 2:
        raise ValueError(
            f"--runs {options.runs} --rounds {options.rounds} --seeds {options.seeds}: intervals need 2 or more of each"
        )
    for path in ("src/main.py", "src/algorithms/BarfiNeumann.py", "src/environments/Maze_badreward.py"):
        if not (options.checkout / "barfi-gw" / path).is_file():
            raise ValueError(
                f"{options.checkout} has no barfi-gw/{path}: give the root of a checkout of gupta2023behavior"
            )


def task_race(name: str, options: Options, python: Path) -> list[Measured]:
    """Everybody's runs of one task."""
    task, rows = TASKS[name], entries(name, options)
    authors = race(rows, lambda seed: authors_round(python, task, options, seed), options.rounds, options.timeout)
    return [_authors(name, options, 1, authors), *rows]


def _authors(name: str, options: Options, processes: int, runs: list[dict[str, Any]]) -> Measured:
    # The first episode is not timed.
    amount = processes * (DELTA * options.iterations - 1)
    return Measured(name, "authors", True, processes, amount, authors_spec(TASKS[name], options, 0), "", {}, runs)


def authors_spec(task: Task, options: Options, seed: int) -> dict[str, Any]:
    """What `run_barfi_authors.py` is told: one of their experiments."""
    numbers = {theirs: value for theirs, value in NUMBERS.values()}
    run = {"agent": task.theirs, "env_name": task.world, "max_episodes": DELTA * options.iterations, "seed": seed + 1}
    return {"checkout": str(options.checkout.resolve()), "experiment": {**FIXED, **numbers, **run}}


def authors_round(python: Path, task: Task, options: Options, seed: int) -> dict[str, Any]:
    """One run of the authors', as `contender.py` would report it; its first episode is not timed.

    Raises:
        RuntimeError: If it does not finish.
    """
    program = program_of("barfi_authors")
    episodes = say(python, program, authors_spec(task, options, seed), options.timeout)
    expected = DELTA * options.iterations
    if len(episodes) != expected:
        raise RuntimeError(f"the authors' code reported {len(episodes)} of {expected} episodes")
    returns = np.array([[episode["return"] for episode in episodes]])
    run_s = sum(episode["seconds"] for episode in episodes[1:])
    return {"run_s": run_s, "load": os.getloadavg()[0], "tenths": tenths(returns, np.ones_like(returns)).tolist()}


def entries(name: str, options: Options) -> list[Measured]:
    """All contenders but the authors, with nothing measured yet."""
    task = TASKS[name]
    fields = {
        f"{who}{', batched' if seeds > 1 else ''}": {"seeds": seeds, "part": part}
        for who, part in (("ours", "training"), *zip(BOUNDS, BOUNDS, strict=True))
        for seeds in (1, options.runs)
    }
    episodes = DELTA * options.iterations
    return [entry(name, who, episodes, spec(task, options, **told)) for who, told in fields.items()]


def spec(task: Task, options: Options, **changes: Any) -> dict[str, Any]:
    """What `run_barfi.py` is told: to do as the authors do unless `changes` say otherwise."""
    return {
        "program": str(program_of("barfi")),
        "env": "barfi/gridworld",
        "options": {"auxiliary": task.auxiliary},
        "agent": task.agent,
        "config": task.options,
        "hyperparams": {name: [NUMBERS[name][1]] for name in task.numbers},
        "num_envs": DELTA,
        "num_steps": STEPS,
        "reads": task.reads,
        "part": "training",
        "iterations": options.iterations,
        **changes,
    }


def configurations() -> list[dict[str, float]]:
    """What the authors tried."""
    return [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]


def search(name: str, options: Options, python: Path) -> list[Measured]:
    """All configurations with all seeds in one program, and the authors' code on all cores."""
    task, grid = TASKS[name], configurations()
    columns = {key: [each.get(key, NUMBERS[key][1]) for each in grid] for key in task.numbers}
    told = spec(task, options, hyperparams=columns, seeds=len(grid) * options.seeds)
    row = entry(name, SWEEP, DELTA * options.iterations, told)
    cores = os.cpu_count() or 1
    runs = race([row], lambda _: crowd(python, task, options, cores), 1, options.timeout)
    return [_authors(name, options, cores, runs), row]


def crowd(python: Path, task: Task, options: Options, processes: int) -> dict[str, Any]:
    """As many of the authors' runs at once, as if they were one."""
    with ThreadPoolExecutor(processes) as pool:
        runs = list(pool.map(lambda seed: authors_round(python, task, options, seed), range(processes)))
    tenths = [each for run in runs for each in run["tenths"]]
    return {"run_s": max(run["run_s"] for run in runs), "load": runs[-1]["load"], "tenths": tenths}


def sweep_table(measured: dict[str, list[Measured]]) -> Table:
    """A row for each task: how long the search took, and what its best configuration returns at the end."""
    columns = ("task", "runs", "episodes", "compile s", "run s", "episodes/s", "authors", "×", "best", "last tenth")
    table = Table(*columns, title="the authors' search; their code on all cores at once")
    for name, (authors, ours) in measured.items():
        if not ours.runs:
            table.add_row(name, f"failed: {ours.failure}")
            continue
        index, value = best(tenths_of(ours)[:, -1], ours.spec["hyperparams"])
        chosen = ", ".join(f"{key}={configurations()[index][key]:g}" for key in GRID)
        numbers = (str(ours.seeds), f"{ours.amount:,}", f"{cold(ours):.0f}", f"{ours.median_s:.0f}", rate(ours))
        table.add_row(name, *numbers, rate(authors), f"{faster(ours, authors).median:.0f}", chosen, value)
    return table


def best(last: np.ndarray, hyperparams: dict[str, Sequence[float]]) -> tuple[int, str]:
    """The configuration that returns most at the end, and how much that is, with a 95% interval over its seeds.

    Args:
        last: What each run returned, `[runs]`; run `i` is of configuration `i` modulo their number.
        hyperparams: Of all configurations.
    """
    number = len(next(iter(hyperparams.values())))
    of_configuration = last.reshape(-1, number).T
    index = int(of_configuration.mean(1).argmax())
    value, low, high, _ = estimate(of_configuration[index], aggregate_mean)
    return index, f"{value:.1f} [{low:.1f}, {high:.1f}]"


if __name__ == "__main__":
    command(Options, run)
