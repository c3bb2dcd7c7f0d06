"""Statistics, against rliable on the same arrays, against closed forms, and against the truth in simulations."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from jaxreward.results import bootstrap, significance
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
        monkeypatch.setattr(bootstrap, "_stratified", lambda *_: next(drawn))

    return use


@pytest.mark.parametrize("aggregate", RLIABLE)
def test_aggregates_and_intervals_are_rliables(aggregate, same_resamples):
    same_resamples(X)
    value, low, high, runs = st.bootstrap_estimate(X, aggregate, resamples=200)
    np.testing.assert_allclose((value, low, high), RLIABLE[aggregate], rtol=1e-12)
    assert runs == 6
    assert st.estimate(X, aggregate).value == value


@pytest.mark.parametrize("profile", RLIABLE_PROFILES)
def test_profiles_are_rliables(profile, same_resamples):
    same_resamples(X)
    ours = st.bootstrap_profile(X, THRESHOLDS, profile, resamples=200)
    np.testing.assert_allclose(ours[:3], RLIABLE_PROFILES[profile], rtol=1e-12, atol=1e-12)


def test_the_probability_of_improvement_is_rliables(same_resamples):
    same_resamples(X, Y)
    np.testing.assert_allclose(st.bootstrap_improvement(X, Y, resamples=200)[:3], RLIABLE_IMPROVEMENT, rtol=1e-12)


def test_our_own_draws_are_stratified_and_uniform(monkeypatch):
    """Each task's runs come from that task alone, each run as often as any other."""
    marked = np.arange(6)[:, None] + 100 * np.arange(4)
    drawn = bootstrap._stratified(marked, 5000, np.random.default_rng(0))
    assert (drawn // 100 == np.arange(4)).all()
    counts = np.stack([np.bincount(drawn[..., task].ravel() % 100, minlength=6) for task in range(4)])
    # A fair die thrown 30,000 times, for each of four tasks: chi-squared with 5 degrees of freedom, level 1e-4.
    assert (((counts - 5000) ** 2 / 5000).sum(axis=1) < scipy.stats.chi2.ppf(1 - 1e-4 / 4, 5)).all()
    monkeypatch.setattr(bootstrap, "LARGEST_BATCH", 100)  # in parts, memory is bounded and the draws are as good
    _, low, high, _ = st.bootstrap_estimate(X, resamples=999)
    assert low < st.aggregate_iqm(X) < high


def test_a_failed_run_is_passed_over_by_nothing():
    """NaN sorts as if it were the best score, and compares as if it were the worst."""
    failed = X.copy()
    failed[2, 1] = np.nan
    for aggregate in RLIABLE:
        assert np.isnan(st.estimate(failed, aggregate)[:3]).all()
        assert np.isnan(st.bootstrap_estimate(failed, aggregate)[:3]).all()
    assert np.isnan(st.bootstrap_interval(failed[:, 1])).all()
    assert np.isnan(st.estimate_improvement(failed, Y)[:3]).all()
    assert np.isnan(st.estimate_difference(Y, failed)[:3]).all()
    assert np.isnan(st.estimate_difference(failed, X, paired=True)[:3]).all()
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
    for one in (st.estimate(X[:1]), st.bootstrap_estimate(X[:1])):
        assert (one.value, one.runs) == (st.aggregate_iqm(X[:1]), 1)
        assert np.isnan([one.low, one.high]).all()
    assert np.isnan(st.estimate_difference(X[:1], Y)[1:3]).all()
    assert np.isnan(st.estimate_improvement(X[:1], Y)[1:3]).all()
    assert np.isnan(st.estimate_profile(X[:1], THRESHOLDS).low).all()
    assert np.isnan(st.bootstrap_interval(np.array([]))).all()
    with pytest.raises(ValueError, match="not of shape"):
        st.estimate(np.zeros((2, 2, 2)))


@pytest.mark.parametrize("aggregate", [st.aggregate_mean, st.aggregate_median])
def test_the_interval_of_a_mean_is_students_and_of_a_difference_welchs(aggregate):
    """The median over tasks of a single one is its mean, and is taken apart by the jackknife."""
    x, y = X[:, 0], Y[:, 1]
    pairs = [
        (st.estimate(x, aggregate), scipy.stats.ttest_1samp(x, 0)),
        (st.estimate_difference(x, y, aggregate), scipy.stats.ttest_ind(x, y, equal_var=False)),
        (st.estimate_difference(x, y[:6], aggregate, paired=True), scipy.stats.ttest_rel(x, y[:6])),
    ]
    for ours, scipys in pairs:
        np.testing.assert_allclose((ours.low, ours.high), scipys.confidence_interval(), rtol=1e-12)
        assert ours.runs == 6
    with pytest.raises(ValueError, match="as many runs of each; got 6 and 9"):
        st.estimate_difference(x, y, aggregate, paired=True)


def test_an_optimality_gap_is_a_mean_to_the_jackknife():
    expected = st.estimate(-np.minimum(X, 1.0), st.aggregate_mean)
    ours = st.estimate(X, st.optimality_gap)
    np.testing.assert_allclose(ours[:3], (1 + expected.value, 1 + expected.low, 1 + expected.high), rtol=1e-12)


def test_tasks_are_not_drawn_by_chance():
    """However far apart they are; and of two equal ones twice as many runs are known."""
    far = st.estimate(X + 100 * np.arange(4), st.aggregate_mean)
    near = st.estimate(X, st.aggregate_mean)
    assert far.high - far.low == pytest.approx(near.high - near.low)
    spread = X[:, 0].std(ddof=1) / math.sqrt(6) / math.sqrt(2)
    twice = st.estimate(np.stack([X[:, 0], X[::-1, 0]], 1), st.aggregate_mean)
    assert twice.high - twice.value == pytest.approx(scipy.stats.t.ppf(0.975, 10) * spread)


def normal(draw, size):
    return draw.normal(size=size)


def skewed(draw, size):
    return draw.lognormal(size=size)


SHIFT = 1.5
TRIALS = 2_000
INTERVALS = {
    "mean": lambda x, y: st.estimate(x, st.aggregate_mean),
    "iqm": lambda x, y: st.estimate(x),
    "difference": lambda x, y: st.estimate_difference(x + SHIFT, y),
    "paired": lambda x, y: st.estimate_difference(x + SHIFT + y, y, paired=True),
    "improvement": lambda x, y: st.estimate_improvement(x + SHIFT, y),
}
TRUTHS = {
    normal: {"mean": 0.0, "iqm": 0.0, "improvement": scipy.stats.norm.cdf(SHIFT / math.sqrt(2))},
    skewed: {
        "mean": math.exp(0.5),
        # Over the middle half of normal z: the mean of exp(z).
        "iqm": 2 * math.exp(0.5) * np.subtract(*scipy.stats.norm.cdf(scipy.stats.norm.ppf([0.75, 0.25]) - 1)),
    },
}
LEAST = {
    normal: dict.fromkeys(INTERVALS, 0.94),
    # The mean of skewed scores lies where few are: nobody who sees three can know. What `intervals` says of it.
    skewed: {"mean": 0.82, "iqm": 0.93},
}


@pytest.mark.parametrize("runs", [3, 5, 10, 20])
@pytest.mark.parametrize("kind", [normal, skewed])
def test_intervals_of_few_runs_cover_the_truth_as_often_as_they_say(kind, runs):
    """Of nominal 95 %, less what chance leaves of so many trials with a risk of 1e-3."""
    draw, hits = np.random.default_rng(runs), dict.fromkeys(LEAST[kind], 0)
    truths = {"difference": SHIFT, "paired": SHIFT, **TRUTHS[kind]}
    for _ in range(TRIALS):
        x, y = kind(draw, runs), kind(draw, runs)
        for name in hits:
            found = INTERVALS[name](x, y)
            hits[name] += found.low <= truths[name] <= found.high
    for name, least in LEAST[kind].items():
        assert hits[name] >= scipy.stats.binom.ppf(1e-3, TRIALS, least), name
    # Nor are they so wide that they would cover anything.
    for name in ("mean", "iqm") if kind is normal else ():
        assert hits[name] <= scipy.stats.binom.ppf(1 - 1e-3, TRIALS, 0.96), name


@pytest.mark.parametrize("runs", [3, 5, 10])
def test_intervals_over_several_tasks_cover_the_truth(runs):
    """Tasks of means and spreads of their own; a profile's shares are those of normal tails."""
    draw, trials = np.random.default_rng(runs), 600
    mean, spread = np.array([0.0, 0.5, 1.0, 4.0]), np.array([0.3, 1.0, 1.0, 2.0])
    sample = draw.normal(mean, spread, (500_000, 4))
    truths = {each: float(each(sample)) for each in (st.aggregate_mean, st.aggregate_iqm, st.optimality_gap)}
    share = scipy.stats.norm.sf((0.5 - mean) / spread).mean()
    hits = dict.fromkeys([*truths, "improvement", "profile"], 0)
    for _ in range(trials):
        x, y = draw.normal(mean, spread, (2, runs, 4))
        for each, truth in truths.items():
            found = st.estimate(x, each)
            hits[each] += found.low <= truth <= found.high
        better = st.estimate_improvement(x, y)
        hits["improvement"] += better.low <= 0.5 <= better.high
        profile = st.estimate_profile(x, [0.5])
        hits["profile"] += profile.low[0] <= share <= profile.high[0]
    # What is cut off above makes an optimality gap skewed.
    for name, count in hits.items():
        least = 0.88 if name is st.optimality_gap else 0.94
        assert count >= scipy.stats.binom.ppf(1e-3, trials, least), name


def test_bootstrap_intervals_cover_less_than_they_say():
    """Why they aren't used: of 4 normal runs nominal 95 % are about 79."""
    draw, trials = np.random.default_rng(0), 400
    bounds = [st.bootstrap_interval(draw.normal(size=4), np.mean, resamples=300) for _ in range(trials)]
    hits = sum(low < 0 < high for low, high in bounds)
    assert hits <= scipy.stats.binom.ppf(1 - 1e-3, trials, 0.82)


def test_a_single_failure_of_many_runs_leaves_the_interval_of_an_iqm_narrow():
    steady = np.random.default_rng(0).normal(500, 5, size=10)
    whole, one = st.estimate(steady), st.estimate(np.append(steady[1:], 9.0))
    assert one.high - one.low < 2 * (whole.high - whole.low)
    mean = st.estimate(np.append(steady[1:], 9.0), st.aggregate_mean)
    assert mean.high - mean.low > 10 * (one.high - one.low)


def test_runs_that_are_all_above_are_still_few():
    """No spread, and yet nobody knows: the interval is Newcombe's, where it is solved by hand."""
    certain = st.estimate_improvement(np.arange(5.0) + 100, np.arange(5.0))
    assert certain.value == certain.high == 1
    quantile = scipy.stats.t.ppf(0.975, 8)
    # The low end solves (1 - p)^2 = quantile^2 V(p), V being Hanley and McNeil's variance, 4 both counts less one.
    p = certain.low
    variance = p * (1 - p) / 25 * (1 + 4 * (1 - p) / (2 - p) + 4 * p / (1 + p))
    assert (1 - p) ** 2 == pytest.approx(quantile**2 * variance, rel=1e-6)
    worse = st.estimate_improvement(np.arange(5.0), np.arange(5.0) + 100)
    assert (worse.low, worse.high) == pytest.approx((0, 1 - p))


def test_profiles_have_the_binomial_intervals_of_all_scores():
    profile = st.estimate_profile(X, THRESHOLDS)
    for share, low, high in zip(*profile[:3], strict=True):
        expected = scipy.stats.binomtest(round(share * 24), 24).proportion_ci()
        assert (low, high) == pytest.approx((expected.low, expected.high))
    nobody = st.estimate_profile(X, [100.0])
    assert (nobody.share[0], nobody.low[0]) == (0, 0)
    assert nobody.high[0] == pytest.approx(1 - 0.025 ** (1 / 24))
    tasks = st.estimate_profile(X, [0.5, 0.7], st.average_score_distribution)
    ends = [scipy.stats.ttest_1samp(task, 0).confidence_interval() for task in X.T]
    for end, found in zip(zip(*ends, strict=True), (tasks.low, tasks.high), strict=True):
        np.testing.assert_allclose(found, [(np.array(end) > threshold).mean() for threshold in (0.5, 0.7)])


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
    found = significance._permutation_p([drawn[0] - drawn[1]] if paired else list(drawn))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    welch = significance._t_test_p([drawn[0] - drawn[1]] if paired else list(drawn))
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
    np.testing.assert_allclose(significance._unshrunk(x).var(), x.var(ddof=1), rtol=1e-12)
    np.testing.assert_allclose(significance._unshrunk(x).mean(), x.mean(), rtol=1e-12)
