"""Agents for the reward rate against `statisticalRL-learners`: `python -m jaxreward.experiments.benchmarks.average`.

Both run the same algorithm with the same confidence for as many steps of the same river. Theirs come as the packages
ship them, in Python with NumPy, one run at a time; see `run_statisticalrl.py`. In each round everyone runs once, one
after the other, so that the machine's other load falls on all alike. Ours have everything in them from the first state
on; what compiling takes is reported beside it.

* `ours` is one run: the same work.
* `ours, batched` is many in one program, spread over the cores.

LOOP has no other implementation, so `loop` and `loop, box` run beside the bound alone.

The bound is what no implementation in JAX can do without: the environment's steps with given actions.

What stays different: planning ends at a change of `1 / sqrt(t)` here and of `1 / t` there (PSRL's at `1 / t` in both),
ours breaks ties by the number of visits and theirs by chance too. Regret is that of rewards as they fell.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from jaxreward.envs.registry import make
from jaxreward.experiments.benchmarks.parts.authors import (
    BATCHED,
    command,
    entry,
    named,
    race,
    say,
    share_table,
    speed_table,
)
from jaxreward.experiments.benchmarks.parts.settings import program_of
from jaxreward.experiments.benchmarks.parts.tables import Measured
from jaxreward.experiments.benchmarks.peers import environments as peers
from jaxreward.mdp import average_policy_iteration
from jaxreward.names import check_name

PACKAGES = (
    "--no-deps", "statisticalRL-learners==2.2507", "statisticalRL-environments==2.2507", "numpy==2.4.6",
    "scipy==1.17.1", "gymnasium==1.2.0", "cloudpickle==3.1.2", "Farama-Notifications==0.0.4",
    "typing_extensions==4.15.0", "networkx==3.6.1", "matplotlib==3.11.2", "contourpy", "cycler", "fonttools",
    "kiwisolver", "packaging", "pillow", "pyparsing", "python-dateutil", "pydot", "six",
)  # fmt: skip
"""Theirs pin versions of NumPy and others of which there are none for our Python."""

BOUNDS = ("environment",)
NUM_STEPS = 1_000
"""Of an iteration of ours."""
RIVERS: dict[str, dict[str, Any]] = {
    "river-swim-6": {"variant": "statrl"},
    "river-swim-25": {"variant": "statrl", "num_states": 25, "large": 0.99},
}
"""Theirs by name, and how ours is made the same."""


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """Who runs.

    Attributes:
        agent: Its name, in both.
        is_raced: Whether there is one of theirs.
        config: What ours is made with.
        hyperparams: Those of ours.
    """

    agent: str
    is_raced: bool = True
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    hyperparams: dict[str, Any] = dataclasses.field(default_factory=dict)


ALGORITHMS = {
    "ucrl2": Algorithm("ucrl2"),
    "ucrl3": Algorithm("ucrl3"),
    "psrl": Algorithm("psrl"),
    "imed_rl": Algorithm("imed_rl", hyperparams={"offset": 1.0}),  # as theirs
    "loop": Algorithm("loop", is_raced=False, config={"planner": "ell"}),
    "loop, box": Algorithm("loop", is_raced=False, config={"planner": "box"}),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Races agents for the reward rate.

    Attributes:
        agents: Which algorithms.
        rivers: In which worlds.
        steps: Of each run.
        runs: How many of ours run in one program.
        rounds: How often everyone runs; of theirs these are the seeds.
        timeout: Seconds within which a contender has to compile, and to finish each run.
        cache: Where their environment is built, once.
        out: JSON file for everything measured.
    """

    agents: tuple[str, ...] = tuple(ALGORITHMS)
    rivers: tuple[str, ...] = tuple(RIVERS)
    steps: int = 20_000
    runs: int = 64
    rounds: int = 3
    timeout: float = 900.0
    cache: Path = peers.CACHE
    out: Path | None = None


def run(options: Options, console: Console) -> list[Measured]:
    """Runs every race and prints what came out.

    Raises:
        ValueError: If an option makes no sense.
        RuntimeError: If a run of theirs fails.
    """
    check(options)
    python = peers.build(PACKAGES, options.cache)
    measured: dict[str, list[Measured]] = {}
    for river in options.rivers:
        for name in options.agents:
            title = f"{name}, {river}"
            measured[title] = one_race(title, ALGORITHMS[name], river, options, python)
            console.print(f"{title}: {regrets(measured[title])}")
    raced = {title: rows for title, rows in measured.items() if rows[0].is_peer}
    console.print(speed_table(raced, "environment steps"))
    console.print(share_table(measured, BOUNDS, "environment step"))
    console.print(rate_table(measured))
    return [row for rows in measured.values() for row in rows]


def check(options: Options) -> None:
    """Refuses options that make no sense."""
    for kind, given, known in (("agent", options.agents, ALGORITHMS), ("river", options.rivers, RIVERS)):
        for name in given:
            check_name(kind, name, known)
    if options.steps < NUM_STEPS or options.steps % NUM_STEPS:
        near = max(1, options.steps // NUM_STEPS) * NUM_STEPS
        raise ValueError(f"--steps {options.steps} is no multiple of {NUM_STEPS}; try --steps {near}")
    if options.runs < 2 or options.rounds < 1:
        raise ValueError(f"--runs {options.runs} --rounds {options.rounds}: give 2 or more runs, 1 or more rounds")


def one_race(title: str, algorithm: Algorithm, river: str, options: Options, python: Path) -> list[Measured]:
    """Everybody's runs of one algorithm in one world; theirs first, if there is one."""
    rows = entries(title, algorithm, river, options)
    mdp = make("average/river_swim", **RIVERS[river])[1].mdp
    gain = float(average_policy_iteration(mdp).gain[0]) if algorithm.is_raced else np.nan

    def theirs(seed: int) -> dict[str, Any]:
        if not algorithm.is_raced:
            return {}
        program = program_of("statisticalrl")
        (said,) = say(python, program, peer_spec(algorithm, river, options, seed), options.timeout)
        return {**said, "found": {"regret": [options.steps * gain - said["reward"]]}}

    answers = race(rows, theirs, options.rounds, options.timeout)
    if algorithm.is_raced:
        told = peer_spec(algorithm, river, options, 0)
        rows.insert(0, Measured(title, "authors", True, 1, options.steps, told, "", {}, answers))
    return rows


def entries(title: str, algorithm: Algorithm, river: str, options: Options) -> list[Measured]:
    """Ours, with nothing measured yet."""
    parts = {"ours": (1, "agent"), BATCHED: (options.runs, "agent")}
    for bound in BOUNDS:
        parts |= {bound: (1, bound), f"{bound}, batched": (options.runs, bound)}
    return [
        entry(title, who, options.steps, spec(algorithm, river, options, seeds=seeds, part=part))
        for who, (seeds, part) in parts.items()
    ]


def spec(algorithm: Algorithm, river: str, options: Options, **changes: Any) -> dict[str, Any]:
    """What `run_average.py` is told."""
    return {
        "program": str(program_of("average")),
        "env": "average/river_swim",
        "options": RIVERS[river],
        "agent": algorithm.agent,
        "config": algorithm.config,
        "hyperparams": algorithm.hyperparams,
        "num_steps": NUM_STEPS,
        "iterations": options.steps // NUM_STEPS,
        **changes,
    }


def peer_spec(algorithm: Algorithm, river: str, options: Options, seed: int) -> dict[str, Any]:
    """What `run_statisticalrl.py` is told."""
    return {"agent": algorithm.agent, "env": river, "steps": options.steps, "seed": seed}


def regrets(rows: list[Measured]) -> str:
    """The regret at the end of everyone's runs, mean and standard error."""
    said = []
    for row in rows:
        regret = np.concatenate([run["found"]["regret"] for run in row.runs if "found" in run] or [[]])
        if regret.size:
            error = f" ± {regret.std(ddof=1) / regret.size**0.5:.0f}" if regret.size > 1 else ""
            said.append(f"{row.name} {regret.mean():.0f}{error} ({regret.size})")
    return "regret " + ", ".join(said)


def rate_table(measured: dict[str, list[Measured]]) -> Table:
    """How many steps everyone takes in a second of its median run."""
    table = Table("", *(columns := ("ours", BATCHED, "environment", "environment, batched")), title="steps/s")
    for title, rows in measured.items():
        each = [named(rows, who) for who in columns]
        table.add_row(title, *(f"{row.amount / row.median_s:,.0f}" if row.runs else "failed" for row in each))
    return table


if __name__ == "__main__":
    command(Options, run, PACKAGES)
