"""Steps of Overcooked against JaxMARL: `python -m jaxreward.experiments.benchmarks.games`.

Two cooks act at random in many copies of the cramped room at once, in one program, and every observation and reward is
used. In each round everyone runs once, one after the other, so that the machine's other load falls on all alike.
JaxMARL comes as the package ships it, in an environment of its own, with our jax.

All but the last are stepped by one loop, in `run_jaxmarl.py`, with JaxMARL's functions and its reset in every step.

* `ours` shows the 26 planes that JaxMARL shows: the same work, but that nothing can be put on counters.
* `ours, vector` shows 27 numbers.
* `ours, vector, rollout` is the same stepped as our agents do it: keys and starts of up to 40 steps are drawn at once,
  and those steps are kept.

Before that, both play the same episodes, in which nobody puts anything on a counter: what they show and pay is compared
number by number. The scripted pair plays half of them, so that soups are served.
"""

from __future__ import annotations

import dataclasses
import subprocess
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key
from rich.console import Console
from rich.table import Table

from jaxreward.envs.games.experts import overcooked_expert
from jaxreward.envs.games.kitchen import DIRECTIONS, FLOOR, PLAN
from jaxreward.envs.games.overcooked import INTERACT, NOTHING, STAY, Overcooked, OvercookedState
from jaxreward.experiments.benchmarks.parts.authors import cold, command, faster, rate
from jaxreward.experiments.benchmarks.parts.race import take_turns
from jaxreward.experiments.benchmarks.parts.settings import program_of
from jaxreward.experiments.benchmarks.parts.tables import Measured
from jaxreward.experiments.benchmarks.peers import environments as peers

PACKAGES = ("jaxmarl==0.2.0",)
"""Beside those that it gets in our versions."""
PEER = "jaxmarl"
OURS = {"ours": ("planes", False), "ours, vector": ("vector", False), "ours, vector, rollout": ("vector", True)}
"""What cooks see, and whether they are stepped as our agents do it."""
EPISODES, LENGTH = 32, 400
"""What is compared number by number."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Races steps of Overcooked.

    Attributes:
        envs: Copies that are stepped at once.
        steps: Of each, in a run.
        rounds: How often everyone runs.
        timeout: Seconds within which a contender has to compile, and to finish each run.
        cache: Where JaxMARL's environment is built, once.
        out: JSON file for everything measured.
    """

    envs: int = 1024
    steps: int = 400
    rounds: int = 5
    timeout: float = 600.0
    cache: Path = peers.CACHE
    out: Path | None = None


def run(options: Options, console: Console) -> list[Measured]:
    """Compares, races and prints what came out.

    Raises:
        ValueError: If an option makes no sense.
        RuntimeError: If the two are not the same game.
    """
    if min(options.envs, options.steps, options.rounds) < 1:
        raise ValueError("--envs, --steps and --rounds are 1 or more")
    python = peers.build([*PACKAGES, *peers.shared()], options.cache)
    console.print(compared(python, options.timeout))
    rows = take_turns(entries(options), python, options.rounds, options.timeout)
    console.print(table(rows))
    return rows


def entries(options: Options) -> list[Measured]:
    """Everybody with nothing measured yet, JaxMARL first."""
    told = {"num_envs": options.envs, "num_steps": options.steps, "seeds": 1}
    theirs = {**told, "program": str(program_of("jaxmarl"))}
    program = {**told, "program": str(program_of("games"))}
    ours = {name: {**program, "view": view, "is_rollout": rolls} for name, (view, rolls) in OURS.items()}
    return [
        Measured("overcooked", name, name == PEER, 1, options.envs * options.steps, spec, "", {}, [])
        for name, spec in {PEER: theirs, **ours}.items()
    ]


def table(rows: list[Measured]) -> Table:
    """Everyone's steps a second, of the clock and of CPU time, and what compiling takes."""
    shown = Table("", "steps/s", "× jaxmarl (rounds)", "steps per CPU s", "compile s", "load", title=rows[0].race)
    for row in rows:
        if not row.runs:
            shown.add_row(row.name, f"failed: {row.failure}")
            continue
        against = (
            ""
            if row.is_peer or not rows[0].runs
            else "{0.median:.1f} ({0.low:.1f} to {0.high:.1f})".format(faster(row, rows[0]))
        )
        by_cpu = f"{row.amount / np.median(row.each('cpu_s')):,.0f}"
        load = f"{np.median(row.each('load')):.1f}"
        shown.add_row(row.name, rate(row), against, by_cpu, f"{cold(row):.1f}", load)
    return shown


def compared(python: Path, timeout: float) -> str:
    """Plays the same episodes in both and says how many steps were the same.

    Raises:
        RuntimeError: If one was not, or their program fails.
    """
    ours = played()
    with tempfile.TemporaryDirectory() as folder:
        given, told = Path(folder) / "given.npz", Path(folder) / "told.npz"
        np.savez(given, facing=ours["facing"], actions=ours["actions"])
        program = [str(python), "-P", str(program_of("jaxmarl")), str(given), str(told)]
        process = subprocess.run(program, capture_output=True, text=True, timeout=timeout, check=False)
        if process.returncode:
            raise RuntimeError(f"JaxMARL died: {(process.stderr.strip().splitlines() or ['it said nothing'])[-1]}")
        theirs = dict(np.load(told))
    for name in ("observation", "delivered", "shaped"):
        if not np.array_equal(ours[name], theirs[name]):
            where = np.argwhere(ours[name] != theirs[name])[0]
            raise RuntimeError(
                f"not the same game: {name}{where.tolist()}, the first of {(ours[name] != theirs[name]).sum()}"
            )
    soups = int((theirs["delivered"] > 0).sum())
    return (
        f"the same {EPISODES} episodes of {LENGTH} steps, with {soups} soups delivered, show and pay the same in both"
    )


def played() -> dict[str, np.ndarray]:
    """Episodes in our room: how they start, what was done, and what was shown and paid, leaves `[E, T, ...]`.

    What JaxMARL calls shaped is all but the deliveries, of which it pays 20 to both.
    """
    env = Overcooked(observation="planes")
    params = env.default_params

    def step(state: OvercookedState, now: tuple) -> tuple[OvercookedState, tuple]:
        key, is_scripted = now
        action = chosen(state, is_scripted, key)
        shown, after, reward, _, info = env.step_env(key, state, action, params)
        return after, (action, shown, info["reward/deliver"][0], reward - info["reward/deliver"])

    def episode(key: Key[Array, ""], is_scripted: Array) -> tuple[Array, tuple]:
        state = env.reset_env(key, params)[1]
        keys = jax.random.split(key, LENGTH)
        return state.facing, jax.lax.scan(step, state, (keys, jnp.broadcast_to(is_scripted, LENGTH)))[1]

    keys = jax.random.split(jax.random.key(0), EPISODES)
    facing, (actions, shown, delivered, shaped) = jax.jit(jax.vmap(episode))(keys, jnp.arange(EPISODES) % 2 == 0)
    names = ("facing", "actions", "observation", "delivered", "shaped")
    return dict(zip(names, map(np.asarray, (facing, actions, shown, delivered, shaped)), strict=True))


def chosen(state: OvercookedState, is_scripted: Array, key: Key[Array, ""]) -> Int[Array, "2"]:
    """What the cooks do: by the script or at random, but that nobody puts anything on a counter."""
    key_random, key_script = jax.random.split(key)
    seen = Overcooked().observe(state, Overcooked().default_params)
    scripted = overcooked_expert().act((), seen, key_script)[1]
    action = jnp.where(is_scripted, scripted, jax.random.randint(key_random, (2,), 0, INTERACT + 1))
    drops = (action == INTERACT) & (state.held != NOTHING) & jnp.asarray(COUNTER)[state.cells, state.facing]
    return jnp.where(drops, STAY, action)


COUNTER = np.array([[PLAN[y + dy][x + dx] == "#" for dx, dy in DIRECTIONS.tolist()] for x, y in FLOOR.tolist()])
"""Whether a cook that faces a way faces a counter, by its cell."""


if __name__ == "__main__":
    command(Options, run, PACKAGES)
