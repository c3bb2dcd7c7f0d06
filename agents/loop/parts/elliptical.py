"""How little is known of an action: the norm of its features in the metric of what was seen."""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

Features = Literal["random", "observation"]


class FeatureMap(NamedTuple):
    """Features of an observation, of norm 1 at most; each action has those of its own.

    Attributes:
        weights: Of rectified linear units on the observation and a constant, `[F + 1, d]`; None for the observation
            itself.
    """

    weights: Float[Array, "F+1 d"] | None

    def __call__(self, observation: Float[Array, "*batch F"]) -> Float[Array, "*batch d"]:
        features = observation
        if self.weights is not None:
            constant = jnp.ones_like(observation[..., :1])
            features = jax.nn.relu(jnp.concatenate([observation, constant], -1) @ self.weights)
        norm = jnp.linalg.norm(features, axis=-1, keepdims=True)
        return features / jnp.maximum(norm, 1.0 if self.weights is None else 1e-6)


def feature_map(kind: Features, key: Key[Array, ""], inputs: int, size: int) -> FeatureMap:
    """Features that stay what they are: drawn once, or the observation itself.

    Args:
        kind: Which.
        key: For the random ones.
        inputs: `F`, numbers of an observation.
        size: `d`, how many random ones.
    """
    return FeatureMap(jax.random.normal(key, (inputs + 1, size)) if kind == "random" else None)


def empty_gram(num_actions: int, size: int, regularisation: Float[Array, ""] | float) -> Float[Array, "A d d"]:
    """`lambda I` for each action: nothing was seen."""
    return regularisation * jnp.broadcast_to(jnp.eye(size), (num_actions, size, size))


def with_steps(
    gram: Float[Array, "A d d"], features: Float[Array, "B d"], action: Int[Array, " B"]
) -> Float[Array, "A d d"]:
    """`Lambda` with `phi phi'` of more steps, each in the block of its action."""
    chosen = jax.nn.one_hot(action, gram.shape[0])
    return gram + jnp.einsum("ba,bd,be->ade", chosen, features, features)


def log_determinant(gram: Float[Array, "A d d"]) -> Float[Array, ""]:
    """Of the whole `Lambda`, all blocks."""
    factor = jnp.linalg.cholesky(gram)
    return 2 * jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)))


def uncertainty(inverse: Float[Array, "A d d"], features: Float[Array, "*batch d"]) -> Float[Array, "*batch A"]:
    """`|phi(s, a)|` in the metric of `Lambda^-1`, for each action."""
    squared = jnp.einsum("...d,ade,...e->...a", features, inverse, features)
    return jnp.sqrt(jnp.maximum(squared, 0.0))
