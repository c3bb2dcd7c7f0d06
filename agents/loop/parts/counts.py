"""What was seen of a finite world."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreward.agents.loop.parts.learner import Visit


class Counts(NamedTuple):
    """Sums over all steps so far; float32 counts are exact up to 2^24 visits of one pair.

    Attributes:
        following: How often an action of a state led to which state, `[S, A, S]`.
        reward: Sum of the rewards of a pair, `[S, A]`.
        squared: Sum of their squares, `[S, A]`.
    """

    following: Float[Array, "S A S"]
    reward: Float[Array, "S A"]
    squared: Float[Array, "S A"]

    @property
    def visits(self) -> Float[Array, "S A"]:
        """How often each pair was visited, `n`."""
        return self.following.sum(-1)

    @property
    def time(self) -> Float[Array, ""]:
        """How many steps there were, `t`."""
        return self.following.sum()


def no_counts(num_states: int, num_actions: int) -> Counts:
    """Before the first step."""
    pairs = jnp.zeros((num_states, num_actions))
    return Counts(jnp.zeros((num_states, num_actions, num_states)), pairs, pairs)


def counted(counts: Counts, visit: Visit) -> Counts:
    """With one more step."""
    pair = visit.state, visit.action
    return Counts(
        counts.following.at[(*pair, visit.next_state)].add(1.0),
        counts.reward.at[pair].add(visit.reward),
        counts.squared.at[pair].add(visit.reward**2),
    )
