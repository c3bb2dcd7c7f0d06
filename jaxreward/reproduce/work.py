"""The programs that a figure is to run, and how each is measured before it is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
from jaxtyping import Array, Key, PyTree

from jaxreward.agent import Agent
from jaxreward.compilation.cache import compiler_options
from jaxreward.compilation.flops import flops
from jaxreward.run.cost import SAMPLE, cost_of, operations_of, sampled, timed
from jaxreward.run.job import Job
from jaxreward.run.plan import make_plan

PROBE_SECONDS = 2.0
"""How long a program is measured for, at least, unless all of it is shorter."""


class Cost(NamedTuple):
    """What a run costs, see `jaxreward.run.cost.Measured`, and how many operations it takes.

    Attributes:
        seconds: Of an iteration.
        flops: Of an iteration, see `jaxreward.compilation.flops`.
        bytes: Memory while it trains.
        compile_seconds: Of the program of a few runs.
    """

    seconds: float
    flops: float
    bytes: float
    compile_seconds: float


class Work(NamedTuple):
    """A program that is to be run.

    Attributes:
        steps: Of each run: of the environment, or what else there is to count.
        seeds: How many.
        configurations: How many, each with all seeds.
        iterations: In which the steps are taken.
        alike: What is the same of programs whose runs and iterations cost the same.
        measure: What it costs.
    """

    steps: int
    seeds: int
    configurations: int
    iterations: int
    alike: str
    measure: Callable[[], Cost]

    @property
    def run_iterations(self) -> int:
        """Of all runs."""
        return self.iterations * self.seeds * self.configurations


def of_job(job: Job) -> Work:
    """A job's program."""
    experiment = job.experiment()
    iterations, each = experiment.iterations(job.steps), experiment.steps_per_iteration
    work = of_agent(experiment.agent, experiment.hyperparams, len(job.seeds), iterations, each, job.log_every)
    return work._replace(alike=repr(job.setup))


def of_agent(
    agent: Agent,
    hyperparams: PyTree,
    seeds: int,
    iterations: int,
    steps_per_iteration: int = 1,
    log_every: int | None = None,
) -> Work:
    """An agent's training.

    Args:
        agent: A single one.
        hyperparams: Leaves `[configurations, ...]`; one without any has one configuration.
        seeds: Of each configuration.
        iterations: Of each run.
        steps_per_iteration: Of the environment.
        log_every: See `jaxreward.run.train.train`.
    """
    leaves = jax.tree.leaves(hyperparams)
    configurations = len(leaves[0]) if leaves else 1

    def measure() -> Cost:
        members, some = sampled(configurations, seeds)
        chosen = jax.tree.map(lambda leaf: leaf[:members], hyperparams)
        plan = make_plan(chosen, [{}] * members, some, iterations, log_every)
        seconds, taken, compiling = cost_of(agent, plan, PROBE_SECONDS)
        return Cost(seconds, operations_of(agent, plan), taken, compiling)

    return Work(iterations * steps_per_iteration, seeds, configurations, iterations, repr(agent), measure)


def of_function(
    function: Callable[[Key[Array, ""]], PyTree], runs: int, times: int = 1, *, steps: int = 1, double: bool = False
) -> Work:
    """What is no agent's: a function of a key.

    Args:
        function: To be vmapped.
        runs: Keys beside each other.
        times: How often, one after the other.
        steps: Of a call, to be told.
        double: Whether it computes in double precision.
    """

    def measure() -> Cost:
        with jax.enable_x64(True) if double else contextlib.nullcontext():
            keys = jax.random.split(jax.random.key(0), min(runs, SAMPLE))
            began = time.perf_counter()
            compiled = jax.jit(jax.vmap(function)).lower(keys).compile(compiler_options())
            compiling = time.perf_counter() - began
            again = lambda _, number: [compiled(keys) for _ in range(number)]  # noqa: E731
            each, counted = timed(again, None, times, PROBE_SECONDS), flops(jax.vmap(function), keys)
            return Cost(each / len(keys), counted / len(keys), 0.0, compiling)

    return Work(times * steps, runs, 1, times, repr(function), measure)
