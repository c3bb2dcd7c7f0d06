"""What every solver is made of: one-step look-ahead, greedy policies, and the chain a policy induces.

A policy is an array of action probabilities, `[S, A]`; a deterministic one is one-hot.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxreward.mdp.tabular import TabularMDP

EXACT = jax.lax.Precision.HIGHEST
"""Accelerators round the inputs of a product to 10 bits or fewer unless told not to."""

Discount = Float[Array, ""] | float


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
