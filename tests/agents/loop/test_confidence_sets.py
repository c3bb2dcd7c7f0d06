"""The best distribution of each set against linear programmes and solvers; radii at numbers computed by hand."""

import itertools
from math import e, log, sqrt

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq, linprog

from jaxreward.agents.loop import kl_ucrl, ucrl2, ucrl2b, ucrl3
from jaxreward.agents.loop.parts.bernoulli import mean_upper, peeled, probability_bounds
from jaxreward.agents.loop.parts.counts import Counts
from jaxreward.agents.loop.parts.divergence import most_in_kl_ball
from jaxreward.agents.loop.parts.intervals import most_within

STATES, CASES = 4, 60
RNG = np.random.default_rng(0)


def of_cases(function):
    """For each case one pair and one bias, in one program: `[CASES, S] ... -> [CASES]`."""
    pair = lambda *arrays: function(*(array[None, None] for array in arrays[:-1]), arrays[-1])[0, 0]  # noqa: E731
    return lambda *arrays: np.array(jax.jit(jax.vmap(pair))(*map(jnp.float32, arrays)))


def estimates():
    """Shares of few visits: zeros are common, and so are sure successors."""
    drawn = [RNG.multinomial(RNG.integers(1, 12), RNG.dirichlet(np.full(STATES, 0.5))) for _ in range(CASES)]
    return np.array([counts / counts.sum() for counts in drawn])


def biases():
    """Of one digit, so that ties are common; the last three are all alike."""
    bias = np.round(RNG.normal(size=(CASES, STATES)), 0 if CASES % 2 else 1)
    bias[::3] = np.round(bias[::3])
    bias[-3:] = 0.5
    return bias


def test_the_best_of_a_ball_is_that_of_the_linear_programme():
    estimate, radius, bias = estimates(), RNG.uniform(0, 2.5, CASES), biases()
    estimate[-8:] = 0  # nothing was seen

    def programme(p, r, v):
        if not p.any():
            return v.max()
        # Variables q and d >= |q - p|, whose sum is at most the radius.
        eye, zero, one = np.eye(STATES), np.zeros(STATES), np.ones(STATES)
        above = np.block([[eye, -eye], [-eye, -eye], [zero, one]])
        found = linprog(
            np.r_[-v, zero], above, np.r_[p, -p, r], np.r_[one, zero][None], [1.0], bounds=[(0, None)] * 2 * STATES
        )
        return -found.fun

    ours = of_cases(ucrl2.most_in_ball)(estimate, radius, bias)
    np.testing.assert_allclose(ours, [programme(*case) for case in zip(estimate, radius, bias, strict=True)], atol=2e-6)


def test_the_best_within_intervals_is_that_of_the_linear_programme():
    estimate, width, bias = estimates(), RNG.uniform(0, 0.6, (CASES, STATES)), biases()
    lower, upper = np.maximum(0, estimate - width), np.minimum(1, estimate + width)
    lower[-8:], upper[-8:] = 0, 1  # nothing was seen
    upper[:8] = lower[:8]  # all may not sum to 1; the worst state gets what is missing

    def programme(low, high, v):
        worst = v.min()
        found = linprog(worst - v, np.ones((1, STATES)), [1.0], bounds=list(zip(low, high, strict=True)))
        return worst - found.fun

    expected = [programme(*case) for case in zip(lower, upper, bias, strict=True)]
    np.testing.assert_allclose(of_cases(most_within)(lower, upper, bias), expected, atol=2e-6)


def most_by_root(p, radius, v):
    """The dual of the programme, by a bracketing root finder in float64."""
    seen, below = p > 0, v.max() - v
    if not seen.any() or not below.any():
        return v.max()

    def divergence(margin):
        ratio = below[seen] / margin
        return p[seen] @ np.log1p(ratio) + np.log(p[seen] @ (1 / (1 + ratio)))

    tiny = 1e-13
    if divergence(tiny) <= radius:  # also at the least margin: the best state gets the rest
        kept = 0.0 if p[below == 0].sum() else np.exp(divergence(tiny) - radius)
        margin = tiny
    else:
        kept, margin = 1.0, np.exp(brentq(lambda x: divergence(np.exp(x)) - radius, np.log(tiny), 30))
    weights = p[seen] / (below[seen] + margin)
    return v.max() - kept * (weights @ below[seen]) / weights.sum()


def test_the_best_of_a_kl_ball_is_that_of_its_dual_and_no_feasible_one_is_better():
    estimate, bias = estimates(), biases()
    radius = 10 ** RNG.uniform(-3, 1, CASES)
    estimate[-5:], radius[-5:] = 0, np.inf
    ours = of_cases(most_in_kl_ball)(estimate, radius, bias)
    np.testing.assert_allclose(
        ours, [most_by_root(*case) for case in zip(estimate, radius, bias, strict=True)], atol=2e-5
    )
    # The dual was derived; the primal is brute force, a fine grid of all distributions on three states.
    grid = np.array([(a, b, 60 - a - b) for a, b in itertools.product(range(1, 60), repeat=2) if a + b < 60]) / 60
    for p, r, v in [((0.5, 0.5, 0), 0.1, (0, 1, 2)), ((0.2, 0.3, 0.5), 0.05, (3, -1, 0)), ((1, 0, 0), 0.3, (0, 1, 1))]:
        p, v = np.array(p), np.array(v, float)
        with np.errstate(divide="ignore", invalid="ignore"):
            kl = np.where(p > 0, p * np.log(p / grid), 0.0).sum(1)
        best = (grid[kl <= r] @ v).max()
        assert best <= most_by_root(p, r, v) + 1e-9 <= best + 0.06  # the grid's step times the span


def seen(times=1):
    """4 states and 2 actions; pair (0, 0) was seen 10 times, (0, 1) 40 times, the others never; all some times over."""
    following, reward, squared = np.zeros((4, 2, 4)), np.zeros((4, 2)), np.zeros((4, 2))
    following[0, 0], following[0, 1] = [3, 7, 0, 0], [0, 0, 40, 0]
    reward[0], squared[0] = [5.0, 10.0], [4.0, 10.0]  # means 0.5 and 0.25, variances 0.15 and 0.1875
    return Counts(*(np.float32(times * each) for each in (following, reward, squared)))


def bounds(module, counts, delta):
    """The largest reward of each pair, and the largest probability of leading to state 0."""

    def both():
        look_ahead = module.confidence_set(Counts(*map(jnp.asarray, counts)), module.Hyperparams(delta))
        return look_ahead(jnp.zeros(4)), look_ahead(jnp.eye(4)[0])

    nothing, first = map(np.array, jax.jit(both)())
    return nothing, first - nothing


def test_ucrl2_has_the_radii_of_the_paper():
    reward, first = bounds(ucrl2, seen(), 0.5)
    # With t = 50, S = 4 and A = 2: sqrt(7 log(2 S A t / delta) / 2 n) and sqrt(14 S log(2 A t / delta) / n), above 2.
    assert reward[0] == pytest.approx(1.0, abs=1e-5)
    assert first == pytest.approx(1.0, abs=1e-5)
    reward, first = bounds(ucrl2, seen(1000), 0.5)
    assert reward[0, 0] == pytest.approx(0.5 + sqrt(7 * log(2 * 8 * 50_000 / 0.5) / 20_000), abs=1e-5)
    assert first[0, 0] == pytest.approx(0.3 + sqrt(14 * 4 * log(4 * 50_000 / 0.5) / 10_000) / 2, abs=1e-5)


def test_ucrl2b_has_bernsteins_radii():
    reward, first = bounds(ucrl2b, seen(1000), 0.1)
    rate = log(18 * 8 * 10_000 / 0.1) / 10_000
    assert reward[0, 0] == pytest.approx(0.5 + 2 * sqrt(0.15 * rate) + 6 * rate, abs=1e-5)
    assert first[0, 0] == pytest.approx(0.3 + 2 * sqrt(0.21 * rate) + 6 * rate, abs=1e-5)
    assert reward[1:] == pytest.approx(1.0)
    assert first[1:] == pytest.approx(1.0)


def test_kl_ucrl_has_the_constants_of_public_implementations():
    constants = jax.jit(lambda: kl_ucrl.constants(Counts(*map(jnp.asarray, seen())), 0.5))()
    for_reward, for_following = map(float, constants)
    bound = log(2 * e * 16 * 2 * log(50) / 0.5)
    more = bound + 1 / log(50)
    assert for_reward == pytest.approx(sqrt(log(4 * 8 * log(50) / 0.5) / 1.99), rel=1e-5)
    assert for_following == pytest.approx(4 * (bound + log(more) * (1 + 1 / more)), rel=1e-5)
    reward, first = bounds(kl_ucrl, seen(), 0.5)
    assert reward[0, 1] == pytest.approx(0.25 + for_reward / sqrt(40), rel=1e-5)
    expected = most_by_root(np.array([0, 0, 1.0, 0]), float(for_following) / 40, np.array([1.0, 0, 0, 0]))
    assert first[0, 1] == pytest.approx(expected, abs=1e-5)
    assert first[1:] == pytest.approx(1.0)


def test_bounds_of_probabilities_solve_their_equations():
    """At a bound the estimate is as far away as the tighter of both radii allows; all in float64 by a root finder."""
    cases = [(p, n, d) for p in (0.0, 0.02, 0.3, 0.5, 0.9, 1.0) for n in (5, 100, 10_000) for d in (0.05, 1e-4)]
    p, n, d = map(np.array, zip(*cases, strict=True))
    lower, upper = (np.array(each) for each in jax.jit(probability_bounds)(*map(jnp.float32, (p, n, d))))

    def radius(q, n, d, wide):
        rate = 1.12 * log(log(1.12 * n) * log(1.12**2 * n) / (log(1.12) ** 2 * d)) / n
        proxy = 0.25 if q == 0.5 else (0.5 - q) / log(1 / q - 1)
        proxy = q * (1 - q) if wide and q >= 0.5 else proxy
        mixtures = sqrt(2 * proxy * (1 + 1 / n) * log(2 * sqrt(n + 1) / d) / n)
        return min(sqrt(2 * q * (1 - q) * rate) + rate / 3, mixtures)

    for low, high, p, n, d in zip(lower, upper, p, n, d, strict=True):
        above = lambda q: q - p - radius(q, n, d, True)  # noqa: E731
        below = lambda q: p - q - radius(q, n, d, False)  # noqa: E731
        assert low <= p <= high
        if high < 1 - 2e-5:
            assert above(high - 1e-5 if high - 1e-5 > p else high) <= 1e-6
            assert above(high + 1e-5) > 0
        if low > 2e-5:
            assert below(low + 1e-5 if low + 1e-5 < p else low) <= 1e-6
            assert below(low - 1e-5) > 0
    assert peeled(100.0, 0.05) == pytest.approx(
        1.12 * log(log(112) * log(125.44) / (log(1.12) ** 2 * 0.05)) / 100, rel=1e-5
    )


def test_bounds_of_means_are_the_tighter_of_two():
    upper = jax.jit(mean_upper)(*map(jnp.float32, ([0.5, 0.5, 0.2], [0.0, 0.25, 0.1], [1000, 1000, 0], [0.01] * 3)))
    rate = 1.12 * log(log(1120) * log(1254.4) / (log(1.12) ** 2 * 0.01)) / 1000
    mixtures = sqrt(1.001 * log(sqrt(1001) / 0.01) / 2000)
    assert upper == pytest.approx([0.5 + 7 / 3 * rate, 0.5 + mixtures, 1.0], abs=1e-5)


def test_ucrl3_hopes_for_no_more_unseen_states_than_it_must():
    """Against the rule in plain Python, pair by pair: add the next best state until the others are worth little."""
    observed = RNG.random((CASES, STATES)) < 0.5
    lower = np.where(observed, RNG.uniform(0, 0.2, (CASES, STATES)), 0)
    upper = lower + RNG.uniform(0.05, 0.5, (CASES, STATES))
    worth = np.outer(RNG.uniform(0.1, 2, CASES), [3.0, 2.5, 1.0, 0.0])
    allowance = np.where(np.arange(CASES) % 3, RNG.uniform(0, 1, CASES), np.inf)

    def most(low, high, v):
        left, total = 1 - low.sum(), low @ v
        for state in range(STATES):
            more = min(left, high[state] - low[state])
            left, total = left - more, total + more * v[state]
        return total

    def enough(best, seen, low, high, v, allowed):
        inside = seen | (np.arange(STATES) < best)
        return most(0 * low, np.where(inside, 0, high), v) <= min(allowed, most(low, np.where(inside, high, low), v))

    def number(*case):
        return next(best for best in range(1, STATES + 1) if enough(best, *case))

    def pair(seen, low, high, allowed, v):
        return ucrl3.least_support(seen[None, None], low[None, None], high[None, None], v, allowed[None, None])[0, 0]

    arrays = observed, *map(jnp.float32, (lower, upper, allowance, worth))
    ours = np.array(jax.jit(jax.vmap(pair))(*arrays))
    cases = zip(observed, lower, upper, worth, allowance, strict=True)
    np.testing.assert_array_equal(ours, [number(*case) for case in cases])
    assert set(ours) == {1, 2, 3}  # with four all are inside
