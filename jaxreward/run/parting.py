"""Whether the reward that is trained on rises while the true one falls: then it is the reward that is hacked.

Only where the two are told apart, see `jaxreward.learning.proxies`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxreward.contract.agents import RATES, RETURNS
from jaxreward.learning.proxies import CORRELATION, TRUE
from jaxreward.run.record import Metrics

PARTS, FEWEST = 10, 20
"""Into how many parts the rows of a run are cut to be compared, and with how many rows that begins."""
ERRORS = 4.0
"""By how many standard errors both have to differ."""


class PartingWarning(UserWarning):
    """The reward that is trained on rises while the true one falls."""


class _Row(NamedTuple):
    """What was trained on and the true reward, by episodes and by steps; NaN where there was none."""

    returns: Float[np.ndarray, "2 population seed"]
    rates: Float[np.ndarray, "2 population seed"]


class Parting:
    """Watches the rows of a run, from where this process begins or goes on with it."""

    def __init__(self) -> None:
        self._rows: list[_Row] = []
        self._said: Bool[np.ndarray, "population seed"] | None = None

    def see(self, metrics: Metrics, resting: Bool[np.ndarray, "population seed"]) -> None:
        """Another row, and which runs rest: theirs is none of training, and they are not judged any more."""
        if CORRELATION in metrics:
            beside = f"episode/{TRUE}" in metrics
            of_episode, of_step = (f"episode/{TRUE}", f"average/{TRUE}") if beside else (RETURNS[1], RATES[1])
            pairs = _pair(metrics, RETURNS[0], of_episode), _pair(metrics, RATES[0], of_step)
            self._rows.append(_Row(*(np.where(resting, np.nan, pair) for pair in pairs)))

    def news(self, iteration: int) -> str | None:
        """What to say of the runs that are newly found to part; None where there is nothing to tell."""
        if len(self._rows) < FEWEST:
            return None
        found = [np.stack(kind, 1) for kind in zip(*self._rows, strict=True)]
        ended = np.isfinite(found[0]).all((0, 1))
        now = np.where(ended, parted(*found[0]), parted(*found[1]))
        before = np.zeros_like(now) if self._said is None else self._said
        self._said = before | now
        return _described(now & ~before, iteration) if (now & ~before).any() else None


def parted(proxy: Float[np.ndarray, "T ..."], true: Float[np.ndarray, "T ..."]) -> Bool[np.ndarray, "..."]:
    """Whether, since the part of the rows where the true reward was highest, it has fallen and the proxy has risen.

    The rows are cut into ten parts, and the last one's means compared with those of the best one. Both have to differ
    by four standard errors: by how much rows differ within parts, or, if that is more, means from the line through
    their neighbours, since rows that follow each other are not independent. Never where a number is not finite.

    Args:
        proxy: What is trained on, row by row.
        true: The true reward.
    """
    width = len(true) // PARTS
    cut = lambda rows: rows[len(rows) - width * PARTS :].reshape(PARTS, width, *rows.shape[1:])  # noqa: E731
    means = [cut(rows).mean(1) for rows in (proxy, true)]
    within = [cut(rows).var(1, ddof=1).mean(0) / width for rows in (proxy, true)]
    between = [np.square(np.diff(mean, 2, axis=0)).mean(0) / 6 for mean in means]
    errors = [np.sqrt(2 * np.maximum(*each)) for each in zip(within, between, strict=True)]
    best = np.nan_to_num(means[1], nan=-np.inf).argmax(0)[None]
    risen, fallen = (mean[-1] - np.take_along_axis(mean, best, 0)[0] for mean in means)
    return (risen > ERRORS * errors[0]) & (fallen < -ERRORS * errors[1])


def _described(where: Bool[np.ndarray, "population seed"], iteration: int) -> str:
    return (
        f"in {where.sum()} of {where.size} runs the reward that is trained on has risen while the true one fell, as of "
        f"iteration {iteration}: it may be hacked; compare {RETURNS[0]} with {RETURNS[1]}, and see {CORRELATION}"
    )


def _pair(metrics: Metrics, *names: str) -> Float[np.ndarray, "2 population seed"]:
    nothing = np.full(metrics[CORRELATION].shape, np.nan)
    return np.stack([np.asarray(metrics.get(name, nothing), float) for name in names])
