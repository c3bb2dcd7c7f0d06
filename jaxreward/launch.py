"""Where jobs run: one after the other in this process, or as many at once as there are machines for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import jax

from jaxreward.job import Job
from jaxreward.names import check_name
from jaxreward.store import RunError


class Outcome(NamedTuple):
    """How a job ended.

    Attributes:
        job: The job; what it came to is in its folder.
        error: Why it failed, None if it didn't.
    """

    job: Job
    error: str | None = None


Launcher: TypeAlias = Callable[[Sequence[Job]], Iterator[Outcome]]
"""Trains jobs and yields each as it ends, in any order; a job that is already finished is not trained again."""


def local(*, progress: bool = True, wandb: str | None = None) -> Launcher:
    """Runs jobs one after the other in this process, each on all local devices.

    Args:
        progress: Whether to show the progress of each.
        wandb: A Weights & Biases project.
    """

    def launch(jobs: Sequence[Job]) -> Iterator[Outcome]:
        for job in jobs:
            yield _train(job, progress, wandb)

    return launch


def _train(job: Job, progress: bool, wandb: str | None) -> Outcome:
    if job.finished():
        return Outcome(job)
    try:
        job.train(progress=progress, wandb=wandb)
    except (RunError, ValueError, jax.errors.JaxRuntimeError) as error:  # the last is what running out of memory is
        return Outcome(job, str(error))
    return Outcome(job)


def ray(address: str | None = None, *, devices: int | None = None, retries: int = 3, progress: bool = True) -> Launcher:
    """Runs jobs on a Ray cluster or a local Ray, see `jaxreward.ray_launcher.RayLauncher`.

    Raises:
        RunError: Ray is not installed.
    """
    from jaxreward.ray_launcher import RayLauncher

    return RayLauncher(address, devices, retries, progress)


def get_launcher(
    name: str,
    *,
    address: str | None = None,
    devices: int | None = None,
    progress: bool = True,
    wandb: str | None = None,
) -> Launcher:
    """A launcher by name.

    Args:
        name: `local` or `ray`.
        address: Of a Ray cluster.
        devices: How many devices Ray gives each job.
        progress: Whether to show progress.
        wandb: A Weights & Biases project, which only the local launcher logs to.

    Raises:
        RunError: Ray is not installed.
        ValueError: There is no launcher of that name (says which is nearest), or it does not do what is asked for.
    """
    check_name("launcher", name, ("local", "ray"))
    if name == "local":
        if address or devices:
            raise ValueError("--address and --devices are for --launcher ray")
        return local(progress=progress, wandb=wandb)
    if wandb:
        raise ValueError("--launcher ray does not log to Weights & Biases; the run folders have everything")
    return ray(address, devices=devices, progress=progress)
