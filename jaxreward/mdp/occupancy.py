"""Occupancy measures: how often a policy is in a state and takes an action. Times the reward, they are its value."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreward.mdp.average import limiting_matrix
from jaxreward.mdp.bellman import EXACT, Discount, continuation, induced_chain
from jaxreward.mdp.tabular import TabularMDP
from jaxreward.names import check_name

DIVERGENCES = ("kl", "chi2", "sqrt_chi2", "tv")
"""How far one occupancy is from another, see `occupancy_divergence`."""


def discounted_occupancy(mdp: TabularMDP, policy: Float[Array, "S A"], discount: Discount) -> Float[Array, "S A"]:
    """`sum_t discount^t Pr(s_t = s, a_t = a)` from the start distribution, up to the end of the episode, `[S, A]`.

    Not normalised: on a continuing task it sums to `1 / (1 - discount)`, with a discount of 1 to the expected length
    of an episode. Its product with the expected reward is the value of the start distribution.
    """
    going_on = jnp.einsum("sa,sat->st", policy, continuation(mdp), precision=EXACT)
    discount = jnp.asarray(discount, going_on.dtype)
    flow = jnp.eye(mdp.num_states, dtype=going_on.dtype) - discount * going_on
    return jnp.linalg.solve(flow.T, mdp.start)[:, None] * policy


def finite_occupancy(mdp: TabularMDP, policy: Float[Array, "H S A"], discount: Discount = 1.0) -> Float[Array, "H S A"]:
    """`discount^h Pr(s_h = s, a_h = a)` for each of `H` steps, `[H, S, A]`; a step sums to less once episodes ended."""

    def step(states: Float[Array, " S"], policy: Float[Array, "S A"]) -> tuple[Float[Array, " S"], Float[Array, "S A"]]:
        occupancy = states[:, None] * policy
        following = jnp.einsum("sa,sat->t", occupancy, continuation(mdp), precision=EXACT)
        return jnp.asarray(discount, states.dtype) * following, occupancy

    return jax.lax.scan(step, mdp.start, policy)[1]


def stationary_occupancy(mdp: TabularMDP, policy: Float[Array, "S A"]) -> Float[Array, "S A"]:
    """Long-run share of time in each state and action from the start distribution, `[S, A]`; sums to one.

    Exact for periodic and multichain policies too. Its product with the expected reward is the gain of the start
    distribution. Terminal states count, as they absorb.
    """
    limit = limiting_matrix(induced_chain(mdp, policy).transition)
    return jnp.matmul(mdp.start, limit, precision=EXACT)[:, None] * policy


def occupancy_divergence(kind: str, occupancy: Float[Array, "S A"], reference: Float[Array, "S A"]) -> Float[Array, ""]:
    """How far a policy's occupancy `p` is from that of a reference `q`, both scaled to sum to one.

    `kl` is `sum p log(p / q)`, `chi2` is `sum (p - q)^2 / q`, `sqrt_chi2` its root and `tv` half of `sum |p - q|`. The
    first three are infinite where `p` goes where `q` never does.

    Args:
        kind: One of `DIVERGENCES`.
        occupancy: Of the policy, of any sum, such as `discounted_occupancy` gives.
        reference: Of the reference, likewise.

    Raises:
        ValueError: If there is no such divergence.
    """
    check_name("divergence of occupancies", kind, DIVERGENCES)
    p, q = (x / jnp.sum(x) for x in (occupancy, reference))
    if kind == "tv":
        return jnp.sum(jnp.abs(p - q)) / 2
    there = jnp.where(q > 0, q, 1.0)
    if kind == "kl":
        parts = jnp.where(p > 0, p * (jnp.log(jnp.where(p > 0, p, 1.0)) - jnp.log(there)), 0.0)
    else:
        parts = jnp.square(p - q) / there
    total = jnp.sum(jnp.where(q > 0, parts, jnp.where(p > 0, jnp.inf, 0.0)))
    # The root has no derivative where both are the same: there it is at its least.
    return jnp.where(total > 0, jnp.sqrt(jnp.where(total > 0, total, 1.0)), 0.0) if kind == "sqrt_chi2" else total
