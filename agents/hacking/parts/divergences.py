"""How far a policy's steps are from a reference's, by a discriminator, and what that takes from each step's reward.

Everything is of `d`, which at the discriminator's best is the logarithm of how much more often the policy takes a step
than the reference, or else another function of the step. What is taken from the reward is, but for a constant, the
derivative of the divergence in the policy's occupancy: so the policy descends the divergence where it ascends the
reward (Laidlaw, Singhal and Dragan, ICLR 2025, arXiv:2403.03185).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreward.agents.inverse.parts.discriminator import cross_entropy

Divergence = Literal["kl", "chi2", "sqrt_chi2", "tv", "wasserstein"]
"""By name."""
DIVERGENCES: tuple[str, ...] = get_args(Divergence)
TRIMMED = 0.01
"""Which share of the policy's steps is left out at each end where chi-squared is estimated."""
_LEAST = 1e-4
"""Of the estimate of chi-squared below its root, which by chance may be anything near 0."""
_TAMED = 0.01
"""Weight of the squares of `d` in the loss of the total variation."""


class Measure(NamedTuple):
    """A divergence.

    Attributes:
        apart: `(logits of the reference's steps, of the policy's, hyperparams) -> loss`, logits being `-d`.
        penalty: `(d) -> what is taken`, of the policy's steps, `[B]`.
        estimate: `(d of the policy's steps, of the reference's) -> divergence`.
    """

    apart: Callable[[Array, Array, Any], Float[Array, ""]]
    penalty: Callable[[Float[Array, " B"]], Float[Array, " B"]]
    estimate: Callable[[Float[Array, " B"], Float[Array, " B"]], Float[Array, ""]]


def chi2_of(d: Float[Array, " B"]) -> Float[Array, ""]:
    """`E_policy[exp(d) - 1]`, without the largest and the smallest hundredth; `d` is the logarithm of the ratio."""
    left_out = int(TRIMMED * len(d))
    return jnp.expm1(jnp.sort(d))[left_out : len(d) - left_out].mean()


def _crossed(reference: Array, policy: Array, _: Any) -> Float[Array, ""]:
    """Least at the logarithm of the ratio."""
    return cross_entropy(reference, policy)


def _bounded(reference: Array, policy: Array, _: Any) -> Float[Array, ""]:
    """Of all functions within 1, that tell apart best."""
    squares = jnp.square(reference).mean() + jnp.square(policy).mean()
    return jnp.tanh(policy).mean() - jnp.tanh(reference).mean() + _TAMED * squares


def _linear(reference: Array, policy: Array, _: Any) -> Float[Array, ""]:
    """Of all functions of a slope of 1, to which a penalty holds them, that tell apart best."""
    return policy.mean() - reference.mean()


def _by_root(d: Float[Array, " B"]) -> Float[Array, " B"]:
    return jnp.expm1(d) / jnp.sqrt(jnp.maximum(chi2_of(d), _LEAST))


MEASURES: dict[str, Measure] = {
    "kl": Measure(_crossed, lambda d: d, lambda d, _: d.mean()),
    "chi2": Measure(_crossed, jnp.expm1, lambda d, _: chi2_of(d)),
    "sqrt_chi2": Measure(_crossed, _by_root, lambda d, _: jnp.sqrt(jnp.maximum(chi2_of(d), 0))),
    "tv": Measure(_bounded, jnp.sign, lambda d, other: (jnp.tanh(d).mean() - jnp.tanh(other).mean()) / 2),
    "wasserstein": Measure(_linear, lambda d: d, lambda d, other: d.mean() - other.mean()),
}
"""By name. What `chi2` and `tv` take is half and twice their derivative, as in the authors' code."""


def taken(
    kind: str, d: Float[Array, " B"], coefficient: Float[Array, ""] | float, clip: Float[Array, ""] | float
) -> Float[Array, " B"]:
    """What is taken from each step's reward, within `clip` of 0; nothing where it is no number.

    Args:
        kind: One of `DIVERGENCES`.
        d: Of the policy's steps.
        coefficient: How much counts.
        clip: The most.
    """
    penalty = coefficient * MEASURES[kind].penalty(d)
    return jnp.where(jnp.isnan(penalty), 0.0, jnp.clip(penalty, -clip, clip))
