"""Occupancy measures: how often a policy is in a state and takes an action. Times the reward, they are its value."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreward.mdp.average import limiting_matrix
from jaxreward.mdp.bellman import EXACT, Discount, continuation, induced_chain
from jaxreward.mdp.tabular import TabularMDP


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
