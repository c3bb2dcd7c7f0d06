"""Statistics, against rliable on the same arrays, against closed forms, and against the truth in simulations."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from jaxreward.results import statistics as st

# What rliable 1.2.0 makes of X and Y, with arch 7.2.0 and pandas 2: 200 resamples, each drawn by
# `numpy.random.choice(runs, shape)` after `numpy.random.seed(0)`.
X = np.array([
    [0.454, 0.337, 0.668, 1.342], [1.027, 0.963, 0.541, 0.996], [0.733, 1.934, 0.75, 0.644],
    [0.163, 1.369, 0.474, 0.126], [0.983, 0.218, 1.742, 1.202], [0.578, 0.116, 0.102, 0.816],
])  # fmt: skip
Y = np.array([
    [0.454, 0.337, 0.668, 1.342], [1.764, 2.254, 0.195, 0.209], [0.332, 0.429, 0.294, 1.064],
    [0.485, 0.554, 0.494, 0.508], [0.797, 0.86, 1.285, 0.489], [0.555, 0.371, 0.385, 0.418],
    [0.651, 0.618, 1.74, 1.166], [0.081, 0.092, 1.605, 0.958], [0.746, 1.33, 0.859, 1.024],
])  # fmt: skip
THRESHOLDS = np.array([0.25, 0.5, 0.778, 1.0, 1.5])
RLIABLE = {
    st.aggregate_iqm: (0.7166666666666667, 0.4665958333333333, 0.9206458333333334),
    st.aggregate_mean: (0.7615833333333333, 0.5539614583333333, 0.9310614583333333),
    st.aggregate_median: (0.7678333333333333, 0.51605625, 0.9144687499999999),
    st.optimality_gap: (0.3474166666666667, 0.23901354166666672, 0.4935020833333334),
}
RLIABLE_PROFILES = {
    st.score_distribution: (
        [0.7916666666666666, 0.6666666666666666, 0.4166666666666667, 0.25, 0.08333333333333333],
        [0.625, 0.4583333333333333, 0.20833333333333334, 0.08333333333333333, 0.0],
        [0.9166666666666666, 0.8333333333333334, 0.5833333333333334, 0.4166666666666667, 0.16666666666666666],
    ),
    st.average_score_distribution: ([1, 1, 0.5, 0, 0], [1, 0.5, 0, 0, 0], [1, 1, 0.75, 0.5, 0]),
}
RLIABLE_IMPROVEMENT = (0.5185185185185185, 0.3471064814814815, 0.6877314814814816)


def rliables_resamples(*samples):
    """The resamples that rliable has drawn."""
    draw = np.random.RandomState(0)
    indices = [[draw.choice(len(s), s.shape) for s in samples] for _ in range(200)]
    return [np.stack([np.take_along_axis(s, i[k], axis=0) for i in indices]) for k, s in enumerate(samples)]


@pytest.fixture
def same_resamples(monkeypatch):
    """Has our intervals use them."""

    def use(*samples):
        drawn = iter(rliables_resamples(*samples))
        monkeypatch.setattr(st, "_stratified", lambda *_: next(drawn))

    return use


@pytest.mark.parametrize("aggregate", RLIABLE)
def test_aggregates_and_intervals_are_rliables(aggregate, same_resamples):
    same_resamples(X)
    np.testing.assert_allclose(st.estimate(X, aggregate, resamples=200), RLIABLE[aggregate], rtol=1e-12)


@pytest.mark.parametrize("profile", RLIABLE_PROFILES)
def test_profiles_are_rliables(profile, same_resamples):
    same_resamples(X)
    ours = st.estimate_profile(X, THRESHOLDS, profile, resamples=200)
    np.testing.assert_allclose(ours, RLIABLE_PROFILES[profile], rtol=1e-12, atol=1e-12)


def test_the_probability_of_improvement_is_rliables(same_resamples):
    same_resamples(X, Y)
    np.testing.assert_allclose(st.estimate_improvement(X, Y, resamples=200), RLIABLE_IMPROVEMENT, rtol=1e-12)


def test_our_own_draws_are_stratified_and_uniform(monkeypatch):
    """Each task's runs come from that task alone, each run as often as any other."""
    marked = np.arange(6)[:, None] + 100 * np.arange(4)
    drawn = st._stratified(marked, 5000, np.random.default_rng(0))
    assert (drawn // 100 == np.arange(4)).all()
    counts = np.stack([np.bincount(drawn[..., task].ravel() % 100, minlength=6) for task in range(4)])
    # A fair die thrown 30,000 times, for each of four tasks: chi-squared with 5 degrees of freedom, level 1e-4.
    assert (((counts - 5000) ** 2 / 5000).sum(axis=1) < scipy.stats.chi2.ppf(1 - 1e-4 / 4, 5)).all()
    monkeypatch.setattr(st, "LARGEST_BATCH", 100)  # in parts, memory is bounded and the draws are as good
    assert st.estimate(X, resamples=999).low < st.aggregate_iqm(X) < st.estimate(X, resamples=999).high


def test_a_failed_run_is_passed_over_by_nothing():
    """NaN sorts as if it were the best score, and compares as if it were the worst."""
    failed = X.copy()
    failed[2, 1] = np.nan
    for aggregate in RLIABLE:
        assert np.isnan(st.estimate(failed, aggregate)).all()
    assert np.isnan(st.bootstrap_interval(failed[:, 1])).all()
    assert np.isnan(st.estimate_improvement(failed, Y)).all()
    assert np.isnan(st.estimate_difference(Y, failed)).all()
    for test in (st.paired_test, st.unpaired_test, st.seeds_needed):
        with pytest.raises(ValueError, match="1 of the scores are NaN"):
            test(failed[:, 1], X[:, 1])
    # It counts as a run, and is above no threshold.
    np.testing.assert_allclose(st.score_distribution(failed, [-1.0, 100.0]), [23 / 24, 0])


def test_improvement_counts_pairs():
    x, y = np.array([[1.0], [3.0]]), np.array([[1.0], [2.0], [4.0]])
    # 1 beats none and ties one; 3 beats two: (0.5 + 2) / 6.
    assert st.probability_of_improvement(x, y) == pytest.approx(2.5 / 6)
    assert st.probability_of_improvement(y, x) == pytest.approx(3.5 / 6)


def test_the_optimality_gap_forgives_nothing_above():
    assert st.optimality_gap(np.array([[0.5, 3.0]])) == pytest.approx(0.25)
    assert st.optimality_gap(np.array([[0.5, 3.0]]), gamma=4.0) == pytest.approx(2.25)


def test_a_difference_has_the_sign_of_what_is_better():
    better = st.estimate_difference(Y + 1, X)
    assert better.low > 0
    assert st.estimate_difference(X, Y + 1).high < 0
    assert better.value == pytest.approx(float(st.aggregate_iqm(Y + 1) - st.aggregate_iqm(X)))


def test_normalising_puts_references_at_zero_and_one():
    scores = np.array([[1.0, 10.0], [3.0, 30.0]])
    np.testing.assert_array_equal(st.normalise(scores, [1.0, 10.0], [3.0, 50.0]), [[0, 0], [1, 0.5]])
    with pytest.raises(ValueError, match="two different reference scores"):
        st.normalise(scores, [1.0, 10.0], [1.0, 50.0])


def test_too_few_runs_have_no_interval():
    value, low, high = st.estimate(X[:1])
    assert value == st.aggregate_iqm(X[:1])
    assert np.isnan([low, high]).all()
    assert np.isnan(st.bootstrap_interval(np.array([]))).all()
    with pytest.raises(ValueError, match="not of shape"):
        st.estimate(np.zeros((2, 2, 2)))


def test_intervals_cover_the_truth_as_often_as_they_say():
    """Of the mean of 40 normal runs: the percentile interval is short by about sqrt(39/40) and a normal quantile."""
    draw, hits, trials = np.random.default_rng(0), 0, 1500
    for seed in range(trials):
        low, high = st.bootstrap_interval(draw.normal(size=40), np.mean, resamples=400, seed=seed)
        hits += low < 0 < high
    # What theory says for this n, by Student's t; then what is left to chance, with a risk of 1e-3 on either side.
    covered = 2 * scipy.stats.t.cdf(1.96 * math.sqrt(39 / 40), 39) - 1
    low, high = scipy.stats.binom.interval(0.998, trials, covered)
    assert low <= hits <= high


def test_paired_p_values_count_all_signs():
    x, y = np.array([1.0, 2.0, 4.0, 5.0]), np.array([0.5, 2.5, 1.0, 1.0])
    difference = x - y
    signs = np.array(list(itertools.product([1, -1], repeat=4)))
    extreme = np.abs(signs @ difference) >= abs(difference.sum()) - 1e-12
    assert st.paired_test(x, y) == pytest.approx(extreme.mean())
    assert st.paired_test(x, y) == st.paired_test(y, x)
    assert st.paired_test(np.arange(5.0) + 10, np.arange(5.0)) == pytest.approx(2 / 2**5)


def test_unpaired_p_values_count_all_splits():
    x, y = np.array([1.0, 2.0, 7.0]), np.array([0.0, 3.0, 0.5, 1.5])
    everything = np.concatenate([x, y])
    splits = [set(c) for c in itertools.combinations(range(7), 3)]
    means = [everything[list(s)].mean() - everything[[i for i in range(7) if i not in s]].mean() for s in splits]
    observed = x.mean() - y.mean()
    above, below = np.mean(np.array(means) >= observed - 1e-12), np.mean(np.array(means) <= observed + 1e-12)
    assert st.unpaired_test(x, y) == pytest.approx(min(1.0, 2 * min(above, below)))
    with pytest.raises(ValueError, match="two runs of each"):
        st.unpaired_test(x[:1], y)


@pytest.mark.parametrize("test", [st.paired_test, st.unpaired_test])
def test_p_values_are_small_by_chance_alone_as_often_as_they_say(test):
    draw = np.random.default_rng(1)
    p = np.array([test(draw.normal(size=6), draw.normal(size=6)) for _ in range(300)])
    assert (p <= 0.1).sum() <= scipy.stats.binom.ppf(1 - 1e-3, 300, 0.1)


def test_holms_correction_is_the_textbooks():
    # Holm (1979): sorted p-values times 4, 3, 2, 1, made non-decreasing.
    np.testing.assert_allclose(st.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(st.holm([0.5, 0.9]), [1.0, 1.0])


def test_the_power_of_a_t_test_is_the_published_one():
    """Cohen, "Statistical Power Analysis", 1988, table 2.4.1: n for 80 % power at 5 %, two-sided."""
    for effect, runs in ((0.2, 393), (0.5, 64), (0.8, 26)):
        assert st.welch_power(effect, runs) >= 0.8 - 5e-4
        assert st.welch_power(effect, runs - 1) < 0.8 + 5e-4
        assert st.welch_power(-effect, runs) == pytest.approx(st.welch_power(effect, runs))
    assert st.welch_power(0.0, 10) == pytest.approx(0.05)


def test_simulated_power_is_the_theorys_on_normal_runs():
    """Pilots that are normal quantiles; what the simulation leaves to chance is bounded with a risk of 1e-3."""
    quantiles = scipy.stats.norm.ppf((np.arange(2000) + 0.5) / 2000)
    for runs in (10, 26):
        power = st.simulated_power(quantiles + 0.8, quantiles, runs, simulations=4000)
        expected = st.welch_power(0.8 / quantiles.std(), runs)
        assert abs(power - expected) < 3.3 * math.sqrt(expected * (1 - expected) / 4000) + 0.01


def test_seeds_needed_are_the_fewest_that_will_do():
    quantiles = scipy.stats.norm.ppf((np.arange(500) + 0.5) / 500)
    x, y = quantiles / quantiles.std(ddof=1) + 0.5, quantiles / quantiles.std(ddof=1)
    assert st.seeds_needed(x, y, normal=True) == 64  # Cohen's table again
    assert 50 < st.seeds_needed(x, y) < 80
    assert st.seeds_needed(x + 0.5, y, normal=True) < 64 < st.seeds_needed(x - 0.2, y, normal=True)
    assert st.seeds_needed(y, y) is None
    assert st.seeds_needed(x - 0.499, y, normal=True, largest=1000) is None
    assert st.seeds_needed(x, y, power=0.9, normal=True) == 86  # the same table, 90 %: 85 by its approximation


@pytest.mark.parametrize(("runs", "paired"), [(5, True), (4, False)])
def test_simulated_tests_are_the_tests(runs, paired):
    drawn = np.random.default_rng(3).integers(0, 6, (2, 20, runs)) + np.array([1.0, 0.0])[:, None, None]
    expected = [(st.paired_test if paired else st.unpaired_test)(x, y) for x, y in zip(*drawn)]
    found = st._permutation_p([drawn[0] - drawn[1]] if paired else list(drawn))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    welch = st._t_test_p([drawn[0] - drawn[1]] if paired else list(drawn))
    expected = (
        scipy.stats.ttest_rel(*drawn, axis=1) if paired else scipy.stats.ttest_ind(*drawn, axis=1, equal_var=False)
    )
    np.testing.assert_allclose(welch, expected.pvalue, rtol=1e-9)


@pytest.mark.parametrize(("effect", "paired"), [(2.0, False), (1.4, True), (0.8, True)])
def test_the_seeds_that_are_advised_have_the_power_that_was_asked(effect, paired):
    """New runs are tested as `jaxreward compare` tests them; chance may fake a failure with a risk of 1e-3."""
    draw, trials = np.random.default_rng(4), 200
    quantiles = scipy.stats.norm.ppf((np.arange(1000) + 0.5) / 1000)
    # Pairs have a large part in common, which a test of pairs takes away.
    common = 5 * draw.normal(size=1000)
    y = common if paired else quantiles
    x = effect + quantiles + (common if paired else 0.0)
    runs = st.seeds_needed(x, y, power=0.8, paired=paired)
    test, found = (st.paired_test if paired else st.unpaired_test), 0
    for _ in range(trials):
        second = (5 if paired else 1) * draw.normal(size=runs)
        first = effect + draw.normal(size=runs) + (second if paired else 0.0)
        found += test(first, second) <= 0.05
    simulated = 0.8 - 3.3 * math.sqrt(0.8 * 0.2 / 2000)  # the power that 0.8 in 2000 simulations may stand for
    assert found >= scipy.stats.binom.ppf(1e-3, trials, simulated)
    assert st.simulated_power(x, y, runs - 1, paired=paired) < 0.8


def test_advice_knows_what_a_permutation_test_can_not_show():
    """However far apart: 2 / 2**5 > 0.05 for five pairs, 2 / C(6, 3) > 0.05 for three of each."""
    x, y = np.array([1.0, 1.1, 1.2]), np.array([100.0, 101.0, 102.0])
    assert st.seeds_needed(x, y, paired=True) == 6
    assert st.seeds_needed(x, y) == 4
    assert st.seeds_needed(x, y, paired=True, confidence=0.99) == 8
    assert st.seeds_needed([1.0, 1.0], [2.0, 2.0]) == 4


def test_few_pilots_do_not_look_steadier_than_they_are():
    """Draws from n runs would have (n - 1) / n of the variance that the runs tell of."""
    x = np.array([1.0, 3.0, 8.0])
    np.testing.assert_allclose(st._unshrunk(x).var(), x.var(ddof=1), rtol=1e-12)
    np.testing.assert_allclose(st._unshrunk(x).mean(), x.mean(), rtol=1e-12)
