"""Plan in a model of a finite world, and keep to the plan for an episode.

The model is the best of those that may be true (optimism in the face of uncertainty), or one drawn from the posterior.
UCRL2 and its kin differ in which models may be true, and are that: an agent is its confidence set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.loop.parts.counts import Counts, counted, no_counts
from jaxreward.agents.loop.parts.learner import Memory, Method, Metrics, StreamConfig, Visit, finite_learner
from jaxreward.agents.loop.parts.planning import LookAhead, Plan, relative_plan
from jaxreward.agents.loop.parts.world import FiniteWorld, Truth, finite_world
from jaxreward.mdp.iteration import span

ConfidenceSet = Callable[[Counts, Any], LookAhead]
"""`(counts, hyperparams) -> look_ahead`: what an action is worth in the best model that may be true."""
Model = Callable[[Counts, Any, Key[Array, ""]], LookAhead]
"""`(counts, hyperparams, key) -> look_ahead`: what an action is worth in the model to plan in."""

TIE = 1e-5
"""Actions whose values differ by less, relative to the span, are tied: a few times what float32 tells apart."""

MOST_SWEEPS = 3_000
"""Bound on the sweeps of a plan that converges."""


@struct.dataclass
class Confidence:
    """Traced numbers of an agent that is nothing but its confidence set.

    Attributes:
        delta: The probability that the truth may be outside the confidence set.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    delta: Float[Array, ""] | float = 0.05
    env_params: PyTree = None


class Held(NamedTuple):
    """The plan and what it was made of.

    Attributes:
        plan: It.
        visits: Those there were when it was made, `[S, A]`.
        length: How many steps the plan before it was held.
        switches: How many plans there were.
    """

    plan: Plan
    visits: Float[Array, "S A"]
    length: Float[Array, ""]
    switches: Int[Array, ""]


def doubled(counts: Counts, held: Held) -> Bool[Array, ""]:
    """Whether a pair was visited as often since the plan as before it (Jaksch, Ortner and Auer 2010, figure 1)."""
    since = counts.visits - held.visits
    return jnp.any(since >= jnp.maximum(1.0, held.visits)) | (held.switches == 0)


def optimist(
    name: str, env: Environment, env_params: PyTree, config: StreamConfig, confidence_set: ConfidenceSet
) -> Agent:
    """The agent that is nothing but its confidence set.

    Args:
        name: What it is called.
        env: A finite world that never ends.
        env_params: Its params, which `Confidence.env_params` may replace.
        config: Sizes.
        confidence_set: Which models may be true.

    Raises:
        ValueError: If the environment is not finite, or ends, or its reward has a memory.
    """
    world = finite_world(env, env_params, name)
    return finite_learner(world, env_params, config, optimistic(world, confidence_set))


def optimistic(world: FiniteWorld, confidence_set: ConfidenceSet, max_sweeps: int = MOST_SWEEPS) -> Method:
    """The method that plans in the best model of a set when a count has doubled, to a precision of `1 / sqrt(t)`.

    Args:
        world: The sizes of the world.
        confidence_set: Which models may be true.
        max_sweeps: Bound on the sweeps of a plan.
    """
    precise = lambda counts: 1 / jnp.sqrt(jnp.maximum(1.0, counts.time))  # noqa: E731
    best = lambda counts, hyperparams, key: confidence_set(counts, hyperparams)  # noqa: E731
    return episodic(world, best, doubled, precise, max_sweeps)


def episodic(
    world: FiniteWorld,
    model: Model,
    ended: Callable[[Counts, Held], Bool[Array, ""]],
    tolerance: Callable[[Counts], Float[Array, ""]],
    max_sweeps: int = MOST_SWEEPS,
) -> Method:
    """The method that plans in a model at the start of each episode.

    Args:
        world: The sizes of the world.
        model: What to plan in.
        ended: When an episode ends.
        tolerance: Of the planning, by what was counted.
        max_sweeps: Bound on the sweeps of a plan.
    """
    size = world.num_states, world.num_actions

    def start(key: Key[Array, ""], hyperparams: Any) -> Memory:
        plan = Plan(jnp.zeros(size), jnp.zeros(size[0]), jnp.ones(()))
        return Memory(no_counts(*size), Held(plan, jnp.zeros(size), jnp.zeros(()), jnp.zeros((), jnp.int32)))

    def plan(memory: Memory, key: Key[Array, ""], hyperparams: Any) -> Held:
        counts, held = memory
        look_ahead = model(counts, hyperparams, key)
        # In a batch all plan where one has to; those whose plan is thrown away must not keep the others waiting.
        precision = jnp.where(ended(counts, held), tolerance(counts), jnp.inf)
        new = relative_plan(look_ahead, held.plan.bias, precision, max_iterations=max_sweeps)
        new = new._replace(action_value=less_tried(new, counts))
        return Held(new, counts.visits, jnp.sum(counts.visits - held.visits), held.switches + 1)

    return Method(
        start=start,
        act=greedy,
        observe=count,
        due=lambda memory, hyperparams: ended(*memory),
        plan=plan,
        action_value=lambda memory: memory.held.plan.action_value,
        metrics=plan_metrics,
    )


def less_tried(plan: Plan, counts: Counts) -> Float[Array, "S A"]:
    """The action values, those that are tied in the order of how rarely the action was tried."""
    share = counts.visits / jnp.maximum(1.0, jnp.max(counts.visits, axis=-1, keepdims=True))
    return plan.action_value - TIE * jnp.maximum(1.0, span(plan.bias)) * share


def greedy(memory: Memory, state: Int[Array, ""], key: Key[Array, ""], hyperparams: Any) -> Int[Array, ""]:
    """The best action of the plan."""
    return jnp.argmax(memory.held.plan.action_value[state])


def count(memory: Memory, visit: Visit, hyperparams: Any) -> Memory:
    """Counts the step; what is held stays."""
    return memory._replace(counts=counted(memory.counts, visit))


def plan_metrics(memory: Memory, truth: Truth, hyperparams: Any) -> Metrics:
    """The gain that is hoped for beside the true one, in the reward's units, the span, and the number of plans."""
    plan = memory.held.plan
    return {
        "optimistic_gain": plan.gain * truth.width + truth.low,
        "span": span(plan.bias) * truth.width,
        "true_span": truth.span,
        "switches": memory.held.switches.astype(float),
    }
