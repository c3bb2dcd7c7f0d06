"""What learns action values step by step and never plans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxreward.agents.loop.parts.learner import Memory, Method, Metrics, Visit
from jaxreward.agents.loop.parts.world import FiniteWorld, Truth
from jaxreward.mdp.iteration import span


class Values(NamedTuple):
    """What is learned.

    Attributes:
        action_value: `Q`, `[S, A]`.
        visits: How often each pair was visited, `[S, A]`.
        rate: An estimate of the reward rate.
    """

    action_value: Float[Array, "S A"]
    visits: Float[Array, "S A"]
    rate: Float[Array, ""]


class Rule(Protocol):
    """The hyperparams of the rules that explore by chance."""

    step_size: Any
    step_decay: Any
    exploration: Any


def incremental(world: FiniteWorld, update: Callable[[Values, Visit, Any], Values]) -> Method:
    """The method of a rule that changes the values at each step; it acts epsilon-greedily.

    Args:
        world: The sizes of the world.
        update: `(values, visit, hyperparams) -> values`; the visit is counted already.
    """
    size = world.num_states, world.num_actions

    def observe(memory: Memory, visit: Visit, hyperparams: Any) -> Memory:
        values = memory.held
        values = values._replace(visits=values.visits.at[visit.state, visit.action].add(1.0))
        return memory._replace(held=update(values, visit, hyperparams))

    return without_plan(
        lambda key, hyperparams: Values(jnp.zeros(size), jnp.zeros(size), jnp.zeros(())), explore, observe, rate_metrics
    )


def without_plan(
    start: Callable[[Key[Array, ""], Any], Any],
    act: Callable[[Memory, Int[Array, ""], Key[Array, ""], Any], Int[Array, ""]],
    observe: Callable[[Memory, Visit, Any], Memory],
    metrics: Callable[[Memory, Truth, Any], Metrics],
) -> Method:
    """A method that is never due to plan; what it holds has an `action_value`."""
    return Method(
        start=lambda key, hyperparams: Memory((), start(key, hyperparams)),
        act=act,
        observe=observe,
        due=lambda memory, hyperparams: jnp.zeros((), bool),
        plan=lambda memory, key, hyperparams: memory.held,
        action_value=lambda memory: memory.held.action_value,
        metrics=metrics,
    )


def explore(memory: Memory, state: Int[Array, ""], key: Key[Array, ""], hyperparams: Rule) -> Int[Array, ""]:
    """The best action, or with probability `exploration` any; ties are broken by chance."""
    value = memory.held.action_value[state]
    key_which, key_any = jax.random.split(key)
    # One draw for ties and for any action: the largest of as many uniform numbers is equally likely to be each.
    noise = jax.random.uniform(key_any, value.shape)
    anyone = jax.random.uniform(key_which) < hyperparams.exploration
    tied = jnp.where((value == jnp.max(value)) | anyone, noise, -1.0)
    return jnp.argmax(tied)


def learning_rate(values: Values, visit: Visit, hyperparams: Rule) -> Float[Array, ""]:
    """`step_size / n^step_decay`."""
    visits = values.visits[visit.state, visit.action]
    return hyperparams.step_size / visits**hyperparams.step_decay


def moved(values: Values, visit: Visit, change: Float[Array, ""]) -> Float[Array, "S A"]:
    """The action values with that of the visited pair changed."""
    return values.action_value.at[visit.state, visit.action].add(change)


def difference(values: Values, visit: Visit, rate: Float[Array, ""]) -> Float[Array, ""]:
    """The temporal difference `r - rate + max_a Q(s', a) - Q(s, a)`."""
    following = jnp.max(values.action_value[visit.next_state])
    return visit.reward - rate + following - values.action_value[visit.state, visit.action]


def rate_metrics(memory: Memory, truth: Truth, hyperparams: Any) -> Metrics:
    """The estimate of the rate, in the reward's units, and the spans."""
    return {
        "rate": memory.held.rate * truth.width + truth.low,
        "span": span(jnp.max(memory.held.action_value, axis=-1)) * truth.width,
        "true_span": truth.span,
    }
