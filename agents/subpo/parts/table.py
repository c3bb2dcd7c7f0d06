"""A policy of place and time in a small world, as the table that it is.

Where a batch visits most pairs of place and time many times over, the network is evaluated once for each pair and not
once for each visit, and the gradient of the loss, which is linear in the scores, needs the sum of the weights over the
visits of a pair alone. Equal to what is computed visit by visit, but for rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Visits(NamedTuple):
    """What a batch of episodes says of each pair of time and place.

    Attributes:
        weight: The sum of what weighs the scores of an action, `[T, S, A]`.
        number: How many visits there were, `[T, S]`.
    """

    weight: Float[Array, "T S A"]
    number: Float[Array, "T S"]


def visits(
    place: Int[Array, "T N"],
    action: Int[Array, "T N"],
    advantage: Float[Array, "T N"],
    valid: Bool[Array, "T N"],
    num_places: int,
    num_actions: int,
) -> Visits:
    """The sums over a batch of episodes."""
    time = jnp.broadcast_to(jnp.arange(len(place))[:, None], place.shape)
    shape = (len(place), num_places)
    weight = jnp.zeros((*shape, num_actions)).at[time, place, action].add(jnp.where(valid, advantage, 0.0))
    return Visits(weight, jnp.zeros(shape).at[time, place].add(valid.astype(float)))


def scores(logits: Float[Array, "T S A"], visits: Visits) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Over all visits, the sums of the weighted log-probabilities and of the policy's entropies."""
    log_prob = jax.nn.log_softmax(logits)
    entropy = -(jnp.exp(log_prob) * log_prob).sum(-1)
    return (visits.weight * log_prob).sum(), (visits.number * entropy).sum()
