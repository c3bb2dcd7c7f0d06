"""UCRL3: intervals that hold at all times, and successors that were not seen only as far as they matter.

Of Bourel, Maillard and Talebi (ICML 2020, "Tightening exploration in upper confidence reinforcement learning").
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.loop.parts.bernoulli import mean_upper, probability_bounds
from jaxreward.agents.loop.parts.counts import Counts
from jaxreward.agents.loop.parts.intervals import estimated, filled
from jaxreward.agents.loop.parts.learner import StreamConfig as Config
from jaxreward.agents.loop.parts.learner import finite_learner
from jaxreward.agents.loop.parts.optimism import optimistic
from jaxreward.agents.loop.parts.planning import LookAhead
from jaxreward.agents.loop.parts.world import finite_world

MOST_SWEEPS = 100
"""Bound on the sweeps of a plan; one that converges needs about ten, but the support depends on it and it need not."""


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
        order = jnp.argsort(-bias)
        worth = bias[order] - bias[order[-1]]
        low, high, was_seen = lower[..., order], upper[..., order], seen[..., order]
        few = least_support(was_seen, low, high, worth, allowance * jnp.maximum(worth[0], 1e-30))
        hoped = jnp.where(within(was_seen, few), high, 0.0)
        return reward + filled(low, hoped, worth) + bias[order[-1]]

    return look_ahead


def within(seen: Bool[Array, "S A S"], number: Int[Array, "S A"]) -> Bool[Array, "S A S"]:
    """Successors to hope for: those seen, and so many of the best."""
    return seen | (jnp.arange(seen.shape[-1])[None, None] < number[..., None])


def least_support(
    seen: Bool[Array, "S A S"],
    lower: Float[Array, "S A S"],
    upper: Float[Array, "S A S"],
    worth: Float[Array, " S"],
    allowance: Float[Array, "S A"],
) -> Int[Array, "S A"]:
    """How many of the best states must be hoped for, at least one, for what the others may be worth to be little.

    Little is not above the allowance nor above what those inside may be worth. With each state that is added the one
    falls and the other rises, so the number is found by halving.

    Args:
        seen: Which states followed; all states are in the order of their worth, the best first.
        lower: Least probabilities, 0 for what was not seen.
        upper: Largest probabilities.
        worth: The bias minus the least one.
        allowance: What those outside may be worth at most.
    """

    def too_few(number: Int[Array, "S A"]) -> Bool[Array, "S A"]:
        support = within(seen, number)
        inside = filled(lower, jnp.where(support, upper, 0.0), worth)
        outside = filled(jnp.zeros_like(lower), jnp.where(support, 0.0, upper), worth)
        return outside > jnp.minimum(allowance, inside)

    def halve(bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        below, enough = bracket
        middle = (below + enough) // 2
        few = too_few(middle)
        # Where the bracket is closed the middle is `below`, which stays.
        return jnp.where(few, middle, below), jnp.where(few | (middle == below), enough, middle)

    one = jnp.ones(seen.shape[:2], jnp.int32)
    few = too_few(one)
    bracket = jnp.where(few, one, 0), jnp.where(few, seen.shape[-1], one)
    return jax.lax.while_loop(lambda bracket: jnp.any(bracket[1] - bracket[0] > 1), halve, bracket)[1]
