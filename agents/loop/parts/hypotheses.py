"""A class of hypotheses `f = (Q_f, J_f)` for LOOP, and that of functions linear in features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agents.loop.parts.counts import Counts, counted, no_counts
from jaxreward.agents.loop.parts.ellipsoid import Estimate, Search, box, box_bonus, ellipsoid
from jaxreward.agents.loop.parts.learner import Visit
from jaxreward.agents.loop.parts.planning import Plan
from jaxreward.agents.loop.parts.regression import Fit, Regression, added_excess


class Evidence(NamedTuple):
    """What a step says.

    Attributes:
        excess: By how much the loss of the held hypothesis above the least one changed.
        growth: By how much the logarithm of the determinant of the regression's matrix grew.
    """

    excess: Float[Array, ""]
    growth: Float[Array, ""]


class Found(NamedTuple):
    """The result of optimistic planning.

    Attributes:
        plan: The plan; `V_f` is its bias.
        hypothesis: What else is kept of the hypothesis to tell how well it fits.
        excess: Its loss on all data above the least one.
    """

    plan: Plan
    hypothesis: PyTree
    excess: Float[Array, ""]


class Hypotheses(NamedTuple):
    """A class of hypotheses.

    Attributes:
        start: `(hyperparams) -> (counts, hypothesis)` before anything was seen; `counts.visits` is `[S, A]`.
        search: `(counts, bias, key, hyperparams) -> Found`, the one of the confidence set with the highest gain, or
            about that; planning begins with the bias.
        learn: `(counts, plan, hypothesis, visit, hyperparams) -> (counts, hypothesis, Evidence)`.
    """

    start: Callable[[Any], tuple[PyTree, PyTree]]
    search: Callable[[PyTree, Float[Array, " S"], Key[Array, ""], Any], Found]
    learn: Callable[[PyTree, Plan, PyTree, Visit, Any], tuple[PyTree, PyTree, Evidence]]


def search_of(bias: Float[Array, " S"], hyperparams: Any) -> Search:
    """How plans are made under these hyperparams."""
    return Search(bias, hyperparams.max_span, hyperparams.tolerance)


def value_based(size: tuple[int, int], regression: Regression, planner: str, starts: int) -> Hypotheses:
    """Functions `Q_f + J_f` that are the pseudo reward plus something linear in features of the pair.

    The regularisation is `regularisation` more data for each feature, which paid the pseudo reward and led to the best
    state; they count in every loss, so that the most optimistic hypothesis of the ellipsoid has an excess of `beta`.

    Args:
        size: Numbers of states and actions.
        regression: Least squares on the features.
        planner: "ell" or "box".
        starts: See `ellipsoid`.
    """

    def start(hyperparams: Any) -> tuple[Counts, Fit]:
        counts = no_counts(*size)
        return counts, fitted(regression, counts, jnp.zeros(size[0]), hyperparams)

    def search(counts: Counts, bias: Float[Array, " S"], key: Key[Array, ""], hyperparams: Any) -> Found:
        estimate, beta, how = estimated(regression, counts, hyperparams), hyperparams.beta, search_of(bias, hyperparams)
        fit = lambda plan: fitted(regression, counts, plan.bias, hyperparams)  # noqa: E731
        if planner == "ell":
            plan = ellipsoid(estimate, beta, how, key, starts)
            return Found(plan, fit(plan), jnp.asarray(beta))
        plan = box(estimate, beta, how)
        bonus = box_bonus(estimate, beta).ravel()
        return Found(plan, fit(plan), regression.norm(counts.visits.ravel(), bonus, hyperparams))

    def learn(counts: Counts, plan: Plan, fit: Fit, visit: Visit, hyperparams: Any) -> tuple[Counts, Fit, Evidence]:
        pair = visit.state * size[1] + visit.action
        target = visit.reward - hyperparams.pseudo_reward + plan.bias[visit.next_state]
        held = plan.action_value[visit.state, visit.action] + plan.gain - hyperparams.pseudo_reward
        fit, prediction, leverage = regression.learn(fit, pair, target)
        evidence = Evidence(added_excess(held, prediction, leverage, target), jnp.log1p(leverage))
        return counted(counts, visit), fit, evidence

    return Hypotheses(start, search, learn)


def estimated(regression: Regression, counts: Counts, hyperparams: Any) -> Estimate:
    """Least squares of the reward and of where pairs lead."""
    size, visits, pseudo = counts.reward.shape, counts.visits, hyperparams.pseudo_reward
    covariance = regression.covariance(visits.ravel(), hyperparams)

    def smooth(sums: Float[Array, "S A *k"]) -> Float[Array, "S A *k"]:
        return regression.smooth(covariance, sums.reshape(-1, *sums.shape[2:])).reshape(sums.shape)

    reward = pseudo + smooth(counts.reward - visits * pseudo)
    return Estimate(reward, smooth(counts.following), smooth, regression.leverage(covariance).reshape(size))


def fitted(regression: Regression, counts: Counts, bias: Float[Array, " S"], hyperparams: Any) -> Fit:
    """The regression of `r - pseudo reward + V(s')`, for a bias whose largest value is 0."""
    covariance = regression.covariance(counts.visits.ravel(), hyperparams)
    sums = counts.reward - counts.visits * hyperparams.pseudo_reward + counts.following @ bias
    return Fit(regression.smooth(covariance, sums.ravel()), covariance)
