"""Folders that are written to: new or empty where something begins, and one process's at a time.

The lock is one of the operating system, on a file in the folder, so it ends with its process however that ends; nothing
is left behind that would have to be removed. On a shared folder it keeps out other machines too where the file system
hands locks on to its server: NFS and SMB on Linux do, Lustre if it is mounted with `flock`. There the lock of a process
that is killed is free at once, and that of a machine that goes down when the server gives up on it: on NFSv4 after a
lease, 90 seconds by default, on NFSv3 when the machine is up again. A file system without locks is warned of.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import os
import socket
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from jaxreward.run.distributed import from_leader
from jaxreward.run.store import RunError

LOCK = ".lock"
"""The file in a folder that is locked; it stays, and says who had the lock last."""
NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
"""What a file system without locks answers."""


@contextlib.contextmanager
def hold(folder: Path, seconds: float = 0.0) -> Iterator[None]:
    """Keeps other processes, and other threads of this one, out of a folder; who holds it may hold it again inside.

    Args:
        folder: It is made if it isn't there.
        seconds: How long to wait for who holds it.

    Raises:
        RunError: Another process holds it (says which), or it can't be written to.
    """
    # One instance for all in this process: it counts how often a thread holds the lock.
    lock = FileLock(folder.absolute() / LOCK, is_singleton=True, preserve_lock_file=True, on_acquired=_sign)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=seconds)
    except Timeout as error:
        raise RunError(
            f"another process is at work in {folder}: {_holder(folder)}. Wait for it to end, or choose another folder"
        ) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise RunError(f"can't write to the folder {folder}: {error.strerror or error}") from error
        warnings.warn(f"{folder} is on a file system without locks: let no second process write to it", stacklevel=3)
        yield
        return
    with contextlib.ExitStack() as stack:
        stack.callback(lock.release)
        yield


@contextlib.contextmanager
def hold_together(folder: Path) -> Iterator[None]:
    """`hold` for several processes that train together: the first of them holds the folder for all.

    Raises:
        RunError: See `hold`; in all of them.
    """
    with contextlib.ExitStack() as stack:
        from_leader(lambda: stack.enter_context(hold(folder)))
        yield


def check_unused(folder: Path, begun: Collection[str] = (), gone: str = "") -> None:
    """Refuses to begin something in a folder that has files of something else in it.

    Args:
        folder: It need not exist.
        begun: Names of files and folders that are left when a beginning is interrupted. They count as such beside the
            lock alone: a user may have files that are called so.
        gone: What it seems to have been, such as "a run whose config.json".

    Raises:
        RunError: There are others; names one.
    """
    ours = {LOCK, *begun} if (folder / LOCK).is_file() else set()
    ours |= {f"{name}.tmp" for name in ours}
    found = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    other = next((path for path in found if not ours & set(path.parts)), None)
    if other is not None:
        advice = f", of {gone} is gone. Bring that back, or choose" if gone else ". Choose"
        raise RunError(f"{folder} is not empty: it has {other}{advice} a folder that is new or empty")


def check_own(path: Path, ours: bool) -> None:
    """Refuses to write over a file that is somebody else's.

    Raises:
        RunError: It is there, and not ours.
    """
    if path.exists() and not ours:
        raise RunError(f"{path} is there already and was not made by jaxreward: choose another name, or move it away")


def at_work(folder: Path) -> bool | None:
    """Whether the process that had a folder last is there still; None if it is another machine's, or nobody's yet.

    The lock is only read: to try it would keep out whoever comes at that moment.
    """
    try:
        said = json.loads((folder / LOCK).read_bytes())
        process, host = int(said["process"]), said["host"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if host != socket.gethostname():
        return None
    began = _began(process)
    if began is not None and said.get("began") not in (None, began):  # its number is another's now
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is somebody else's
        return True
    return True


def _began(process: int) -> int | None:
    """When a process began, in ticks since the machine did; None if it is no more, or without `/proc`."""
    try:
        told = Path(f"/proc/{process}/stat").read_text()
        return int(told.rpartition(")")[2].split()[19])  # the 22nd field; the name, in brackets, may have spaces
    except (OSError, ValueError, IndexError):
        return None


def _sign(lock: int) -> None:
    """Writes into the lock's file who holds it, where other machines see it at once."""
    now = datetime.datetime.now(datetime.UTC).isoformat(sep=" ", timespec="seconds")
    process = os.getpid()
    text = json.dumps({"process": process, "host": socket.gethostname(), "since": now, "began": _began(process)})
    os.ftruncate(lock, 0)
    os.pwrite(lock, text.encode(), 0)
    os.fsync(lock)


def _holder(folder: Path) -> str:
    try:
        said = json.loads((folder / LOCK).read_bytes())
        return f"process {said['process']} on {said['host']}, since {said['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it is just writing that
        return "it has only just begun"
