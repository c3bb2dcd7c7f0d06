"""Scripted dispatchers of the fleet, to compare with: joint policies that deal orders by what vehicles see of them."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxreward.agent import Policy
from jaxreward.envs.games.assignment import dealt
from jaxreward.envs.games.experts import scripted

MINUTES = 1
"""Where a row has the minutes until pickup."""


def by_scores(score: Callable[[Float[Array, "n M F"], Key[Array, ""]], Float[Array, "n M"]]) -> Policy:
    """As many orders as can be are dealt, such that the scores of the pairs sum to the most."""

    def act(observation: Float[Array, "n M F"], key: Key[Array, ""]) -> Int[Array, " n"]:
        order = dealt(score(observation, key), observation[..., 0] > 0)
        return jnp.where(order < 0, observation.shape[1], order)

    return scripted(act)


def nearest_dispatch() -> Policy:
    """Orders go to vehicles such that the minutes until pickup sum to the least."""
    return by_scores(lambda seen, key: -seen[..., MINUTES])


def random_dispatch() -> Policy:
    """Anybody gets any order."""
    return by_scores(lambda seen, key: jax.random.uniform(key, seen.shape[:2]))
