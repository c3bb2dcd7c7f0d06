"""What is looked at before a run is trained, and what the errors of a disk or of other processes are told as."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from typing import Any

import jax

from jaxreward.run.checkpoint import saved_iterations, state_bytes
from jaxreward.run.chunk import Program
from jaxreward.run.distributed import from_leader, largest, several
from jaxreward.run.store import RunError, RunFolder, differences

SPARE_BYTES = 32 * 2**20
"""What a run writes besides its checkpoints, roughly."""


def check_processes_agree(described: dict[str, Any]) -> None:
    """Refuses to train together what is not the same in all processes.

    Raises:
        RunError: In all of them.
    """
    leaders = from_leader(lambda: described)
    changes = differences(leaders, described)
    if largest([bool(changes) or leaders["iterations"] != described["iterations"]])[0]:
        raise RunError(
            "the processes were not asked to train the same; start all with the same arguments. "
            f"Process {jax.process_index()} differs from the first in: {changes or 'nothing, another does'}"
        )


def check_untouched(run: RunFolder, previous: dict[str, Any] | None) -> None:
    """Refuses to go on from what another process has changed since it was read, before the folder was held."""
    now = run.read_config() if run.exists() else None
    if now != previous:
        raise RunError(f"another process was at work in {run.path} just now; start again")


def make_room(run: RunFolder, program: Program, keep: int) -> None:
    """Makes the folder and checks that what will be written fits."""
    run.create()
    checkpoint = state_bytes(program.state)
    needed = SPARE_BYTES + checkpoint * max(keep + 1 - len(saved_iterations(run.checkpoints)), 1)
    free = shutil.disk_usage(run.path).free
    if free < needed:
        raise RunError(
            f"{run.path} has {free / 1e6:.0f} MB left, but the run needs about {needed / 1e6:.0f} MB: a checkpoint is "
            f"{checkpoint / 1e6:.1f} MB and {keep} are kept. Free some space, choose another folder or keep fewer"
        )


@contextlib.contextmanager
def disk_errors(run: RunFolder) -> Iterator[None]:
    """Tells of a file that can't be written what is kept, and how to go on."""
    try:
        yield
    except OSError as error:
        saved = saved_iterations(run.checkpoints)
        last = f"the last checkpoint is of iteration {saved[-1]}" if saved else "there is no checkpoint yet"
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        where = run.path if full or error.filename is None else error.filename
        raise RunError(
            f"can't write to {where}: {error.strerror or error}. What was written before is kept; {last}. "
            f"{'Make space' if full else 'See to that'}, then resume the run"
        ) from error


@contextlib.contextmanager
def lost_processes(run: RunFolder) -> Iterator[None]:
    """Tells of another process that has ended, where several train together."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not several():
            raise
        reason = str(error).splitlines()[0]
        raise RunError(
            f"this process can't go on, most likely because another has ended: {reason}. Start all of them again to "
            f"resume the run in {run.path}"
        ) from error
