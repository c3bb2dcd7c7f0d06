"""Hyperparameter search against ARLBench with Optuna: `python -m jaxreward.experiments.benchmarks.search`.

Random search over the same space of PPO's hyperparameters, with the same environment steps, seeds, rollouts, updates
and network, by

* ours: `jaxreward search`, all configurations and seeds in one program;
* ours, one at a time: `jaxreward search --batch 1`, whose program compiles once and is found in the cache afterwards;
* ARLBench 0.1.3 with Optuna: one configuration and seed after the other. It compiles each anew, since its
  hyperparameters are part of its program. One or several processes of it run at once.

Each is a process from its start to its end, imports and compilation included, with an empty compilation cache. Ours
trains all configurations; the peer gets the same time, and whatever it has found by then is its best.

`found` is the best value as the searcher itself saw it, for ours the mean return in the last tenth of training, for
ARLBench that of a deterministic policy after it. The best of many is too good to be true in both. `confirmed` trains
both best configurations with our PPO on fresh seeds, so it says which configuration is better where ours trains.
ARLBench's PPO initialises and normalises its own way.

The bound is what training alone takes of ours: no search with this PPO can be faster than that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import tyro
from rich.console import Console
from rich.table import Table

from jaxreward.experiments.benchmarks.parts.settings import program_of
from jaxreward.experiments.benchmarks.peers import environments as peers
from jaxreward.results.statistics import Estimate, estimate
from jaxreward.results.tables import final_values, load
from jaxreward.run.job import Job, Setup
from jaxreward.run.store import RunFolder
from jaxreward.search import best_trials, load_session

FRESH_SEEDS = tuple(range(1000, 1016))
SPACE = {
    "learning_rate": ("learning_rate", 1e-5, 1e-1, True),
    "clip": ("clip_eps", 0.05, 0.4, False),
    "entropy_coefficient": ("ent_coef", 1e-4, 1e-1, True),
    "gae_lambda": ("gae_lambda", 0.8, 0.999, False),
    "discount": ("gamma", 0.9, 0.999, False),
}
"""By our name ARLBench's, the bounds, and whether the logarithm is uniform."""


@dataclass(frozen=True)
class Task:
    """What is searched for.

    Attributes:
        env: The environment, as we call it.
        peer_env: ARLBench's framework and name for it.
        trials: Configurations.
        seeds: Of each.
        steps: Environment steps of each run.
        sizes: Rollouts and updates, as we call them.
    """

    env: str
    peer_env: tuple[str, str]
    trials: int
    seeds: int
    steps: int
    sizes: dict[str, int] = field(default_factory=dict)


SIZES = {"num_envs": 16, "num_steps": 128, "num_minibatches": 16, "num_epochs": 4}
TASKS = {
    "cartpole": Task("CartPole-v1", ("gymnax", "CartPole-v1"), 256, 4, 65_536, SIZES),
    "pendulum": Task("brax/inverted_pendulum?backend=spring", ("brax", "inverted_pendulum"), 64, 4, 32_768, SIZES),
}


@dataclass(frozen=True)
class Options:
    """Races a search against ARLBench with Optuna.

    Attributes:
        task: CartPole with 256 configurations, or brax's inverted pendulum with 64.
        trials: Configurations, if not those of the task.
        steps: Environment steps of each run, if not those of the task.
        alone: Configurations that are trained one at a time.
        workers: Processes of the peer that run at once, one race for each number; 0 to leave it out.
        repeats: How often everything is run.
        cache: Where the peer's environment is built, once.
        out: JSON file for everything measured.
    """

    task: tuple[str, ...] = ("cartpole", "pendulum")
    trials: int | None = None
    steps: int | None = None
    alone: int = 6
    workers: tuple[int, ...] = (1, 2)
    repeats: int = 1
    cache: Path = peers.CACHE
    out: Path | None = None


class Found(NamedTuple):
    """What a searcher did.

    Attributes:
        name: Who it is.
        trials: How many it finished.
        seconds: In how long.
        best: The settings of its best trial, under our names.
        value: What it took that to be worth.
        compile_seconds: How long compilation took, where that is known.
        training_seconds: How long training alone took, where that is known.
        confirmed: What our PPO makes of its best trial on fresh seeds.
    """

    name: str
    trials: int
    seconds: float
    best: dict[str, float]
    value: float
    compile_seconds: float | None = None
    training_seconds: float | None = None
    confirmed: Estimate | None = None

    @property
    def rate(self) -> float:
        """Trials a minute."""
        return 60 * self.trials / self.seconds


def main() -> None:
    """Runs what the command line asks for and prints it."""
    options = tyro.cli(Options)
    console = Console() if sys.stdout.isatty() else Console(width=160)
    rows = []
    for name in options.task:
        for repeat in range(options.repeats):
            task = _task(name, options)
            found = race(task, options, repeat)
            console.print(table(task, found))
            rows += [{"task": name, "repeat": repeat, **each._asdict()} for each in found]
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(rows, indent=1))


def race(task: Task, options: Options, repeat: int = 0) -> list[Found]:
    """Everybody's search of one task; the peer gets as long as ours took."""
    with tempfile.TemporaryDirectory() as folder:
        ours = run_ours("ours", task, task.trials, Path(folder) / "all", repeat)
        found = [ours]
        if options.alone:
            found.append(run_ours("ours, one at a time", task, options.alone, Path(folder) / "alone", repeat, batch=1))
        found += [run_peer(task, number, ours.seconds, options.cache, repeat) for number in options.workers if number]
        return [each._replace(confirmed=confirm(task, each, Path(folder) / f"{i}")) for i, each in enumerate(found)]


def run_ours(name: str, task: Task, trials: int, folder: Path, seed: int, batch: int | None = None) -> Found:
    """A search on the command line, in a process of its own."""
    environment = {**os.environ, "JAXREWARD_CACHE": str(folder / "cache")}
    began = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "jaxreward.cli",
        *search_arguments(task, trials, folder / "study", seed, batch or trials),
    ]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    session = load_session(folder / "study")
    best = best_trials(session, 1)[0]
    runs = list((folder / "study").rglob("config.json"))
    compile_seconds = sum(json.loads(path.read_text())["compile_seconds"] for path in runs)
    training = sum(RunFolder(path.parent).metrics()["wall_seconds"].max() for path in runs)
    value = float(best.values[0])
    return Found(name, trials, seconds, dict(best.params), value, float(compile_seconds), float(training))


def search_arguments(task: Task, trials: int, folder: Path, seed: int, batch: int) -> list[str]:
    """The command line of ours."""
    space = [f"{name}={'log' if log else 'uniform'}({low},{high})" for name, (_, low, high, log) in SPACE.items()]
    numbers = {"--steps": task.steps, "--seeds": task.seeds, "--trials": trials, "--batch": batch, "--seed": seed}
    options = [str(word) for pair in numbers.items() for word in pair]
    sizes = [f"{name}={value}" for name, value in task.sizes.items()]
    fixed = ["--sampler", "random", "--confirm", "0", "--skip-defaults", "--quiet", "--folder", str(folder)]
    return ["search", "--env", task.env, "--space", *space, "--set", *sizes, *options, *fixed]


def run_peer(task: Task, workers: int, seconds: float, cache: Path, seed: int) -> Found:
    """Some processes of ARLBench with Optuna, each with a random search of its own, for so many seconds together."""
    python, program = peers.build(peers.ARLBENCH, cache), program_of("arlbench")
    # Importing jaxreward sets an XLA flag that the peer's XLA does not know.
    environment = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "NPROC")}
    began = time.perf_counter()
    processes = [
        subprocess.Popen(
            [str(python), "-P", str(program), json.dumps(peer_spec(task, seconds, 1000 * seed + worker))],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
        )
        for worker in range(workers)
    ]  # fmt: skip
    answers = [process.communicate()[0] for process in processes]
    took = time.perf_counter() - began
    trials = [json.loads(line) for answer in answers for line in answer.splitlines()]
    name = f"ARLBench + Optuna, {workers} process{'es' * (workers > 1)}"
    if not trials:
        raise RuntimeError(f"{name} finished no trial in {took:.0f} s")
    best = max(trials, key=lambda trial: trial["value"])
    ours = {theirs: name for name, (theirs, *_) in SPACE.items()}
    return Found(name, len(trials), took, {ours[k]: v for k, v in best["params"].items()}, best["value"])


def peer_spec(task: Task, seconds: float, sampler_seed: int) -> dict[str, Any]:
    """What `run_arlbench.py` is told."""
    sizes = task.sizes
    rollout = sizes["num_envs"] * sizes["num_steps"]
    configuration = {
        "n_steps": sizes["num_steps"],
        "minibatch_size": rollout // sizes["num_minibatches"],
        "update_epochs": sizes["num_epochs"],
    }
    return {
        "framework": task.peer_env[0],
        "env": task.peer_env[1],
        "num_envs": sizes["num_envs"],
        "steps": task.steps,
        "seeds": task.seeds,
        "seconds": seconds,
        "trials": task.trials,
        "sampler_seed": sampler_seed,
        "evaluation_episodes": 16,
        "configuration": configuration,
        "space": {theirs: [low, high, log] for theirs, low, high, log in SPACE.values()},
    }


def confirm(task: Task, found: Found, folder: Path) -> Estimate:
    """What our PPO makes of a configuration on seeds that nobody searched with."""
    setup = Setup("ppo", task.env, settings={**task.sizes, **found.best})
    Job(setup, folder, task.steps, seeds=FRESH_SEEDS).train(progress=False)
    return estimate(final_values(load(folder))["value"].to_numpy())


def table(task: Task, found: list[Found]) -> Table:
    """What came out, against ours."""
    columns = (
        "",
        "trials",
        "seconds",
        "trials / min",
        "ours is faster by",
        "compile s",
        "training s",
        "found",
        "confirmed",
    )
    size = f"{task.trials} configurations x {task.seeds} seeds x {task.steps:,} steps"
    shown = Table(*columns, title=f"{task.env}: {size}, {task.sizes}")
    for each in found:
        ratio = f"{found[0].rate / each.rate:.1f}"
        times = ["-" if x is None else f"{x:.1f}" for x in (each.compile_seconds, each.training_seconds)]
        confirmed = "-" if each.confirmed is None else "{:.4g} [{:.4g}, {:.4g}]".format(*each.confirmed)
        numbers = [str(each.trials), f"{each.seconds:.0f}", f"{each.rate:.2f}", ratio, *times, f"{each.value:.4g}"]
        shown.add_row(each.name, *numbers, confirmed)
    return shown


def _task(name: str, options: Options) -> Task:
    if name not in TASKS:
        sys.exit(f"no task {name!r}; there are {', '.join(TASKS)}")
    task = asdict(TASKS[name])
    return Task(**{**task, "trials": options.trials or task["trials"], "steps": options.steps or task["steps"]})


if __name__ == "__main__":
    main()
