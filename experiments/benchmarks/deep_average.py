"""RVI-SAC and APO against ajax-rl, where nothing ends: `python -m jaxreward.experiments.benchmarks.deep_average`.

Both steer gymnax's pendulum without its time limit, with networks of the same sizes at the same hyperparameters, for
the same number of steps and updates, each in a process of its own that compiles once. Then all take turns. Nobody
evaluates. Beside the speed the reward a step in the last tenth of training is told, over seeds and rounds.

What stays different: ajax-rl has no RVI-SAC. Its soft actor-critic for the reward rate is ASAC (Adamczyk et al. 2025,
arXiv:2501.09080), whose rate is a moving average of rewards and entropies and not of values, and which evaluates the
critics at one more point and the policy once more. Its learning of the temperature, which is off by default, is turned
on, as that is a part of RVI-SAC. Its APO has an optimiser each for actor and critic, of which none clips by itself.
"""

from __future__ import annotations

import dataclasses
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from jaxreward.experiments.benchmarks.parts.authors import command
from jaxreward.experiments.benchmarks.parts.race import take_turns
from jaxreward.experiments.benchmarks.parts.settings import SEQUENTIAL, program_of, spread_over
from jaxreward.experiments.benchmarks.parts.tables import Measured, speed_table
from jaxreward.experiments.benchmarks.peers import environments as peers
from jaxreward.names import check_name

PINNED = "ajax-rl==0.4.0"
ENV = "jaxreward.experiments.benchmarks.ours.endless_pendulum:EndlessPendulum"


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """One algorithm, ours and theirs.

    Attributes:
        peer: Theirs.
        config: Ours: sizes, `num_envs` and `num_steps` among them.
        hyperparams: Ours: the rest.
        arguments: Theirs, the same in its words.
    """

    peer: str
    config: dict[str, Any]
    hyperparams: dict[str, float]
    arguments: dict[str, Any]

    @property
    def steps(self) -> int:
        """Environment steps of one iteration."""
        return self.config["num_envs"] * self.config["num_steps"]


def _layers(activation: str) -> dict[str, tuple[str, ...]]:
    return {name: ("64", activation, "64", activation) for name in ("actor_architecture", "critic_architecture")}


ALGORITHMS = {
    "rvi_sac": Algorithm(
        "ASAC",
        {
            "num_envs": 4, "num_steps": 1, "num_updates": 1, "batch_size": 128, "capacity": 40_000, "warm_up": 1_000,
            "layers": (64, 64), "activation": "relu",
        },
        {
            "learning_rate": 1e-3, "critic_learning_rate": 1e-3, "temperature_learning_rate": 1e-3, "temperature": 1.0,
            "entropy_per_dimension": -1.0, "target_step": 0.005, "rate_step": 0.005,
        },
        {
            **_layers("relu"), "batch_size": 128, "buffer_size": 40_000, "learning_starts": 1_000,
            "actor_learning_rate": 1e-3, "critic_learning_rate": 1e-3, "alpha_learning_rate": 1e-3, "alpha_init": 1.0,
            "fixed_alpha": False, "target_entropy_per_dim": -1.0, "tau": 0.005, "tau_theta": 0.005,
            "max_grad_norm": None,
        },
    ),
    "apo": Algorithm(
        "APO",
        {"num_envs": 4, "num_steps": 128, "num_epochs": 4, "num_minibatches": 4, "layers": (64, 64)},
        {
            "learning_rate": 1e-3, "gae_lambda": 0.95, "clip": 0.2, "entropy_coefficient": 0.0,
            "value_coefficient": 0.5, "max_grad_norm": 0.5, "rate_step": 0.1, "value_bias": 0.1,
        },
        {
            **_layers("tanh"), "n_steps": 128, "n_epochs": 4, "num_minibatches": 4, "actor_learning_rate": 1e-3,
            "critic_learning_rate": 1e-3, "gae_lambda": 0.95, "clip_range": 0.2, "ent_coef": 0.0, "vf_coef": 0.5,
            "max_grad_norm": 0.5, "alpha": 0.1, "nu": 0.1,
        },
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Options:
    """Races agents for the reward rate against ajax-rl.

    Attributes:
        agents: Which algorithms.
        seeds: How many agents to train at once, one race for each number.
        steps: Environment steps of each agent.
        rounds: Of a race.
        timeout: Seconds within which a contender has to compile, and to finish each run.
        cache: Where ajax-rl's environment is built, once.
        out: JSON file for everything measured.
    """

    agents: tuple[str, ...] = tuple(ALGORITHMS)
    seeds: tuple[int, ...] = (1, 16)
    steps: int = 40_960
    rounds: int = 3
    timeout: float = 900.0
    cache: Path = peers.CACHE
    out: Path | None = None


def run(options: Options, console: Console) -> list[Measured]:
    """Runs every race and prints what came out.

    Raises:
        ValueError: If an option makes no sense.
    """
    check(options)
    python = peers.build((PINNED, f"gymnax=={version('gymnax')}", *peers.shared()), options.cache)
    measured: list[Measured] = []
    for name in options.agents:
        for seeds in options.seeds:
            rows = one_race(name, seeds, options, python)
            console.print(speed_table(rows))
            console.print(rates(rows))
            measured += rows
    return measured


def check(options: Options) -> None:
    """Refuses options that make no sense."""
    for name in options.agents:
        check_name("agent", name, ALGORITHMS)
    if min(options.rounds, *options.seeds) < 1:
        raise ValueError("give 1 or more --rounds and --seeds")
    least = 10 * max(algorithm.steps for algorithm in ALGORITHMS.values())
    if options.steps < least or options.steps % least:
        near = max(1, options.steps // least) * least
        raise ValueError(f"--steps {options.steps} is no multiple of ten iterations, {least}; try --steps {near}")


def one_race(name: str, seeds: int, options: Options, python: Path) -> list[Measured]:
    """Everybody's runs of one algorithm."""
    return take_turns(entries(name, seeds, options.steps), python, options.rounds, options.timeout)


def entries(name: str, seeds: int, steps: int) -> list[Measured]:
    """Who runs, with nothing measured yet; ajax-rl under both schedulers, of which the better one counts."""
    spread = spread_over(seeds)
    field = [("ours", "rates", spread), ("ajax-rl", "ajax", ""), ("ajax-rl seq", "ajax", SEQUENTIAL)]
    told = spec(name, seeds, steps)
    return [
        Measured(
            f"{name}, endless pendulum", who, program == "ajax", seeds, told["env_steps"],
            {**told, "program": str(program_of(program))}, flags, {}, [],
        )
        for who, program, flags in field
    ]  # fmt: skip


def spec(name: str, seeds: int, steps: int) -> dict[str, Any]:
    """What every contender is told."""
    algorithm = ALGORITHMS[name]
    return {
        "agent": name,
        "peer": algorithm.peer,
        "setting": {"env": ENV, **{size: algorithm.config[size] for size in ("num_envs", "num_steps")}},
        "config": algorithm.config,
        "hyperparams": algorithm.hyperparams,
        "arguments": algorithm.arguments,
        "seeds": seeds,
        "iterations": steps // algorithm.steps,
        "env_steps": steps * seeds,
    }


def rates(rows: list[Measured]) -> str:
    """The reward a step in the last tenth of training, mean and standard error over seeds and rounds."""
    told = []
    for row in rows:
        each = np.ravel([run["found"]["reward_rate"] for run in row.runs])
        if each.size:
            error = f" ± {each.std(ddof=1) / np.sqrt(each.size):.2f}" if each.size > 1 else ""
            told.append(f"{row.name} {each.mean():.2f}{error} ({each.size})")
    return "reward a step: " + ", ".join(told)


if __name__ == "__main__":
    command(Options, run, [PINNED])
