"""Statistics of final scores over seeds and tasks.

Scores are arrays `[runs, tasks]`, or `[runs]` for a single task. What is computed of them, and why, is from Agarwal et
al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", 2021 (arXiv:2108.13264). Aggregates
take arrays with any leading axes, so that all bootstrap samples are reduced at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy.stats
from jaxtyping import Float

Statistic = Callable[..., Any]
"""`(values, axis=...) -> values without that axis`, like `numpy.mean`."""

Aggregate: TypeAlias = Callable[[Float[np.ndarray, "*batch R T"]], Float[np.ndarray, "*batch"]]
"""One number of many runs and tasks."""

EXACT_RUNS = 16
"""A permutation test of so many pairs tries all their signs; of more, a sample."""
PERMUTATIONS = 9_999
LARGEST_BATCH = 20_000_000
"""Numbers that are resampled at once."""


class Estimate(NamedTuple):
    """A number with an interval; NaN where too few runs tell nothing of their spread."""

    value: float
    low: float
    high: float


def iqm(values: Float[np.ndarray, ...], axis: int = -1) -> Float[np.ndarray, ...]:
    """The interquartile mean: of what is left when a quarter of the values is cut from each end, rounded down.

    Args:
        values: At least one along the axis.
        axis: Over which it is taken.
    """
    ordered = np.sort(np.asarray(values), axis=axis)
    size = ordered.shape[axis]
    cut = size // 4
    return np.take(ordered, np.arange(cut, size - cut), axis=axis).mean(axis=axis)


def bootstrap_interval(
    values: Float[np.ndarray, " n"],
    statistic: Statistic = iqm,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """A percentile bootstrap interval (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).

    Args:
        values: One for each independent run.
        statistic: Of which it is the interval.
        confidence: The probability it should cover.
        resamples: How many samples are drawn with replacement.
        seed: Of the draws.

    Returns:
        Its ends; NaN for fewer than two values, which tell nothing of their spread.
    """
    if len(values) < 2:
        return math.nan, math.nan
    aggregate = lambda scores: statistic(scores[..., 0], axis=-1)  # noqa: E731
    return estimate(np.asarray(values, float)[:, None], aggregate, confidence, resamples, seed)[1:]


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
    """A performance profile: the fraction of all runs with a score above each threshold."""
    ordered = np.sort(_pooled(scores), axis=-1)
    below = (ordered[..., None, :] <= np.asarray(thresholds)[:, None]).sum(axis=-1)
    return 1 - below / ordered.shape[-1]


def average_score_distribution(
    scores: Float[np.ndarray, "*batch R T"], thresholds: Float[np.ndarray, " K"]
) -> Float[np.ndarray, "*batch K"]:
    """The fraction of tasks whose mean score over runs is above each threshold."""
    return (scores.mean(axis=-2)[..., None, :] > np.asarray(thresholds)[:, None]).mean(axis=-1)


def probability_of_improvement(
    x: Float[np.ndarray, "*batch R T"], y: Float[np.ndarray, "*batch S T"]
) -> Float[np.ndarray, "*batch"]:
    """How likely a run of X scores higher than one of Y on the same task, ties counting half; the mean over tasks."""
    difference = x[..., :, None, :] - y[..., None, :, :]
    return ((difference > 0) + 0.5 * (difference == 0)).mean(axis=(-3, -2, -1))


def estimate(
    scores: Float[np.ndarray, "R T"],
    aggregate: Aggregate = aggregate_iqm,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """An aggregate with its stratified bootstrap interval: the runs of each task are resampled by themselves.

    Args:
        scores: One for each run and task.
        aggregate: Of which it is the interval.
        confidence: The probability the interval should cover.
        resamples: How many samples are drawn with replacement.
        seed: Of the draws.
    """
    return _estimate([as_scores(scores)], aggregate, confidence, resamples, seed)


def estimate_difference(
    x: Float[np.ndarray, "R T"],
    y: Float[np.ndarray, "S T"],
    aggregate: Aggregate = aggregate_iqm,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """How much higher X's aggregate is than Y's, whose runs are resampled independently; see `estimate`."""
    difference = lambda a, b: aggregate(a) - aggregate(b)  # noqa: E731
    return _estimate([as_scores(x), as_scores(y)], difference, confidence, resamples, seed)


def estimate_improvement(
    x: Float[np.ndarray, "R T"],
    y: Float[np.ndarray, "S T"],
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """The probability of improvement of X over Y with its interval; see `estimate_difference`."""
    return _estimate([as_scores(x), as_scores(y)], probability_of_improvement, confidence, resamples, seed)


def estimate_profile(
    scores: Float[np.ndarray, "R T"],
    thresholds: Float[np.ndarray, " K"],
    profile: Callable[..., np.ndarray] = score_distribution,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """A performance profile with the ends of its pointwise intervals.

    Args:
        scores: One for each run and task.
        thresholds: Scores at which it is taken.
        profile: `score_distribution` or `average_score_distribution`.
        confidence: See `estimate`.
        resamples: See `estimate`.
        seed: See `estimate`.
    """
    drawn = _resampled([as_scores(scores)], partial(profile, thresholds=thresholds), resamples, seed, len(thresholds))
    low, high = np.quantile(drawn, _ends(confidence), axis=0)
    return profile(as_scores(scores), thresholds), low, high


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


def paired_test(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """The two-sided p-value of a difference in means between pairs, such as runs with the same seed.

    A permutation test: were there no difference, each pair could as well be the other way round. All `2**n` ways are
    tried for up to `EXACT_RUNS` pairs, so p is at least `2 / 2**n`: five pairs can't reach 0.05.

    Raises:
        ValueError: There are not as many of one as of the other, or fewer than two.
    """
    x, y = _checked(x, y)
    if len(x) != len(y):
        raise ValueError(f"pairs need as many runs of each; got {len(x)} and {len(y)}")
    return _permutation(x, y, "samples", 2.0 ** len(x) if len(x) <= EXACT_RUNS else PERMUTATIONS)


def unpaired_test(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " m"]) -> float:
    """The two-sided p-value of a difference in means between independent runs, by a permutation test.

    Raises:
        ValueError: There are fewer than two of one.
    """
    x, y = _checked(x, y)
    ways = math.comb(len(x) + len(y), len(x))
    return _permutation(x, y, "independent", ways if ways <= 2**EXACT_RUNS else PERMUTATIONS)


def holm(p_values: Sequence[float]) -> Float[np.ndarray, " n"]:
    """P-values of several tests, raised so that the chance of any false one is held (Holm 1979)."""
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted


def welch_power(effect: float, runs: int, confidence: float = 0.95) -> float:
    """How likely a two-sided t-test with so many normal runs of each finds a difference.

    Args:
        effect: The difference in means over the root of the mean variance (Cohen's d).
        runs: Of each of the two.
        confidence: One minus the level of the test.
    """
    freedom = 2 * runs - 2
    critical = scipy.stats.t.ppf((1 + confidence) / 2, freedom)
    shift = abs(effect) * math.sqrt(runs / 2)
    return float(scipy.stats.nct.sf(critical, freedom, shift) + scipy.stats.nct.cdf(-critical, freedom, shift))


def simulated_power(
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " m"],
    runs: int,
    confidence: float = 0.95,
    simulations: int = 2000,
    seed: int = 0,
) -> float:
    """As `welch_power` for runs distributed as those that were seen: how often drawn ones pass Welch's t-test."""
    draw = np.random.default_rng(seed)
    drawn = [np.asarray(v, float)[draw.integers(0, len(v), (simulations, runs))] for v in (x, y)]
    # Draws without any spread divide by zero, and then differ or don't.
    with np.errstate(invalid="ignore", divide="ignore"):
        means, errors = [v.mean(axis=1) for v in drawn], [v.var(axis=1, ddof=1) / runs for v in drawn]
        t = np.abs(means[0] - means[1]) / np.sqrt(errors[0] + errors[1])
        freedom = (errors[0] + errors[1]) ** 2 * (runs - 1) / (errors[0] ** 2 + errors[1] ** 2)
        p = 2 * scipy.stats.t.sf(t, freedom)
    p = np.where(errors[0] + errors[1] == 0, means[0] == means[1], p)
    return float((p < 1 - confidence).mean())


def seeds_needed(
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " m"],
    power: float = 0.8,
    confidence: float = 0.95,
    largest: int = 10_000,
    normal: bool = False,
) -> int | None:
    """How many seeds of each it takes to tell two configurations apart, if they differ as they seem to.

    The advice is as good as the pilot runs: with few of them the difference itself is uncertain by as much as its
    interval, and the true number of seeds by the square of that. If they truly do not differ, no number will do.

    Args:
        x: Final scores of pilot runs of one.
        y: Of the other.
        power: How likely the difference should be found.
        confidence: One minus the level of Welch's t-test.
        largest: Beyond which no number is given.
        normal: Whether runs are taken to be normal, see `welch_power`, rather than distributed as the pilot runs.

    Returns:
        The number, or None if it is above `largest`.

    Raises:
        ValueError: There are fewer than two pilot runs of one.
    """
    x, y = _checked(x, y)
    spread = math.sqrt((x.var(ddof=1) + y.var(ddof=1)) / 2)
    difference = float(x.mean() - y.mean())
    if difference == 0:
        return None
    effect = difference / spread if spread else math.inf
    enough = (
        (lambda n: welch_power(effect, n, confidence) >= power)
        if normal
        else (lambda n: simulated_power(x, y, n, confidence) >= power)
    )
    if not spread:
        return 2
    return _smallest(enough, largest)


def as_scores(scores: Any) -> Float[np.ndarray, "R T"]:
    """Scores with an axis of tasks.

    Raises:
        ValueError: They have neither one nor two axes, or none at all.
    """
    array = np.asarray(scores, float)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or not array.size:
        raise ValueError(f"scores must be [runs] or [runs, tasks], not of shape {np.shape(scores)}")
    return array


def _estimate(samples: list[np.ndarray], aggregate: Callable, confidence: float, resamples: int, seed: int) -> Estimate:
    if not all(sample.size for sample in samples):
        return Estimate(math.nan, math.nan, math.nan)
    value = float(aggregate(*samples))
    if min(len(sample) for sample in samples) < 2:
        return Estimate(value, math.nan, math.nan)
    low, high = np.quantile(_resampled(samples, aggregate, resamples, seed), _ends(confidence))
    return Estimate(value, float(low), float(high))


def _resampled(
    samples: list[np.ndarray], aggregate: Callable, resamples: int, seed: int, outputs: int = 1
) -> Float[np.ndarray, "B ..."]:
    """The aggregate of bootstrap samples, made in parts so that memory stays bounded."""
    draw = np.random.default_rng(seed)
    size = max(1, LARGEST_BATCH // (outputs * math.prod(len(s) for s in samples) * samples[0].shape[1]))
    parts = [min(size, resamples - start) for start in range(0, resamples, size)]
    return np.concatenate([aggregate(*(_stratified(sample, part, draw) for sample in samples)) for part in parts])


def _stratified(scores: Float[np.ndarray, "R T"], number: int, draw: np.random.Generator) -> np.ndarray:
    indices = draw.integers(0, len(scores), (number, *scores.shape))
    return np.take_along_axis(scores[None], indices, axis=1)


def _pooled(scores: Float[np.ndarray, "*batch R T"]) -> Float[np.ndarray, "*batch N"]:
    return scores.reshape(*scores.shape[:-2], -1)


def _ends(confidence: float) -> list[float]:
    return [(1 - confidence) / 2, (1 + confidence) / 2]


def _checked(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, float), np.asarray(y, float)
    if min(len(x), len(y)) < 2:
        raise ValueError(f"a comparison needs two runs of each or more; got {len(x)} and {len(y)}")
    return x, y


def _permutation(x: np.ndarray, y: np.ndarray, kind: str, ways: float) -> float:
    difference = lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis)  # noqa: E731
    draw = np.random.default_rng(0)
    done = scipy.stats.permutation_test(
        (x, y), difference, permutation_type=kind, vectorized=True, n_resamples=ways, rng=draw, batch=1000
    )
    return float(done.pvalue)


def _smallest(enough: Callable[[int], bool], largest: int) -> int | None:
    """The smallest number from 2 on that is enough, for what stays so beyond it."""
    high = 2
    while not enough(high):
        if high >= largest:
            return None
        high = min(2 * high, largest)
    low = max(1, high // 2)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return max(high, 2)
