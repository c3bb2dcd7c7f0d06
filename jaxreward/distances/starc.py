"""STARC distances: rewards made canonical, scaled to the same size, and then compared (Skalse et al., ICLR 2024)."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreward.distances.canonical import Policy, Reward, canonicalise
from jaxreward.distances.norms import norm_of
from jaxreward.mdp import TabularMDP
from jaxreward.mdp.bellman import Discount

_ROUNDING = 64
"""In units of the dtype's resolution: a canonical reward smaller than this times the reward is none."""


def standardise(
    mdp: TabularMDP,
    discount: Discount,
    *,
    kind: str = "val",
    norm: str | None = "l2",
    policy: Policy | None = None,
) -> Reward:
    """The canonical reward divided by its norm; 0 of a reward that tells policies nothing.

    Args:
        mdp: The MDP with its reward.
        discount: In `[0, 1)`.
        kind: How it is made canonical, see `jaxreward.distances.canonical.canonicalise`.
        norm: What is divided by; None to leave it as it is.
        policy: See `jaxreward.distances.canonical.canonicalise`.

    Raises:
        ValueError: If there is no such canonicalisation or norm.
    """
    smallest = norm if kind == "minimal_potential" and norm else "l2"
    canonical = canonicalise(kind, mdp, discount, policy, smallest)
    if norm is None:
        return canonical
    size = norm_of(norm, canonical, mdp.transition)
    nothing = size <= _ROUNDING * jnp.finfo(size.dtype).eps * norm_of(norm, mdp.reward, mdp.transition)
    return jnp.where(nothing, 0.0, canonical / jnp.where(nothing, 1.0, size))


def starc_distance(
    mdp: TabularMDP,
    other: Reward,
    discount: Discount,
    *,
    kind: str = "val",
    norm: str | None = "l2",
    metric: str = "l2",
    policy: Policy | None = None,
) -> Float[Array, ""]:
    """How far the reward of an MDP is from another one.

    With the defaults it is 0 for rewards that order policies alike, from 0 to 2, and 2 for opposite ones.

    Args:
        mdp: The MDP with the one reward.
        other: The other one, `[S, A, S]`.
        discount: In `[0, 1)`.
        kind: How they are made canonical, see `jaxreward.distances.canonical.canonicalise`.
        norm: To which both are scaled, one of `jaxreward.distances.norms.NORMS`; None for no scaling.
        metric: The norm of their difference.
        policy: See `jaxreward.distances.canonical.canonicalise`.

    Raises:
        ValueError: If there is no such canonicalisation, norm or metric.
    """
    standard = [
        standardise(mdp._replace(reward=reward), discount, kind=kind, norm=norm, policy=policy)
        for reward in (mdp.reward, other)
    ]
    return norm_of(metric, standard[0] - standard[1], mdp.transition)


def epic_distance(mdp: TabularMDP, other: Reward, discount: Discount) -> Float[Array, ""]:
    """EPIC with uniform coverage: the Pearson distance of the canonical rewards (Gleave et al., ICLR 2021).

    Half of the STARC distance with EPIC's canonicalisation and `l2`, as its canonical rewards have mean 0.
    """
    return starc_distance(mdp, other, discount, kind="epic") / 2
