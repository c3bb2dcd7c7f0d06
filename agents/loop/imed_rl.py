"""IMED-RL: the action that is cheapest to rule out, looked for at every step (Pesquerel and Maillard, NeurIPS 2022).

An index weighs how surely an action is worse against how often it was tried, `n K + log n`. `K` is how far, in the
sense of Kullback and Leibler, what was seen of the action is from a law that would make it as good as the best one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.loop.parts.learner import Memory, Method, Metrics, StreamConfig, Visit, finite_learner
from jaxreward.agents.loop.parts.planning import Plan, relative_plan
from jaxreward.agents.loop.parts.world import FiniteWorld, Truth, finite_world
from jaxreward.mdp.iteration import span

HALVINGS = 20
"""A multiplier is found by so many halvings of where it may be."""
FIRST_REWARD = 0.5
"""Every pair starts as if it had been seen once, with this reward, and all states had followed equally."""


@dataclass(frozen=True)
class Config(StreamConfig):
    """What shapes the program; see `StreamConfig`. It plans each `steps_per_check` steps."""


@struct.dataclass
class Hyperparams:
    """Traced numbers.

    Attributes:
        tolerance: Of the planning: it starts from the last plan and stops at such a change.
        offset: How much of the logarithm of the most that a step may be worth, 1 and the span of the bias, is added to
            `K`: 0 as `K` is defined, 1 as public code does, which makes it explore less.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    tolerance: Float[Array, ""] | float = 1e-3
    offset: Float[Array, ""] | float = 0.0
    env_params: PyTree = None


class Outcomes(NamedTuple):
    """What followed a pair and what that paid in all, `[S, A, S]` each.

    Rewards are told apart by where they led, all that a finite world needs; public code takes them as independent.
    """

    following: Float[Array, "S A S"]
    reward: Float[Array, "S A S"]


def imed_rl(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An IMED-RL agent.

    Args:
        env: A finite world that never ends.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes.

    Raises:
        ValueError: If the environment is not finite, or ends, or its reward has a memory.
    """
    world = finite_world(env, env_params, "imed_rl")
    return finite_learner(world, env_params, config, method_of(world))


def method_of(world: FiniteWorld) -> Method:
    """Plans at every look, acts by the index."""
    size = world.num_states, world.num_actions

    def start(key: Key[Array, ""], hyperparams: Hyperparams) -> Memory:
        nothing = jnp.zeros((*size, size[0]))
        return Memory(Outcomes(nothing, nothing), Plan(jnp.zeros(size), jnp.zeros(size[0]), jnp.ones(())))

    return Method(
        start=start,
        act=least_index,
        observe=outcome_counted,
        due=lambda memory, hyperparams: jnp.ones((), bool),
        plan=lambda memory, key, hyperparams: skeleton_plan(*memory, hyperparams.tolerance),
        action_value=lambda memory: memory.held.action_value,
        metrics=metrics_of,
    )


def outcome_counted(memory: Memory, visit: Visit, hyperparams: Hyperparams) -> Memory:
    """With one more step."""
    where = visit.state, visit.action, visit.next_state
    following, reward = memory.counts
    return memory._replace(counts=Outcomes(following.at[where].add(1.0), reward.at[where].add(visit.reward)))


def skeleton_plan(outcomes: Outcomes, plan: Plan, tolerance: Float[Array, ""]) -> Plan:
    """The plan of the estimated world with the actions that were tried often, `n >= log(max n)^2` (the skeleton)."""
    visits = outcomes.following.sum(-1)
    often = visits >= jnp.log(jnp.maximum(1.0, jnp.max(visits, axis=-1, keepdims=True))) ** 2
    reward = (outcomes.reward.sum(-1) + FIRST_REWARD) / (visits + 1)
    following = (outcomes.following + 1 / visits.shape[0]) / (visits + 1)[..., None]
    within = relative_plan(lambda bias: jnp.where(often, reward + following @ bias, -jnp.inf), plan.bias, tolerance)
    return within._replace(action_value=reward + following @ within.bias - within.gain)


def least_index(memory: Memory, state: Int[Array, ""], key: Key[Array, ""], hyperparams: Hyperparams) -> Int[Array, ""]:
    """The action of the least index, `n K + log n`; what was never tried comes first."""
    outcomes, plan = memory
    visits = outcomes.following[state].sum(-1)
    value, weight = laws(outcomes, plan, state)
    best = jnp.max(plan.action_value[state]) + plan.gain
    further = how_far(value, weight, best, 1.0) + hyperparams.offset * jnp.log1p(span(plan.bias))
    distance = jnp.where(plan.action_value[state] + plan.gain < best, further, 0.0)
    return jnp.argmin(visits * distance + jnp.log(visits))


def laws(outcomes: Outcomes, plan: Plan, state: Int[Array, ""]) -> tuple[Float[Array, "A 2S"], Float[Array, "A 2S"]]:
    """What a step from a state was worth, its reward and the bias after it, and how probable that is, for each action.

    The bias is at most 0, so nothing is worth more than 1.
    """
    following, reward = outcomes.following[state], outcomes.reward[state]
    total = following.sum(-1, keepdims=True) + 1
    seen = reward / jnp.maximum(1.0, following) + plan.bias[None]
    first = jnp.broadcast_to(FIRST_REWARD + plan.bias, seen.shape)
    weight = jnp.concatenate([following, jnp.full_like(following, 1 / following.shape[-1])], axis=-1)
    return jnp.concatenate([seen, first], axis=-1), weight / total


def how_far(
    value: Float[Array, "A N"], weight: Float[Array, "A N"], target: Float[Array, ""], most: float
) -> Float[Array, " A"]:
    """`K`: the least divergence to a law on values up to `most` whose mean is at least the target.

    By its dual, `max_x E log(1 - (value - target) x)` over `0 <= x <= 1 / (most - target)`, which is concave (Honda and
    Takemura 2010).
    """
    below = value - target
    bound = 1 / jnp.maximum(most - target, 1e-6)

    def halve(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = (low + high) / 2
        rises = jnp.sum(weight * below / (1 - below * middle), axis=-1, keepdims=True) < 0
        return jnp.where(rises, middle, low), jnp.where(rises, high, middle)

    start = jnp.zeros((len(value), 1))
    low, _ = jax.lax.fori_loop(0, HALVINGS, halve, (start, start + bound))
    return jnp.maximum(0.0, jnp.sum(weight * jnp.log1p(-below * low), axis=-1))


def metrics_of(memory: Memory, truth: Truth, hyperparams: Any) -> Metrics:
    """The gain of the skeleton, in the reward's units, and the spans."""
    return {
        "planned_gain": memory.held.gain * truth.width + truth.low,
        "span": span(memory.held.bias) * truth.width,
        "true_span": truth.span,
    }
