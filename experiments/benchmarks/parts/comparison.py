"""What the measurements say: ratios to the better peer, and learning curves against a peer's confidence interval."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxreward.results.statistics import bootstrap_interval, iqm


class Ratio(NamedTuple):
    """How many times faster, over rounds."""

    median: float
    low: float
    high: float


def ratio(run_s: list[float], peer_s: list[float]) -> Ratio:
    """How many times faster than the peer, over the rounds that both finished."""
    each = [theirs / ours for ours, theirs in zip(run_s, peer_s, strict=False)]
    return Ratio(float(np.median(each)), min(each), max(each))


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
    """Our learning curve against a peer's, window by window."""
    low, high = np.array([bootstrap_interval(window) for window in peer.T]).T
    return Curve(iqm(ours, axis=0), iqm(peer, axis=0), low, high)
