"""What a paper claims, as something that can be measured: an effect, its interval, and where the interval must lie.

An interval that lies wholly where the claim says decides for it, one that lies wholly elsewhere decides against it, and
any other decides nothing: more seeds or longer runs are needed. Nothing is decided by fewer than `FEWEST_RUNS`: the
interval holds for them too, if scores are normal, but of so few nobody can tell whether they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from jaxreward.results.statistics import NOTHING, Estimate
from jaxreward.results.summary import show

Scale: TypeAlias = Literal["smoke", "small", "hour", "paper"]
SCALES: tuple[Scale, ...] = get_args(Scale)
"""How much is run, from the least: seconds (that it works), minutes on a laptop, about an hour, what the paper ran."""

Verdict: TypeAlias = Literal["met", "not met", "not decidable"]
FEWEST_RUNS = 5
"""Runs of each sample that a verdict takes, unless nothing is left to chance."""

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


def exact(value: float) -> Estimate:
    """An effect without uncertainty, such as the result of an exact solver."""
    return Estimate(float(value), float(value), float(value))


def describe(estimate: Estimate) -> str:
    """An effect as text, with its interval where it has one of some width, and of how many runs it is."""
    value, low, high, runs = map(float, estimate)
    interval = "" if math.isnan(low) or low == high else f" [{show(low)}, {show(high)}]"
    return show(value) + interval + (f", n = {runs:.0f}" if math.isfinite(runs) else "")


class Range(NamedTuple):
    """Where a claim says the effect is, both ends included; made by `above`, `below` and `within`."""

    low: float
    high: float
    text: str


def above(bound: float) -> Range:
    """Effects greater than a bound."""
    return Range(math.nextafter(bound, math.inf), math.inf, f"> {show(float(bound))}")


def below(bound: float) -> Range:
    """Effects less than a bound."""
    return Range(-math.inf, math.nextafter(bound, -math.inf), f"< {show(float(bound))}")


def within(low: float, high: float) -> Range:
    """Effects from `low` to `high`, both included.

    Raises:
        ValueError: There are none.
    """
    if not low <= high:
        raise ValueError(f"within({low}, {high}) holds no number; the lower end comes first")
    return Range(low, high, f"{show(float(low))} to {show(float(high))}")


class Claim(NamedTuple):
    """Something a paper says of its figure.

    Attributes:
        text: What it says, in a sentence.
        measure: The effect that it is about, from the figure's data: mostly `jaxreward.results.statistics.estimate` or
            `estimate_difference` of scores, or `exact`.
        holds: Where the effect is if the claim is true.
        paper: The paper's own value as it is printed, if it prints one.
        least: The least scale at which the claim can be decided; below, the effect is only shown.
        takes: The parts of the figure that it is about; those that `measure`, a `functools.partial`, is given by name
            if none are said, and all if none are given.
        contrast: What decides in place of the effect, if it is above zero: such as a difference, where the effect is a
            ratio, which may have no meaning.
    """

    text: str
    measure: Callable[[Any], Estimate]
    holds: Range
    paper: str = ""
    least: Scale = "smoke"
    takes: tuple[str, ...] = ()
    contrast: Callable[[Any], Estimate] | None = None

    def parts(self, parts: Sequence[str]) -> list[str]:
        """Those of a figure's parts that it is about; none if a scale has none of them."""
        named = self.takes or getattr(self.measure, "args", ())
        found = [part for part in parts if part in named]
        return found if found or self.takes else list(parts)


class Checked(NamedTuple):
    """A claim and what came out.

    Attributes:
        text: See `Claim`.
        paper: See `Claim`.
        holds: Where the effect had to be.
        estimate: The effect that was measured.
        verdict: Whether the claim is met.
        why: Why that can't be decided; empty if it can.
    """

    text: str
    paper: str
    holds: str
    estimate: Estimate
    verdict: Verdict
    why: str = ""


def check(claim: Claim, data: Any, scale: Scale, missing: Sequence[str] = ()) -> Checked:
    """Measures what a claim is about and decides it.

    Args:
        claim: The claim.
        data: What its `measure` takes.
        scale: At which the data was made.
        missing: What it is about and was not run; then there is nothing to measure.
    """
    if missing:
        why = f"{', '.join(missing)} not run"
        return Checked(claim.text, claim.paper, claim.holds.text, NOTHING, "not decidable", why)
    estimate = claim.measure(data)
    verdict, why = decide(claim.contrast(data), above(0)) if claim.contrast else decide(estimate, claim.holds)
    if SCALES.index(scale) < SCALES.index(claim.least):
        verdict, why = "not decidable", f"needs scale {claim.least}"
    return Checked(claim.text, claim.paper, claim.holds.text, estimate, verdict, why)


def decide(estimate: Estimate, holds: Range) -> tuple[Verdict, str]:
    """Whether an effect is where it should be, and if that is open, why."""
    if not estimate.runs:
        return "not decidable", "not run at this scale"
    if math.isnan(estimate.value):
        return (
            "not decidable",
            "no value: not finite, or no episode ended, or a ratio of means that are not positive",
        )
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return "not decidable", "no interval: it takes two seeds"
    if estimate.runs < FEWEST_RUNS:
        return "not decidable", f"{estimate.runs:.0f} runs: a verdict takes {FEWEST_RUNS}"
    if holds.low <= estimate.low and estimate.high <= holds.high:
        return "met", ""
    if estimate.high < holds.low or holds.high < estimate.low:
        return "not met", ""
    return "not decidable", "the interval reaches both sides"


def counts(checked: Sequence[Checked]) -> dict[Verdict, int]:
    """How many claims there are of each verdict."""
    return {verdict: sum(claim.verdict == verdict for claim in checked) for verdict in VERDICTS}


def tally(checked: Sequence[Checked]) -> str:
    """The counts in words."""
    return ", ".join(f"{count} {verdict}" for verdict, count in counts(checked).items())
