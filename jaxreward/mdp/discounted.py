"""Discounted MDPs: exact policy evaluation, value iteration, policy iteration.

A discount of 1 is allowed on episodic MDPs, where the policies met reach a terminal state from everywhere (stochastic
shortest paths, Bertsekas and Tsitsiklis 1991). Solutions are evaluated exactly at the end, by a linear solve of the
policy they return, which also makes them differentiable: the derivative of an optimal value is that of its policy's
value.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxreward.mdp.bellman import (
    EXACT,
    Discount,
    action_value,
    check_can_end,
    continuation,
    expected_reward,
    greedy,
    uniform_policy,
)
from jaxreward.mdp.iteration import FIRST_SWEEPS, failed_unless_finite, fixed_point, improve_until_stable, sup_norm
from jaxreward.mdp.tabular import TabularMDP


class Solution(NamedTuple):
    """A stationary policy and what it is worth.

    Attributes:
        value: Value of the policy, `[S]`.
        action_value: Value of an action followed by the policy, `[S, A]`.
        policy: Action probabilities, `[S, A]`.
        residual: `max_s |max_a action_value - value|`, the Bellman residual; `residual / (1 - discount)` bounds the
            distance to the optimal value. Not small if the iteration was cut short; infinite if a number that it
            takes is not finite, such as the value of a policy that goes on for ever at a discount of 1.
        iterations: How many were needed.
    """

    value: Float[Array, " S"]
    action_value: Float[Array, "S A"]
    policy: Float[Array, "S A"]
    residual: Float[Array, ""]
    iterations: Int[Array, ""]


def policy_value(mdp: TabularMDP, policy: Float[Array, "S A"], discount: Discount) -> Float[Array, " S"]:
    """Expected discounted return of a policy from each state, `[S]`, by a linear solve.

    Raises:
        ValueError: At a discount of 1, the policy does not end what begins in some state; where the policy is traced,
            no policy does.
    """
    check_can_end(mdp, discount, policy)
    return _solved(mdp, policy, discount)


def _solved(mdp: TabularMDP, policy: Float[Array, "S A"], discount: Discount) -> Float[Array, " S"]:
    going_on = jnp.einsum("sa,sat->st", policy, continuation(mdp), precision=EXACT)
    reward = jnp.sum(policy * expected_reward(mdp), axis=-1)
    discount = jnp.asarray(discount, reward.dtype)
    return jnp.linalg.solve(jnp.eye(mdp.num_states, dtype=reward.dtype) - discount * going_on, reward)


def value_iteration(
    mdp: TabularMDP, discount: Discount, *, tolerance: float | None = None, max_iterations: int = 100_000
) -> Solution:
    """Value iteration from zero, then the exact value of the greedy policy (Puterman 1994, section 6.3).

    Args:
        mdp: The MDP; the dtype of its numbers is that of the solution.
        discount: In `[0, 1)`, or 1 if every policy reaches a terminal state or pays for not reaching one.
        tolerance: Stops when a step changes values by less, relative to the largest (to 1 if that is smaller); 8
            times the resolution of the dtype by default.
        max_iterations: Bound on the number of sweeps.

    Raises:
        ValueError: At a discount of 1, nothing ends what begins in some state.
    """
    check_can_end(mdp, discount)
    constant, rate = jax.lax.stop_gradient((mdp, discount))
    candidate, iterations = _look_ahead(constant, rate, tolerance, max_iterations)
    solution = _solution(mdp, greedy(candidate), discount, iterations)
    return solution._replace(residual=failed_unless_finite(solution.residual, candidate))


def policy_iteration(
    mdp: TabularMDP, discount: Discount, *, tolerance: float | None = None, max_iterations: int = 1_000
) -> Solution:
    """Howard's policy iteration (Puterman 1994, section 6.4).

    It begins with the policy that some sweeps of value iteration come to, or, where that one has no value, with the one
    that is greedy in the uniform policy's.

    Args:
        mdp: The MDP; the dtype of its numbers is that of the solution.
        discount: In `[0, 1)`, or 1 if the uniform policy reaches a terminal state from everywhere.
        tolerance: An action is changed only for one that is better by more, relative to the largest value (to 1 if
            that is smaller), so that rounding does not make it circle; 64 times the resolution of the dtype by default.
        max_iterations: Bound on the number of policies, and on that of the sweeps before them.

    Raises:
        ValueError: At a discount of 1, nothing ends what begins in some state.
    """
    check_can_end(mdp, discount)
    constant, rate = jax.lax.stop_gradient((mdp, discount))
    slack = 64 * jnp.finfo(mdp.start.dtype).eps if tolerance is None else tolerance

    def improve(policy: Float[Array, "S A"]) -> Float[Array, "S A"]:
        value = _solved(constant, policy, rate)
        candidate = action_value(constant, value, rate)
        better = jnp.max(candidate, axis=-1) > value + slack * jnp.maximum(1, sup_norm(value))
        return jnp.where(better[:, None], greedy(candidate), policy)

    first = _first_policy(constant, rate, min(FIRST_SWEEPS, max_iterations))
    policy, iterations = improve_until_stable(improve, first, max_iterations)
    return _solution(mdp, policy, discount, iterations)


def _look_ahead(
    mdp: TabularMDP, discount: Discount, tolerance: float | None, max_iterations: int
) -> tuple[Float[Array, "S A"], Int[Array, ""]]:
    """What actions are worth by value iteration from zero, and after how many sweeps."""

    def sweep(value: Float[Array, " S"]) -> Float[Array, " S"]:
        return jnp.max(action_value(mdp, value, discount), axis=-1)

    value, iterations = fixed_point(sweep, jnp.zeros_like(mdp.start), sup_norm, tolerance, max_iterations)
    return action_value(mdp, value, discount), iterations


def _first_policy(mdp: TabularMDP, discount: Discount, sweeps: int) -> Float[Array, "S A"]:
    nearly = greedy(_look_ahead(mdp, discount, None, sweeps)[0])
    uniform = _solved(mdp, uniform_policy(mdp), discount)
    cautious = greedy(action_value(mdp, uniform, discount))
    return jnp.where(jnp.all(jnp.isfinite(_solved(mdp, nearly, discount))), nearly, cautious)


def _solution(mdp: TabularMDP, policy: Float[Array, "S A"], discount: Discount, iterations: Int[Array, ""]) -> Solution:
    value = _solved(mdp, policy, discount)
    following = action_value(mdp, value, discount)
    residual = failed_unless_finite(sup_norm(jnp.max(following, axis=-1) - value), value)
    return Solution(value, following, policy, residual, iterations)
