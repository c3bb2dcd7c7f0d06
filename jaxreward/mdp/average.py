"""Average-reward MDPs: gain and bias of a policy, and the best ones.

Written for any structure. A policy inside a communicating MDP may well be multichain (two states that can each be
stayed in), and may be periodic; then the equations of unichain policy iteration have no unique solution, and undamped
value iteration does not converge. So policies are evaluated through the limiting matrix, which exists for every
chain, policy iteration compares gains before biases, and value iteration is damped.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxreward.mdp.bellman import EXACT, expected_reward, greedy, induced_chain
from jaxreward.mdp.iteration import (
    FIRST_SWEEPS,
    failed_unless_finite,
    fixed_point,
    improve_until_stable,
    span,
    sup_norm,
)
from jaxreward.mdp.tabular import TabularMDP


class AverageSolution(NamedTuple):
    """A stationary policy and its long-run reward.

    Attributes:
        gain: Reward a step in the long run from each state, `[S]`; the same everywhere if the MDP is communicating.
        bias: Reward beyond the gain that is earned in the transient, `[S]`.
        policy: Action probabilities, one-hot `[S, A]`.
        residual: By how much the optimality equations are missed, see the function that made it; infinite if a number
            is not finite.
        iterations: How many were needed.
    """

    gain: Float[Array, " S"]
    bias: Float[Array, " S"]
    policy: Float[Array, "S A"]
    residual: Float[Array, ""]
    iterations: Int[Array, ""]


def limiting_matrix(transition: Float[Array, "S S"]) -> Float[Array, "S S"]:
    """`lim_n (I + P + ... + P^(n-1)) / n`, which exists for periodic and multichain `P` too (Puterman 1994, A.4).

    The chain that stays put half of the time has the same limit and no period, so its powers converge. They are squared
    until no entry changes: zeros stay zeros and products of positive numbers lose no digits, so classes are kept
    apart and slow leaks between them are resolved, however slow.
    """
    tolerance = 4 * transition.shape[0] * jnp.finfo(transition.dtype).eps
    lazy = (transition + jnp.eye(transition.shape[0], dtype=transition.dtype)) / 2

    def square(carry: tuple) -> tuple:
        power, _, squarings = carry
        following = jnp.matmul(power, power, precision=EXACT)
        following = following / jnp.sum(following, axis=-1, keepdims=True)
        moving = jnp.any(jnp.abs(following - power) > tolerance * power)
        return following, moving, squarings + 1

    unfinished = lambda carry: carry[1] & (carry[2] < 100)  # noqa: E731, 2^100 steps
    return jax.lax.while_loop(unfinished, square, (lazy, jnp.array(True), jnp.int32(0)))[0]


def gain_and_bias(mdp: TabularMDP, policy: Float[Array, "S A"]) -> tuple[Float[Array, " S"], Float[Array, " S"]]:
    """Gain and bias of a policy from each state, `[S]` each, whatever the structure of its chain.

    The gain is `P* r` with the limiting matrix `P*`, the bias `(I - P + P*)^-1 (r - gain)`, which is the one with
    `P* bias = 0`: the expected excess of reward over gain, summed over time (Puterman 1994, section 8.2 and A.5).
    Differentiable in the reward, not in the policy or the transition: see `unichain_gain_and_bias`.
    """
    chain = induced_chain(mdp, policy)
    limit = limiting_matrix(chain.transition)
    gain = jnp.matmul(limit, chain.reward, precision=EXACT)
    fundamental = jnp.eye(mdp.num_states, dtype=limit.dtype) - chain.transition + limit
    return gain, jnp.linalg.solve(fundamental, chain.reward - gain)


def unichain_gain_and_bias(mdp: TabularMDP, policy: Float[Array, "S A"]) -> tuple[Float[Array, ""], Float[Array, " S"]]:
    """Gain (a scalar) and bias relative to state 0 (`[S]`, `bias[0] = 0`) of a unichain policy, by one linear solve.

    Differentiable in everything. A multichain policy has no such solution: the system is singular and the answer is not
    finite, or large and meaningless; `gain_and_bias` handles it.
    """
    chain = induced_chain(mdp, policy)
    equations = jnp.eye(mdp.num_states, dtype=chain.reward.dtype) - chain.transition
    # State 0's bias is zero, so its column is free to hold the gain, which is in every equation.
    unknown = jnp.linalg.solve(equations.at[:, 0].set(1), chain.reward)
    return unknown[0], unknown.at[0].set(0)


def average_policy_iteration(
    mdp: TabularMDP, *, tolerance: float | None = None, max_iterations: int = 1_000
) -> AverageSolution:
    """Multichain policy iteration (Howard 1960; Puterman 1994, section 9.2): optimal gain from every state.

    A state changes its action for one that leads to a higher gain, or, among those that lead to the highest gain, for
    one of higher bias. It begins with the policy that some sweeps of relative value iteration come to. The residual is
    by how much the optimality equations are missed: the largest such improvement left, or error of the evaluation.

    Args:
        mdp: Any MDP.
        tolerance: Improvements of gain count only above `tolerance * max |r|`, of bias above
            `tolerance * max(|r|, |bias|)`, or rounding would be taken for improvement; `16 S` times the resolution of
            the dtype by default.
        max_iterations: Bound on the number of policies.
    """
    slack = 16 * mdp.num_states * jnp.finfo(mdp.start.dtype).eps if tolerance is None else tolerance
    first = relative_value_iteration(mdp, max_iterations=FIRST_SWEEPS).policy

    def improve(policy: Float[Array, "S A"]) -> Float[Array, "S A"]:
        return _improved(mdp, policy, *gain_and_bias(mdp, policy), slack)[0]

    policy, iterations = improve_until_stable(improve, first, max_iterations)
    gain, bias = gain_and_bias(mdp, policy)
    _, residual = _improved(mdp, policy, gain, bias, slack)
    return AverageSolution(gain, bias, policy, residual, iterations)


def _improved(
    mdp: TabularMDP,
    policy: Float[Array, "S A"],
    gain: Float[Array, " S"],
    bias: Float[Array, " S"],
    slack: jax.typing.ArrayLike,
) -> tuple[Float[Array, "S A"], Float[Array, ""]]:
    """The policy improved where that is possible, and by how much at most its gain and bias miss the equations."""
    reward = expected_reward(mdp)
    gain_slack = slack * jnp.max(jnp.abs(reward))
    bias_slack = jnp.maximum(gain_slack, slack * sup_norm(bias))

    following_gain = jnp.einsum("sat,t->sa", mdp.transition, gain, precision=EXACT)
    highest = jnp.max(following_gain, axis=-1)
    leads_there = following_gain >= highest[:, None] - gain_slack
    relative = reward + jnp.einsum("sat,t->sa", mdp.transition, bias, precision=EXACT)
    candidate = jnp.where(leads_there, relative, -jnp.inf)

    gain_left = highest - gain
    bias_left = jnp.max(candidate, axis=-1) - (gain + bias)
    better = (gain_left > gain_slack) | (bias_left > bias_slack)
    improved = jnp.where(better[:, None], greedy(candidate), policy)
    return improved, failed_unless_finite(jnp.maximum(sup_norm(gain_left), sup_norm(bias_left)), gain, bias)


def relative_value_iteration(
    mdp: TabularMDP, *, damping: float = 0.5, tolerance: float | None = None, max_iterations: int = 100_000
) -> AverageSolution:
    """Relative value iteration for MDPs whose optimal gain is the same everywhere: communicating or unichain ones.

    The MDP is damped: it stays put with probability `damping`, for no reward, which scales the gain by `1 - damping`,
    keeps the bias, and leaves nothing periodic (Puterman 1994, section 8.5.4). The gain is the middle of the interval
    `[min, max]` of the last improvement, which holds the optimal gain; the residual is the length of the interval
    (theorem 8.5.5). So a residual that is not small says that the MDP is not of this kind, or the iteration was cut
    short.

    Args:
        mdp: The MDP. Its bias is fixed by `bias[0] = 0`.
        damping: In `[0, 1)`; 0 does not converge on periodic MDPs.
        tolerance: Stops when the span of a step is less, relative to the largest bias (to 1 if that is smaller); 8
            times the resolution of the dtype by default.
        max_iterations: Bound on the number of sweeps.
    """
    reward = expected_reward(mdp)

    def look_ahead(bias: Float[Array, " S"]) -> Float[Array, "S A"]:
        return reward + jnp.einsum("sat,t->sa", mdp.transition, bias, precision=EXACT)

    def sweep(bias: Float[Array, " S"]) -> Float[Array, " S"]:
        following = damping * bias + (1 - damping) * jnp.max(look_ahead(bias), axis=-1)
        return following - following[0]

    bias, iterations = fixed_point(sweep, jnp.zeros_like(mdp.start), span, tolerance, max_iterations)
    candidate = look_ahead(bias)
    gain = jnp.max(candidate, axis=-1) - bias
    middle = jnp.full_like(gain, (jnp.min(gain) + jnp.max(gain)) / 2)
    residual = failed_unless_finite(span(gain), bias)
    return AverageSolution(middle, bias, greedy(candidate), residual, iterations)


def gap(mdp: TabularMDP, solution: AverageSolution) -> Float[Array, "S A"]:
    """What an action loses against the best one, `J* + V*(s) - r(s, a) - E[V*(s')]`, `[S, A]`.

    Not negative, but for the residual of the solution, and 0 for the best actions. The gain of a policy is `J*` less
    the mean of its gaps (Puterman 1994, section 8.4.1), so summed along a way they are its regret without the luck.

    Args:
        mdp: One whose optimal gain is the same everywhere.
        solution: Its solution; the bias may be shifted by any constant.
    """
    following = jnp.einsum("sat,t->sa", mdp.transition, solution.bias, precision=EXACT)
    return (solution.gain + solution.bias)[:, None] - expected_reward(mdp) - following
