"""DQN, PQN, SAC and TD3 against rejax: `python -m jaxreward.experiments.benchmarks.off_policy`.

On CartPole and Pendulum, and DQN on pictures of MinAtar too, which both read as vectors. Both run the same algorithm
with networks of the same sizes at the same hyperparameters for the same number of environment steps and updates, each
in a process of its own that compiles once. Then all take turns, so that the machine's other load falls on all alike,
and speeds are compared round by round. Nobody evaluates; everything else a user pays for is inside the timed program.
rejax runs under XLA's default scheduler and under the sequential one, and its better result is the one to beat.

What stays different: rejax draws a batch without replacement, ours with it; it clips gradients element by element,
ours by their global norm; its target network follows environment steps, ours as many updates; those of SAC and TD3 move
once after several updates, ours after each; its networks start with other numbers; its time limits count as
terminations. Its noise is in the environment's units, and as large as ours; its TD3 updates a policy and the targets
after every other step, ours with every other update. Ours records returns, rejax does not. `final return` is that of 16
fresh episodes of the last policy, after the clock has stopped: by the best action, but for rejax's of DQN and PQN, of
which one in 200 is random, and for SAC, whose actions are sampled.

The bounds are what no implementation with XLA's own kernels can beat: the environment's steps with drawn actions, the
matrix products of acting and of the updates, and the two one after the other.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rich.console import Console

from jaxreward.experiments.benchmarks.parts.authors import command
from jaxreward.experiments.benchmarks.parts.race import take_turns
from jaxreward.experiments.benchmarks.parts.settings import SEQUENTIAL, program_of, spread_over
from jaxreward.experiments.benchmarks.parts.tables import Measured, speed_table
from jaxreward.experiments.benchmarks.peers import environments as peers
from jaxreward.names import check_name

BOUNDS = ("environment", "matmuls")


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """One algorithm, ours and rejax's.

    Attributes:
        agent: Which.
        env: What both train in.
        config: Ours: sizes, `num_envs` and `num_steps` among them.
        hyperparams: Ours: the rest.
        arguments: rejax's, the same in its words.
        products: What the bound multiplies: each update's rows, and how many times networks are only evaluated on them.
        widths: Of the network, from input to output.
    """

    agent: str
    env: str
    config: dict[str, Any]
    hyperparams: dict[str, float]
    arguments: dict[str, Any]
    products: dict[str, int]
    widths: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Environment steps of one iteration."""
        return self.config["num_envs"] * self.config["num_steps"]


ALGORITHMS = {
    "dqn": Algorithm(
        "dqn",
        "CartPole-v1",
        {
            "num_envs": 10, "num_steps": 1, "num_updates": 5, "batch_size": 100, "capacity": 50_000, "warm_up": 200,
            "layers": (64, 64), "activation": "silu",
        },
        {
            "learning_rate": 1e-3, "discount": 0.99, "max_grad_norm": 10.0, "epsilon_start": 1.0, "epsilon_end": 0.05,
            "target_period": 100.0, "target_step": 1.0,
        },
        {
            "num_envs": 10, "num_epochs": 5, "batch_size": 100, "buffer_size": 50_000, "fill_buffer": 200,
            "learning_rate": 1e-3, "gamma": 0.99, "max_grad_norm": 10.0, "eps_start": 1.0, "eps_end": 0.05,
            "exploration_fraction": 0.5, "target_update_freq": 200, "polyak": 0.0, "ddqn": True,
        },
        {"updates": 5, "rows": 100, "evaluations": 2},
        (4, 64, 64, 2),
    ),
    "pqn": Algorithm(
        "pqn",
        "CartPole-v1",
        {
            "num_envs": 16, "num_steps": 128, "num_epochs": 4, "num_minibatches": 4, "layers": (64, 64),
            "optimiser": "adam",
        },
        {
            "learning_rate": 1e-3, "discount": 0.99, "trace_lambda": 0.9, "max_grad_norm": 10.0, "epsilon_start": 1.0,
            "epsilon_end": 0.05,
        },
        {
            "num_envs": 16, "num_steps": 128, "num_epochs": 4, "num_minibatches": 4, "learning_rate": 1e-3,
            "gamma": 0.99, "td_lambda": 0.9, "max_grad_norm": 10.0, "eps_start": 1.0, "eps_end": 0.05,
            "exploration_fraction": 0.5,
        },
        {"updates": 16, "rows": 512, "evaluations": 0},
        (4, 64, 64, 2),
    ),
    "sac": Algorithm(
        "sac",
        "Pendulum-v1",
        {
            "num_envs": 8, "num_steps": 1, "num_updates": 8, "batch_size": 128, "capacity": 50_000, "warm_up": 256,
            "layers": (64, 64), "activation": "relu",
        },
        {
            "learning_rate": 3e-4, "critic_learning_rate": 3e-4, "temperature_learning_rate": 3e-4, "discount": 0.99,
            "target_step": 0.005,
        },
        {
            "num_envs": 8, "num_epochs": 8, "batch_size": 128, "buffer_size": 50_000, "fill_buffer": 256,
            "learning_rate": 3e-4, "gamma": 0.99, "max_grad_norm": 1e9, "polyak": 0.995,
        },
        # Of policy and two critics; of 16 passes forwards, or as much, these are 15.
        {"updates": 24, "rows": 128, "evaluations": 2},
        (4, 64, 64, 1),
    ),
    "td3": Algorithm(
        "td3",
        "Pendulum-v1",
        {
            "num_envs": 8, "num_steps": 1, "num_updates": 8, "batch_size": 128, "capacity": 50_000, "warm_up": 256,
            "layers": (64, 64), "activation": "silu",
        },
        {
            "learning_rate": 3e-4, "critic_learning_rate": 3e-4, "discount": 0.99, "target_step": 0.005,
            "exploration": 0.1, "smoothing": 0.2, "smoothing_clip": 0.5,
        },
        {
            "num_envs": 8, "num_epochs": 8, "batch_size": 128, "buffer_size": 50_000, "fill_buffer": 256,
            "learning_rate": 3e-4, "gamma": 0.99, "max_grad_norm": 1e9, "polyak": 0.995, "policy_delay": 2,
            "exploration_noise": 0.2, "target_noise": 0.4, "target_noise_clip": 1.0,
        },
        # Of two critics, and of the policy every other time; of 11.5 passes forwards, or as much, these are 10.
        {"updates": 20, "rows": 128, "evaluations": 1},
        (4, 64, 64, 1),
    ),
    "minatar": Algorithm(
        "dqn",
        "Breakout-MinAtar",
        {
            "num_envs": 8, "num_steps": 1, "num_updates": 8, "batch_size": 96, "capacity": 9_600, "warm_up": 200,
            "layers": (64, 64), "activation": "silu",
        },
        {
            "learning_rate": 5e-4, "discount": 0.99, "max_grad_norm": 10.0, "epsilon_start": 1.0, "epsilon_end": 0.05,
            "target_period": 1_000.0, "target_step": 1.0,
        },
        {
            "num_envs": 8, "num_epochs": 8, "batch_size": 96, "buffer_size": 9_600, "fill_buffer": 200,
            "learning_rate": 5e-4, "gamma": 0.99, "max_grad_norm": 10.0, "eps_start": 1.0, "eps_end": 0.05,
            "exploration_fraction": 0.5, "target_update_freq": 1_000, "polyak": 0.0, "ddqn": True,
        },
        {"updates": 8, "rows": 96, "evaluations": 2},
        (400, 64, 64, 3),
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Options:
    """Races agents that act by learned values against rejax.

    Attributes:
        agents: Which races.
        seeds: How many agents to train at once, one race for each number.
        iterations: Of each agent where one is trained alone, by algorithm in the order of `agents`.
        vmapped: By how much fewer there are where several are; rates do not depend on it.
        rounds: Of a race.
        timeout: Seconds within which a contender has to compile, and to finish each run.
        cache: Where rejax's environment is built, once.
        out: JSON file for everything measured.
    """

    agents: tuple[str, ...] = tuple(ALGORITHMS)
    seeds: tuple[int, ...] = (1, 16, 64)
    iterations: tuple[int, ...] = (2_000, 100, 1_000, 1_000, 2_000)
    vmapped: int = 10
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
    python = peers.environment(options.cache)
    measured: list[Measured] = []
    for name, iterations in zip(options.agents, options.iterations, strict=True):
        for seeds in options.seeds:
            rows = one_race(name, iterations if seeds == 1 else iterations // options.vmapped, seeds, options, python)
            console.print(speed_table(rows))
            console.print(memory(rows))
            measured += rows
    return measured


def check(options: Options) -> None:
    """Refuses options that make no sense."""
    for name in options.agents:
        check_name("agent", name, ALGORITHMS)
    if len(options.iterations) != len(options.agents):
        raise ValueError(f"--iterations {options.iterations}: give one number for each of {options.agents}")
    if min(options.rounds, options.vmapped, *options.seeds) < 1 or min(options.iterations) < 10 * options.vmapped:
        raise ValueError(
            "give 1 or more --rounds, --seeds and --vmapped, and --iterations of 10 times --vmapped or more"
        )


def one_race(name: str, iterations: int, seeds: int, options: Options, python: Path) -> list[Measured]:
    """Everybody's runs of one algorithm."""
    return take_turns(entries(name, iterations, seeds), python, options.rounds, options.timeout)


def entries(name: str, iterations: int, seeds: int) -> list[Measured]:
    """Who runs, with nothing measured yet."""
    spread = spread_over(seeds)
    field: list[tuple[str, str, str, dict[str, str]]] = [
        ("ours", "agents", spread, {}),
        ("rejax", "rejax", "", {}),
        ("rejax seq", "rejax", SEQUENTIAL, {}),
    ]
    field += [("ours, one device", "agents", SEQUENTIAL, {})] if seeds > 1 else []
    field += [(f"bound: {bound}", "products", spread, {"bound": bound}) for bound in BOUNDS]
    told, algorithm = spec(name, iterations, seeds), ALGORITHMS[name]
    return [
        Measured(
            f"{algorithm.agent}, {algorithm.env}", who, program == "rejax", seeds, told["env_steps"],
            {**told, "program": str(program_of(program)), **more}, flags, {}, [],
        )
        for who, program, flags, more in field
    ]  # fmt: skip


def spec(name: str, iterations: int, seeds: int) -> dict[str, Any]:
    """What every contender is told."""
    algorithm = ALGORITHMS[name]
    explores = {"epsilon_steps": iterations * algorithm.steps / 2} if "epsilon_end" in algorithm.hyperparams else {}
    return {
        "agent": algorithm.agent,
        "peer": algorithm.agent,
        "setting": {"env": algorithm.env, **{size: algorithm.config[size] for size in ("num_envs", "num_steps")}},
        "config": algorithm.config,
        "hyperparams": algorithm.hyperparams | explores,
        "arguments": algorithm.arguments,
        "products": algorithm.products,
        "widths": algorithm.widths,
        "curves": False,
        "sampled": algorithm.agent == "sac",
        "seeds": seeds,
        "iterations": iterations,
        "env_steps": iterations * algorithm.steps * seeds,
    }


def memory(rows: list[Measured]) -> str:
    """The most memory that each process had."""
    return "memory: " + ", ".join(f"{row.name} {max(row.each('peak_gb')):.2f} GB" for row in rows if row.runs)


if __name__ == "__main__":
    command(Options, run, peers.PINNED)
