"""Models that are a mixture, as hypotheses; see `jaxreward.agents.loop.parts.value_targets`."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxreward.agents.loop.parts.hypotheses import Evidence, Found, Hypotheses, search_of
from jaxreward.agents.loop.parts.learner import Visit
from jaxreward.agents.loop.parts.mean_reward import mean_reward, reward_excess, reward_leverage
from jaxreward.agents.loop.parts.planning import Plan, relative_plan
from jaxreward.agents.loop.parts.regression import added_excess
from jaxreward.agents.loop.parts.value_targets import Features, Targets, no_targets, predicted, with_target

Reward = Float[Array, "S A"]


def value_targeted(phi: Features) -> Hypotheses:
    """Models that are a mixture.

    Each pair has its own `theta` with `|theta - estimate|_Lambda^2 <= beta`, and what it says of the next value is cut
    to the values there are. So the set is a larger one, but value iteration finds its most optimistic member. The
    excess of that is called `beta` when it is found, which it would be were it a single `theta`.

    Args:
        phi: The features.
    """

    def start(hyperparams: Any) -> tuple[Targets, Reward]:
        targets = no_targets(phi, hyperparams.regularisation)
        return targets, targets.counts.reward

    def search(targets: Targets, bias: Float[Array, " S"], key: Key[Array, ""], hyperparams: Any) -> Found:
        plan = extended(targets, phi, bias, hyperparams)
        return Found(plan, mean_reward(targets.counts, hyperparams), jnp.asarray(hyperparams.beta))

    def learn(
        targets: Targets, plan: Plan, reward: Reward, visit: Visit, hyperparams: Any
    ) -> tuple[Targets, Reward, Evidence]:
        counts, pair = targets.counts, (visit.state, visit.action)
        targets, seen = with_target(targets, phi, plan.bias, visit)
        held = plan.action_value[pair] + plan.gain - reward[pair]
        excess = added_excess(held, seen.prediction, seen.leverage, seen.target)
        excess = excess + reward_excess(counts, reward, visit, hyperparams)
        growth = jnp.log1p(seen.leverage) + jnp.log1p(reward_leverage(counts, visit, hyperparams))
        return targets, reward, Evidence(excess, growth)

    return Hypotheses(start, search, learn)


def extended(targets: Targets, phi: Features, bias: Float[Array, " S"], hyperparams: Any) -> Plan:
    """Value iteration in which each pair has its own `theta` for each bias.

    A pair's data are joined by `regularisation` more that lead to the best state, so that none is out of reach.
    """
    reward = mean_reward(targets.counts, hyperparams)
    seen = targets.visits / (targets.visits + hyperparams.regularisation)

    def look_ahead(bias: Float[Array, " S"]) -> Float[Array, "S A"]:
        best = jnp.max(bias)
        value, width = predicted(targets.fit, phi, bias - best)
        value = value + jnp.sqrt(hyperparams.beta) * width
        return reward + seen * jnp.clip(value, jnp.min(bias) - best, 0.0) + best

    how = search_of(bias, hyperparams)
    return relative_plan(look_ahead, bias, how.tolerance, how.max_span)
