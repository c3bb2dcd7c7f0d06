"""Optimism in the face of uncertainty: plan in the best of the models that may be true, and keep to the plan.

UCRL2 and its kin differ in which models may be true, and are that: an agent is its confidence set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxreward.agents.loop.parts.counts import Counts, counted, no_counts
from jaxreward.agents.loop.parts.learner import Memory, Method, Metrics, Visit
from jaxreward.agents.loop.parts.planning import LookAhead, Plan, relative_plan
from jaxreward.agents.loop.parts.world import FiniteWorld, Truth
from jaxreward.mdp.iteration import span

ConfidenceSet = Callable[[Counts, Any], LookAhead]
"""`(counts, hyperparams) -> look_ahead`: what an action is worth in the best model that may be true."""


class Held(NamedTuple):
    """The plan, the visits there were when it was made, `[S, A]`, and how many plans there were."""

    plan: Plan
    visits: Float[Array, "S A"]
    switches: Int[Array, ""]


def doubled(counts: Counts, held: Held) -> Bool[Array, ""]:
    """Whether a pair was visited as often since the plan as before it (Jaksch, Ortner and Auer 2010, figure 1)."""
    since = counts.visits - held.visits
    return jnp.any(since >= jnp.maximum(1.0, held.visits)) | (held.switches == 0)


def optimistic(world: FiniteWorld, confidence_set: ConfidenceSet, tolerance: Callable[[Counts], Array]) -> Method:
    """The method that plans in the best model of a set, when a count has doubled.

    Args:
        world: The sizes of the world.
        confidence_set: Which models may be true.
        tolerance: Of the planning, by what was counted.
    """
    size = world.num_states, world.num_actions

    def start(key: Key[Array, ""], hyperparams: Any) -> Memory:
        plan = Plan(jnp.zeros(size), jnp.zeros(size[0]), jnp.ones(()))
        return Memory(no_counts(*size), Held(plan, jnp.zeros(size), jnp.zeros((), jnp.int32)))

    def plan(memory: Memory, key: Key[Array, ""], hyperparams: Any) -> Held:
        counts, held = memory
        look_ahead = confidence_set(counts, hyperparams)
        new = relative_plan(look_ahead, held.plan.bias, tolerance(counts))
        return Held(new, counts.visits, held.switches + 1)

    return Method(
        start=start,
        act=greedy,
        observe=count,
        due=lambda memory, hyperparams: doubled(*memory),
        plan=plan,
        action_value=lambda memory: memory.held.plan.action_value,
        metrics=plan_metrics,
    )


def greedy(memory: Memory, state: Int[Array, ""], key: Key[Array, ""], hyperparams: Any) -> Int[Array, ""]:
    """The best action of the plan."""
    return jnp.argmax(memory.held.plan.action_value[state])


def count(memory: Memory, visit: Visit, hyperparams: Any) -> Memory:
    """Counts the step; what is held stays."""
    return memory._replace(counts=counted(memory.counts, visit))


def plan_metrics(memory: Memory, truth: Truth, hyperparams: Any) -> Metrics:
    """The gain that is hoped for beside the true one, in the reward's units, the span, and how many plans there were."""
    plan = memory.held.plan
    return {
        "optimistic_gain": plan.gain * truth.width + truth.low,
        "span": span(plan.bias) * truth.width,
        "true_span": truth.span,
        "switches": memory.held.switches.astype(float),
    }
