"""UCRL3: intervals that hold at all times, and successors that were not seen only as far as they matter.

Of Bourel, Maillard and Talebi (ICML 2020, "Tightening exploration in upper confidence reinforcement learning").
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.loop.parts.bernoulli import mean_upper, probability_bounds
from jaxreward.agents.loop.parts.counts import Counts
from jaxreward.agents.loop.parts.intervals import estimated, most_within
from jaxreward.agents.loop.parts.learner import StreamConfig, finite_learner
from jaxreward.agents.loop.parts.optimism import optimistic
from jaxreward.agents.loop.parts.planning import LookAhead
from jaxreward.agents.loop.parts.world import finite_world

MOST_SWEEPS = 200
"""Bound on the sweeps of a plan; one that converges needs about ten, but the support depends on it and it need not."""


@dataclass(frozen=True)
class Config(StreamConfig):
    """What shapes the program; see `StreamConfig`."""


@struct.dataclass
class Hyperparams:
    """Traced numbers.

    Attributes:
        delta: The probability that the truth may be outside the confidence set.
        kappa: How much unseen successors may be worth together for the rest of them to be left out, for each seen one:
            in spans of the bias, divided by the most visits of a pair to the power 2/3. Infinite for no more than the
            others are worth; with less, planning goes round in circles more often, until it is cut off.
        always: A successor that has always followed does so with at least this probability to the power 1/n, as in the
            public implementation; 0 for the paper's interval alone, which is the one that `delta` is said of.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    delta: Float[Array, ""] | float = 0.05
    kappa: Float[Array, ""] | float = float("inf")
    always: Float[Array, ""] | float = 0.5
    env_params: PyTree = None


def ucrl3(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A UCRL3 agent.

    Args:
        env: A finite world that never ends.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes.

    Raises:
        ValueError: If the environment is not finite, or ends, or its reward has a memory.
    """
    world = finite_world(env, env_params, "ucrl3")
    return finite_learner(world, env_params, config, optimistic(world, confidence_set, MOST_SWEEPS))


def confidence_set(counts: Counts, hyperparams: Hyperparams) -> LookAhead:
    """Every reward and every probability within an interval of its own, and few successors that were not seen."""
    num_states, num_actions = counts.reward.shape
    mean, variance, estimate = estimated(counts)
    delta = hyperparams.delta / (num_states * num_actions * 3 * (1 + num_states))
    reward = mean_upper(mean, variance, counts.visits, delta)
    lower, upper = probability_bounds(estimate, counts.visits[..., None], delta)
    always = hyperparams.always ** (1 / jnp.maximum(1.0, counts.visits[..., None]))
    lower = jnp.where(estimate >= 1, jnp.maximum(lower, always), lower)
    seen = counts.following > 0
    allowance = hyperparams.kappa * jnp.sum(seen, axis=-1) / jnp.maximum(1.0, jnp.max(counts.visits)) ** (2 / 3)

    def look_ahead(bias: Float[Array, " S"]) -> Float[Array, "S A"]:
        above = bias - jnp.min(bias)
        support = optimistic_support(seen, lower, upper, above, allowance * jnp.maximum(jnp.max(above), 1e-30))
        return reward + most_within(lower, jnp.where(support, upper, 0.0), above) + jnp.min(bias)

    return look_ahead


def optimistic_support(
    seen: Bool[Array, "S A S"],
    lower: Float[Array, "S A S"],
    upper: Float[Array, "S A S"],
    above: Float[Array, " S"],
    allowance: Float[Array, "S A"],
) -> Bool[Array, "S A S"]:
    """Successors to hope for: those seen, the best, and the next best until what the others may be worth is little.

    Little is not above the allowance nor above what those inside may be worth.

    Args:
        seen: Which states followed.
        lower: Least probabilities, 0 for what was not seen.
        upper: Largest probabilities.
        above: The bias minus the least one.
        allowance: What those outside may be worth at most.
    """

    def too_few(support: Bool[Array, "S A S"]) -> Bool[Array, "S A"]:
        inside = most_within(lower, jnp.where(support, upper, 0.0), above)
        outside = most_within(jnp.zeros_like(lower), jnp.where(support, 0.0, upper), above)
        return outside > jnp.minimum(allowance, inside)

    def add(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        support, more = carry
        best = jnp.argmax(jnp.where(support, -1.0, above[None, None]), axis=-1)
        support = support | (more[..., None] & jax.nn.one_hot(best, len(above), dtype=bool))
        return support, more & too_few(support)

    support = seen | jax.nn.one_hot(jnp.argmax(above), len(above), dtype=bool)[None, None]
    return jax.lax.while_loop(lambda carry: jnp.any(carry[1]), add, (support, too_few(support)))[0]
