"""What is searched for and how, as the authors of novelty search, SERENE and STAX do, and what everyone is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

from jaxreward.experiments.benchmarks.parts.settings import program_of
from jaxreward.experiments.benchmarks.peers import environments as peers
from jaxreward.names import check_name

CHUNK = 1000
"""Evaluations of an iteration of ours, at least, as of one half of a round of theirs."""
FRAMES = 5
"""Pictures of an episode for STAX."""


@dataclasses.dataclass(frozen=True)
class World:
    """One of the authors' tasks.

    Attributes:
        env: Its name among ours.
        theirs: Its name among theirs.
        evaluations: How many are spent if nothing is said.
        layers: Hidden layers of a controller.
        options: How our environment is made so that it counts as theirs.
    """

    env: str
    theirs: str
    evaluations: int
    layers: int = 2
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


WORLDS = {
    "point2d": World("qd/point2d", "Walker2D", 10_000),
    "arm": World("qd/arm", "NDofArm", 2_000, options={"require_stop": True, "max_steps_in_episode": 101}),
    "curling": World("qd/curling", "Curling", 2_000, layers=3),
    "pictured_arm": World("qd/arm", "RedArm", 2_000, options={"require_stop": True, "max_steps_in_episode": 100}),
}
"""`pictured_arm` is STAX's, whose code has no step too many."""


class Search(NamedTuple):
    """One of the authors' searches.

    Attributes:
        agent: Ours.
        theirs: Its name among theirs.
        config: Of our agent, where theirs is not as ours is by default.
        params: Of theirs, where it is not as they set it.
        bounds: Parts of `run_stax.py`, each timed alone.
        learns: Whether it is STAX, which learns its space of behaviours from pictures.
    """

    agent: str
    theirs: str
    config: dict[str, Any]
    params: dict[str, Any]
    bounds: tuple[str, ...] = ("evaluation", "novelty")
    learns: bool = False


SEARCHES = {
    "ns": Search("novelty_search", "NS", {}, {}),
    "serene": Search("serene", "SERENE", {"drop_nearest": True}, {}),
    "stax": Search(
        "stax",
        "STAX-P",
        {"drop_nearest": True, "frames": FRAMES},
        {"pop_size": 100, "samples_per_traj": FRAMES},
        ("evaluation", "novelty", "pictures", "encoding", "training"),
        learns=True,
    ),
}
TASKS = {f"{search}_{world}": (search, world) for world in ("point2d", "arm", "curling") for search in ("ns", "serene")}
TASKS["stax_arm"] = ("stax", "pictured_arm")


@dataclasses.dataclass(frozen=True)
class Options:
    """Races novelty search, SERENE and STAX against their authors' code.

    Attributes:
        checkout: Root of a checkout of github.com/GPaolo/SERENE.
        stax_checkout: Root of a checkout of github.com/GPaolo/STAX; without one STAX is left out.
        tasks: Which search, in which of the authors' tasks.
        evaluations: Of each run; 0 for the task's own number.
        epochs: Of a training of STAX's autoencoder, at most; 101 are the authors'.
        runs: How many of ours search in one program.
        rounds: How often everyone runs.
        timeout: Seconds within which a contender has to compile, and to finish each run.
        python: An interpreter of Python 3.11, which the authors' packages need.
        cache: Where the authors' environment is built, once.
        out: JSON file for everything measured.
    """

    checkout: Path
    stax_checkout: Path | None = None
    tasks: tuple[str, ...] = tuple(TASKS)
    evaluations: int = 0
    epochs: int = 101
    runs: int = 8
    rounds: int = 3
    timeout: float = 1800.0
    python: str = "python3.11"
    cache: Path = peers.CACHE
    out: Path | None = None


def check(options: Options) -> None:
    """Refuses options that make no sense.

    Raises:
        ValueError: Says which, and what would.
    """
    for name in options.tasks:
        check_name("task", name, TASKS)
    if options.evaluations < 0:
        raise ValueError(f"--evaluations {options.evaluations}: give 1 or more, or 0 for each task's own")
    if options.epochs < 2:
        raise ValueError(
            f"--epochs {options.epochs}: give 2 or more, as the authors' code validates from the second on"
        )
    if min(options.runs, options.rounds) < 2:
        raise ValueError(f"--runs {options.runs} --rounds {options.rounds}: intervals need 2 or more of each")
    if not runnable(options):
        raise ValueError(f"{' '.join(options.tasks) or 'no task'}: give a task, and --stax-checkout for those of STAX")
    check_checkouts(options)


def check_checkouts(options: Options) -> None:
    """Refuses folders that are no checkouts of the authors' repositories."""
    program = "scripts/run_experiment.py"
    packages = [f"environments/assets/{name}/__init__.py" for name in ("gym_dummy", "gym_redarm")]
    wanted = {options.checkout: ("SERENE", program, "core/evolvers/serene.py", *packages)}
    if options.stax_checkout:
        wanted[options.stax_checkout] = ("STAX", program, "core/evolvers/serene_taxons.py")
    for checkout, (name, *paths) in wanted.items():
        for path in paths:
            if not (checkout / path).is_file():
                raise ValueError(f"{checkout} has no {path}: give the root of a checkout of {name}")


def search_of(name: str) -> Search:
    """The search of a task."""
    return SEARCHES[TASKS[name][0]]


def world_of(name: str) -> World:
    """The world of a task."""
    return WORLDS[TASKS[name][1]]


def runnable(options: Options) -> list[str]:
    """The tasks for which there is a checkout."""
    return [name for name in options.tasks if options.stax_checkout or not search_of(name).learns]


def evaluations_of(name: str, options: Options) -> int:
    """What a run may spend."""
    return options.evaluations or world_of(name).evaluations


def authors_spec(name: str, options: Options, seed: int) -> dict[str, Any]:
    """What `run_stax_authors.py` is told."""
    search, checkout = search_of(name), options.checkout.resolve()
    # Theirs makes one epoch more than its parameter says.
    epochs = {"max_training_epochs": options.epochs - 1} if search.learns else {}
    return {
        "checkout": str(options.stax_checkout.resolve() if search.learns and options.stax_checkout else checkout),
        "assets": str(checkout / "environments" / "assets"),
        "experiment": search.theirs,
        "environment": world_of(name).theirs,
        "evaluations": evaluations_of(name, options),
        "params": {**search.params, **epochs},
        "learns": search.learns,
        "seed": seed,
    }


def spec(name: str, options: Options, **changes: Any) -> dict[str, Any]:
    """What `run_stax.py` is told: to do as the authors do unless `changes` say otherwise."""
    search, world, budget = search_of(name), world_of(name), evaluations_of(name, options)
    epochs = {"epochs": options.epochs} if search.learns else {}
    return {
        "program": str(program_of("stax")),
        "env": world.env,
        "options": world.options,
        "agent": search.agent,
        "config": {"budget": budget, "chunk_size": CHUNK, "layers": world.layers, **search.config, **epochs},
        "hyperparams": {},
        "part": "search",
        "iterations": -(-budget // CHUNK),
        **changes,
    }
