"""What a program will need, measured on a small chunk of it before it is trained."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax

from jaxreward.agent import vmap
from jaxreward.checkpoint import state_bytes
from jaxreward.chunk import Program
from jaxreward.job import Job
from jaxreward.plan import make_plan

SAMPLE = 8
"""Runs that are measured, at most; a program of so many has shown what one of it takes beyond its state."""


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

    Memory is what XLA says a program of `SAMPLE` runs takes, by run. All of it is counted as growing with the number of
    runs, so the estimate for many is above what XLA says of their own program.
    """
    members = job.members[:SAMPLE]
    part = replace(job, members=members, seeds=job.seeds[: max(1, SAMPLE // len(members))])
    experiment = part.experiment()
    plan = make_plan(experiment.hyperparams, experiment.population, part.seeds, 2, 1)
    program = Program(vmap(vmap(experiment.agent), population=True), plan.keys, plan.hyperparams, 1)
    step, seconds = program.compile()
    state, init_seconds = program.init()
    state, _ = jax.block_until_ready(step(state, 1))
    began = time.perf_counter()
    jax.block_until_ready(step(state, 1))
    runs = len(members) * len(part.seeds)
    each = (time.perf_counter() - began) / runs
    return Estimate(program.bytes // runs, each * experiment.iterations(job.steps), seconds + init_seconds)


def run_state_bytes(job: Job) -> int:
    """The size of the state of one of a job's runs, found without compiling: the least a run can need."""
    experiment = replace(job, members=job.members[:1]).experiment()
    state = jax.eval_shape(experiment.agent.init, jax.random.key(0), experiment.member(0))
    return state_bytes(jax.tree.map(_of_keys, state))


def available_memory() -> int:
    """Bytes that a program may take: of the device where it says so, else of the machine and the container."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"]) * jax.local_device_count()
    limit, machine = Path("/sys/fs/cgroup/memory.max"), _machine_memory()
    text = limit.read_text().strip() if limit.is_file() else "max"
    return machine if text == "max" else min(machine, int(text))


def _machine_memory() -> int:
    """What is free, or held by Linux for files and given back when it is asked for."""
    info = Path("/proc/meminfo")
    lines = dict(line.split(":") for line in info.read_text().splitlines()) if info.is_file() else {}
    if "MemAvailable" in lines:
        return int(lines["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_keys(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.eval_shape(jax.random.key_data, leaf) if is_key else leaf
