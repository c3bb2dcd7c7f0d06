"""All models of a finite world that explain what was seen nearly as well as the best one.

The loss of a model is its negative log-likelihood, which exceeds the least one by `sum n KL(p, q)`, `p` what was
counted and `q` the model (MLE-LOOP: He, Zhong and Yang 2024). Rewards are estimated pair by pair, and the squared error
of those a model was found with is added to its loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxreward.agents.loop.parts.ascent import ascend, occupancy, with_missing
from jaxreward.agents.loop.parts.counts import Counts, counted, no_counts
from jaxreward.agents.loop.parts.divergence import divergence, margin_of
from jaxreward.agents.loop.parts.hypotheses import Evidence, Found, Hypotheses, search_of
from jaxreward.agents.loop.parts.learner import Visit
from jaxreward.agents.loop.parts.mean_reward import mean_reward, reward_excess
from jaxreward.agents.loop.parts.planning import Plan, relative_plan

Pairs = Float[Array, "S A"]
Rows = Float[Array, "S A S"]

HALVINGS = 40
"""Of intervals of logarithms; what is left of them is below the resolution of float32."""
MARGINS = (-16.0, 24.0)
"""Logarithms of the least and the largest margin: with the one all goes to the best state, with the other nothing."""


class Likely(NamedTuple):
    """A model.

    Attributes:
        following: Its probabilities.
        best: The state to which the data of the regularisation lead: the best one when it was found.
    """

    following: Rows
    best: Int[Array, ""]


class Held(NamedTuple):
    """A model, and the rewards it was found with."""

    model: Likely
    reward: Pairs


def likelihood_based(size: tuple[int, int], planner: str) -> Hypotheses:
    """All models.

    Args:
        size: Numbers of states and actions.
        planner: "ell" shares `beta` among the pairs where it is worth most, "box" gives each pair all of it.
    """

    def start(hyperparams: Any) -> tuple[Counts, Held]:
        counts = no_counts(*size)
        return counts, Held(Likely(jnp.full_like(counts.following, 1 / size[0]), jnp.int32(0)), counts.reward)

    def search(counts: Counts, bias: Float[Array, " S"], key: Key[Array, ""], hyperparams: Any) -> Found:
        reward, more = mean_reward(counts, hyperparams), hyperparams.regularisation
        weight, how = counts.visits + more, search_of(bias, hyperparams)
        solve = lambda following, bias: relative_plan(  # noqa: E731
            with_missing(reward, following), bias, how.tolerance, how.max_span
        )
        improve = lambda plan, model: most_likely(  # noqa: E731
            counts, plan, occupancy(reward, model.following, plan), hyperparams, planner
        )
        seen = counts.following / weight[..., None]
        begun = solve(seen, bias)
        model = Likely(_with_pseudo(counts, begun, more) / weight[..., None], best_state(begun))
        step = lambda model, bias: solve(model.following, bias)  # noqa: E731
        plan, model = ascend(improve, step, begun, model, how.tolerance)
        return Found(plan, Held(model, reward), excess_of(counts, model, more))

    def learn(counts: Counts, plan: Plan, held: Held, visit: Visit, hyperparams: Any) -> tuple[Counts, Held, Evidence]:
        excess, weight = likelihood_excess(counts, held.model, visit, hyperparams.regularisation)
        excess = excess + reward_excess(counts, held.reward, visit, hyperparams)
        return counted(counts, visit), held, Evidence(excess, jnp.log1p(1 / weight))

    return Hypotheses(start, search, learn)


def best_state(plan: Plan) -> Int[Array, ""]:
    """The one that a plan takes for the best."""
    return jnp.argmax(plan.bias).astype(jnp.int32)


def _with_pseudo(counts: Counts, plan: Plan, more: Float[Array, ""]) -> Rows:
    """What was counted, and the data of the regularisation, which lead to the best state."""
    return counts.following.at[..., best_state(plan)].add(more)


def excess_of(counts: Counts, model: Likely, more: Float[Array, ""] | float) -> Float[Array, ""]:
    """`sum n KL(p, q)`, the data of the regularisation among the counts."""
    seen = counts.following.at[..., model.best].add(more)
    share = seen / jnp.sum(seen, axis=-1, keepdims=True)
    return jnp.sum(seen * (_log(share) - _log(model.following)))


def likelihood_excess(
    counts: Counts, model: Likely, visit: Visit, more: Float[Array, ""] | float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """By how much a step raises `excess_of`, and the weight of its pair before."""
    to = visit.state, visit.action, visit.next_state
    weight = jnp.sum(counts.following[to[:2]]) + more
    seen = counts.following[to] + more * (visit.next_state == model.best)
    return _rise(seen) - _rise(weight) - _log(model.following[to]), weight


def _rise(count: Float[Array, ""]) -> Float[Array, ""]:
    """`(n + 1) log(n + 1) - n log n`, of which a large `n` leaves digits."""
    return jnp.log1p(count) + count * jnp.log1p(1 / jnp.maximum(count, 1e-30))


def _log(probability: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """The logarithm; that of nothing is large, so that it can be multiplied by 0 and added up."""
    return jnp.log(jnp.maximum(probability, 1e-30))


def most_likely(counts: Counts, plan: Plan, visited: Pairs, hyperparams: Any, planner: str) -> Likely:
    """The model of the set that is worth most to a plan.

    Args:
        counts: What was counted.
        plan: Its bias says what states are worth.
        visited: How often its policy is where, `[S, A]`.
        hyperparams: `beta` and `regularisation`.
        planner: Whether `beta` is shared.
    """
    seen = _with_pseudo(counts, plan, hyperparams.regularisation)
    weight = jnp.sum(seen, axis=-1)
    share, below = seen / weight[..., None], jnp.max(plan.bias) - plan.bias
    spread = jnp.max(below) + 1e-6
    if planner == "box":
        following = within_radius(share, hyperparams.beta / weight, below / spread)
    else:
        following = within_budget(share, weight, visited, hyperparams.beta, below / spread)
    return Likely(following, best_state(plan))


def within_radius(share: Rows, radius: Pairs, below: Float[Array, " S"]) -> Rows:
    """For each pair the `q` with `KL(p, q) <= radius` that leads to the best states, `[S, A, S]`.

    It is in proportion to `p / (margin + below)`, for the margin at which the divergence is the radius.

    Args:
        share: `p`, `[S, A, S]`, not 0 at the best state.
        radius: `[S, A]`.
        below: How much less than the best a state is worth, `[S]`, at most about 1.
    """
    return tilted(share, jnp.log(margin_of(share, radius, below)), below)


def within_budget(
    share: Rows, weight: Pairs, visited: Pairs, beta: Float[Array, ""] | float, below: Float[Array, " S"]
) -> Rows:
    """The `q` with `sum weight KL(p, q) <= beta` that lead to the best states where the policy goes, `[S, A, S]`.

    With a price `c` of the budget, a pair's best `q` is `c weight / visited p / (margin + below)`, and its margin is
    that at which this sums to 1. The price is that at which the budget is spent.

    Args:
        share: `p`, `[S, A, S]`, not 0 at the best state.
        weight: Of the divergence of each pair, `[S, A]`.
        visited: How often the policy is where, `[S, A]`.
        beta: The budget.
        below: As in `within_radius`.
    """

    def at(log_price: Float[Array, ""]) -> Pairs:
        wanted = visited / weight / jnp.exp(log_price)
        total = lambda log_margin: jnp.sum(share / (jnp.exp(log_margin)[..., None] + _row(below)), axis=-1)  # noqa: E731
        return halved(lambda log_margin: total(log_margin) > wanted, visited, *MARGINS)

    ratio = lambda log_margin: _row(below) / jnp.exp(log_margin)[..., None]  # noqa: E731
    spent = lambda log_margin: jnp.sum(weight * divergence(share, ratio(log_margin))[0])  # noqa: E731
    log_price = halved(lambda log_price: spent(at(log_price)) > beta, jnp.zeros(()), -40.0, 20.0)
    return jnp.where(visited[..., None] > 0, tilted(share, at(log_price), below), share)


def tilted(share: Rows, log_margin: Pairs, below: Float[Array, " S"]) -> Rows:
    """`q` in proportion to `p / (margin + below)`."""
    kept = share / (1 + _row(below) / jnp.exp(log_margin)[..., None])
    return kept / jnp.sum(kept, axis=-1, keepdims=True)


def halved(
    too_small: Callable[[Float[Array, "*n"]], Array], like: Float[Array, "*n"], low: float, high: float
) -> Float[Array, "*n"]:
    """Where a test that holds below a point and not above it changes, by halving."""

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = (ends[0] + ends[1]) / 2
        small = too_small(middle)
        return jnp.where(small, middle, ends[0]), jnp.where(small, ends[1], middle)

    ends = jnp.full_like(like, low), jnp.full_like(like, high)
    return jax.lax.fori_loop(0, HALVINGS, halve, ends)[1]


def _row(below: Float[Array, " S"]) -> Float[Array, "1 1 S"]:
    return below[None, None]
