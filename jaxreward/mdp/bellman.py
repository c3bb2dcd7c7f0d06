"""What every solver is made of: one-step look-ahead, greedy policies, and the chain a policy induces.

A policy is an array of action probabilities, `[S, A]`; a deterministic one is one-hot.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxreward.mdp.tabular import TabularMDP

EXACT = jax.lax.Precision.HIGHEST
"""Accelerators round the inputs of a product to 10 bits or fewer unless told not to."""

Discount = Float[Array, ""] | float


def check_can_end(mdp: TabularMDP, discount: Discount, policy: Float[Array, "S A"] | None = None) -> None:
    """Refuses a discount of 1 where nothing ends what begins in some state: equations of values are then singular.

    Where numbers are traced nothing can be said; solutions tell it by a residual that is not finite, or rounding.

    Args:
        mdp: The MDP.
        discount: A number or an array of them.
        policy: Which is to end; None for any.

    Raises:
        ValueError: The discount is not in `[0, 1]`, or is 1 and what begins in some state is not ended by the policy,
            or by any.
    """
    if isinstance(discount, jax.core.Tracer):
        return
    if not (np.all(np.asarray(discount) >= 0) and np.all(np.asarray(discount) <= 1)):
        raise ValueError(f"a discount lies in [0, 1]; got {discount}")
    if np.all(np.asarray(discount) < 1) or isinstance(mdp.transition, jax.core.Tracer) or np.ndim(mdp.transition) != 3:
        return
    given = policy is not None and not isinstance(policy, jax.core.Tracer)
    endless = endless_states(mdp, np.asarray(policy) if given else np.ones(np.shape(mdp.transition)[:2]))
    if endless.any():
        who = "the policy does not end" if given else "no policy ends"
        raise ValueError(
            f"at a discount of 1 values are not defined: {who} what begins in state {np.argmax(endless)}, and their "
            "equations are singular; expected a discount below 1, or the reward rate (`average_policy_iteration`)"
        )


def endless_states(mdp: TabularMDP, policy: Float[np.ndarray, "S A"]) -> Bool[np.ndarray, " S"]:
    """From which states no path of what a policy may do leads to a terminal one, `[S]`."""
    leads = ((np.asarray(mdp.transition) > 0) & (policy > 0)[..., None]).any(1)
    ends = np.asarray(mdp.terminal)
    for _ in range(mdp.num_states):
        ends = ends | (leads & ends).any(-1)
    return ~ends


class Chain(NamedTuple):
    """A Markov chain with rewards: `transition` `[S, S]` and expected `reward` `[S]`."""

    transition: Float[Array, "S S"]
    reward: Float[Array, " S"]


def expected_reward(mdp: TabularMDP) -> Float[Array, "S A"]:
    """Reward of each state and action, averaged over next states, `[S, A]`."""
    return jnp.sum(mdp.transition * mdp.reward, axis=-1)


def continuation(mdp: TabularMDP) -> Float[Array, "S A S"]:
    """Probability of each next state that does not end the episode, `[S, A, S]`; rows sum to one or less."""
    return jnp.where(mdp.terminal[None, None, :], 0, mdp.transition)


def action_value(mdp: TabularMDP, value: Float[Array, " S"], discount: Discount) -> Float[Array, "S A"]:
    """`Q(s, a) = E[r + discount * value(s')]`, `[S, A]`, with nothing after a terminal state."""
    following = jnp.einsum("sat,t->sa", continuation(mdp), value, precision=EXACT)
    return expected_reward(mdp) + jnp.asarray(discount, value.dtype) * following


def greedy(action_value: Float[Array, "*batch A"]) -> Float[Array, "*batch A"]:
    """The policy that takes the action of highest value, the first of equals, one-hot `[..., A]`."""
    best = jnp.argmax(action_value, axis=-1)
    return jax.nn.one_hot(best, action_value.shape[-1], dtype=action_value.dtype)


def uniform_policy(mdp: TabularMDP) -> Float[Array, "S A"]:
    """The policy that takes every action equally often, `[S, A]`."""
    shape = mdp.num_states, mdp.num_actions
    return jnp.full(shape, 1 / mdp.num_actions, mdp.transition.dtype)


def deterministic_policies(mdp: TabularMDP) -> Float[Array, "N S A"]:
    """Every deterministic stationary policy, `[A**S, S, A]`; for ground truth on tiny MDPs."""
    choices = np.indices((mdp.num_actions,) * mdp.num_states).reshape(mdp.num_states, -1).T
    return jax.nn.one_hot(choices, mdp.num_actions, dtype=mdp.transition.dtype)


def induced_chain(mdp: TabularMDP, policy: Float[Array, "S A"]) -> Chain:
    """The Markov chain and its rewards when `policy` is followed; terminal states absorb."""
    transition = jnp.einsum("sa,sat->st", policy, mdp.transition, precision=EXACT)
    return Chain(transition, jnp.sum(policy * expected_reward(mdp), axis=-1))
