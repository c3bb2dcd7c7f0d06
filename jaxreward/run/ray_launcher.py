"""Jobs on a Ray cluster, or on a local Ray: several at once, each in a process of its own that is replaced if it dies.

The run folders must be on a filesystem that all machines have under the same paths, and so must files that hold a
user's own rewards and agents.
"""

from __future__ import annotations

import os
import socket
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import jax

from jaxreward.compilation.cpu_scheduler import device_flags
from jaxreward.run.code import remember_code
from jaxreward.run.folder import hold
from jaxreward.run.launcher import Outcome
from jaxreward.run.progress import duration
from jaxreward.run.store import RunError, RunFolder
from jaxreward.run.trust import trusting

if TYPE_CHECKING:
    from jaxreward.run.job import Job

FORWARDED = ("JAX", "XLA_", "XDG_CACHE_HOME", "XDG_STATE_HOME")
"""How the environment variables begin that workers get from here: what decides on bits, the compilation cache, and the
record of trusted code."""
LOG = "worker.log"
"""What a worker wrote, in the run folder of its job; not there if that was nothing."""
PATIENCE = 120.0
"""Seconds that a worker waits for a run folder: a file server keeps the lock of a machine that died for a while."""


class RayLauncher:
    """A `jaxreward.run.launcher.Launcher`.

    A worker makes a checkpoint after each row of the metrics, so one that dies loses no more than it did since the last
    row. Results have the same bits as those of `jaxreward.run.launcher.local` if as many devices train each job there;
    see `jaxreward.run.train.train`. A local Ray that was started stays for the next jobs, until this process ends.

    Args:
        address: Of the cluster, such as `auto` or `ray://HOST:PORT`; `$RAY_ADDRESS` or a local Ray by default.
        devices: How many devices, of the kind there is here, train each job: as many as here by default. With fewer,
            more jobs run at once.
        retries: How often a job whose worker died is begun again.
        progress: Whether to tell of each job that ends.

    Raises:
        RunError: Ray is not installed.
    """

    def __init__(
        self, address: str | None = None, devices: int | None = None, retries: int = 3, progress: bool = True
    ) -> None:
        self._ray = import_ray()
        # On a GPU that workers share this process would take most of the memory, for nothing.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        self._address, self._retries, self._progress = address, retries, progress
        self._devices = devices or jax.local_device_count()

    def __call__(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Trains jobs and yields each as it ends; those not ended when it is closed are cancelled.

        Raises:
            RunError: Ray can't be reached, or a run folder can't be written to.
        """
        done, rest = [job for job in jobs if job.finished()], [job for job in jobs if not job.finished()]
        yield from map(Outcome, done)
        if not rest:
            return
        for job in rest:
            _agree(job)
            RunFolder(job.folder).create()  # a worker that does not find it is on another filesystem
        self._connect()
        self._warn_if_none_is_large_enough()
        work = self._worker()
        pending = {work.remote(_absolute(job), os.getcwd()): job for job in rest}
        began = time.monotonic()
        try:
            while pending:
                (ended,), _ = self._ray.wait(list(pending), num_returns=1)
                outcome = self._outcome(ended, pending.pop(ended))
                self._tell(outcome, len(rest) - len(pending), len(rest), time.monotonic() - began)
                yield outcome
        finally:
            for left in pending:
                self._ray.cancel(left, force=True)

    def _connect(self) -> None:
        if self._ray.is_initialized():
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray would begin a job that does not fit into memory again for ever.
        os.environ.setdefault("RAY_task_oom_retries", str(self._retries))
        address = self._address or os.environ.get("RAY_ADDRESS")
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        local: dict[str, Any] = {} if address else {"include_dashboard": False, "num_cpus": os.cpu_count()}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what Ray is going to change is not the user's business
                self._ray.init(address=address or "local", **quiet, **local)
        except Exception as error:
            where = f"at {address} (is it up, and $RAY_AUTH_TOKEN its token?)" if address else "on this machine"
            raise RunError(f"can't connect to Ray {where}: {error}") from error

    def _needs(self) -> dict[str, int]:
        """What Ray sets aside for a job."""
        if jax.default_backend() == "cpu":
            return {"CPU": min(self._devices, os.cpu_count() or 1), "GPU": 0}
        return {"CPU": 1, "GPU": self._devices}

    def _warn_if_none_is_large_enough(self) -> None:
        """A cluster may yet grow, so that this is not an error."""
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        fits = (all(has.get(kind, 0) >= count for kind, count in self._needs().items()) for has in machines)
        if not any(fits):
            needed = " and ".join(f"{count} {kind}s" for kind, count in self._needs().items() if count)
            warnings.warn(
                f"no machine of the Ray cluster has {needed}, so jobs wait until one joins; with fewer devices "
                "(--devices) they need less",
                stacklevel=3,
            )

    def _worker(self) -> Any:
        """The remote function: a fresh process for each job, since JAX keeps what it has once taken."""
        variables = {name: value for name, value in os.environ.items() if name.startswith(FORWARDED)}
        variables |= device_flags(self._devices) if jax.default_backend() == "cpu" else {}
        return self._ray.remote(
            num_cpus=self._needs()["CPU"],
            num_gpus=self._needs()["GPU"],
            max_retries=self._retries,
            retry_exceptions=False,
            max_calls=1,
            runtime_env={"env_vars": variables},
        )(_train)

    def _outcome(self, reference: Any, job: Job) -> Outcome:
        errors = self._ray.exceptions
        try:
            return Outcome(job, self._ray.get(reference))
        except errors.RayTaskError as error:
            return Outcome(job, f"{type(error.cause).__name__}: {error.cause}; {_where_log_is(job)}")
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError) as error:
            died = f"its worker died {self._retries + 1} times: {_first_sentence(error)}"
            return Outcome(job, f"{died}; {_where_log_is(job)}")
        except errors.RayError as error:
            return Outcome(job, f"Ray could not run it: {type(error).__name__}: {_first_sentence(error)}")

    def _tell(self, outcome: Outcome, count: int, total: int, seconds: float) -> None:
        if not self._progress:
            return
        from rich.console import Console

        state = "failed" if outcome.error else "done"
        left = duration(seconds / count * (total - count))
        told = f"{outcome.job.folder.name} {state}, {count} of {total}  {left} left"
        Console(stderr=True, markup=False, emoji=False).print(told)


def import_ray() -> ModuleType:
    """Ray, which is an optional dependency.

    Raises:
        RunError: It isn't installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
    except ImportError as error:
        raise RunError("the launcher ray needs Ray: pip install 'jaxreward[ray]'") from error
    return ray


def _train(job: Job, directory: str) -> str | None:
    """What a worker does; returns what the user has to put right, if anything."""
    if Path(directory).is_dir():
        os.chdir(directory)  # names such as my_reward.py:gain are relative to it
    if not job.folder.is_dir():
        return (
            f"{job.folder} is not there on {socket.gethostname()}: run folders must be on a filesystem that all "
            "machines have under the same path"
        )
    _write_to(job.folder / LOG)
    try:
        with hold(job.folder, PATIENCE), trusting():  # whoever sends a job has said so where it was sent from
            job.train(progress=False, checkpoint_every=1)
    except (RunError, ValueError) as error:
        return str(error)
    except Exception:
        traceback.print_exc()
        raise
    finally:
        _remove_if_empty(job.folder / LOG)
    return None


def _agree(job: Job) -> None:
    """Asks here for what a worker can't ask for, and knows a run again that a worker on another machine begins."""
    if RunFolder(job.folder).exists():
        job.experiment()
    else:
        remember_code(job.places())


def _write_to(log: Path) -> None:
    """Lets all that this process writes go to a file: also what is not Python's, and of a process that crashes."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def _remove_if_empty(log: Path) -> None:
    if log.stat().st_size == 0:
        log.unlink()


def _where_log_is(job: Job) -> str:
    log = RunFolder(job.folder).path / LOG
    return f"what it wrote is in {log}" if log.is_file() and log.stat().st_size else "it wrote nothing"


def _absolute(job: Job) -> Job:
    return replace(job, folder=RunFolder(job.folder).path)


def _first_sentence(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".") or type(error).__name__
