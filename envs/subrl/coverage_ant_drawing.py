"""Pictures of what the ant has covered of its arena."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from jaxreward.envs.parts.drawing import grid
from jaxreward.envs.subrl.coverage_ant import ARENA, CELLS, PATCH


def arenas(positions: Float[np.ndarray, "T 2"]) -> Iterator[Image.Image]:
    """The arena from above with its covered cells in grey and the ant's own in white, a picture a step; y is upwards.

    Args:
        positions: Where the ant was, `[T, 2]` in m, the start first.
    """
    covered = np.zeros((CELLS, CELLS), bool)
    for cell in np.floor((np.asarray(positions, float) + ARENA) * CELLS / (2 * ARENA)).astype(int):
        covered |= _patch(cell)
        shades = 0.5 * covered
        if (cell >= 0).all() and (cell < CELLS).all():
            shades[tuple(cell)] = 1.0
        yield grid(shades.T[::-1])


def _patch(cell: np.ndarray) -> Bool[np.ndarray, "cells cells"]:
    """What is covered from a cell."""
    along = [(np.arange(CELLS) >= first) & (np.arange(CELLS) < first + PATCH) for first in cell]
    return along[0][:, None] & along[1]
