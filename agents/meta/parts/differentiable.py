"""Optimisers whose steps may be differentiated, where gradients are zero too."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

Scalar = Float[Array, ""] | float


def bounded(max_norm: Scalar) -> optax.GradientTransformation:
    """Gradients scaled down to a norm, with a derivative at zero too."""

    def update(gradient: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        del params
        squared = sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(gradient))
        # Less than any norm that is bounded; the square root of zero has no derivative.
        norm = jnp.sqrt(squared + 1e-30)
        scale = max_norm / jnp.maximum(norm, max_norm)
        return jax.tree.map(lambda leaf: scale * leaf, gradient), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def adam_of_first_moments(b1: float = 0.9, b2: float = 0.999, epsilon: float = 1e-8) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980), its denominator taken for a constant when it is differentiated.

    As in DiscoRL's code (Oh et al., Nature 2025): the square root of a second moment of zero has no derivative.
    """
    adam = optax.scale_by_adam(b1, b2, epsilon)

    def update(gradient: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, Any]:
        del params
        after = jax.lax.stop_gradient(adam.update(gradient, state)[1])
        mu = jax.tree.map(lambda old, new: b1 * old + (1 - b1) * new, state.mu, gradient)
        first = optax.tree.bias_correction(mu, b1, after.count)
        second = optax.tree.bias_correction(after.nu, b2, after.count)
        step = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + epsilon), first, second)
        return step, after._replace(mu=mu)

    return optax.GradientTransformation(adam.init, update)
