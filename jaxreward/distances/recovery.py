"""How near a recovered reward comes to the one that was meant: on a tabular MDP, and in the weights of known features.

A reward that was inferred from what somebody did is known up to shaping and up to what next states by chance are paid.
So of all measures here the STARC distance is to be looked at first; raw correlations and errors see those differences,
and an error means nothing but beside that of the reward that is zero everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreward.distances.canonical import Reward
from jaxreward.distances.pearson import pearson_distance, spearman_distance
from jaxreward.distances.regret import regret_to_uniform
from jaxreward.distances.starc import epic_distance, starc_distance
from jaxreward.mdp import TabularMDP
from jaxreward.mdp.bellman import EXACT, Discount


class Recovery(NamedTuple):
    """A recovered reward beside that of an MDP, of an agent of a game the one it is in while others play.

    Attributes:
        starc: The STARC distance, from 0 to 2.
        epic: The EPIC distance, from 0 to 1.
        regret: See `jaxreward.distances.regret.regret_to_uniform`.
        pearson: The Pearson distance over states and actions, next states in expectation, from 0 to 1.
        spearman: The same of ranks.
        error: The mean square of the difference, likewise.
        error_of_zero: That of the reward that is zero everywhere.
    """

    starc: Float[Array, ""]
    epic: Float[Array, ""]
    regret: Float[Array, ""]
    pearson: Float[Array, ""]
    spearman: Float[Array, ""]
    error: Float[Array, ""]
    error_of_zero: Float[Array, ""]


def recovery(mdp: TabularMDP, estimate: Reward, discount: Discount) -> Recovery:
    """Measures of a recovered reward, all states and actions counting alike.

    Args:
        mdp: The MDP with the reward that was meant.
        estimate: What was recovered, `[S, A, S]`.
        discount: In `[0, 1)`.
    """
    found, meant = (jnp.sum(mdp.transition * reward, -1).ravel() for reward in (estimate, mdp.reward))
    return Recovery(
        starc=starc_distance(mdp, estimate, discount),
        epic=epic_distance(mdp, estimate, discount),
        regret=regret_to_uniform(mdp, estimate, discount),
        pearson=pearson_distance(found, meant),
        spearman=spearman_distance(found, meant),
        error=jnp.mean(jnp.square(found - meant)),
        error_of_zero=jnp.mean(jnp.square(meant)),
    )


class LinearReward(NamedTuple):
    """A reward as a sum of features and shaping.

    Attributes:
        weights: Of the features, `[K]`.
        potential: Of the functions that the potential is a sum of, `[M]`.
        unexplained: The mean square of what is left, as a share of the reward's mean square.
    """

    weights: Float[Array, " K"]
    potential: Float[Array, " M"]
    unexplained: Float[Array, ""]


def linear_reward(
    reward: Float[Array, " B"],
    features: Float[Array, "B K"],
    here: Float[Array, "B M"],
    following: Float[Array, "B M"],
    discount: Discount,
) -> LinearReward:
    """The sum of features that is nearest to a recovered reward but for shaping, by least squares over transitions.

    `min_{w, p} mean (r - w f(s, a, s') - discount Phi(s') + Phi(s))^2` with `Phi = p g`. Where weights are not
    determined, such as of a feature that is itself shaping, the least ones are given.

    Args:
        reward: What was recovered, `r`.
        features: What a true reward may be a sum of, `f(s, a, s')`.
        here: Functions of the state that a potential may be a sum of, `g(s)`, such as the state one-hot.
        following: The same of what followed, zeros behind a termination.
        discount: Per step.
    """
    design = jnp.concatenate([features, discount * following - here], -1)
    found = jnp.linalg.lstsq(design, reward)[0]
    left = reward - jnp.matmul(design, found, precision=EXACT)
    weights, potential = jnp.split(found, [features.shape[-1]])
    return LinearReward(weights, potential, jnp.mean(jnp.square(left)) / jnp.mean(jnp.square(reward)))


def cosine(first: Float[Array, " K"], second: Float[Array, " K"]) -> Float[Array, ""]:
    """Of the angle between two vectors of weights: 1 for the same but for a positive factor; NaN if one is zero."""
    return jnp.sum(first * second) / jnp.sqrt(jnp.sum(first**2) * jnp.sum(second**2))
