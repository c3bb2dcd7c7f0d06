"""PPO against rejax and purejaxrl: `python -m jaxreward.experiments.benchmarks.ppo --purejaxrl CHECKOUT`.

Everyone trains the same network at the same hyperparameters for the same number of environment steps, in a process of
its own that compiles once. Then all take turns, so that the machine's other load falls on all alike, and speeds are
compared round by round. Nobody evaluates; everything else a user pays for is inside the timed program, from drawing
the parameters on. A peer runs under XLA's default scheduler and under the sequential one, and its better result is
the one to beat.

What stays different: rejax has an optimiser each for actor and critic, clips gradients element by element and not by
their global norm, so that the same `max_grad_norm` clips far less, and initialises its own way. The time limits of
both peers count as terminations. purejaxrl and jaxreward record returns, rejax does not. On brax's ant both peers
reset as their adapters do: rejax computes a full reset each step.

`final return` is the mean return of the episodes that ended in the last tenth of training; for rejax, which has no
such record, an evaluation of the final policy. It says that a contender learns, not how well: that is what `--curves`
is for. There the return of a tenth of training is that of the episodes that ended in it, for all three: jaxreward and
purejaxrl record it, rejax is given an environment that does, in its state. Such a mean favours short episodes, but
the same way for all, and it needs nobody's evaluation code. A tenth is met if our interquartile mean over seeds is
within the peer's 95% bootstrap interval of its own, or above.

The bounds are what no implementation of the same algorithm with XLA's own kernels can beat: rollouts alone, with
cached resets; the matrix products of the updates alone; and the two one after the other.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from jaxreward.experiments.benchmarks.parts.race import Contender, Race
from jaxreward.experiments.benchmarks.parts.settings import (
    SETTINGS,
    Entry,
    entries,
    part_by_part,
    spec,
    without_changes,
)
from jaxreward.experiments.benchmarks.parts.tables import Measured, change_table, curve_tables, part_table, speed_table
from jaxreward.experiments.benchmarks.peers import environments as peers

Name = Literal["ours", "rejax", "purejaxrl", "bounds"]


@dataclasses.dataclass(frozen=True)
class Options:
    """Races PPO against rejax and purejaxrl.

    Attributes:
        setting: CartPole with 4 x 128 steps an iteration (a) or 64 x 64 (b), or brax's ant.
        seeds: How many seeds to train at once, one race for each number.
        repeats: Rounds of a race.
        contenders: Who runs; `purejaxrl` only if its checkout is given.
        purejaxrl: Checkout of purejaxrl's repository.
        curves: Compare learning curves instead of speed.
        changes: Race ours against itself without each of the changes that made it fast.
        parts: Time each part of an iteration of ours by itself, beside the whole and the bounds.
        curve_seeds: Seeds of each curve.
        steps: Environment steps of a single seed's run, and of each seed of a curve.
        vmapped_steps: Environment steps of each seed where several train at once; rates do not depend on it.
        timeout: Seconds within which a contender has to compile, and to finish each run.
        flags: XLA flags for everyone.
        cache: Where the peers' environment is built, once.
        jax_extra: Extra of jax the peers need, such as `cuda13`.
        out: JSON file for everything measured.
    """

    setting: tuple[Literal["a", "b", "ant"], ...] = ("a", "b")
    seeds: tuple[int, ...] = (1, 16)
    repeats: int = 5
    contenders: tuple[Name, ...] = ("ours", "rejax", "purejaxrl", "bounds")
    purejaxrl: Path | None = None
    curves: bool = False
    changes: bool = False
    parts: bool = False
    curve_seeds: int = 32
    steps: int = 500_000
    vmapped_steps: int = 65_536
    timeout: float = 600.0
    flags: str = ""
    cache: Path = peers.CACHE
    jax_extra: str = ""
    out: Path | None = None


def main() -> None:
    """Runs what the command line asks for and prints it."""
    options = tyro.cli(Options)
    console = Console() if sys.stdout.isatty() else Console(width=160)
    try:
        measured = run(options, console)
    except (ValueError, subprocess.CalledProcessError) as error:
        sys.exit(str(error))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(_report(options, measured), indent=1, default=str))


def run(options: Options, console: Console) -> list[Measured]:
    """Runs every race, prints each one's tables when it is over, and returns all measurements.

    Raises:
        ValueError: If the checkout of purejaxrl is none, a number is below one, or a run shorter than an iteration.
    """
    if min(options.repeats, options.curve_seeds, *options.seeds) < 1:
        raise ValueError("--repeats, --seeds and --curve-seeds are 1 or more")
    if options.purejaxrl:
        peers.check_purejaxrl(options.purejaxrl)
    elif "purejaxrl" in options.contenders and not (options.changes or options.parts):
        console.print("purejaxrl is left out: give its checkout with --purejaxrl")
    seeds = (options.curve_seeds,) if options.curves else options.seeds
    measured: list[Measured] = []
    for name, number in ((name, number) for name in options.setting for number in seeds):
        rows = _race(options, name, number)
        measured += rows
        for table in _tables(options, rows):
            console.print(table)
    return measured


def _tables(options: Options, rows: list[Measured]) -> list[Table]:
    if options.curves:
        return curve_tables(rows)
    if options.parts:
        return [part_table(rows)]
    return [change_table(rows) if options.changes else speed_table(rows)]


def _race(options: Options, name: str, seeds: int) -> list[Measured]:
    """All that was measured of each contender at one setting."""
    field = _field(options, seeds)
    steps = options.steps if seeds == 1 or options.curves else options.vmapped_steps
    told: dict[str, Any] = {"seeds": seeds, "steps": steps, "curves": options.curves, "purejaxrl": options.purejaxrl}
    specs = [spec(entry, SETTINGS[name], **told) for entry in field]
    with Race() as race:
        for entry, what in zip(field, specs, strict=True):
            flags = f"{options.flags} {entry.flags}".strip()
            race.enter(Contender(_python(entry, options), what, flags, options.timeout))
        for seed in range(1 if options.curves else options.repeats):
            race.round(seed)
    return [_measured(f"PPO {name}", *row) for row in zip(field, specs, race.contenders, strict=True)]


def _field(options: Options, seeds: int) -> list[Entry]:
    if options.changes:
        return without_changes(seeds)
    if options.parts:
        return part_by_part(seeds)
    names = tuple(name for name in options.contenders if name != "purejaxrl" or options.purejaxrl)
    field = entries(names, seeds)
    return [entry for entry in field if entry.in_curves] if options.curves else field


def _python(entry: Entry, options: Options) -> str | Path:
    return peers.environment(options.cache, options.jax_extra) if entry.is_peer else sys.executable


def _measured(race: str, entry: Entry, told: dict[str, Any], contender: Contender) -> Measured:
    steps: dict[str, Any] = {"seeds": told["seeds"], "amount": told["env_steps"], "spec": told, "flags": entry.flags}
    said: dict[str, Any] = {"ready": contender.ready, "runs": contender.runs, "failure": contender.failure}
    return Measured(race=race, name=entry.name, is_peer=entry.is_peer, **steps, **said)


def _report(options: Options, measured: list[Measured]) -> dict[str, Any]:
    machine = {"python": sys.version, "platform": platform.platform(), "cores": os.cpu_count(), "jax": version("jax")}
    rows = [dataclasses.asdict(row) for row in measured]
    return {"machine": machine, "options": dataclasses.asdict(options), "measured": rows}


if __name__ == "__main__":
    main()
