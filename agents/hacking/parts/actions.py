"""How far a policy's actions are from a reference's in the same state, in closed form: the usual regularisers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreward.learning.networks import Head

ACTION_DIVERGENCES = ("kl", "chi2", "sqrt_chi2")
_LEAST = 1e-4
"""Of chi-squared below its root."""
_MOST = 80.0
"""Of the logarithm of chi-squared: beyond, its exponential overflows, and so does the gradient."""


def action_divergence(
    kind: str, head: Head, outputs: Float[Array, "*batch O"], reference: Float[Array, "*batch O"]
) -> Float[Array, "*batch"]:
    """How far one distribution of actions is from another, of what a head makes them of.

    Chi-squared is `sum (p - q)^2 / q` of categorical distributions, and `prod s2^2 / (s1 sqrt(v)) exp((m1 - m2)^2 / v)
    - 1` with `v = 2 s2^2 - s1^2` of diagonal Gaussians; where `v` is not positive it is infinite, and KL stands in its
    place, as in the code of Laidlaw et al. (2025, arXiv:2403.03185), also where it overflows. The root is of 0.0001 at
    least.

    Args:
        kind: One of `ACTION_DIVERGENCES`.
        head: Of the actions.
        outputs: Of the policy.
        reference: Of the reference.
    """
    kl = head.distribution(outputs).kl_divergence(head.distribution(reference))
    if kind == "kl":
        return kl
    chi2 = (_gaussian if head.free else _categorical)(outputs, reference, kl)
    return chi2 if kind == "chi2" else jnp.sqrt(jnp.maximum(chi2, _LEAST))


def _categorical(outputs: Array, reference: Array, _: Array) -> Float[Array, "*batch"]:
    p, log_q = jax.nn.softmax(outputs), jax.nn.log_softmax(reference)
    return (jnp.square(p - jnp.exp(log_q)) * jnp.exp(-log_q)).sum(-1)


def _gaussian(outputs: Array, reference: Array, kl: Array) -> Float[Array, "*batch"]:
    (m1, log_s1), (m2, log_s2) = jnp.split(outputs, 2, -1), jnp.split(reference, 2, -1)
    v = 2 * jnp.exp(2 * log_s2) - jnp.exp(2 * log_s1)
    positive = (v > 0).all(-1)
    v = jnp.where(v > 0, v, 1.0)
    log_ratio = (2 * log_s2 - log_s1 - jnp.log(v) / 2 + jnp.square(m1 - m2) / v).sum(-1)
    finite = positive & (log_ratio < _MOST)
    return jnp.where(finite, jnp.expm1(jnp.where(finite, log_ratio, 0.0)), kl)
