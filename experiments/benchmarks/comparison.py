"""What the measurements say: ratios to the better peer, and learning curves against a peer's confidence interval."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Ratio(NamedTuple):
    """How many times faster, over rounds."""

    median: float
    low: float
    high: float


def ratio(run_s: list[float], peer_s: list[float]) -> Ratio:
    """How many times faster than the peer, over the rounds that both finished."""
    each = [theirs / ours for ours, theirs in zip(run_s, peer_s, strict=False)]
    return Ratio(float(np.median(each)), min(each), max(each))


def iqm(x: Float[np.ndarray, "... seeds"]) -> np.ndarray:
    """Interquartile mean over the last axis: the mean without the lowest and the highest quarter, `[...]`.

    Where a quarter is no whole number of seeds, the seed on its bound counts in part. Agarwal et al. 2021, Deep
    Reinforcement Learning at the Edge of the Statistical Precipice, section 4.3.
    """
    n = x.shape[-1]
    ranks = np.arange(n)
    weights = np.clip(np.minimum(ranks + 1, 0.75 * n) - np.maximum(ranks, 0.25 * n), 0.0, 1.0)
    return (np.sort(x, axis=-1) * weights).sum(axis=-1) / weights.sum()


def bootstrap(
    x: Float[np.ndarray, "windows seeds"], *, samples: int = 2000, confidence: float = 0.95
) -> tuple[Float[np.ndarray, " windows"], Float[np.ndarray, " windows"]]:
    """Percentile bootstrap interval of the interquartile mean; what is resampled is seeds, with all their windows.

    Returns:
        Its lower and its upper end, `[windows]` each.
    """
    picks = np.random.default_rng(0).integers(x.shape[-1], size=(samples, x.shape[-1]))
    means = iqm(np.moveaxis(x[:, picks], 1, 0))
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high


class Curve(NamedTuple):
    """A contender's learning curve against a peer's, `[windows]` each.

    Attributes:
        ours: Interquartile mean over seeds.
        peer: The peer's.
        low: Lower end of the peer's 95% bootstrap interval.
        high: Its upper end.
    """

    ours: Float[np.ndarray, " windows"]
    peer: Float[np.ndarray, " windows"]
    low: Float[np.ndarray, " windows"]
    high: Float[np.ndarray, " windows"]

    @property
    def met(self) -> np.ndarray:
        """Whether ours is within the peer's interval or above it, `[windows]`; not where no episode ended."""
        return self.ours >= self.low


def compare(ours: Float[np.ndarray, "seeds windows"], peer: Float[np.ndarray, "seeds windows"]) -> Curve:
    """Our learning curve against a peer's; a window with a NaN is a NaN."""
    return Curve(iqm(ours.T), iqm(peer.T), *bootstrap(peer.T))
