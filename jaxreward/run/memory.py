"""What a program takes at least and what there is, before it is compiled."""

from __future__ import annotations

import math
import os
from pathlib import Path, PurePosixPath
from typing import Any

import jax
import jax.extend.core as jex
from jaxtyping import PyTree

from jaxreward.learning.replay import Replay
from jaxreward.run.checkpoint import state_bytes
from jaxreward.run.spec import Experiment

STEP_BYTES = 64
"""What a program may keep of a step; where all steps of an iteration would need more than there is, it is counted."""


def check_memory(experiment: Experiment, seeds: int, memory: int | None = None) -> None:
    """Refuses what can't fit, found without compiling.

    Args:
        experiment: What is to be trained.
        seeds: How many runs of each member.
        memory: Bytes that there are; by default those of the device or the machine.

    Raises:
        ValueError: The states of all runs alone, or what one loop of theirs keeps of its steps, are more than there is.
    """
    runs = len(experiment.population) * seeds
    memory = available_memory() if memory is None else memory
    needed = runs * bytes_of_state(experiment)
    if needed <= memory < runs * experiment.steps_per_iteration * STEP_BYTES:
        needed = runs * bytes_of_loops(experiment)
    if needed > memory:
        replay = _of_replay(experiment, memory / runs)
        raise ValueError(
            f"{runs:,} run{'s' * (runs > 1)} of these sizes need{'s' * (runs == 1)} {needed / 1e9:,.3g} GB at least, "
            f"and there are {memory / 1e9:,.3g} GB: give smaller sizes, or fewer seeds{replay}"
        )


def _of_replay(experiment: Experiment, memory: float) -> str:
    """What of a run's state is a ring of old transitions, and how many of them would fit; nothing if it has none."""
    state = _state(experiment)
    rings = [node for node in jax.tree.leaves(state, is_leaf=_is_replay) if _is_replay(node)]
    config = experiment.config["agent_config"]
    if not rings or "capacity" not in config:
        return ""
    kept = state_bytes(jax.tree.map(_of_keys, rings))
    rest = state_bytes(jax.tree.map(_of_keys, state)) - kept
    block = config["num_envs"] * config["num_steps"]
    most = int((memory - rest) / kept * config["capacity"]) // block * block
    fits = f", and capacity={most} fits" if most > 0 else ""
    return f". Its capacity={config['capacity']} of old transitions takes {kept / 1e9:,.3g} GB{fits}"


def _is_replay(node: Any) -> bool:
    return isinstance(node, Replay)


def bytes_of_state(experiment: Experiment) -> int:
    """The size of the state of one run: the least it can need."""
    return state_bytes(jax.tree.map(_of_keys, _state(experiment)))


def bytes_of_loops(experiment: Experiment) -> int:
    """The most that one loop of an iteration gives back, of one run."""
    return _loops(jax.make_jaxpr(experiment.agent.step)(_state(experiment)).jaxpr)


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


def _state(experiment: Experiment) -> PyTree:
    return jax.eval_shape(experiment.agent.init, jax.random.key(0), experiment.member(0))


def _loops(jaxpr: Any) -> int:
    within = [_loops(inner) for eqn in jaxpr.eqns for inner in jex.jaxprs_in_params(eqn.params)]
    own = [sum(_bytes(var.aval) for var in eqn.outvars) for eqn in jaxpr.eqns if eqn.primitive.name == "scan"]
    return max([0, *within, *own])


def _bytes(aval: Any) -> int:
    return math.prod(aval.shape) * getattr(aval.dtype, "itemsize", 0)


def _of_keys(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.eval_shape(jax.random.key_data, leaf) if is_key else leaf
