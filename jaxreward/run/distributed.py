"""Training in several processes: one program over the devices of all of them, and one process that reads and writes.

Every process runs the same Python with the same arguments. The first of them, the leader, alone touches the run folder.
What it reads and decides, and what goes wrong for it, reaches the others by `from_leader`, so all take the same way and
none waits for one that has stopped. In a single process everything here is what it would be without this module.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec, Sharding
from jaxtyping import Shaped

T = TypeVar("T")
SMALLEST_MESSAGE = 1024
"""Messages are padded to this many bytes times a power of two: each length is a program of its own."""


def initialize(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    *,
    heartbeat_seconds: int = 60,
) -> None:
    """Makes this process one of several that train together.

    To be called before JAX is used, which importing an environment already does: `import jaxreward.run.distributed`
    first. Each should see as many devices as the others. On a CPU their number is that of
    `--xla_force_host_platform_device_count` in `XLA_FLAGS`, one by default.

    Args:
        coordinator: `HOST:PORT` where all can reach the first process. On a cluster that JAX knows (Slurm, Open MPI,
            Kubernetes, TPU) this and the other two are found out.
        processes: How many there are.
        process: Which this is, from 0.
        heartbeat_seconds: After how long without a sign of one process the others end.

    Raises:
        ValueError: The numbers don't fit together, or are needed and not given.
    """
    _check_process(processes, process)
    # A program that spans devices needs more threads than there are cores; see jaxreward.compilation.cpu_scheduler.
    os.environ.setdefault("NPROC", str(max(16, 2 * (os.cpu_count() or 1))))
    try:
        jax.distributed.initialize(coordinator, processes, process, heartbeat_timeout_seconds=heartbeat_seconds)
    except ValueError as error:
        raise ValueError(
            f"JAX found no cluster here, so say where the first process is (HOST:PORT), how many processes there are "
            f"and which this is: coordinator={coordinator}, processes={processes}, process={process} ({error})"
        ) from error


def several() -> bool:
    """Whether there is more than this process."""
    return jax.process_count() > 1


def is_leader() -> bool:
    """Whether this process is the one that reads, writes and speaks."""
    return jax.process_index() == 0


def from_leader(compute: Callable[[], T]) -> T:
    """What a function returns in the leader, or raises there; the others don't call it.

    Args:
        compute: Its result or error must be something that can be pickled.
    """
    if not several():
        return compute()
    error, result = pickle.loads(_broadcast(pickle.dumps(_outcome(compute)) if is_leader() else b""))
    if error is not None:
        raise error
    return result


def largest(numbers: list[int]) -> list[int]:
    """The largest of each number over all processes."""
    if not several():
        return numbers
    return multihost_utils.process_allgather(np.array(numbers, np.int32)).max(axis=0).tolist()


def on_host(array: jax.Array) -> Shaped[np.ndarray, "..."]:
    """The whole of an array, also of one that lies on the devices of several processes; a view where it can be."""
    if array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def put(array: Shaped[np.ndarray, "..."], sharding: Sharding | None) -> jax.Array:
    """An array that every process holds, on the devices of all; the inverse of `on_host`."""
    if sharding is None or not several():
        return jax.device_put(array, sharding)
    # `device_put` would compare what the processes hold, and NaN is not equal to itself.
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def for_every_host(sharding: NamedSharding | None) -> NamedSharding | None:
    """How a result must lie on the mesh for every process to hold all of it; no matter in a single one."""
    return NamedSharding(sharding.mesh, PartitionSpec()) if several() and sharding is not None else None


def _check_process(processes: int | None, process: int | None) -> None:
    if processes is not None and processes < 1:
        raise ValueError(f"the number of processes must be positive, not {processes}")
    if process is not None and not 0 <= process < (processes or process + 1):
        raise ValueError(f"this is process {process} of {processes}, but they count from 0 to {(processes or 1) - 1}")


def _outcome(compute: Callable[[], T]) -> tuple[Exception | None, T | None]:
    try:
        return None, compute()
    except Exception as error:  # whatever it is, the others must hear of it
        return error, None


def _broadcast(message: bytes) -> bytes:
    """The leader's message."""
    halves = multihost_utils.broadcast_one_to_all(np.array([len(message)]).view(np.int32))  # JAX has no int64 here
    length = int(halves.view(np.int64)[0])
    padded = SMALLEST_MESSAGE
    while padded < length:
        padded *= 2
    buffer = np.zeros(padded, np.uint8)
    buffer[: len(message)] = np.frombuffer(message, np.uint8)
    return multihost_utils.broadcast_one_to_all(buffer)[:length].tobytes()
