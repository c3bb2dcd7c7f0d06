"""One number of many runs and tasks.

Scores are arrays `[runs, tasks]`, or `[runs]` for a single task. What is computed of them, and why, is from Agarwal et
al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", 2021 (arXiv:2108.13264). Aggregates take
arrays with any leading axes, so that many samples are reduced at once.

A NaN is a run that failed. No aggregate passes over it: with a NaN among the scores it is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float

Aggregate: TypeAlias = Callable[[Float[np.ndarray, "*batch R T"]], Float[np.ndarray, "*batch"]]
"""One number of many runs and tasks."""


def iqm(values: Float[np.ndarray, ...], axis: int = -1) -> Float[np.ndarray, ...]:
    """The interquartile mean: of what is left when a quarter of the values is cut from each end, rounded down.

    Args:
        values: At least one along the axis.
        axis: Over which it is taken.
    """
    ordered = np.sort(np.asarray(values), axis=axis)
    size = ordered.shape[axis]
    cut = size // 4
    middle = np.take(ordered, np.arange(cut, size - cut), axis=axis).mean(axis=axis)
    # NaN sorts behind all numbers, and would be cut off as the best.
    return np.where(np.isnan(np.take(ordered, -1, axis=axis)), np.nan, middle)[()]


def aggregate_iqm(scores: Float[np.ndarray, "*batch R T"]) -> Float[np.ndarray, "*batch"]:
    """The interquartile mean over all runs of all tasks."""
    return iqm(_pooled(scores))


def aggregate_mean(scores: Float[np.ndarray, "*batch R T"]) -> Float[np.ndarray, "*batch"]:
    """The mean over all runs of all tasks."""
    return scores.mean(axis=(-2, -1))


def aggregate_median(scores: Float[np.ndarray, "*batch R T"]) -> Float[np.ndarray, "*batch"]:
    """The median over tasks of the mean over runs."""
    return np.median(scores.mean(axis=-2), axis=-1)


def optimality_gap(scores: Float[np.ndarray, "*batch R T"], gamma: float = 1.0) -> Float[np.ndarray, "*batch"]:
    """How far scores fall short of `gamma` on average; what is above it makes up for nothing."""
    return gamma - np.minimum(scores, gamma).mean(axis=(-2, -1))


def score_distribution(
    scores: Float[np.ndarray, "*batch R T"], thresholds: Float[np.ndarray, " K"]
) -> Float[np.ndarray, "*batch K"]:
    """A performance profile: the fraction of all runs with a score above each threshold; a failed run is above none."""
    return (_pooled(scores)[..., None, :] > np.asarray(thresholds)[:, None]).mean(axis=-1)


def average_score_distribution(
    scores: Float[np.ndarray, "*batch R T"], thresholds: Float[np.ndarray, " K"]
) -> Float[np.ndarray, "*batch K"]:
    """The fraction of tasks whose mean score over runs is above each threshold."""
    return (scores.mean(axis=-2)[..., None, :] > np.asarray(thresholds)[:, None]).mean(axis=-1)


def probability_of_improvement(
    x: Float[np.ndarray, "*batch R T"], y: Float[np.ndarray, "*batch S T"]
) -> Float[np.ndarray, "*batch"]:
    """How likely a run of X scores higher than one of Y on the same task, ties counting half; the mean over tasks."""
    return 0.5 + 0.5 * np.sign(x[..., :, None, :] - y[..., None, :, :]).mean(axis=(-3, -2, -1))


def normalise(
    scores: Float[np.ndarray, "R T"], low: Float[np.ndarray, " T"], high: Float[np.ndarray, " T"]
) -> Float[np.ndarray, "R T"]:
    """Scores of which `low` of each task is 0 and `high` is 1, such as those of a random and of a good policy.

    Raises:
        ValueError: The two are the same for a task.
    """
    low, high = np.asarray(low, float), np.asarray(high, float)
    if np.any(low == high):
        raise ValueError(f"normalising needs two different reference scores for each task; got {low} and {high}")
    return (as_scores(scores) - low) / (high - low)


def as_scores(scores: Any) -> Float[np.ndarray, "R T"]:
    """Scores with an axis of tasks.

    Raises:
        ValueError: There are none, or they have neither one nor two axes.
    """
    array = np.asarray(scores, float)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or not array.size:
        raise ValueError(f"scores must be [runs] or [runs, tasks], not of shape {np.shape(scores)}")
    return array


def _pooled(scores: Float[np.ndarray, "*batch R T"]) -> Float[np.ndarray, "*batch N"]:
    return scores.reshape(*scores.shape[:-2], -1)
