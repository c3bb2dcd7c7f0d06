"""When a space of behaviours is learned anew: at growing intervals (STAX, arXiv:2111.01919)."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


class Training(NamedTuple):
    """A counter.

    Attributes:
        chunks: Chunks of exploration since the last training.
        interval: After how many the next one is due.
    """

    chunks: Int[Array, ""]
    interval: Int[Array, ""]


def new_training() -> Training:
    """The first training is due after the first chunk."""
    return Training(jnp.zeros((), jnp.int32), jnp.ones((), jnp.int32))


def advanced(training: Training, explored: Bool[Array, ""]) -> tuple[Training, Bool[Array, ""]]:
    """The counter after a chunk, and whether a training is due: after chunks of exploration 1, 3, 6, 10, 15, ..."""
    chunks = training.chunks + explored
    due = explored & (chunks == training.interval)
    return Training(jnp.where(due, 0, chunks), training.interval + due), due
