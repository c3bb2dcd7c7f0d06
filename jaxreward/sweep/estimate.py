"""What a program of a sweep will need, measured on a small chunk of it before it is trained."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

from jaxreward.run.cost import cost_of, sampled
from jaxreward.run.job import Job
from jaxreward.run.memory import bytes_of_state
from jaxreward.run.plan import make_plan


class Estimate(NamedTuple):
    """What a job needs, as far as a small part of it tells.

    Attributes:
        run_bytes: Memory for each run while it trains.
        run_seconds: Time for each run. Many runs at once take less each, on a GPU far less; so this is a bound.
        compile_seconds: Time to compile the small part; the whole takes about as long.
    """

    run_bytes: int
    run_seconds: float
    compile_seconds: float


def estimate(job: Job) -> Estimate:
    """Compiles a small part of a job and trains it for two iterations, to measure what a run needs.

    Memory is what XLA says a program of `jaxreward.run.cost.SAMPLE` runs takes, by run. All of it is counted as growing
    with the number of runs, so the estimate for many is above what XLA says of their own program. It has the job's own
    number of iterations in a chunk, whose metrics are kept until the chunk ends: with thousands they are most of the
    memory.
    """
    members, seeds = sampled(len(job.members), len(job.seeds))
    part = replace(job, members=job.members[:members], seeds=job.seeds[:seeds])
    experiment = part.experiment()
    iterations = experiment.iterations(job.steps)
    plan = make_plan(experiment.hyperparams, experiment.population, part.seeds, iterations, job.log_every)
    cost = cost_of(experiment.agent, plan)
    return Estimate(math.ceil(cost.bytes), cost.seconds * iterations, cost.compile_seconds)


def run_state_bytes(job: Job) -> int:
    """The size of the state of one of a job's runs, found without compiling: the least a run can need."""
    return bytes_of_state(replace(job, members=job.members[:1]).experiment())
