"""What it costs to maximise one reward where another one is meant."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreward.distances.canonical import Policy, Reward
from jaxreward.distances.norms import norm_of
from jaxreward.distances.starc import standardise, starc_distance
from jaxreward.mdp import TabularMDP, policy_iteration, policy_value, uniform_policy
from jaxreward.mdp.bellman import Discount


def regret(mdp: TabularMDP, other: Reward, discount: Discount) -> Float[Array, ""]:
    """What a policy that is optimal for another reward loses, as a share of all that can be lost.

    `(J(best) - J(best for the other)) / (J(best) - J(worst))` of the reward of the MDP, exactly; 0 where all policies
    are worth the same. Of several that are optimal for the other reward, it is the one that policy iteration finds.
    Near a discount of 1 single precision rounds by more than rewards differ: give it arrays of double precision.
    """
    followed = policy_iteration(mdp._replace(reward=other), discount).policy
    returns = return_range(mdp, discount)
    return share_of_range(returns.best - mdp.start @ policy_value(mdp, followed, discount), returns)


def regret_to_uniform(mdp: TabularMDP, other: Reward, discount: Discount) -> Float[Array, ""]:
    """What a policy that is optimal for another reward loses, in units of what acting at random loses.

    `(J(best) - J(best for the other)) / (J(best) - J(uniform))`: 0 for the best, 1 for no better than random. Of an
    agent's MDP in a game, while others play, it is the regret of a best response to another reward.
    """
    followed = policy_iteration(mdp._replace(reward=other), discount).policy
    best = policy_iteration(mdp, discount).value
    lost = lambda policy: mdp.start @ (best - policy_value(mdp, policy, discount))  # noqa: E731
    rounding = return_range(mdp, discount).rounding
    at_random = lost(uniform_policy(mdp))
    matters = at_random > rounding
    return jnp.where(matters, lost(followed) / jnp.where(matters, at_random, 1.0), 0.0)


def regret_bound(
    mdp: TabularMDP, other: Reward, discount: Discount, *, kind: str = "val", policy: Policy | None = None
) -> Float[Array, ""]:
    """What `regret` can be at most, by the distance of the two rewards.

    `2 |c(R)| / (1 - discount) d / (J(best) - J(worst))` with the canonical `c(R)` and the distance `d`, both in `l2`.
    For policies `p` and `q`, of which the other reward does not prefer `p`, `J(p) - J(q)` is `|c(R)|` times what the
    standardised rewards differ by along the difference of two occupancies, each of which sums to `1 / (1 - discount)`;
    Skalse et al. (2024) show that there is such a bound. It is loose.
    """
    size = norm_of("l2", standardise(mdp, discount, kind=kind, norm=None, policy=policy), mdp.transition)
    distance = starc_distance(mdp, other, discount, kind=kind, policy=policy)
    return share_of_range(2 * size * distance / (1 - discount), return_range(mdp, discount))


class Returns(NamedTuple):
    """The largest and the least expected return there is, and by how much rounding may have changed them."""

    best: Float[Array, ""]
    worst: Float[Array, ""]
    rounding: Float[Array, ""]


def return_range(mdp: TabularMDP, discount: Discount) -> Returns:
    """What the best and the worst policy are worth from the start."""
    best = policy_iteration(mdp, discount).value
    worst = -policy_iteration(mdp._replace(reward=-mdp.reward), discount).value
    largest = jnp.maximum(jnp.max(jnp.abs(best)), jnp.max(jnp.abs(worst)))
    rounding = 64 * jnp.finfo(largest.dtype).eps * largest / (1 - discount)  # of the linear systems they solve
    return Returns(mdp.start @ best, mdp.start @ worst, rounding)


def share_of_range(lost: Float[Array, ""], returns: Returns) -> Float[Array, ""]:
    """A loss as a share of all that can be lost; 0 where that is no more than rounding."""
    width = returns.best - returns.worst
    matters = width > returns.rounding
    return jnp.where(matters, lost / jnp.where(matters, width, 1.0), 0.0)
