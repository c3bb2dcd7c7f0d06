"""Jobs on a Ray cluster, or on a local Ray: several at once, each in a process of its own that is replaced if it dies.

The run folders must be on a filesystem that all machines have under the same paths, and so must files that hold a
user's own rewards and agents.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import jax

from jaxreward.cpu_scheduler import device_flags
from jaxreward.launch import Outcome
from jaxreward.progress import duration
from jaxreward.store import RunError

if TYPE_CHECKING:
    from jaxreward.job import Job

FORWARDED = ("JAXREWARD_CACHE", "JAX_PLATFORMS", "XDG_CACHE_HOME")
"""Environment variables that workers get from here."""


class RayLauncher:
    """A `jaxreward.launch.Launcher`.

    A worker makes a checkpoint after each row of the metrics, so one that dies loses no more than it did since the last
    row. Results have the same bits as those of `jaxreward.launch.local` if as many devices train each job there; see
    `jaxreward.train.train`.

    Args:
        address: Of the cluster, such as `auto` or `ray://HOST:PORT`; `$RAY_ADDRESS` or a local Ray by default.
        devices: How many devices train each job: as many as there are here by default. With fewer, more jobs run at
            once.
        retries: How often a job whose worker died is begun again.
        progress: Whether to tell of each job that ends.

    Raises:
        RunError: Ray is not installed.
    """

    def __init__(
        self, address: str | None = None, devices: int | None = None, retries: int = 3, progress: bool = True
    ) -> None:
        self._ray = import_ray()
        self._address, self._retries, self._progress = address, retries, progress
        self._devices = devices or jax.local_device_count()

    def __call__(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Trains jobs and yields each as it ends; those not ended when it is closed are cancelled."""
        done, rest = [job for job in jobs if job.finished()], [job for job in jobs if not job.finished()]
        yield from map(Outcome, done)
        if not rest:
            return
        self._connect()
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
        address = self._address or os.environ.get("RAY_ADDRESS")
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        local: dict[str, Any] = {} if address else {"include_dashboard": False, "num_cpus": os.cpu_count()}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what Ray is going to change is not the user's business
                self._ray.init(address=address, **quiet, **local)
        except Exception as error:
            raise RunError(f"can't connect to Ray at {address or 'this machine'}: {error}") from error

    def _worker(self) -> Any:
        """The remote function: a fresh process for each job, since JAX keeps what it has once taken."""
        on_cpu = jax.default_backend() == "cpu"
        variables = {name: os.environ[name] for name in FORWARDED if name in os.environ}
        variables |= device_flags(self._devices) if on_cpu else {}
        return self._ray.remote(
            num_cpus=min(self._devices, os.cpu_count() or 1) if on_cpu else 1,
            num_gpus=0 if on_cpu else self._devices,
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
            return Outcome(job, f"{type(error.cause).__name__}: {error.cause}")
        except errors.RayError as error:
            return Outcome(job, f"its worker died {self._retries + 1} times: {_first_line(error)}")

    def _tell(self, outcome: Outcome, count: int, total: int, seconds: float) -> None:
        if not self._progress:
            return
        from rich.console import Console

        state = "failed" if outcome.error else "done"
        left = duration(seconds / count * (total - count))
        Console(stderr=True).print(f"{outcome.job.folder.name} {state}, {count} of {total}  {left} left", markup=False)


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
    try:
        job.train(progress=False, checkpoint_every=1)
    except (RunError, ValueError) as error:
        return str(error)
    return None


def _absolute(job: Job) -> Job:
    return replace(job, folder=job.folder.absolute())


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
