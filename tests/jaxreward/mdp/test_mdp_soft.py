"""Entropy-regularised solvers against path sums, definitions, finite differences and the limits of temperature."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.mdp import (
    corridor,
    discounted_occupancy,
    expected_reward,
    garnet,
    policy_value,
    soft_backward_induction,
    soft_max,
    soft_policy,
    soft_policy_value,
    soft_value_iteration,
    tabular_mdp,
    uniform_policy,
    value_iteration,
)

STATES, ACTIONS, DISCOUNT, TEMPERATURE = 5, 3, 0.9, 0.5

make_garnet = partial(jax.jit, static_argnums=(1, 2, 3, 4))(garnet)
solve = jax.jit(soft_value_iteration)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def mdp():
    return make_garnet(jax.random.key(7), STATES, ACTIONS, 2, None)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32], ids=["f64", "f32"])
def test_a_batch_of_solutions_satisfies_the_soft_bellman_equations(dtype):
    keys = jax.random.split(jax.random.key(0), 5)
    batch = jax.vmap(lambda key: make_garnet(key, STATES, ACTIONS, 2, dtype))(keys)
    solution = jax.vmap(solve, in_axes=(0, None, None))(batch, DISCOUNT, TEMPERATURE)
    assert solution.value.dtype == dtype
    transition, reward, value, action_value, policy = (
        np.asarray(x, np.float64) for x in (batch.transition, batch.reward, *solution[:3])
    )
    tolerance = STATES * jnp.finfo(dtype).eps * (1 + DISCOUNT) / (1 - DISCOUNT) * np.max(np.abs(value))
    look_ahead = np.sum(transition * reward, -1) + DISCOUNT * np.einsum("nsat,nt->nsa", transition, value)
    exponentials = np.exp(action_value / TEMPERATURE)
    np.testing.assert_allclose(action_value, look_ahead, rtol=0, atol=tolerance)
    np.testing.assert_allclose(value, TEMPERATURE * np.log(exponentials.sum(-1)), rtol=0, atol=tolerance)
    softmax = exponentials / exponentials.sum(-1, keepdims=True)
    np.testing.assert_allclose(policy, softmax, rtol=0, atol=tolerance / TEMPERATURE)
    assert np.all(solution.residual <= tolerance)


def test_soft_policy_value_is_the_value_of_reward_and_entropy(mdp):
    policy = jax.nn.softmax(jax.random.normal(jax.random.key(0), (STATES, ACTIONS)))
    p, chain = np.asarray(policy), np.einsum("sa,sat->st", policy, mdp.transition)
    reward = np.sum(p * np.asarray(expected_reward(mdp)), -1) - TEMPERATURE * np.sum(p * np.log(p), -1)
    expected = np.linalg.solve(np.eye(STATES) - DISCOUNT * chain, reward)
    np.testing.assert_allclose(soft_policy_value(mdp, policy, DISCOUNT, TEMPERATURE), expected, rtol=1e-12)


def test_deterministic_policies_have_no_entropy(mdp):
    policy = value_iteration(mdp, DISCOUNT).policy
    soft = soft_policy_value(mdp, policy, DISCOUNT, TEMPERATURE)
    np.testing.assert_array_equal(soft, policy_value(mdp, policy, DISCOUNT))


def test_the_solution_is_worth_its_value_and_no_policy_is_worth_more(mdp):
    best = solve(mdp, DISCOUNT, TEMPERATURE)
    worth = soft_policy_value(mdp, best.policy, DISCOUNT, TEMPERATURE)
    np.testing.assert_allclose(worth, best.value, rtol=1e-12)
    others = jax.nn.softmax(3 * jax.random.normal(jax.random.key(1), (200, STATES, ACTIONS)))
    near = 0.99 * best.policy[None] + 0.01 * others
    for policies in (others, near):
        values = jax.vmap(lambda policy: soft_policy_value(mdp, policy, DISCOUNT, TEMPERATURE))(policies)
        assert np.all(values < best.value[None])


def test_gradient_in_the_reward_is_the_occupancy_of_the_soft_policy(mdp):
    value = jax.jit(lambda reward: mdp.start @ solve(mdp._replace(reward=reward), DISCOUNT, TEMPERATURE).value)
    gradient = jax.grad(value)(mdp.reward)
    occupancy = discounted_occupancy(mdp, solve(mdp, DISCOUNT, TEMPERATURE).policy, DISCOUNT)
    np.testing.assert_allclose(gradient, occupancy[..., None] * mdp.transition, rtol=1e-10, atol=1e-13)
    step = 1e-5 * jax.random.normal(jax.random.key(0), mdp.reward.shape)
    numeric = (value(mdp.reward + step) - value(mdp.reward - step)) / 2
    np.testing.assert_allclose(jnp.sum(gradient * step), numeric, rtol=1e-6)


def test_value_and_policy_are_differentiable_in_everything(mdp):
    direction = jax.random.normal(jax.random.key(2), mdp.reward.shape)

    def along(t):
        solution = solve(mdp._replace(reward=mdp.reward + t * direction), DISCOUNT + 0.1 * t, TEMPERATURE + t)
        return solution.value, solution.action_value, solution.policy

    exact = jax.jacobian(along)(0.0)
    step = 1e-5
    up, down = along(step), along(-step)
    for derivative, high, low in zip(exact, up, down, strict=True):
        np.testing.assert_allclose(derivative, (high - low) / (2 * step), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.01, 1e-3])
def test_low_temperatures_recover_the_hard_solution(temperature, mdp):
    hard, soft = value_iteration(mdp, DISCOUNT), solve(mdp, DISCOUNT, temperature)
    excess = np.asarray(soft.value - hard.value)
    assert np.all(excess >= -1e-12)
    assert np.all(excess <= temperature * np.log(ACTIONS) / (1 - DISCOUNT) + 1e-12)
    if temperature == 1e-3:
        np.testing.assert_allclose(soft.policy, hard.policy, atol=1e-9)


def test_high_temperatures_recover_the_uniform_policy(mdp):
    temperature = 1e6
    solution = solve(mdp, DISCOUNT, temperature)
    np.testing.assert_allclose(solution.policy, uniform_policy(mdp), atol=1e-4)
    np.testing.assert_allclose(
        solution.value / temperature, np.full(STATES, np.log(ACTIONS) / (1 - DISCOUNT)), rtol=1e-4
    )


def test_a_bandit_is_worth_the_log_sum_of_exponentials():
    rewards = jnp.array([[1.0, 2.0, 4.0]])
    solution = soft_value_iteration(tabular_mdp(np.ones((1, 3, 1)), rewards), 0.0, 2.0)
    np.testing.assert_allclose(solution.value, 2 * np.log(np.exp(rewards / 2).sum(-1)), rtol=1e-14)
    np.testing.assert_allclose(soft_max(rewards, 2.0), solution.value, rtol=1e-14)
    np.testing.assert_allclose(soft_policy(rewards, 2.0), solution.policy, rtol=1e-14)


def test_nothing_is_collected_in_terminal_states():
    # From 0, left costs 1 and stays, right costs 1 and ends: exp(V) = exp(V - 1) + exp(-1).
    solution = soft_value_iteration(corridor(2), 1.0, 1.0)
    np.testing.assert_allclose(solution.value, [-np.log(np.e - 1), 0.0], atol=1e-13)
    np.testing.assert_allclose(soft_backward_induction(corridor(2), 60, 1.0).value[0], solution.value, atol=1e-13)


def test_soft_backward_induction_sums_over_all_paths():
    horizon, temperature = 4, 0.7
    mdp = make_garnet(jax.random.key(2), STATES, ACTIONS, 1, None)
    following, reward = np.argmax(mdp.transition, -1), np.asarray(expected_reward(mdp))
    totals = np.zeros((STATES, ACTIONS**horizon))
    for start, (i, actions) in itertools.product(
        range(STATES), enumerate(itertools.product(range(ACTIONS), repeat=horizon))
    ):
        state = start
        for action in actions:
            totals[start, i] += reward[state, action]
            state = following[state, action]
    solution = jax.jit(lambda m: soft_backward_induction(m, horizon, temperature))(mdp)
    np.testing.assert_allclose(
        solution.value[0], temperature * np.log(np.exp(totals / temperature).sum(-1)), rtol=1e-12
    )
    np.testing.assert_allclose(solution.policy.sum(-1), np.ones((horizon, STATES)), rtol=1e-14)
    # The first action is taken as often as the paths that begin with it weigh.
    weights = np.exp(totals / temperature).reshape(STATES, ACTIONS, -1).sum(-1)
    np.testing.assert_allclose(solution.policy[0], weights / weights.sum(-1, keepdims=True), rtol=1e-12)


def test_a_long_soft_horizon_is_the_discounted_problem(mdp):
    finite = soft_backward_induction(mdp, 300, TEMPERATURE, DISCOUNT)
    np.testing.assert_allclose(finite.value[0], solve(mdp, DISCOUNT, TEMPERATURE).value, atol=1e-10)


def test_what_is_not_finite_is_a_failure_and_stays_by_itself(mdp):
    broken = mdp._replace(reward=mdp.reward.at[1, 0].set(jnp.nan))
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), mdp, broken)
    solution = jax.vmap(solve, in_axes=(0, None, None))(batch, DISCOUNT, TEMPERATURE)
    np.testing.assert_allclose(solution.value[0], solve(mdp, DISCOUNT, TEMPERATURE).value, rtol=1e-12)
    assert np.isinf(solution.residual).tolist() == [False, True]
