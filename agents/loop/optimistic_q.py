"""Optimistic Q-learning: discounted values with a bonus, never raised.

Of Wei, Jafarnia-Jahromi, Luo, Sharma and Jain (ICML 2020), "Model-free reinforcement learning in infinite-horizon
average-reward Markov decision processes".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.loop.parts.incremental import without_plan
from jaxreward.agents.loop.parts.learner import Memory, Metrics, StreamConfig, Visit, finite_learner
from jaxreward.agents.loop.parts.world import Truth, finite_world
from jaxreward.mdp.iteration import span


@dataclass(frozen=True)
class Config(StreamConfig):
    """What shapes the program; see `StreamConfig`. Nothing is planned, so `steps_per_check` changes nothing."""


@struct.dataclass
class Hyperparams:
    """Traced numbers. Rewards are scaled to be between 0 and 1. `in_theory` gives the paper's.

    Attributes:
        horizon: `H`; the discount is `1 - 1 / H`. By default that of the authors' code, 0.99.
        bonus: `c` of the bonus `c sqrt(H / n)`. By default that of the authors' code.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    horizon: Float[Array, ""] | float = 100.0
    bonus: Float[Array, ""] | float = 1.0
    env_params: PyTree = None


class Values(NamedTuple):
    """What is learned.

    Attributes:
        action_value: `Q^`, the least that `Q` ever was, by which it acts, `[S, A]`.
        learned: `Q`, `[S, A]`.
        visits: How often each pair was visited, `[S, A]`.
    """

    action_value: Float[Array, "S A"]
    learned: Float[Array, "S A"]
    visits: Float[Array, "S A"]


def optimistic_q(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An optimistic Q-learning agent.

    Args:
        env: A finite world that never ends.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes.

    Raises:
        ValueError: If the environment is not finite, or ends, or its reward has a memory.
    """
    world = finite_world(env, env_params, "optimistic_q")
    size = world.num_states, world.num_actions

    def start(key: Key[Array, ""], hyperparams: Hyperparams) -> Values:
        highest = jnp.full(size, hyperparams.horizon)
        return Values(highest, highest, jnp.zeros(size))

    return finite_learner(world, env_params, config, without_plan(start, greedy, observe, metrics_of))


def observe(memory: Memory, visit: Visit, hyperparams: Hyperparams) -> Memory:
    """A step of `Q` towards `r + gamma max Q^(s') + bonus`, with step size `(H + 1) / (H + n)`."""
    values, horizon = memory.held, hyperparams.horizon
    pair = visit.state, visit.action
    visits = values.visits.at[pair].add(1.0)
    bonus = hyperparams.bonus * jnp.sqrt(horizon / visits[pair])
    target = visit.reward + (1 - 1 / horizon) * jnp.max(values.action_value[visit.next_state]) + bonus
    rate = (horizon + 1) / (horizon + visits[pair])
    learned = values.learned.at[pair].add(rate * (target - values.learned[pair]))
    action_value = values.action_value.at[pair].min(learned[pair])
    return memory._replace(held=Values(action_value, learned, visits))


def greedy(memory: Memory, state: Int[Array, ""], key: Key[Array, ""], hyperparams: Hyperparams) -> Int[Array, ""]:
    """The best action, the first of those that are equal."""
    return jnp.argmax(memory.held.action_value[state])


def metrics_of(memory: Memory, truth: Truth, hyperparams: Hyperparams) -> Metrics:
    """The largest value as a rate, which is at least the gain if the bonus is the theory's, and the spans."""
    value = jnp.max(memory.held.action_value, axis=-1)
    return {
        "optimistic_gain": jnp.max(value) / hyperparams.horizon * truth.width + truth.low,
        "span": span(value) * truth.width,
        "true_span": truth.span,
    }


def in_theory(total_steps: int, num_states: int, num_actions: int, span: float, delta: float = 0.05) -> Hyperparams:
    """The hyperparams for which the paper bounds the regret.

    Args:
        total_steps: `T`.
        num_states: `S`.
        num_actions: `A`.
        span: A bound of the span of the optimal bias, with rewards between 0 and 1.
        delta: The probability that the bound may fail.
    """
    pairs = num_states * num_actions
    by_log = (total_steps / (pairs * math.log(4 * total_steps / delta))) ** (1 / 3)
    horizon = min((span * total_steps / pairs) ** 0.5, by_log)
    return Hyperparams(horizon, 4 * span * math.sqrt(math.log(2 * total_steps / delta)))
