"""The nearest of all rewards that are equivalent to one, a baseline of Gleave et al. (ICLR 2021, arXiv:2006.13900)."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreward.distances.canonical import Reward, minimal_potential
from jaxreward.mdp import TabularMDP
from jaxreward.mdp.bellman import Discount


def npec_distance(mdp: TabularMDP, other: Reward, discount: Discount) -> Float[Array, ""]:
    """How near a shaped and positively scaled reward comes to another one, with uniform coverage and squares.

    `min |B - (scale A + discount Phi(s') - Phi(s))| / min |B - (discount Phi(s') - Phi(s))|` from 0 to 1, with `A` the
    reward of the MDP and `B` the other one; not symmetric. Shaping spans a subspace, so with `a` and `b` what is
    orthogonal to it of `A` and `B`, it is `sqrt(1 - max(0, cos(a, b))^2)`; no alternating search is needed. (A constant
    is shaping by a constant potential where the discount is below 1.)
    """
    a, b = (minimal_potential(mdp._replace(reward=reward), discount) for reward in (mdp.reward, other))
    scale = jnp.sqrt(jnp.sum(a**2) * jnp.sum(b**2))
    cosine = jnp.where(scale > 0, jnp.sum(a * b) / jnp.where(scale > 0, scale, 1.0), 0.0)
    return jnp.sqrt(jnp.clip(1 - jnp.maximum(0.0, cosine) ** 2, 0.0, 1.0))
