"""Demonstrations as a network reads and a head takes them."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreward.learning.demonstrations import Demonstrations
from jaxreward.learning.networks import Head
from jaxreward.learning.normaliser import Moments


class Data(NamedTuple):
    """What is learned from: features and raw actions, as a head has them, of `N` steps."""

    features: Float[Array, "N F"]
    action: Array


def data_of(given: Demonstrations, head: Head) -> Data:
    """Demonstrations as a network reads and a head takes them; the features are raw."""
    features = jnp.asarray(given.observation.reshape(len(given.observation), -1), float)
    return Data(features, raw_action(jnp.asarray(given.action), head))


def raw_action(action: Array, head: Head) -> Array:
    """What a head would have made the actions of, `[N, ...]`, those at a bound its nearest."""
    if not head.free:
        return action
    middle = head.to_env(jnp.zeros(head.size))
    return ((action - middle[None]) / (head.to_env(jnp.ones(head.size)) - middle)[None]).reshape(len(action), -1)


def moments_of(given: Demonstrations) -> Moments:
    """The moments of what was seen."""
    seen = given.observation.reshape(len(given.observation), -1).astype(float)
    return Moments(jnp.asarray(len(seen), float), jnp.asarray(seen.mean(0), float), jnp.asarray(seen.var(0), float))
