"""How many times one mean is another one, with an interval that holds where the other may be near zero."""

from __future__ import annotations

import math

import numpy as np
import scipy.stats
from jaxtyping import Float

from jaxreward.results.intervals import NOTHING, Estimate


def estimate_ratio(x: Float[np.ndarray, " R"], y: Float[np.ndarray, " S"], confidence: float = 0.95) -> Estimate:
    """How many times as high the mean of X's runs is as that of Y's, which are independent of them.

    The interval has all ratios that a t-test of `mean(x) - ratio mean(y) = 0` leaves (Fieller, "Some problems in
    interval estimation", 1954), with as many degrees of freedom as the smaller sample has, which is less than Welch's
    at any ratio. Where Y's mean may be zero no number is too large: it has no ends. It has no value unless both
    means are positive: elsewhere what is greater may have the lesser ratio.

    Args:
        x: One score for each run.
        y: The same of the other.
        confidence: The probability the interval should cover.
    """
    x, y = (np.asarray(each, float) for each in (x, y))
    runs = float(min(len(x), len(y)))
    if runs < 1 or not (x.mean() > 0 and y.mean() > 0):
        return NOTHING._replace(runs=runs)
    value = float(x.mean() / y.mean())
    if runs < 2:
        return NOTHING._replace(value=value, runs=runs)
    quantile = float(scipy.stats.t.ppf((1 + confidence) / 2, runs - 1))
    of_x, of_y = (quantile**2 * each.var(ddof=1) / len(each) for each in (x, y))
    square = y.mean() ** 2 - of_y
    if square <= 0:
        return Estimate(value, -math.inf, math.inf, runs)
    middle = x.mean() * y.mean()
    reach = math.sqrt(max(middle**2 - square * (x.mean() ** 2 - of_x), 0.0))
    return Estimate(value, (middle - reach) / square, (middle + reach) / square, runs)
