"""Where jobs run: one after the other in this process, or as many at once as there are machines for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import jax

from jaxreward.run.job import Job
from jaxreward.run.store import RunError


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
    try:
        if job.finished():
            return Outcome(job)
        job.train(progress=progress, wandb=wandb)
    except (RunError, ValueError, jax.errors.JaxRuntimeError) as error:  # the last is what running out of memory is
        return Outcome(job, str(error))
    return Outcome(job)
