"""IMED-RL: its divergence against closed forms and the primal problem, its index by hand."""

from math import log

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from jaxreward.agents.loop.imed_rl import Hyperparams, Outcomes, how_far, least_index, skeleton_plan
from jaxreward.agents.loop.parts.learner import Memory
from jaxreward.agents.loop.parts.planning import Plan


def distances(value, weight, target, most):
    each = jax.vmap(lambda v, p, m, u: how_far(v[None], p[None], m, u)[0])
    return np.array(jax.jit(each)(*map(jnp.float32, (value, weight, target, most))))


def test_the_divergence_of_coins_is_known():
    p, target = np.array([0.1, 0.3, 0.5, 0.5, 0.8]), np.array([0.2, 0.9, 0.5, 0.4, 0.99])
    value = np.tile([0.0, 1.0], (5, 1))
    expected = p * np.log(p / target) + (1 - p) * np.log((1 - p) / (1 - target))
    expected[3] = 0  # its mean is above the target already
    ours = distances(value, np.stack([1 - p, p], axis=1), target, np.ones(5))
    np.testing.assert_allclose(ours, expected, atol=2e-6)


def test_the_divergence_is_the_least_to_a_law_that_is_good_enough():
    """The primal problem, over laws on the values and on the largest possible one, by a general solver."""
    rng, number = np.random.default_rng(0), 12
    value = -rng.exponential(size=(number, 4))
    weight = rng.dirichlet(np.ones(4), number)
    target = (value * weight).sum(1) * rng.uniform(0.1, 0.9, number)  # between the mean and the most, 0

    def primal(v, p, m):
        support = np.append(v, 0.0)
        found = minimize(
            lambda q: p @ np.log(p / q[:-1]), np.append(p, 1) / 2, bounds=[(1e-9, 1)] * 5,
            constraints=[
                {"type": "eq", "fun": lambda q: q.sum() - 1},
                {"type": "ineq", "fun": lambda q: q @ support - m},
            ],
        )  # fmt: skip
        return found.fun

    expected = [primal(*case) for case in zip(value, weight, target, strict=True)]
    ours = distances(value, weight, target, np.zeros(number))
    np.testing.assert_allclose(ours, expected, atol=1e-4)  # the solver stops at such a change
    assert min(expected) > 1e-3


def test_the_index_weighs_divergence_against_visits():
    """State 0: the first action is known well and good, the others are worse or little known; state 1 is worth less."""
    visits = np.array([[100.0, 20.0, 3.0], [1.0, 1.0, 1.0]])
    paid = np.array([[0.8, 0.2, 0.5], [0.5, 0.5, 0.5]]) * visits
    half, bias = np.full((2, 3, 2), 0.5), np.array([0.0, -1.0])
    outcomes = Outcomes(visits[..., None] * half, paid[..., None] * half)
    value = (paid + 0.5) / (visits + 1) - 0.5
    plan = Plan(value - 0.7, bias, np.float32(0.7))

    def chosen(outcomes, offset):
        memory = Memory(Outcomes(*map(jnp.float32, outcomes)), jax.tree.map(jnp.float32, plan))
        return least_index(memory, jnp.int32(0), jax.random.key(0), Hyperparams(offset=offset))

    def index(a, offset):
        """By a fine grid over the multiplier; the law is what was paid, or half of a reward before, and the bias."""
        if a == 0:
            return log(100)
        n, best = visits[0, a], value[0, 0]
        atoms = np.add.outer([paid[0, a] / n, 0.5], bias).ravel()
        weights = np.outer([n, 1.0], [0.5, 0.5]).ravel() / (n + 1)
        x = np.linspace(0, 1 / (1 - best), 100_001)[:-1]
        divergence = (np.log(1 - np.outer(atoms - best, x)) * weights[:, None]).sum(0).max()
        return n * (divergence + offset * log(2)) + log(n)

    never = Outcomes(outcomes.following.copy(), outcomes.reward)
    never.following[0, 1] = 0
    several = jax.tree.map(lambda *each: np.stack(each), outcomes, outcomes, never)
    expected = [int(np.argmin([index(a, offset) for a in range(3)])) for offset in (0, 2)]
    assert expected == [2, 0]
    assert np.array(jax.jit(jax.vmap(chosen))(several, np.float32([0, 2, 0]))).tolist() == [*expected, 1]


def test_actions_that_were_tried_too_rarely_are_not_planned_with():
    """Of state 0 the second action looks better and was tried twice, less than log(100)^2 times."""
    visits = np.array([[100.0, 2.0], [9.0, 9.0]])
    paid = visits * np.array([[0.2, 1.0], [0.2, 0.2]])
    alike = np.full((2, 2, 2), 0.5)
    outcomes = Outcomes(*(jnp.float32(each[..., None] * alike) for each in (visits, paid)))
    nothing = Plan(jnp.zeros((2, 2)), jnp.zeros(2), jnp.ones(()))
    plan = jax.jit(skeleton_plan)(outcomes, nothing, 1e-6)
    mean = (paid + 0.5) / (visits + 1)
    np.testing.assert_allclose(plan.gain, (mean[0, 0] + mean[1].max()) / 2, atol=1e-5)
    assert plan.action_value[0, 1] > plan.action_value[0, 0]  # the index still compares all
