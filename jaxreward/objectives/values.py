"""Numbers that objectives are made of: what a stationary policy does, in sums and in the long run.

All are differentiable in the policy, wherever all its probabilities are positive.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxreward.mdp import TabularMDP, discounted_occupancy, gain_and_bias, induced_chain, limiting_matrix
from jaxreward.mdp.bellman import EXACT, Discount

Policy = Float[Array, "S A"]


def transition_occupancy(mdp: TabularMDP, policy: Policy, discount: Discount) -> Float[Array, "S A S"]:
    """`sum_t discount^t Pr(s_t = s, a_t = a, s_t+1 = s')`, `[S, A, S]`: what a Markov reward is weighed with."""
    return discounted_occupancy(mdp, policy, discount)[..., None] * mdp.transition


def returns(
    mdp: TabularMDP, policy: Policy, discount: Discount, rewards: Float[Array, "*K S A S"]
) -> Float[Array, "*K"]:
    """Expected discounted returns from the start distribution, of one reward or several."""
    occupancy = transition_occupancy(mdp, policy, discount)
    return jnp.einsum("...ijk,ijk->...", rewards, occupancy, precision=EXACT)


def regularised_return(
    mdp: TabularMDP,
    policy: Policy,
    discount: Discount,
    weight: Float[Array, ""] | float,
    regulariser: Callable[[Float[Array, " A"]], Float[Array, ""]],
) -> Float[Array, ""]:
    """`E[sum_t discount^t (r_t - weight F(pi(. | s_t)))]` with a function `F` of action probabilities.

    It has to be finite where a probability is 0, so `xlogy(p, p)` for the entropy; what it is where nobody comes does
    not count.
    """
    occupancy = discounted_occupancy(mdp, policy, discount)
    visits = occupancy.sum(-1)
    met = jnp.where(visits[:, None] > 0, policy, 1 / mdp.num_actions)
    cost = jnp.sum(jnp.where(visits > 0, visits * jax.vmap(regulariser)(met), 0))
    return jnp.sum(occupancy[..., None] * mdp.transition * mdp.reward) - weight * cost


def long_run_reward(mdp: TabularMDP, policy: Policy) -> Float[Array, ""]:
    """Reward a step in the long run from the start distribution; periodic and multichain policies included.

    Its derivative is that for changes by which no probability becomes or ceases to be zero: with the limiting matrix
    `P*`, the bias `h` and the deviation matrix `H = (I - P + P*)^-1 - P*` of the chain, `dg = P* (dr + dP h) + H dP g`,
    from `dP* = P* dP H + H dP P*` (Schweitzer 1968).
    """
    constant = jax.lax.stop_gradient(policy)
    still = jax.tree.map(jax.lax.stop_gradient, mdp)
    gain, bias = gain_and_bias(still, constant)
    moves = induced_chain(still, constant).transition
    limit = limiting_matrix(moves)
    identity = jnp.eye(mdp.num_states, dtype=moves.dtype)
    often = jnp.matmul(mdp.start, limit, precision=EXACT)
    beside = jnp.linalg.solve((identity - moves + limit).T, mdp.start) - often
    chain = induced_chain(mdp, policy)
    follows = lambda x: jnp.matmul(chain.transition, x, precision=EXACT)  # noqa: E731
    varied = jnp.sum(often * (chain.reward + follows(bias))) + jnp.sum(beside * follows(gain))
    return jnp.sum(mdp.start * gain) + varied - jax.lax.stop_gradient(varied)


def reach_probability(mdp: TabularMDP, policy: Policy, target: Bool[Array, " S"]) -> Float[Array, ""]:
    """The probability that an episode is ever in one of some states."""
    moves = induced_chain(mdp, policy).transition
    identity = jnp.eye(mdp.num_states, dtype=bool)
    open_ = _leads_to(moves, target) & ~target  # others never get there, and would make the equations singular
    leaves = jnp.where(identity, 0, moves)  # of I - P the diagonal is their sum, which rounding takes nothing from
    equations = jnp.where(identity, jnp.sum(leaves, -1)[:, None], -jnp.where(open_[None, :], leaves, 0))
    into = jnp.where(open_, jnp.sum(jnp.where(target[None, :], leaves, 0), -1), 0)
    value = jnp.linalg.solve(jnp.where(open_[:, None], equations, identity.astype(moves.dtype)), into)
    return jnp.sum(mdp.start * jnp.where(target, 1, value))


def _leads_to(moves: Float[Array, "S S"], target: Bool[Array, " S"]) -> Bool[Array, " S"]:
    """The states from which some way leads to the target."""
    linked = (moves > 0) | jnp.eye(len(moves), dtype=bool)
    for _ in range(len(moves).bit_length()):
        ways = linked.astype(moves.dtype)
        linked = ways @ ways > 0
    return jnp.any(linked & target[None, :], -1)
