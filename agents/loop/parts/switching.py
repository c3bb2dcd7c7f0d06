"""Holding a hypothesis for as long as it fits: LOOP's low switching, and that of others."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.agents.loop.parts.hypotheses import Hypotheses
from jaxreward.agents.loop.parts.learner import Memory, Method, Metrics, Visit
from jaxreward.agents.loop.parts.optimism import greedy, plan_metrics
from jaxreward.agents.loop.parts.planning import Plan
from jaxreward.agents.loop.parts.world import Truth

Switching = Literal["discrepancy", "count", "determinant"]


class Held(NamedTuple):
    """The hypothesis that is held.

    Attributes:
        plan: Its `Q`, bias and gain.
        hypothesis: What else its class keeps of it.
        excess: Its loss above the least one.
        first_excess: The same when it was found.
        growth: Of the logarithm of the determinant since.
        visits: Of each pair when it was found, `[S, A]`.
        switches: How many were found.
    """

    plan: Plan
    hypothesis: PyTree
    excess: Float[Array, ""]
    first_excess: Float[Array, ""]
    growth: Float[Array, ""]
    visits: Float[Array, "S A"]
    switches: Int[Array, ""]


def low_switching(hypotheses: Hypotheses, pairs: tuple[int, int], switching: Switching) -> Method:
    """The algorithm: hold the most optimistic hypothesis, be greedy, and look for another one when that is due.

    Args:
        hypotheses: The class of hypotheses.
        pairs: Numbers of states and actions.
        switching: What tells that it is due.
    """

    def start(key: Key[Array, ""], hyperparams: Any) -> Memory:
        counts, hypothesis = hypotheses.start(hyperparams)
        zero, switches = jnp.zeros(()), jnp.zeros((), jnp.int32)
        plan = Plan(jnp.zeros(pairs), jnp.zeros(pairs[0]), jnp.ones(()))
        return Memory(counts, Held(plan, hypothesis, zero, zero, zero, counts.visits, switches))

    def observe(memory: Memory, visit: Visit, hyperparams: Any) -> Memory:
        counts, held = memory
        counts, hypothesis, evidence = hypotheses.learn(counts, held.plan, held.hypothesis, visit, hyperparams)
        excess, growth = held.excess + evidence.excess, held.growth + evidence.growth
        return Memory(counts, held._replace(hypothesis=hypothesis, excess=excess, growth=growth))

    def plan(memory: Memory, key: Key[Array, ""], hyperparams: Any) -> Held:
        counts, held = memory
        # In a batch all plan where one has to; those whose plan is thrown away must not keep the others waiting.
        precision = jnp.where(due(switching, memory, hyperparams), hyperparams.tolerance, jnp.inf)
        plan, hypothesis, excess = hypotheses.search(
            counts, held.plan.bias, key, hyperparams.replace(tolerance=precision)
        )
        return Held(plan, hypothesis, excess, excess, jnp.zeros_like(excess), counts.visits, held.switches + 1)

    return Method(
        start=start,
        act=greedy,
        observe=observe,
        due=lambda memory, hyperparams: due(switching, memory, hyperparams),
        plan=plan,
        action_value=lambda memory: memory.held.plan.action_value,
        metrics=metrics,
    )


def due(switching: Switching, memory: Memory, hyperparams: Any) -> Bool[Array, ""]:
    """Whether to look for another hypothesis."""
    counts, held = memory
    if switching == "discrepancy":
        over = held.excess >= threshold(held, hyperparams)
    elif switching == "count":
        since = counts.visits - held.visits
        over = jnp.any(since >= (hyperparams.ratio - 1) * jnp.maximum(1.0, held.visits))
    else:
        over = held.growth >= jnp.log(hyperparams.ratio)
    return over | (held.switches == 0)


def threshold(held: Held, hyperparams: Any) -> Float[Array, ""]:
    """The excess loss at which a hypothesis is given up, `ratio` times `beta`.

    What "box" finds is outside of the set, and has an excess above `beta` from the start: then `ratio` times that.
    """
    return hyperparams.ratio * jnp.maximum(hyperparams.beta, held.first_excess)


def metrics(memory: Memory, truth: Truth, hyperparams: Any) -> Metrics:
    """What is known of plans, and how well the held hypothesis fits."""
    held = memory.held
    more = {"discrepancy": held.excess, "threshold": threshold(held, hyperparams)}
    return {**plan_metrics(memory, truth, hyperparams), **more}
