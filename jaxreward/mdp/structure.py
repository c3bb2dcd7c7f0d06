"""How an MDP hangs together: whether every state can be reached from every other, and how soon."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxreward.mdp.discounted import policy_iteration
from jaxreward.mdp.tabular import TabularMDP, with_terminal


def is_communicating(mdp: TabularMDP) -> Bool[Array, ""]:
    """Whether every state can be reached from every other one by some policy."""
    reachable = jnp.any(mdp.transition > 0, axis=1) | jnp.eye(mdp.num_states, dtype=bool)
    for _ in range(mdp.num_states.bit_length()):
        ways = reachable.astype(mdp.start.dtype)
        reachable = ways @ ways > 0
    return jnp.all(reachable)


def diameter(mdp: TabularMDP) -> Float[Array, ""]:
    """The longest shortest way: `max_(s, s') min_policy E[steps from s to s']` (Jaksch, Ortner and Auer 2010, def. 1).

    Infinite if the MDP is not communicating. One policy iteration for each target, all at once.
    """
    steps = mdp._replace(reward=-jnp.ones_like(mdp.reward), start=jnp.full_like(mdp.start, 1 / mdp.num_states))

    def farthest(target: Bool[Array, " S"]) -> Float[Array, ""]:
        return -jnp.min(policy_iteration(with_terminal(steps, target), 1.0).value)

    targets = jnp.eye(mdp.num_states, dtype=bool)
    return jnp.where(is_communicating(mdp), jnp.max(jax.vmap(farthest)(targets)), jnp.inf)
