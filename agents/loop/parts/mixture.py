"""Models that are linear in features of a step, learned by the values they predict.

The probability that `a` in `s` leads to `s'` is `theta' phi(s, a, s')`. Each step is a target `V(s')` at the regressor
`x = sum_s' phi(s, a, s') V(s')` for the `V` of the hypothesis that was held then (value-targeted regression: Jia et al.
2020; Ayoub et al. 2020). Rewards are estimated pair by pair.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxreward.agents.loop.parts.counts import Counts, counted, no_counts
from jaxreward.agents.loop.parts.hypotheses import Evidence, Found, Hypotheses, search_of
from jaxreward.agents.loop.parts.learner import Visit
from jaxreward.agents.loop.parts.mean_reward import mean_reward, reward_excess, reward_leverage
from jaxreward.agents.loop.parts.planning import Plan, relative_plan
from jaxreward.agents.loop.parts.regression import Fit, added_excess, learned

Features = Float[Array, "S A S d"]
Reward = Float[Array, "S A"]


class Targets(NamedTuple):
    """What was counted, and the regression of all values that were predicted."""

    counts: Counts
    fit: Fit

    @property
    def visits(self) -> Float[Array, "S A"]:
        """How often each pair was visited."""
        return self.counts.visits


def value_targeted(size: tuple[int, int], phi: Features) -> Hypotheses:
    """Models that are a mixture.

    Each pair has its own `theta` with `|theta - estimate|_Lambda^2 <= beta`, and what it says of the next value is cut
    to the values there are. So the set is a larger one, but value iteration finds its most optimistic member. The
    excess of that is called `beta` when it is found, which it would be were it a single `theta`.

    Args:
        size: Numbers of states and actions.
        phi: The features.
    """

    def start(hyperparams: Any) -> tuple[Targets, Reward]:
        theta, counts = jnp.zeros(phi.shape[-1]), no_counts(*size)
        return Targets(counts, Fit(theta, jnp.eye(len(theta)) / hyperparams.regularisation)), counts.reward

    def search(targets: Targets, bias: Float[Array, " S"], key: Key[Array, ""], hyperparams: Any) -> Found:
        plan = extended(targets, phi, bias, hyperparams)
        return Found(plan, mean_reward(targets.counts, hyperparams), jnp.asarray(hyperparams.beta))

    def learn(
        targets: Targets, plan: Plan, reward: Reward, visit: Visit, hyperparams: Any
    ) -> tuple[Targets, Reward, Evidence]:
        (counts, fit), pair = targets, (visit.state, visit.action)
        x, target = plan.bias @ phi[pair], plan.bias[visit.next_state]
        image, prediction = fit.covariance @ x, x @ fit.value
        leverage, held = x @ image, plan.action_value[pair] + plan.gain - reward[pair]
        excess = added_excess(held, prediction, leverage, target) + reward_excess(counts, reward, visit, hyperparams)
        growth = jnp.log1p(leverage) + jnp.log1p(reward_leverage(counts, visit, hyperparams))
        targets = Targets(counted(counts, visit), learned(fit, image, prediction, leverage, target))
        return targets, reward, Evidence(excess, growth)

    return Hypotheses(start, search, learn)


def extended(targets: Targets, phi: Features, bias: Float[Array, " S"], hyperparams: Any) -> Plan:
    """Value iteration in which each pair has its own `theta` for each bias.

    A pair's data are joined by `regularisation` more that lead to the best state, so that none is out of reach.
    """
    reward, (center, covariance) = mean_reward(targets.counts, hyperparams), targets.fit
    seen = targets.visits / (targets.visits + hyperparams.regularisation)

    def look_ahead(bias: Float[Array, " S"]) -> Float[Array, "S A"]:
        best = jnp.max(bias)
        x = jnp.einsum("satd,t->sad", phi, bias - best)
        width = jnp.sqrt(jnp.maximum(0.0, jnp.einsum("sad,de,sae->sa", x, covariance, x)))
        value = x @ center + jnp.sqrt(hyperparams.beta) * width
        return reward + seen * jnp.clip(value, jnp.min(bias) - best, 0.0) + best

    how = search_of(bias, hyperparams)
    return relative_plan(look_ahead, bias, how.tolerance, how.max_span)
