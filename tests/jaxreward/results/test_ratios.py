"""How many times one mean is another: beside closed forms, by how often intervals cover, and where they have no end."""

import numpy as np
import pytest
import scipy.stats

from jaxreward.results.statistics import estimate_ratio


def test_where_the_other_does_not_vary_it_is_the_t_interval_divided_by_it():
    x, y = np.array([3.0, 5.0, 4.0, 7.0]), np.full(4, 2.0)
    found = estimate_ratio(x, y)
    reach = scipy.stats.t.ppf(0.975, 3) * x.std(ddof=1) / 2
    np.testing.assert_allclose(found[:3], np.array([x.mean(), x.mean() - reach, x.mean() + reach]) / 2)
    assert found.runs == 4


def test_its_ends_are_ratios_that_a_t_test_just_rejects_and_the_inverse_has_inverse_ends():
    draw = np.random.default_rng(0)
    x, y = draw.normal(8, 1, 5), draw.normal(3, 0.5, 7)
    found, inverse = estimate_ratio(x, y), estimate_ratio(y, x)
    for end in found[1:3]:
        error = np.sqrt(x.var(ddof=1) / 5 + end**2 * y.var(ddof=1) / 7)
        assert abs(x.mean() - end * y.mean()) / error == pytest.approx(scipy.stats.t.ppf(0.975, 4))
    np.testing.assert_allclose(inverse[:3], 1 / np.array([found.value, found.high, found.low]))


def test_intervals_cover_at_least_what_they_say():
    """4,000 draws of 5 and 5: three standard errors of a share of 95 % are 1 %."""
    draw = np.random.default_rng(1)
    pairs = zip(draw.normal(8, 2, (4_000, 5)), draw.normal(4, 0.5, (4_000, 5)), strict=True)
    ends = np.array([estimate_ratio(x, y)[1:3] for x, y in pairs])
    assert ((ends[:, 0] <= 2) & (ends[:, 1] >= 2)).mean() > 0.94


def test_it_has_no_ends_where_the_other_may_be_zero_and_none_of_too_few():
    found = estimate_ratio(np.array([1.0, 2.0, 3.0]), np.array([-1.0, 2.0, 0.5]))
    assert (found.low, found.high) == (-np.inf, np.inf)
    assert np.isnan(estimate_ratio(np.array([1.0]), np.array([2.0]))[1:3]).all()
    assert estimate_ratio(np.array([1.0]), np.array([2.0])).value == 0.5
    assert np.isnan(estimate_ratio(np.array([]), np.array([2.0])).value)


@pytest.mark.parametrize(("x", "y"), [(3.0, -0.5), (-1.0, -3.0), (-1.0, 3.0), (0.0, 1.0), (1.0, 0.0)])
def test_it_has_no_value_unless_both_means_are_positive(x, y):
    found = estimate_ratio(x + np.array([-0.1, 0.0, 0.1]), y + np.array([-0.1, 0.0, 0.1]))
    assert np.isnan(found[:3]).all()
    assert found.runs == 3
