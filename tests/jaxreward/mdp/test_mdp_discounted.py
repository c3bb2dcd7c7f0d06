"""Discounted and finite-horizon solvers against enumeration, brute force, closed forms and finite differences."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreward.mdp import (
    backward_induction,
    corridor,
    deterministic_policies,
    discounted_occupancy,
    expected_reward,
    finite_occupancy,
    finite_policy_value,
    garnet,
    greedy,
    policy_iteration,
    policy_value,
    river_swim,
    tabular_mdp,
    two_state,
    uniform_policy,
    value_iteration,
)

STATES, ACTIONS, DISCOUNT = 4, 3, 0.9

make_garnet = partial(jax.jit, static_argnums=(1, 2, 3, 4))(garnet)


@pytest.fixture(params=[jnp.float64, jnp.float32], ids=["f64", "f32"])
def garnets(request):
    """Six random MDPs as one batch, in double and in single precision."""
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), 6)
        yield jax.vmap(lambda key: make_garnet(key, STATES, ACTIONS, 2, request.param))(keys)


@pytest.fixture
def mdp():
    with jax.enable_x64(True):
        yield make_garnet(jax.random.key(7), STATES, ACTIONS, 2, None)


def rounding(mdp, discount):
    """Error of a linear solve in the MDP's precision: resolution, condition number, size of the values."""
    condition = (1 + discount) / (1 - discount)
    largest = np.max(np.abs(np.asarray(mdp.reward))) / (1 - discount)
    return STATES * jnp.finfo(mdp.start.dtype).eps * condition * largest


def enumerated_values(mdp, discount):
    """Value of every deterministic policy, `[A**S, S]`, in numpy."""
    transition, reward = np.asarray(mdp.transition, np.float64), np.asarray(mdp.reward, np.float64)
    here, values = np.arange(STATES), []
    for actions in itertools.product(range(ACTIONS), repeat=STATES):
        rows, gains = transition[here, actions], np.sum(transition * reward, -1)[here, actions]
        values.append(np.linalg.solve(np.eye(STATES) - discount * rows, gains))
    return np.stack(values)


@pytest.mark.parametrize("solve", [value_iteration, policy_iteration])
def test_solvers_find_the_best_of_all_policies(solve, garnets):
    solution = jax.jit(jax.vmap(lambda m: solve(m, DISCOUNT)))(garnets)
    tolerance = rounding(garnets, DISCOUNT)
    assert solution.value.dtype == garnets.reward.dtype
    assert np.all(solution.residual <= tolerance)
    for i in range(len(solution.value)):
        one = jax.tree.map(lambda x: x[i], garnets)
        best = enumerated_values(one, DISCOUNT).max(0)
        np.testing.assert_allclose(solution.value[i], best, rtol=0, atol=tolerance)
        np.testing.assert_allclose(solution.action_value[i].max(-1), best, rtol=0, atol=tolerance)
        value = policy_value(one, solution.policy[i], DISCOUNT)
        np.testing.assert_allclose(value, best, rtol=0, atol=tolerance)


def test_of_equal_actions_the_first_is_taken():
    values = jnp.array([[[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]], [[0.0, -1.0, 0.0], [1.0, 2.0, 3.0]]])
    assert jnp.argmax(greedy(values), -1).tolist() == [[1, 0], [0, 2]]
    assert (greedy(values).sum(-1) == 1).all()


def test_policy_value_of_every_policy(mdp):
    policies = deterministic_policies(mdp)
    assert policies.shape == (ACTIONS**STATES, STATES, ACTIONS)
    values = jax.vmap(lambda policy: policy_value(mdp, policy, DISCOUNT))(policies)
    np.testing.assert_allclose(values, enumerated_values(mdp, DISCOUNT), rtol=1e-12, atol=1e-12)


def test_value_of_the_two_state_chain():
    leave, reward, discount = (0.3, 0.2), (1.0, -2.0), 0.8
    with jax.enable_x64(True):
        mdp = two_state([[p] for p in leave], reward)
        value = policy_value(mdp, uniform_policy(mdp), discount)
    # V(0) - V(1) shrinks by discount * (1 - leave[0] - leave[1]) a step.
    gap = (reward[0] - reward[1]) / (1 - discount * (1 - sum(leave)))
    first = (reward[0] - discount * leave[0] * gap) / (1 - discount)
    np.testing.assert_allclose(value, [first, first - gap], rtol=1e-13)


@pytest.mark.parametrize("solve", [value_iteration, policy_iteration])
def test_undiscounted_corridor_costs_its_length(solve):
    solution = jax.jit(lambda mdp: solve(mdp, 1.0))(corridor(6))
    assert solution.value.tolist() == [-5, -4, -3, -2, -1, 0]
    assert np.argmax(solution.policy, -1)[:-1].tolist() == [1] * 5
    assert solution.residual == 0


@pytest.mark.parametrize("solve", [value_iteration, policy_iteration])
def test_what_has_no_finite_value_is_a_failure_and_stays_by_itself(solve):
    ends = corridor(4)
    never = ends._replace(terminal=jnp.zeros_like(ends.terminal))  # its last state is worth nothing, for ever
    broken = ends._replace(reward=ends.reward.at[1, 0].set(jnp.nan))
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), ends, never, broken)
    solution = jax.jit(jax.vmap(lambda mdp: solve(mdp, 1.0, max_iterations=100)))(batch)
    assert solution.value[0].tolist() == [-3, -2, -1, 0]
    assert solution.residual.tolist() == [0, np.inf, np.inf]


def test_the_reward_of_entering_a_terminal_state_counts_and_nothing_after_it():
    mdp = tabular_mdp(np.ones((2, 1, 1)) * [0.0, 1.0], [7.0, 100.0], terminal=[False, True])
    assert policy_value(mdp, uniform_policy(mdp), 1.0).tolist() == [7.0, 0.0]


def test_an_absorbing_state_that_is_not_terminal_goes_on():
    mdp = tabular_mdp(np.ones((2, 1, 1)) * [0.0, 1.0], [7.0, 100.0])
    np.testing.assert_allclose(policy_value(mdp, uniform_policy(mdp), 0.5), [107.0, 200.0], rtol=1e-6)


@pytest.mark.parametrize("solve", [value_iteration, policy_iteration])
def test_a_solution_cut_short_is_that_of_its_policy_and_its_residual_bounds_the_loss(solve):
    discount = 0.9
    with jax.enable_x64(True):
        river = river_swim(8)
        cut, best = solve(river, discount, max_iterations=1), solve(river, discount)
        np.testing.assert_allclose(cut.value, policy_value(river, cut.policy, discount), rtol=1e-12)
        loss = np.asarray(best.value - cut.value)
        bound = float(cut.residual) / (1 - discount)
    assert cut.iterations == 1
    assert loss.min() >= -1e-12
    assert 0 < loss.max() <= bound


@pytest.mark.parametrize("solve", [value_iteration, policy_iteration])
def test_gradient_of_the_optimal_value_in_the_reward_is_the_occupancy(solve, mdp):
    gradient = jax.grad(lambda reward: mdp.start @ solve(mdp._replace(reward=reward), DISCOUNT).value)(mdp.reward)
    occupancy = discounted_occupancy(mdp, solve(mdp, DISCOUNT).policy, DISCOUNT)
    np.testing.assert_allclose(gradient, occupancy[..., None] * mdp.transition, rtol=1e-10, atol=1e-12)


def test_gradient_of_the_optimal_value_in_discount_and_transition(mdp):
    direction = mdp.transition[:, ::-1] - mdp.transition  # towards another MDP, so that rows still sum to one

    @jax.jit
    def along(t):
        other = mdp._replace(transition=mdp.transition + t * direction)
        return mdp.start @ value_iteration(other, DISCOUNT + 0.1 * t).value

    step = 1e-5
    np.testing.assert_allclose(jax.grad(along)(0.0), (along(step) - along(-step)) / (2 * step), rtol=1e-7)


def test_occupancy_flows_and_pays_the_value(garnets):
    for i in range(3):
        mdp = jax.tree.map(lambda x: x[i], garnets)
        policy = jax.nn.softmax(jax.random.normal(jax.random.key(i), (STATES, ACTIONS), mdp.start.dtype))
        occupancy = discounted_occupancy(mdp, policy, DISCOUNT)
        inflow = mdp.start + DISCOUNT * jnp.einsum("sa,sat->t", occupancy, mdp.transition)
        tolerance = rounding(mdp, DISCOUNT)
        assert np.all(occupancy >= 0)
        np.testing.assert_allclose(occupancy.sum(-1), inflow, rtol=0, atol=tolerance)
        np.testing.assert_allclose(occupancy.sum(), 1 / (1 - DISCOUNT), rtol=0, atol=tolerance)
        paid = jnp.sum(occupancy * expected_reward(mdp))
        np.testing.assert_allclose(paid, mdp.start @ policy_value(mdp, policy, DISCOUNT), rtol=0, atol=tolerance)


def test_undiscounted_occupancy_counts_the_steps_of_an_episode():
    mdp = corridor(5)
    policy = policy_iteration(mdp, 1.0).policy
    assert discounted_occupancy(mdp, policy, 1.0).tolist() == [[0, 1]] * 4 + [[0, 0]]


def test_backward_induction_finds_the_best_of_all_action_sequences():
    horizon, discount = 5, 0.9
    with jax.enable_x64(True):
        mdp = make_garnet(jax.random.key(2), STATES, ACTIONS, 1, None)
        solution = jax.jit(backward_induction, static_argnames="horizon")(mdp, horizon=horizon, discount=discount)
        following, reward = np.argmax(mdp.transition, -1), np.asarray(expected_reward(mdp))
    best = [max(_return(s, a, following, reward, discount) for a in _sequences(horizon)) for s in range(STATES)]
    np.testing.assert_allclose(solution.value[0], best, rtol=1e-12)
    assert solution.value.shape == (horizon, STATES)
    np.testing.assert_allclose(solution.value[-1], reward.max(-1), rtol=1e-12)


def _sequences(horizon):
    return itertools.product(range(ACTIONS), repeat=horizon)


def _return(state, actions, following, reward, discount):
    total = 0.0
    for h, action in enumerate(actions):
        total += discount**h * reward[state, action]
        state = following[state, action]
    return total


def test_backward_induction_finds_the_best_of_all_changing_policies():
    horizon = 3
    with jax.enable_x64(True):
        mdp = make_garnet(jax.random.key(5), 2, 2, 2, None)
        stationary = deterministic_policies(mdp)
        choices = np.array(list(itertools.product(range(len(stationary)), repeat=horizon)))
        values = jax.vmap(lambda policy: finite_policy_value(mdp, policy))(stationary[choices])
        solution = backward_induction(mdp, horizon)
        np.testing.assert_allclose(solution.value[0], values[:, 0].max(0), rtol=1e-12)
        np.testing.assert_allclose(finite_policy_value(mdp, solution.policy), solution.value, rtol=1e-12)
        np.testing.assert_allclose(solution.action_value.max(-1), solution.value, rtol=1e-12)


def test_a_long_horizon_is_the_discounted_problem(mdp):
    horizon = 300  # 0.9^300 is 2e-14
    finite, endless = backward_induction(mdp, horizon, DISCOUNT), value_iteration(mdp, DISCOUNT)
    np.testing.assert_allclose(finite.value[0], endless.value, atol=1e-10)


def test_finite_occupancy_flows_and_pays_the_value(mdp):
    horizon, discount = 6, 0.9
    policy = jax.nn.softmax(jax.random.normal(jax.random.key(0), (horizon, STATES, ACTIONS)))
    occupancy = finite_occupancy(mdp, policy, discount)
    inflow = discount * jnp.einsum("hsa,sat->ht", occupancy[:-1], mdp.transition)
    np.testing.assert_allclose(occupancy[0].sum(-1), mdp.start, rtol=1e-12)
    np.testing.assert_allclose(occupancy[1:].sum(-1), inflow, rtol=1e-12)
    paid = jnp.sum(occupancy * expected_reward(mdp)[None])
    np.testing.assert_allclose(paid, mdp.start @ finite_policy_value(mdp, policy, discount)[0], rtol=1e-12)


def test_finite_occupancy_ends_with_the_episode():
    mdp = corridor(3)
    right = jnp.broadcast_to(jnp.array([0.0, 1.0]), (4, 3, 2))
    assert finite_occupancy(mdp, right).sum((1, 2)).tolist() == [1, 1, 0, 0]
    assert finite_policy_value(mdp, right)[:, 0].tolist() == [-2, -2, -2, -1]


def test_a_discount_of_one_is_refused_where_nothing_ends():
    endless, walk = river_swim(), corridor(3)
    for solve in (policy_iteration, value_iteration, lambda mdp, d: policy_value(mdp, uniform_policy(mdp), d)):
        with pytest.raises(ValueError, match=r"end.* what begins in state 0, .*; expected a discount below 1"):
            solve(endless, 1.0)
        with pytest.raises(ValueError, match="end"):
            solve(endless, np.float32(1))
    with pytest.raises(ValueError, match=r"a discount lies in \[0, 1\]; got 1.5"):
        policy_iteration(walk, 1.5)
    np.testing.assert_allclose(policy_iteration(walk, 1.0).value, [-2, -1, 0], atol=1e-5)
    stays = jnp.broadcast_to(jnp.array([1.0, 0.0]), (3, 2))  # to the left, for ever
    for one in (1, jnp.float32(1)):
        with pytest.raises(ValueError, match=r"the policy does not end what begins in state 0, .*below 1"):
            policy_value(walk, stays, one)
