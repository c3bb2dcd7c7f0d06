"""Which hypothesis of a set promises the highest reward rate: found by turns, the best policy, then the best for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxreward.agents.loop.parts.planning import LookAhead, Plan
from jaxreward.environment import select
from jaxreward.mdp.average import limiting_matrix

Hypothesis = TypeVar("Hypothesis")

MOST_TURNS = 16


def ascend(
    improve: Callable[[Plan, Hypothesis], Hypothesis],
    solve: Callable[[Hypothesis, Float[Array, " S"]], Plan],
    plan: Plan,
    hypothesis: Hypothesis,
    least_rise: Float[Array, ""] | float,
) -> tuple[Plan, Hypothesis]:
    """Takes turns until the gain no longer rises; the last turn that raised it is returned.

    Args:
        improve: `(plan, hypothesis)` of before to the best hypothesis for the policy of that plan.
        solve: `(hypothesis, bias) -> plan`, the best policy of a hypothesis, begun with a bias.
        plan: Whose policy is first; its own gain counts for nothing, as its hypothesis need not be in the set.
        hypothesis: The one of that plan.
        least_rise: What counts as a rise.
    """

    def unfinished(carry: tuple) -> Array:
        return carry[1] & (carry[2] < MOST_TURNS)

    def advance(carry: tuple) -> tuple:
        best, _, turns = carry
        hypothesis = improve(*best)
        found = solve(hypothesis, best[0].bias), hypothesis
        rises = (turns == 0) | (found[0].gain > best[0].gain + least_rise)
        return select(rises, found, best), rises, turns + 1

    begun = (plan, hypothesis), jnp.array(True), jnp.int32(0)
    return jax.lax.while_loop(unfinished, advance, begun)[0]


def with_missing(reward: Float[Array, "S A"], following: Float[Array, "S A S"]) -> LookAhead:
    """A look-ahead in which what is missing of the probability leads to the best of all states.

    Args:
        reward: `[S, A]`.
        following: Where actions lead, `[S, A, S]`; rows need not sum to 1.
    """

    def look_ahead(bias: Float[Array, " S"]) -> Float[Array, "S A"]:
        best = jnp.max(bias)
        return reward + following @ (bias - best) + best

    return look_ahead


def completed(following: Float[Array, "S A S"], best: Int[Array, ""]) -> Float[Array, "S A S"]:
    """Distributions: what is negative is cut, what is missing leads to the best state, what is too much is scaled."""
    positive = jnp.maximum(following, 0.0)
    missing = jnp.maximum(0.0, 1 - jnp.sum(positive, axis=-1))
    whole = positive.at[..., best].add(missing)
    return whole / jnp.sum(whole, axis=-1, keepdims=True)


def occupancy(reward: Float[Array, "S A"], following: Float[Array, "S A S"], plan: Plan) -> Float[Array, "S A"]:
    """How often the greedy policy of a plan is where in the long run, in the class of states that pays it most.

    Args:
        reward: `[S, A]`.
        following: Distributions, `[S, A, S]`.
        plan: The plan.
    """
    num_states, num_actions = reward.shape
    action, states = jnp.argmax(plan.action_value, axis=-1), jnp.arange(num_states)
    limit = limiting_matrix(following[states, action])
    visited = limit[jnp.argmax(limit @ reward[states, action])]
    return visited[:, None] * jax.nn.one_hot(action, num_actions)
