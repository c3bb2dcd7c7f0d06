"""Models that are linear in features of a step, learned by the values they predict.

The probability that `a` in `s` leads to `s'` is `theta' phi(s, a, s')`. Each step is a target `V(s')` at the regressor
`x = sum_s' phi(s, a, s') V(s')` for the `V` of the hypothesis that was held then (value-targeted regression: Jia et al.
2020; Ayoub et al. 2020). Rewards are estimated pair by pair.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxreward.agents.loop.parts.ascent import ascend, completed, cut, occupancy, with_missing
from jaxreward.agents.loop.parts.counts import Counts, counted, no_counts
from jaxreward.agents.loop.parts.hypotheses import Evidence, Found, Hypotheses, search_of
from jaxreward.agents.loop.parts.learner import Visit
from jaxreward.agents.loop.parts.mean_reward import mean_reward, reward_excess
from jaxreward.agents.loop.parts.planning import Plan, relative_plan
from jaxreward.agents.loop.parts.regression import Fit, added_excess, learned

Features = Float[Array, "S A S d"]
Theta = Float[Array, " d"]


class Targets(NamedTuple):
    """What was counted, and the regression of all values that were predicted."""

    counts: Counts
    fit: Fit

    @property
    def visits(self) -> Float[Array, "S A"]:
        """How often each pair was visited."""
        return self.counts.visits


class Mixture(NamedTuple):
    """A model: its weights, and the rewards it was found with."""

    theta: Theta
    reward: Float[Array, "S A"]


def value_targeted(size: tuple[int, int], phi: Features, planner: str) -> Hypotheses:
    """Models that are a mixture.

    Where what `theta` gives is no distribution it is cut to one, and what is missing leads to the best of all states:
    so `theta = 0`, to which the regression shrinks, is as optimistic as can be.

    Args:
        size: Numbers of states and actions.
        phi: The features.
        planner: "ell" looks for the `theta` within `|theta - estimate|_Lambda^2 <= beta` of the highest gain, by turns;
            "box" gives each pair its own, so that what is held is no `theta`, and its excess is not known.
    """

    def start(hyperparams: Any) -> tuple[Targets, Mixture]:
        theta, counts = jnp.zeros(phi.shape[-1]), no_counts(*size)
        fit = Fit(theta, jnp.eye(len(theta)) / hyperparams.regularisation)
        return Targets(counts, fit), Mixture(theta, counts.reward)

    def search(targets: Targets, bias: Float[Array, " S"], key: Key[Array, ""], hyperparams: Any) -> Found:
        if planner == "box":
            plan, theta = _box(targets, phi, bias, hyperparams), targets.fit.value
        else:
            plan, theta = _ellipsoid(targets, phi, bias, hyperparams)
        model = Mixture(theta, mean_reward(targets.counts, hyperparams))
        return Found(plan, model, jnp.asarray(hyperparams.beta))

    def learn(
        targets: Targets, plan: Plan, model: Mixture, visit: Visit, hyperparams: Any
    ) -> tuple[Targets, Mixture, Evidence]:
        x, target = plan.bias @ phi[visit.state, visit.action], plan.bias[visit.next_state]
        image, prediction = targets.fit.covariance @ x, x @ targets.fit.value
        leverage = x @ image
        excess = added_excess(x @ model.theta, prediction, leverage, target)
        excess = excess + reward_excess(targets.counts, model.reward, visit, hyperparams)
        fit = learned(targets.fit, image, prediction, leverage, target)
        return Targets(counted(targets.counts, visit), fit), model, Evidence(excess, jnp.log1p(leverage))

    return Hypotheses(start, search, learn)


def _ellipsoid(targets: Targets, phi: Features, bias: Float[Array, " S"], hyperparams: Any) -> tuple[Plan, Theta]:
    """The `theta` that is worth most to the policy of a plan, and the plan for it, by turns."""
    reward, (center, covariance) = mean_reward(targets.counts, hyperparams), targets.fit
    how = search_of(bias, hyperparams)

    def solve(theta: Theta, bias: Float[Array, " S"]) -> Plan:
        return relative_plan(with_missing(reward, cut(phi @ theta)), bias, how.tolerance, how.max_span)

    def improve(plan: Plan, theta: Theta) -> Theta:
        following = completed(phi @ theta, jnp.argmax(plan.bias))
        visited = occupancy(reward, following, plan)
        direction = jnp.einsum("sa,satd,t->d", visited, phi, plan.bias)
        image = covariance @ direction
        return center + jnp.sqrt(hyperparams.beta) * image / jnp.sqrt(jnp.maximum(direction @ image, 1e-30))

    return ascend(improve, solve, solve(center, bias), center, how.tolerance)


def _box(targets: Targets, phi: Features, bias: Float[Array, " S"], hyperparams: Any) -> Plan:
    """Extended value iteration in which each pair has its own `theta` for each bias."""
    reward, (center, covariance) = mean_reward(targets.counts, hyperparams), targets.fit

    def look_ahead(bias: Float[Array, " S"]) -> Float[Array, "S A"]:
        best = jnp.max(bias)
        x = jnp.einsum("satd,t->sad", phi, bias - best)
        width = jnp.sqrt(jnp.maximum(0.0, jnp.einsum("sad,de,sae->sa", x, covariance, x)))
        value = x @ center + jnp.sqrt(hyperparams.beta) * width
        return reward + jnp.clip(value, jnp.min(bias) - best, 0.0) + best

    how = search_of(bias, hyperparams)
    return relative_plan(look_ahead, bias, how.tolerance, how.max_span)
