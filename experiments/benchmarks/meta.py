"""Learning LPG's objective, against GROOVE's code: `python -m jaxreward.experiments.benchmarks.meta`.

Iterations of meta-gradients and generations of evolution on the same distributions of levels, at the same sizes and
with the same objective. In each round everyone runs once, one after the other, so that the machine's other load falls
on all alike. GROOVE's code runs as it is, in an environment of its own, with the packages of its time.

What is not the same: with meta-gradients, GROOVE plays 4 more episodes of 750 steps with each agent, for its log alone.
With evolution it updates every agent 250 times and throws away what comes after the agent's own lifetime, which ours
stops at. Both are what either takes for one step of the objective, which is what is raced.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rich.console import Console
from rich.table import Table

from jaxreward.experiments.benchmarks.parts.authors import cold, command, faster
from jaxreward.experiments.benchmarks.parts.race import take_turns
from jaxreward.experiments.benchmarks.parts.settings import SEQUENTIAL, program_of
from jaxreward.experiments.benchmarks.parts.tables import Measured
from jaxreward.experiments.benchmarks.peers import environments as peers

PACKAGES = (
    "jax==0.4.13", "jaxlib==0.4.13", "flax==0.6.11", "optax==0.1.5", "evosax==0.1.4", "gymnax==0.0.6", "numpy==1.24.4",
    "scipy==1.11.4", "chex==0.1.7", "orbax-checkpoint==0.3.5", "matplotlib<3.8", "rich", "six", "setuptools<70",
)  # fmt: skip
"""What GROOVE's code works with, on Python 3.11."""
RACES = ("meta-gradients", "evolution")


@dataclasses.dataclass(frozen=True)
class Options:
    """Races steps of a learned objective.

    Attributes:
        checkout: The root of a checkout of GROOVE's repository (github.com/EmptyJackson/groove).
        python: An interpreter of Python 3.11, which its packages need.
        agents: Lifetimes at once with meta-gradients; pairs of evolution are half as many.
        envs: Environments of each with meta-gradients; a quarter of that with evolution.
        iterations: Of meta-gradients in a run.
        generations: Of evolution in a run.
        rounds: How often everyone runs.
        timeout: Seconds within which a contender has to compile, and to finish each run.
        cache: Where GROOVE's environment is built, once.
        out: JSON file for everything measured.
    """

    checkout: Path
    python: str = "python3.11"
    agents: int = 4
    envs: int = 64
    iterations: int = 5
    generations: int = 2
    rounds: int = 3
    timeout: float = 900.0
    cache: Path = peers.CACHE
    out: Path | None = None


def run(options: Options, console: Console) -> list[Measured]:
    """Races and prints what came out.

    Raises:
        ValueError: If an option makes no sense.
    """
    check(options)
    python = peers.build(PACKAGES, options.cache, options.python)
    rows = [
        row for race in RACES for row in take_turns(entries(options, race), python, options.rounds, options.timeout)
    ]
    console.print(table(rows))
    return rows


def check(options: Options) -> None:
    """Refuses options that make no sense.

    Raises:
        ValueError: There is one.
    """
    if not (options.checkout / "meta" / "train.py").is_file():
        raise ValueError(f"{options.checkout} has no meta/train.py: give the root of a checkout of GROOVE's repository")
    if min(options.iterations, options.generations, options.rounds) < 1 or options.agents < 2 or options.envs < 4:
        raise ValueError("--iterations, --generations and --rounds are 1 or more, --agents 2 and --envs 4 or more")


def entries(options: Options, race: str) -> list[Measured]:
    """Both with nothing measured yet, GROOVE first."""
    evolves = race == "evolution"
    steps = options.generations if evolves else options.iterations
    told = {
        "is_evolution": evolves,
        "agents": options.agents // 2 if evolves else options.agents,
        "envs": options.envs // 4 if evolves else options.envs,
        "steps": steps,
        "seeds": 1,
    }
    theirs = {**told, "program": str(program_of("groove")), "checkout": str(options.checkout.resolve())}
    ours = {**told, "program": str(program_of("meta"))}
    return [
        Measured(race, "groove", True, 1, steps, theirs, "", {}, []),
        Measured(race, "ours", False, 1, steps, ours, SEQUENTIAL, {}, []),
    ]


def table(rows: list[Measured]) -> Table:
    """Seconds that both take for a step of the objective, and for compiling."""
    shown = Table("", "", "s a step", "× groove (rounds)", "compile s", "load", title="one step of LPG's objective")
    for row in rows:
        if not row.runs:
            shown.add_row(row.race, row.name, f"failed: {row.failure}")
            continue
        peer = next(other for other in rows if other.race == row.race and other.is_peer)
        found = "{0.median:.1f} ({0.low:.1f} to {0.high:.1f})".format(faster(row, peer)) if peer.runs else ""
        each, load = row.median_s / row.amount, f"{max(row.each('load')):.1f}"
        shown.add_row(row.race, row.name, f"{each:.3f}", "" if row.is_peer else found, f"{cold(row):.1f}", load)
    return shown


if __name__ == "__main__":
    command(Options, run, PACKAGES)
