"""The mean reward of each pair, for models that say nothing of rewards, and how badly an earlier one fits by now."""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Float

from jaxreward.agents.loop.parts.counts import Counts
from jaxreward.agents.loop.parts.learner import Visit
from jaxreward.agents.loop.parts.regression import added_excess


def mean_reward(counts: Counts, hyperparams: Any) -> Float[Array, "S A"]:
    """Means, with `regularisation` more rewards of each pair that were the pseudo reward."""
    more = hyperparams.regularisation
    return (counts.reward + more * hyperparams.pseudo_reward) / (counts.visits + more)


def reward_excess(counts: Counts, held: Float[Array, "S A"], visit: Visit, hyperparams: Any) -> Float[Array, ""]:
    """By how much a step raises the squared error of a table of rewards above that of the means.

    Args:
        counts: Of before the step.
        held: The table.
        visit: The step.
        hyperparams: Those of the means.
    """
    pair, leverage = (visit.state, visit.action), reward_leverage(counts, visit, hyperparams)
    mean = (counts.reward[pair] + hyperparams.regularisation * hyperparams.pseudo_reward) * leverage
    return added_excess(held[pair], mean, leverage, visit.reward)


def reward_leverage(counts: Counts, visit: Visit, hyperparams: Any) -> Float[Array, ""]:
    """One over the number of rewards of a pair before a step."""
    return 1 / (counts.following[visit.state, visit.action].sum() + hyperparams.regularisation)
