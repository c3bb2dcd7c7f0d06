"""Verdicts on claims: every way an interval can lie, and estimates whose intervals are known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreward.reproduce.claims import (
    VERDICTS,
    Checked,
    Claim,
    above,
    below,
    check,
    counts,
    decide,
    describe,
    exact,
    tally,
    within,
)
from jaxreward.results.statistics import (
    NOTHING,
    Estimate,
    aggregate_mean,
    estimate,
    estimate_difference,
    estimate_improvement,
    estimate_ratio,
)

NAN = math.nan


@pytest.mark.parametrize(
    ("low", "high", "holds", "verdict"),
    [
        (0.1, 2.0, above(0), "met"),
        (-2.0, -0.1, above(0), "not met"),
        (-1.0, 1.0, above(0), "not decidable"),
        (-2.0, -0.1, below(0), "met"),
        (0.1, 2.0, below(0), "not met"),
        (-1.0, 1.0, below(0), "not decidable"),
        (0.2, 0.8, within(0, 1), "met"),
        (0.0, 1.0, within(0, 1), "met"),
        (1.1, 1.2, within(0, 1), "not met"),
        (-0.2, -0.1, within(0, 1), "not met"),
        (-0.1, 0.5, within(0, 1), "not decidable"),
        (-1.0, 2.0, within(0, 1), "not decidable"),
        # An effect of exactly nothing is neither above nor below it.
        (0.0, 0.0, above(0), "not met"),
        (0.0, 0.0, below(0), "not met"),
        (0.0, 0.0, within(0, 0), "met"),
        # An interval that only touches the bound reaches both sides.
        (0.0, 1.0, above(0), "not decidable"),
    ],
)
def test_the_whole_interval_decides(low, high, holds, verdict):
    assert decide(Estimate((low + high) / 2, low, high), holds)[0] == verdict


@given(st.floats(-1e3, 1e3), st.floats(0, 1e3), st.floats(-1e3, 1e3))
def test_no_interval_is_both_above_and_below(low, width, bound):
    estimate = Estimate(low, low, low + width)
    verdicts = {decide(estimate, above(bound))[0], decide(estimate, below(bound))[0]}
    assert verdicts != {"met"}
    if low + width < bound or low > bound:
        assert verdicts == {"met", "not met"}


def test_without_an_interval_nothing_is_decided():
    assert decide(Estimate(5.0, NAN, NAN), above(0)) == ("not decidable", "no interval: it takes two seeds")
    assert decide(Estimate(NAN, NAN, NAN), above(0))[0] == "not decidable"
    assert decide(estimate([5.0]), above(0))[0] == "not decidable"
    assert decide(estimate([5.0, NAN, 5.0]), above(0))[0] == "not decidable"
    assert decide(estimate([[5.0, 5.0], [NAN, 5.0]], aggregate_mean), above(0))[0] == "not decidable"


def test_fewer_than_five_runs_decide_nothing():
    """Neither way, of neither sample, and however clear; what is exact has none."""
    for claim in (above(0), below(0)):
        assert decide(estimate([5.0, 5.1, 4.9, 5.0]), claim) == ("not decidable", "4 runs: a verdict takes 5")
    assert decide(estimate([5.0, 5.1, 4.9, 5.0, 5.0]), above(0)) == ("met", "")
    assert decide(estimate_difference([5.0, 5.1, 4.9], [1.0, 1.1, 0.9, 1.0, 1.0, 1.1]), above(0))[0] == "not decidable"
    assert decide(estimate([[5.0, 5.1]] * 4), above(0))[0] == "not decidable"  # of runs, not of tasks
    assert decide(estimate_improvement([5.0] * 8, [1.0] * 8), above(0.5)) == ("met", "")
    assert decide(estimate_improvement([5.0] * 4, [1.0] * 8), above(0.1))[0] == "not decidable"
    assert decide(exact(1), above(0)) == ("met", "")


def test_estimates_as_text():
    assert describe(Estimate(0.5, 0.25, 0.75, 8)) == "0.5 [0.25, 0.75], n = 8"
    assert describe(estimate([2.0])) == "2, n = 1"
    assert describe(Estimate(0.5, 0.25, 0.75)) == "0.5 [0.25, 0.75]"
    assert describe(exact(1 / 3)) == "0.3333"
    assert describe(Estimate(2.0, NAN, NAN)) == "2"
    assert describe(Estimate(NAN, NAN, NAN)) == "nan"


def test_a_claim_below_its_least_scale_is_measured_and_left_open():
    claim = Claim("larger", lambda data: estimate(data, aggregate_mean), above(0), paper="7", least="small")
    at = {scale: check(claim, [1.0, 2.0, 1.5, 1.2, 1.8], scale) for scale in ("smoke", "small", "paper")}
    assert {scale: checked.verdict for scale, checked in at.items()} == {
        "smoke": "not decidable",
        "small": "met",
        "paper": "met",
    }
    assert at["smoke"].estimate == at["paper"].estimate
    assert at["smoke"].why == "needs scale small"
    assert at["small"] == Checked("larger", "7", "> 0", at["small"].estimate, "met", "")


def test_a_contrast_decides_where_a_ratio_has_no_meaning():
    """Somebody paid 3 where the other one loses a half has more than twice of that, and a ratio of -6."""
    draw = np.random.default_rng(0)
    runs = {"ours": 3 + 0.1 * draw.normal(size=5), "theirs": 0.1 * draw.normal(size=5) - 0.5}
    claim = Claim("twice", lambda data: estimate_ratio(data["ours"], data["theirs"]), above(2))
    assert check(claim, runs, "small").why.endswith("a ratio of means that are not positive")
    twice = lambda data: estimate_difference(data["ours"], 2 * data["theirs"], aggregate_mean)  # noqa: E731
    found = check(claim._replace(contrast=twice), runs, "small")
    assert (found.verdict, found.holds, found.why) == ("met", "> 2", "")
    runs["theirs"] += 2.5  # at 2, of which 3 is more, and not twice
    assert check(claim._replace(contrast=twice), runs, "small").verdict == "not met"


def test_what_a_scale_lacks_was_not_run_at_it():
    claim = Claim("large", lambda data: NOTHING, above(0), takes=("large",))
    assert claim.parts(["small", "tiny"]) == []
    assert check(claim, None, "small", claim.parts(["small", "tiny"])).why == "not run at this scale"
    assert claim._replace(takes=()).parts(["small", "tiny"]) == ["small", "tiny"]


def test_counts():
    claims = [Checked("", "", "", exact(0), verdict) for verdict in ("met", "not decidable", "met")]
    assert counts(claims) == dict(zip(VERDICTS, (2, 0, 1), strict=True))
    assert tally(claims) == "2 met, 0 not met, 1 not decidable"


def test_empty_ranges_are_refused():
    with pytest.raises(ValueError, match="the lower end comes first"):
        within(1, 0)
