"""The most optimistic of the hypotheses whose Bellman errors on the data are small.

The set of `(Q, J)` whose squared Bellman errors exceed the least ones by at most `beta` (He, Zhong and Yang 2024) is,
for functions that are linear in features, an ellipsoid around least squares: `Q + J` is what is predicted of
`r + V(s')` plus `phi' eta` with `|eta|_Lambda^2 <= beta`. So the most optimistic hypothesis is the reward, changed by
`phi' eta`, under which the estimated world pays most.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxreward.agents.loop.parts.ascent import ascend, completed, occupancy, with_missing
from jaxreward.agents.loop.parts.planning import Plan, relative_plan

Pairs = Float[Array, "S A"]
Scalar = Float[Array, ""] | float


class Estimate(NamedTuple):
    """What was learned of a world.

    Attributes:
        reward: `[S, A]`.
        following: `[S, A, S]`; what is missing to 1 leads to the best of all states.
        smooth: `[S, A] -> [S, A]`, `phi' Lambda^-1 sum phi` of weights of pairs.
        leverage: `phi' Lambda^-1 phi` of each pair, `[S, A]`.
    """

    reward: Pairs
    following: Float[Array, "S A S"]
    smooth: Callable[[Pairs], Pairs]
    leverage: Pairs


class Search(NamedTuple):
    """How plans are made: see `relative_plan`; gains that differ by less than the tolerance are the same."""

    bias: Float[Array, " S"]
    max_span: Scalar
    tolerance: Scalar


def solve(estimate: Estimate, bonus: Pairs, bias: Float[Array, " S"], search: Search) -> Plan:
    """The best policy when the reward is raised by the bonus."""
    look_ahead = with_missing(estimate.reward + bonus, estimate.following)
    return relative_plan(look_ahead, bias, search.tolerance, search.max_span)


def box_bonus(estimate: Estimate, beta: Scalar) -> Pairs:
    """The most that each pair can have by itself, `sqrt(beta) |phi|_Lambda^-1`: more than all can have together."""
    return jnp.sqrt(beta * jnp.maximum(estimate.leverage, 0.0))


def ellipsoid_bonus(estimate: Estimate, beta: Scalar, visited: Pairs) -> Pairs:
    """The bonus of the ellipsoid that is worth most where a policy goes.

    Args:
        estimate: The estimate.
        beta: The size of the ellipsoid.
        visited: How often the policy is where, `[S, A]`.

    Returns:
        `phi' eta` for `eta = sqrt(beta) Lambda^-1 g / |g|_Lambda^-1`, `g = sum visited phi`.
    """
    image = estimate.smooth(visited)
    return jnp.sqrt(beta) * image / jnp.sqrt(jnp.sum(visited * image))


def box(estimate: Estimate, beta: Scalar, search: Search) -> Plan:
    """The plan of a set that is larger, which one value iteration finds."""
    return solve(estimate, box_bonus(estimate, beta), search.bias, search)


def ellipsoid(estimate: Estimate, beta: Scalar, search: Search, key: Key[Array, ""], starts: int = 1) -> Plan:
    """The most optimistic plan of the ellipsoid that is found by turns.

    A policy's gain is linear in the bonus, so the best gain is convex in it, and turns climb to a local maximum over
    the ellipsoid (without a bound on the span, which may stop them earlier).

    Args:
        estimate: The estimate.
        beta: The size of the ellipsoid.
        search: How plans are made.
        key: Draws where to start, but for the first, which is the plan of `box`.
        starts: How many are tried; the best is kept.
    """
    weight = jax.random.exponential(key, (starts, *estimate.reward.shape)).at[0].set(1.0)

    def improve(plan: Plan, bonus: Pairs) -> Pairs:
        following = completed(estimate.following, jnp.argmax(plan.bias))
        return ellipsoid_bonus(estimate, beta, occupancy(estimate.reward, following, plan))

    def climb(bonus: Pairs) -> Plan:
        better = lambda bonus, bias: solve(estimate, bonus, bias, search)  # noqa: E731
        return ascend(improve, better, better(bonus, search.bias), bonus, search.tolerance)[0]

    plans = jax.vmap(climb)(weight * box_bonus(estimate, beta)[None])
    return jax.tree.map(lambda leaf: leaf[jnp.argmax(plans.gain)], plans)
