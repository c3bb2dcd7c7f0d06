"""Sets of likely models against a general optimiser; the excess of models, step by step and of all data."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from jaxreward.agents.loop.parts.counts import Counts
from jaxreward.agents.loop.parts.learner import Visit
from jaxreward.agents.loop.parts.likelihood import (
    Held,
    Likely,
    excess_of,
    likelihood_based,
    within_budget,
    within_radius,
)
from jaxreward.agents.loop.parts.mean_reward import mean_reward
from jaxreward.agents.loop.parts.mixture import extended, value_targeted
from jaxreward.agents.loop.parts.planning import Plan
from jaxreward.agents.loop.parts.regression import Fit
from jaxreward.agents.loop.parts.value_targets import Targets

S, A, MORE = 4, 2, 0.1
HYPERPARAMS = SimpleNamespace(
    beta=0.5, pseudo_reward=1.0, regularisation=MORE, max_span=jnp.inf, tolerance=1e-8, bandwidth=0.5
)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def random_counts(rng):
    following = rng.integers(0, 30, size=(S, A, S)).astype(float)
    return Counts(*map(jnp.asarray, (following, rng.uniform(size=(S, A)) * following.sum(-1), following.sum(-1))))


def kl(p, q):
    return np.sum(np.where(p > 0, p * np.log(np.maximum(p, 1e-300) / q), 0.0), -1)


def best_by_slsqp(p, radius, below):
    """The least `q below` of distributions with `KL(p, q) <= radius`."""
    found = minimize(
        lambda q: q @ below,
        p,
        method="SLSQP",
        bounds=[(1e-9, 1)] * p.size,
        constraints=[
            {"type": "ineq", "fun": lambda q: (radius - kl(p, q)) / radius},
            {"type": "eq", "fun": lambda q: q.sum() - 1},
        ],
        options={"ftol": 1e-12},
    )
    return found.fun


def test_a_radius_and_a_budget_are_spent_where_it_is_worth_most():
    """A general optimiser for a pair; for all of them the conditions of an optimum, which are enough: it is convex.

    With a price `c` of the budget `visited below - c weight p / q` is one number in each row that is visited.
    """
    rng = np.random.default_rng(0)
    both = jax.jit(lambda p, w, mu, b: (within_radius(p, 0.3 / w, b), within_budget(p, w, mu, 0.3, b)))
    for _ in range(4):
        p, weight = rng.dirichlet(np.ones(S), (S, A)), rng.uniform(1, 30, (S, A))
        below, visited = rng.permutation(np.linspace(0, 1, S)), rng.dirichlet(np.ones(S * A)).reshape(S, A)
        visited[0] = 0.0
        radius, budget = map(np.asarray, both(*map(jnp.asarray, (p, weight, visited, below))))
        np.testing.assert_allclose(radius.sum(-1), 1)
        np.testing.assert_allclose(budget.sum(-1), 1)
        np.testing.assert_allclose(weight * kl(p, radius), 0.3, rtol=1e-6)
        assert radius[0, 0] @ below == pytest.approx(best_by_slsqp(p[0, 0], 0.3 / weight[0, 0], below), abs=1e-5)

        assert np.sum(weight * kl(p, budget)) == pytest.approx(0.3, rel=1e-6)
        np.testing.assert_array_equal(budget[0], p[0])
        gradient, order = (weight[..., None] * p / budget)[1:], np.argsort(below)
        slopes = np.diff(gradient[..., order]) / np.diff(below[order]) / visited[1:, :, None]
        assert slopes.min() > 0
        np.testing.assert_allclose(slopes, slopes.mean(), rtol=1e-4)


def test_a_radius_in_closed_form():
    """Two states: the best one's share rises until `KL(p, q)` is the radius, here to 0.5 from 0.3 and from 0.1."""
    p = np.array([[[0.3, 0.7]], [[0.1, 0.9]]])
    radius = kl(p, np.array([0.5, 0.5]))
    raised = within_radius(jnp.asarray(p), jnp.asarray(radius), jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(raised, 0.5, rtol=1e-8)


def steps_of(rng, count):
    drawn = (
        rng.integers(S, size=count),
        rng.integers(A, size=count),
        rng.uniform(size=count),
        rng.integers(S, size=count),
    )
    return Visit(*map(jnp.asarray, drawn))


def excess_of_steps(hypotheses, counts, plan, held, steps):
    """The sum of what steps add, and the counts after them."""

    def step(carry, visit):
        counts, held, evidence = hypotheses.learn(carry[0], plan, carry[1], visit, HYPERPARAMS)
        return (counts, held), evidence

    (after, _), evidence = jax.jit(lambda c: jax.lax.scan(step, (c, held), steps))(counts)
    return float(evidence.excess.sum()), float(evidence.growth.sum()), after


def reward_loss(counts, squares, table):
    """Squared error of a table of rewards on all data, those of the regularisation among them, above that of means."""
    visits, total = np.asarray(counts.visits), np.asarray(counts.reward)
    loss = lambda r: np.sum(squares - 2 * r * total + visits * r**2 + MORE * (r - 1) ** 2)  # noqa: E731
    return loss(np.asarray(table)) - loss(np.asarray(mean_reward(counts, HYPERPARAMS)))


def random_plan(rng):
    bias = rng.normal(size=S)
    return Plan(jnp.asarray(rng.normal(size=(S, A))), jnp.asarray(bias - bias.max()), jnp.asarray(0.5))


def test_the_excess_of_a_likely_model_is_that_of_all_data():
    rng = np.random.default_rng(2)
    counts, plan, steps = random_counts(rng), random_plan(rng), steps_of(rng, 40)
    model = Likely(jnp.asarray(rng.dirichlet(np.ones(S), (S, A))), jnp.int32(1))
    held = Held(model, jnp.asarray(rng.uniform(size=(S, A))))
    added, growth, after = excess_of_steps(likelihood_based((S, A), "ell"), counts, plan, held, steps)

    def likelihood_loss(counts):
        seen = np.asarray(counts.following) + MORE * np.eye(S)[1]
        best = seen / seen.sum(-1, keepdims=True)
        return np.sum(seen * (np.log(best) - np.log(model.following)))

    assert float(excess_of(counts, model, MORE)) == pytest.approx(likelihood_loss(counts))
    of_rewards = [reward_loss(c, np.asarray(c.squared), held.reward) for c in (counts, after)]
    expected = likelihood_loss(after) - likelihood_loss(counts) + of_rewards[1] - of_rewards[0]
    assert added == pytest.approx(expected, rel=1e-8)
    logs = [np.log(np.asarray(c.visits) + MORE).sum() for c in (counts, after)]
    assert growth == pytest.approx(logs[1] - logs[0])


def test_the_search_spends_the_budget_and_the_box_more():
    counts = random_counts(np.random.default_rng(3))
    found = {}
    for planner in ("ell", "box"):
        search = likelihood_based((S, A), planner).search
        found[planner] = jax.jit(lambda c, f=search: f(c, jnp.zeros(S), jax.random.key(0), HYPERPARAMS))(counts)
    assert float(found["ell"].excess) == pytest.approx(0.5, rel=1e-5)
    assert float(found["box"].excess) == pytest.approx(S * A * 0.5, rel=1e-5)
    assert float(found["box"].plan.gain) > float(found["ell"].plan.gain) > certain_gain(counts) + 0.01


def certain_gain(counts):
    """The gain of the best of all policies in the model of the counts, the regularisation's data leading anywhere."""
    best = -np.inf
    weight, reward = np.asarray(counts.visits) + MORE, np.asarray(mean_reward(counts, HYPERPARAMS))
    for policy in np.ndindex(*[A] * S):
        for target in range(S):
            seen = np.asarray(counts.following) + MORE * np.eye(S)[target]
            rows = (seen / weight[..., None])[np.arange(S), policy]
            equations = np.vstack([(np.eye(S) - rows).T, np.ones(S)])
            mu = np.linalg.lstsq(equations, np.eye(S + 1)[S], rcond=None)[0]
            best = max(best, mu @ reward[np.arange(S), policy])
    return best


def test_a_mixture_regresses_values_and_its_excess_is_that_of_all_data():
    rng = np.random.default_rng(4)
    phi = rng.dirichlet(np.ones(S), (3, S, A)).transpose(1, 2, 3, 0)
    plan, steps, counts = random_plan(rng), steps_of(rng, 30), random_counts(rng)
    reward = jnp.asarray(rng.uniform(size=(S, A)))
    begun = Targets(counts, Fit(jnp.zeros(3), jnp.eye(3) / MORE))
    added, growth, after = excess_of_steps(value_targeted(jnp.asarray(phi)), begun, plan, reward, steps)

    bias, pairs = np.asarray(plan.bias), (np.asarray(steps.state), np.asarray(steps.action))
    x, y = np.einsum("ntd,t->nd", phi[pairs], bias), bias[np.asarray(steps.next_state)]
    matrix = MORE * np.eye(3) + x.T @ x
    theta = np.linalg.solve(matrix, x.T @ y)
    np.testing.assert_allclose(after.fit.value, theta, rtol=1e-8)
    np.testing.assert_allclose(after.fit.covariance, np.linalg.inv(matrix), rtol=1e-8)
    held = (np.asarray(plan.action_value + plan.gain) - np.asarray(reward))[pairs]
    of_values = np.sum((held - y) ** 2) - np.sum((x @ theta - y) ** 2) - MORE * theta @ theta
    of_rewards = [reward_loss(c, np.asarray(c.squared), reward) for c in (counts, after.counts)]
    assert added == pytest.approx(of_values + of_rewards[1] - of_rewards[0], rel=1e-8)
    visits = [np.log(np.asarray(c.visits) + MORE).sum() for c in (counts, after.counts)]
    assert growth == pytest.approx(np.linalg.slogdet(matrix)[1] - 3 * np.log(MORE) + visits[1] - visits[0])

    # Its plan solves the optimality equation with sqrt(beta) standard deviations added where values go.
    solved = jax.jit(lambda t: extended(t, jnp.asarray(phi), jnp.zeros(S), HYPERPARAMS))(after)
    values, seen = np.asarray(solved.bias), np.asarray(after.visits) / (np.asarray(after.visits) + MORE)
    at = np.einsum("satd,t->sad", phi, values)
    width = np.sqrt(0.5 * np.einsum("sad,de,sae->sa", at, np.linalg.inv(matrix), at))
    following = seen * np.clip(at @ theta + width, values.min(), 0)
    expected = np.asarray(mean_reward(after.counts, HYPERPARAMS)) + following
    np.testing.assert_allclose(expected.max(-1), values + float(solved.gain), atol=1e-6)
