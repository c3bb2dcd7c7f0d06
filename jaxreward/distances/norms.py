"""Norms of rewards, plain ones and ones that count a transition as often as it happens.

Those of the study in "STARC: a general framework for quantifying differences between reward functions" (Skalse et al.,
ICLR 2024, arXiv:2309.15257).
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreward.names import check_name

NORMS = ("l1", "l2", "linf", "weighted_l1", "weighted_l2", "weighted_linf")
"""Weighted ones multiply by the probability of the next state: `(sum P |R|^p)^(1/p)` and `max P |R|`."""


def norm_of(name: str, reward: Float[Array, "S A S"], transition: Float[Array, "S A S"]) -> Float[Array, ""]:
    """A norm of a reward.

    Args:
        name: One of `NORMS`.
        reward: `R`.
        transition: `P`, for the weighted ones.

    Raises:
        ValueError: If there is no such norm; says which is nearest.
    """
    check_name("norm", name, NORMS)
    size, weight = jnp.abs(reward), transition if name.startswith("weighted") else jnp.ones_like(transition)
    if name.endswith("l1"):
        return jnp.sum(weight * size)
    if name.endswith("l2"):
        return jnp.sqrt(jnp.sum(weight * size**2))
    return jnp.max(weight * size)
