"""Whether two samples of runs differ: tests, their correction, their power, and the seeds it takes.

A NaN is a run that failed: a test refuses it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np
import scipy.stats
from jaxtyping import Float

PERMUTATIONS = 9_999
"""A permutation test that has no more ways than these tries all; otherwise so many at random."""
EXACT_WAYS = 1_024
"""Ways up to which the power of a permutation test is simulated with the test itself; a t-test stands for it beyond."""


def paired_test(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """The two-sided p-value of a difference in means between pairs, such as runs with the same seed.

    A permutation test: were there no difference, each pair could as well be the other way round. All `2**n` ways are
    tried unless they are more than `PERMUTATIONS`, so p is at least `2 / 2**n`: five pairs can't reach 0.05.

    Raises:
        ValueError: There are not as many of one as of the other, fewer than two, or a NaN.
    """
    x, y = _checked(x, y, paired=True)
    return _permutation(x, y, "samples", 2 ** len(x))


def unpaired_test(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " m"]) -> float:
    """The two-sided p-value of a difference in means between independent runs, by a permutation test.

    Of three runs each p is at least 0.1, as there are 20 ways to divide them.

    Raises:
        ValueError: There are fewer than two of one, or a NaN.
    """
    x, y = _checked(x, y)
    return _permutation(x, y, "independent", math.comb(len(x) + len(y), len(x)))


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
    paired: bool = False,
    simulations: int = 2000,
    seed: int = 0,
) -> float:
    """How often a test finds a difference between so many runs of each, distributed as those that were seen.

    The test is `paired_test` or `unpaired_test` where all its ways are at most `EXACT_WAYS`. Of more runs it decides
    nearly as a t-test does (Welch's, if they are not paired), which is used in its place.

    Args:
        x: Runs of one that were seen. Drawn ones have their variance as it is estimated from them, with `n - 1`.
        y: Runs of the other; in the order of `x` if they are paired.
        runs: Drawn of each.
        confidence: One minus the level of the test.
        paired: Whether pairs are drawn.
        simulations: How often; the result is uncertain by at most `0.5 / sqrt(simulations)`, one standard error.
        seed: Of the draws.
    """
    samples = [np.subtract(x, y)] if paired else [np.asarray(x), np.asarray(y)]
    random = np.random.default_rng(seed)
    drawn = [_unshrunk(each)[random.integers(0, len(each), (simulations, runs))] for each in samples]
    ways = 2**runs if paired else math.comb(2 * runs, runs)
    p = _permutation_p(drawn) if ways <= EXACT_WAYS else _t_test_p(drawn)
    return float((p <= 1 - confidence + 1e-12).mean())


def seeds_needed(
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " m"],
    power: float = 0.8,
    confidence: float = 0.95,
    largest: int = 1_000,
    paired: bool = False,
    normal: bool = False,
) -> int | None:
    """How many seeds of each it takes to tell two configurations apart, if they differ as they seem to.

    The advice is as good as the pilot runs: with few of them the difference itself is uncertain by as much as its
    interval, and the true number of seeds by the square of that. If they truly do not differ, no number will do. What
    no pilot run has shown, such as a failure of one in twenty, is not in the simulation.

    Args:
        x: Final scores of pilot runs of one.
        y: Of the other.
        power: How likely the difference should be found.
        confidence: One minus the level of the test, see `simulated_power`.
        largest: Beyond which no number is given.
        paired: Whether runs are compared in pairs.
        normal: Whether unpaired runs are taken to be normal, see `welch_power`, rather than distributed as the pilots.

    Returns:
        The number, or None if it is above `largest`.

    Raises:
        ValueError: There are fewer than two pilot runs of one, a NaN, or not as many of both if they are paired.
    """
    x, y = _checked(x, y, paired)
    difference, spread = float(x.mean() - y.mean()), math.sqrt((x.var(ddof=1) + y.var(ddof=1)) / 2)
    if difference == 0:
        return None
    if normal and spread:
        return _smallest(lambda runs: welch_power(difference / spread, runs, confidence) >= power, largest)
    return _smallest(lambda runs: simulated_power(x, y, runs, confidence, paired) >= power, largest)


def _checked(x: Any, y: Any, paired: bool = False) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, float), np.asarray(y, float)
    if min(len(x), len(y)) < 2:
        raise ValueError(f"a comparison needs two runs of each or more; got {len(x)} and {len(y)}")
    if paired and len(x) != len(y):
        raise ValueError(f"pairs need as many runs of each; got {len(x)} and {len(y)}")
    failed = int(np.isnan(x).sum() + np.isnan(y).sum())
    if failed:
        raise ValueError(f"{failed} of the scores are NaN: leave failed runs out of a comparison, and say how many")
    return x, y


def _permutation(x: np.ndarray, y: np.ndarray, kind: str, ways: int) -> float:
    difference = lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis)  # noqa: E731
    number = math.inf if ways <= PERMUTATIONS else PERMUTATIONS
    draw = np.random.default_rng(0)
    done = scipy.stats.permutation_test(
        (x, y), difference, permutation_type=kind, vectorized=True, n_resamples=number, rng=draw, batch=1000
    )
    return float(done.pvalue)


def _unshrunk(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Values from which draws have the variance that is estimated with `n - 1`."""
    mean = values.mean()
    return mean + (values - mean) * math.sqrt(len(values) / (len(values) - 1))


def _permutation_p(drawn: list[Float[np.ndarray, "S n"]]) -> Float[np.ndarray, " S"]:
    """The p-values of many exact permutation tests: of differences, or of two samples of one size."""
    runs = drawn[0].shape[1]
    if len(drawn) == 1:
        signs = np.array(list(product([1.0, -1.0], repeat=runs)))
    else:
        chosen = np.array(list(combinations(range(2 * runs), runs)))
        signs = np.full((len(chosen), 2 * runs), -1.0)
        np.put_along_axis(signs, chosen, 1.0, axis=1)
    # The first way is how the runs were drawn. Both tails are the same, as every way has its reverse.
    sums = np.abs(np.concatenate(drawn, axis=1) @ signs.T)
    return (sums >= sums[:, :1] * (1 - 1e-12)).mean(axis=1)


def _t_test_p(drawn: list[Float[np.ndarray, "S n"]]) -> Float[np.ndarray, " S"]:
    """The p-values of many t-tests: of differences, or Welch's of two samples."""
    runs = drawn[0].shape[1]
    difference = np.abs(drawn[0].mean(axis=1) - (drawn[1].mean(axis=1) if len(drawn) > 1 else 0.0))
    errors = np.stack([each.var(axis=1, ddof=1) / runs for each in drawn])
    # Draws without any spread divide by zero, and then differ or don't.
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = errors.sum(axis=0) ** 2 * (runs - 1) / (errors**2).sum(axis=0)
        p = 2 * scipy.stats.t.sf(difference / np.sqrt(errors.sum(axis=0)), freedom)
    return np.where(errors.sum(axis=0) == 0, difference == 0, p)


def _smallest(enough: Callable[[int], bool], largest: int) -> int | None:
    """The smallest number from 2 on that is enough; of more than ten, for what stays so beyond it."""
    low = min(10, largest)
    for few in range(2, low + 1):
        if enough(few):
            return few
    high = low
    while not enough(high):
        if high >= largest:
            return None
        low, high = high, min(2 * high, largest)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
