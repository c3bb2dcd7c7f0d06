"""Garnet: random MDPs of a given size and branching factor."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxreward.mdp.tabular import TabularMDP


def garnet(
    key: Key[Array, ""], num_states: int, num_actions: int, branching: int, dtype: jax.typing.DTypeLike | None = None
) -> TabularMDP:
    """A random MDP without terminal states (Archibald et al. 1995, in the form of Bhatnagar et al. 2009).

    Each state and action leads to `branching` different states, drawn uniformly, with the probabilities into which
    `branching - 1` uniform points cut `[0, 1]`; each transition has a standard normal reward. Episodes start
    anywhere. Pure, so `vmap` over keys makes a batch.

    Args:
        key: A key; two of the same give the same MDP.
        num_states: `S`.
        num_actions: `A`.
        branching: How many next states each state and action has, from 1 to `S`.
        dtype: Of the numbers; JAX's default float if not given.

    Raises:
        ValueError: If the branching factor is not in `1 .. S`.
    """
    if not 1 <= branching <= num_states:
        nearest = min(max(branching, 1), num_states)
        raise ValueError(
            f"branching={branching} next states of {num_states}; expected 1 to {num_states}, say {nearest}"
        )
    dtype = jnp.dtype(dtype) if dtype is not None else jnp.result_type(float)
    next_key, cut_key, reward_key = jax.random.split(key, 3)
    next_states = _distinct(next_key, num_states, num_actions, branching)
    probability = _cut(cut_key, (num_states, num_actions, branching), dtype)
    transition = jnp.einsum("sab,sabt->sat", probability, jax.nn.one_hot(next_states, num_states, dtype=dtype))
    reward = jax.random.normal(reward_key, transition.shape, dtype)
    start = jnp.full(num_states, 1 / num_states, dtype)
    return TabularMDP(transition, reward, start, jnp.zeros(num_states, bool))


def _distinct(key: Key[Array, ""], num_states: int, num_actions: int, branching: int) -> Array:
    """`branching` different states for each state and action, `[S, A, branching]`: the largest of random numbers."""
    noise = jax.random.uniform(key, (num_states, num_actions, num_states))
    return jax.lax.top_k(noise, branching)[1]


def _cut(key: Key[Array, ""], shape: tuple[int, int, int], dtype: jnp.dtype) -> Float[Array, "S A branching"]:
    """Lengths of the pieces of `[0, 1]` between sorted uniform points."""
    points = jnp.sort(jax.random.uniform(key, (*shape[:-1], shape[-1] - 1), dtype), axis=-1)
    ends = jnp.zeros((*shape[:-1], 1), dtype)
    return jnp.diff(jnp.concatenate([ends, points, ends + 1], axis=-1), axis=-1)
