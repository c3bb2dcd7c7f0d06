"""What a program will need, measured on a small chunk of it before it is trained."""

from __future__ import annotations

import math
import os
import time
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import jax

from jaxreward.agent import vmap
from jaxreward.run.checkpoint import state_bytes
from jaxreward.run.chunk import Program
from jaxreward.run.job import Job
from jaxreward.run.plan import make_plan

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
    runs, so the estimate for many is above what XLA says of their own program. It has the job's own number of
    iterations in a chunk, whose metrics are kept until the chunk ends: with thousands they are most of the memory.
    """
    members = job.members[:SAMPLE]
    part = replace(job, members=members, seeds=job.seeds[: max(1, SAMPLE // len(members))])
    experiment = part.experiment()
    iterations = experiment.iterations(job.steps)
    plan = make_plan(experiment.hyperparams, experiment.population, part.seeds, iterations, job.log_every)
    program = Program(vmap(vmap(experiment.agent), population=True), plan.keys, plan.hyperparams, plan.log_every)
    step, seconds = program.compile()
    state, init_seconds = program.init()
    state, _ = jax.block_until_ready(step(state, 1))
    began = time.perf_counter()
    jax.block_until_ready(step(state, 1))
    runs = len(members) * len(part.seeds)
    each = (time.perf_counter() - began) / runs
    return Estimate(math.ceil(program.bytes / runs), each * iterations, seconds + init_seconds)


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
    return min([_machine_memory(), *group_memory()])


def group_memory(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[int]:
    """Bytes left in the control groups of this process: what a container or a cluster's job may take, as Linux has it.

    Args:
        root: Where the groups are.
        own: The file that says which are this process's.

    Returns:
        A number for each group that has a limit: the process's own, and those that it is in.
    """
    lines = own.read_text().splitlines() if own.is_file() else []
    entries = [line.split(":", 2) for line in lines]
    second = [(root, path, "memory.max", "memory.current") for _, kinds, path in entries if not kinds]
    first = [
        (root / "memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes")
        for _, kinds, path in entries
        if "memory" in kinds.split(",")
    ]
    places = [
        (top / parent.relative_to("/"), limit, used)
        for top, path, limit, used in (*second, *first)
        for parent in (PurePosixPath(path), *PurePosixPath(path).parents)
    ]
    return [left for place, limit, used in places if (left := _left(place, limit, used)) is not None]


def _left(group: Path, limit: str, used: str) -> int | None:
    """What may still be taken of a group's limit; files that Linux would drop are not counted as taken."""
    try:
        largest = (group / limit).read_text().strip()
        lines = (group / "memory.stat").read_text().splitlines()
        taken = int((group / used).read_text())
    except OSError:
        return None
    if largest == "max":
        return None
    stat = {name: int(number) for name, _, number in (line.partition(" ") for line in lines)}
    files = stat.get("total_inactive_file", stat.get("inactive_file", 0))
    return max(int(largest) - max(taken - files, 0), 0)


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
