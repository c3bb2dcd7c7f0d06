"""How much of the space of objectives a set of trials dominates, exactly and in any number of dimensions."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float


def hypervolume(points: Float[np.ndarray, "n k"], reference: Float[np.ndarray, " k"]) -> float:
    """The volume that is worse than some point and better than the reference, all objectives being minimised.

    By exclusive volumes, as in While, Bradstreet and Barone, "A Fast Way of Calculating Exact Hypervolumes", 2012:
    exponential in the number of objectives at worst, quick for the few that searches have.

    Args:
        points: The objectives of each trial; those that are nowhere better than the reference add nothing.
        reference: What every trial should be better than.
    """
    points, reference = np.asarray(points, float), np.asarray(reference, float)
    return _volume(points[(points < reference).all(axis=-1)], reference)


def is_front(points: Float[np.ndarray, "n k"]) -> Bool[np.ndarray, " n"]:
    """Which points none dominates: is nowhere worse than and better somewhere, all objectives being minimised."""
    points = np.asarray(points, float)
    no_worse = (points[:, None] <= points).all(axis=-1)
    better = (points[:, None] < points).any(axis=-1)
    return np.logical_not((no_worse & better).any(axis=0))


def _volume(points: np.ndarray, reference: np.ndarray) -> float:
    points = np.unique(points[is_front(points)], axis=0)
    volumes = np.prod(reference - points, axis=-1)
    # What a point dominates together with a later one is what their joint worst dominates.
    shared = [_volume(np.maximum(point, points[i + 1 :]), reference) for i, point in enumerate(points)]
    return float(volumes.sum() - sum(shared))
