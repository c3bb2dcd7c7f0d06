"""Inverse reinforcement learning against finite differences, the expert it is to explain and counts by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.mdp import (
    causal_log_likelihood,
    corridor,
    discounted_occupancy,
    empirical_occupancy,
    expected_reward,
    feature_expectations,
    garnet,
    infer_reward,
    likelihood_gradient,
    soft_value_iteration,
    tabular_mdp,
    with_linear_reward,
)

STATES, ACTIONS, FEATURES, DISCOUNT, TEMPERATURE = 5, 3, 4, 0.9, 0.5

gradient = jax.jit(likelihood_gradient)
likelihood = jax.jit(causal_log_likelihood)
inferred = jax.jit(infer_reward)


@jax.jit
def all_inferred(mdp, expert, features, penalty):
    infer = lambda *given: infer_reward(*given, DISCOUNT, TEMPERATURE, penalty=penalty)  # noqa: E731
    return jax.vmap(infer)(mdp, expert, features)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def problem():
    """An MDP, features, and the occupancy of an expert whose reward is linear in them."""
    return made(jax.random.key(3))


@partial(jax.jit, static_argnums=1)
def made(key, terminal=False):
    key_mdp, key_features, key_weights = jax.random.split(key, 3)
    mdp = garnet(key_mdp, STATES, ACTIONS, 2)
    features = jax.random.normal(key_features, (STATES, ACTIONS, FEATURES))
    weights = jax.random.normal(key_weights, (FEATURES,))
    policy = soft_value_iteration(with_linear_reward(mdp, features, weights), DISCOUNT, TEMPERATURE).policy
    return mdp, features, weights, policy, discounted_occupancy(mdp, policy, DISCOUNT)


def test_the_gradient_is_that_of_the_likelihood(problem):
    mdp, features, true, _, occupancy = problem
    weights = true + jax.random.normal(jax.random.key(1), true.shape)
    at = lambda w: likelihood(mdp, occupancy, features, w, DISCOUNT, TEMPERATURE)  # noqa: E731
    step = 1e-5
    differences = [(at(weights + step * e) - at(weights - step * e)) / (2 * step) for e in jnp.eye(FEATURES)]
    expert = feature_expectations(occupancy, features)
    given = gradient(mdp, expert, features, weights, DISCOUNT, TEMPERATURE)
    np.testing.assert_allclose(given, differences, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(gradient(mdp, expert, features, true, DISCOUNT, TEMPERATURE), 0, atol=1e-10)
    assert at(true) > at(weights)


def test_the_likelihood_is_that_of_the_policy(problem):
    mdp, features, weights, policy, occupancy = problem
    expected = TEMPERATURE * np.sum(np.asarray(occupancy) * np.log(policy))
    told = likelihood(mdp, occupancy, features, weights, DISCOUNT, TEMPERATURE)
    np.testing.assert_allclose(told, expected, rtol=1e-10)


def test_a_batch_of_experts_is_explained_by_their_policies_and_weights():
    """With few features weights are told apart, so those that are found are the expert's own."""
    batch = jax.vmap(made)(jax.random.split(jax.random.key(0), 4))
    mdp, features, weights, policy, occupancy = batch
    expert = jax.vmap(feature_expectations)(occupancy, features)
    found = all_inferred(mdp, expert, features, 0.0)
    assert np.all(found.residual < 1e-6)
    np.testing.assert_allclose(found.solution.policy, policy, atol=1e-6)
    np.testing.assert_allclose(found.weights, weights, atol=1e-5)
    np.testing.assert_allclose(found.reward, jnp.einsum("nsak,nk->nsa", features, weights), atol=1e-5)


def test_with_a_feature_for_each_pair_any_policy_is_explained_whatever_was_paid(problem):
    """The reward is another one than the expert's, as many explain it; its policy is the same."""
    mdp = problem[0]
    policy = soft_value_iteration(mdp, DISCOUNT, TEMPERATURE).policy
    table = jnp.eye(STATES * ACTIONS).reshape(STATES, ACTIONS, -1)
    expert = feature_expectations(discounted_occupancy(mdp, policy, DISCOUNT), table)
    found = inferred(mdp, expert, table, DISCOUNT, TEMPERATURE)
    np.testing.assert_allclose(found.solution.policy, policy, atol=1e-6)
    assert np.max(np.abs(found.reward - expected_reward(mdp))) > 0.1


def test_a_penalty_holds_weights_back_where_the_gradient_balances_it():
    mdp, features, true, _, occupancy = jax.vmap(made)(jax.random.split(jax.random.key(0), 4))
    expert = jax.vmap(feature_expectations)(occupancy, features)
    found = all_inferred(mdp, expert, features, 0.3)
    given = mdp, expert, features, found.weights, DISCOUNT, TEMPERATURE
    missed = jax.vmap(gradient, (0, 0, 0, 0, None, None))(*given)
    np.testing.assert_allclose(missed, 0.3 * found.weights, atol=1e-6)
    assert (jnp.linalg.norm(found.weights, axis=-1) < jnp.linalg.norm(true, axis=-1)).all()


def test_an_expert_whose_episodes_end_is_explained_and_nothing_is_earned_behind():
    """The feature of the terminal state is large, and must count for nothing.

    Without a discount an expert that need not move on for no reward would wander for ever: what came of it is told.
    """
    mdp = tabular_mdp(corridor(4).transition, np.zeros(4), terminal=[False, False, False, True])
    features = jnp.asarray(np.random.default_rng(0).normal(size=(4, mdp.num_actions, 2))).at[3].set(100.0)
    true = jnp.array([-1.0, -0.5])
    priced = with_linear_reward(mdp, features, true)
    np.testing.assert_array_equal(priced.reward[3], 0)
    np.testing.assert_allclose(expected_reward(priced)[:3], (features @ true)[:3], rtol=1e-12)
    policy = soft_value_iteration(priced, DISCOUNT, TEMPERATURE).policy
    expert = feature_expectations(discounted_occupancy(mdp, policy, DISCOUNT), features)
    found = inferred(mdp, expert, features, DISCOUNT, TEMPERATURE)
    np.testing.assert_allclose(found.weights, true, atol=1e-4)
    np.testing.assert_allclose(found.solution.policy[:3], policy[:3], atol=1e-5)
    assert np.isinf(inferred(mdp, expert, features, 1.0, TEMPERATURE).residual)


def test_visits_are_counted_from_the_start_of_each_episode(problem):
    state, action = jnp.array([0, 1, 2, 0, 1]), jnp.array([1, 0, 2, 1, 0])
    done = jnp.array([False, False, True, False, False])
    counted = jax.jit(empirical_occupancy)(state, action, done, 0.5, problem[0])
    expected = np.zeros((STATES, ACTIONS))
    expected[0, 1], expected[1, 0], expected[2, 2] = 1, 0.5, 0.125
    np.testing.assert_allclose(counted, expected)


def test_a_sample_of_the_expert_comes_near_its_occupancy(problem):
    mdp, _, _, policy, occupancy = problem
    length, episodes = 100, 2_000

    def step(state, key):
        key_action, key_next = jax.random.split(key)
        action = jax.random.categorical(key_action, jnp.log(policy[state]))
        return jax.random.categorical(key_next, jnp.log(mdp.transition[state, action])), (state, action)

    def episode(key):
        key, key_start = jax.random.split(key)
        start = jax.random.categorical(key_start, jnp.log(mdp.start))
        return jax.lax.scan(step, start, jax.random.split(key, length))[1]

    state, action = jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(2), episodes))
    done = jnp.tile(jnp.arange(length) == length - 1, episodes)
    counted = empirical_occupancy(state.ravel(), action.ravel(), done, DISCOUNT, mdp)
    # A visit is at most 1 / (1 - discount) an episode; four standard errors of what is bounded so.
    np.testing.assert_allclose(counted, occupancy, atol=4 * 0.5 / (1 - DISCOUNT) / np.sqrt(episodes))
