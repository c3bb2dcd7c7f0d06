"""Gamma-LSCVI-UCB: least-squares value iteration with a bonus at a discount near 1, its values clipped to a span.

Of Hong, Chae, Zhang, Lee and Tewari (2024, arXiv:2405.15050), for worlds that are linear in features. The paper counts
its sweeps by the steps that are left; here they go on to the fixed point, which needs no horizon.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.loop.parts.counts import Counts, counted, no_counts
from jaxreward.agents.loop.parts.features import features_of_pairs
from jaxreward.agents.loop.parts.learner import Memory, Method, StreamConfig, Visit, finite_learner
from jaxreward.agents.loop.parts.optimism import greedy, plan_metrics
from jaxreward.agents.loop.parts.planning import Plan
from jaxreward.agents.loop.parts.regression import Fit, Regression, across_pairs
from jaxreward.agents.loop.parts.world import FiniteWorld, finite_world
from jaxreward.mdp.iteration import fixed_point, sup_norm

MOST_SWEEPS = 3_000
"""Bound on the sweeps of a plan."""


@dataclass(frozen=True)
class Config(StreamConfig):
    """What shapes the program; see `StreamConfig` too.

    Attributes:
        features: What rewards and transitions are linear in, see `jaxreward.agents.loop.parts.features.features_of`.
    """

    features: str = "one_hot"


@struct.dataclass
class Hyperparams:
    """Traced numbers. Rewards are scaled to be between 0 and 1. `in_theory` gives the paper's.

    Attributes:
        discount: `gamma`.
        max_span: `H`, by how much a value may be above the least one; infinite if no bound is known.
        beta: The radius of the bonus `beta |phi|` in the norm of the inverse of the features' matrix.
        regularisation: `lambda` of that matrix.
        ratio: Plans again once the determinant is this many times what it was.
        tolerance: Of planning.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    discount: Float[Array, ""] | float = 0.99
    max_span: Float[Array, ""] | float = jnp.inf
    beta: Float[Array, ""] | float = 1.0
    regularisation: Float[Array, ""] | float = 1.0
    ratio: Float[Array, ""] | float = 2.0
    tolerance: Float[Array, ""] | float = 1e-3
    env_params: PyTree = None


class Held(NamedTuple):
    """The plan and what was since.

    Attributes:
        plan: `Q`, `V` with a largest value of 0, and the gain `(1 - gamma) max V`.
        fit: The covariance of the features at all pairs, now.
        growth: Of the logarithm of the determinant since the plan.
        switches: How many plans there were.
    """

    plan: Plan
    fit: Fit
    growth: Float[Array, ""]
    switches: Int[Array, ""]


def lscvi_ucb(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A gamma-LSCVI-UCB agent.

    Args:
        env: A finite world that never ends.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: The features, and sizes.

    Raises:
        ValueError: If the environment is not finite, or ends, or its reward has a memory, or there are no such
            features.
    """
    world = finite_world(env, env_params, "lscvi_ucb")
    size = world.num_states, world.num_actions
    features = jnp.asarray(features_of_pairs(config.features, size), float)
    return finite_learner(world, env_params, config, method_of(world, across_pairs(lambda hyperparams: features)))


def method_of(world: FiniteWorld, regression: Regression) -> Method:
    """Plans when the determinant has doubled."""
    size = world.num_states, world.num_actions

    def start(key: Key[Array, ""], hyperparams: Hyperparams) -> Memory:
        nothing = no_counts(*size)
        fit = Fit(jnp.zeros(nothing.reward.size), regression.covariance(nothing.visits.ravel(), hyperparams))
        plan = Plan(jnp.zeros(size), jnp.zeros(size[0]), jnp.ones(()))
        return Memory(nothing, Held(plan, fit, jnp.zeros(()), jnp.zeros((), jnp.int32)))

    def observe(memory: Memory, visit: Visit, hyperparams: Hyperparams) -> Memory:
        counts, held = memory
        fit, _, leverage = regression.learn(held.fit, visit.state * size[1] + visit.action, jnp.zeros(()))
        held = held._replace(fit=fit, growth=held.growth + jnp.log1p(leverage))
        return Memory(counted(counts, visit), held)

    def plan(memory: Memory, key: Key[Array, ""], hyperparams: Hyperparams) -> Held:
        counts, held = memory
        covariance = regression.covariance(counts.visits.ravel(), hyperparams)
        new = discounted_plan(counts, covariance, regression, hyperparams)
        return Held(new, Fit(held.fit.value, covariance), jnp.zeros(()), held.switches + 1)

    def due(memory: Memory, hyperparams: Hyperparams) -> Array:
        return (memory.held.growth >= jnp.log(hyperparams.ratio)) | (memory.held.switches == 0)

    value = lambda memory: memory.held.plan.action_value  # noqa: E731
    return Method(start, greedy, observe, due, plan, value, plan_metrics)


def discounted_plan(counts: Counts, covariance: Float[Array, "N N"], regression: Regression, hyperparams: Any) -> Plan:
    """The fixed point of the clipped, optimistic and regressed Bellman operator, begun with the largest values.

    `Q = min(r + gamma (phi' w + min V) + beta |phi|, 1 / (1 - gamma))` with `w` the regression of `V(s') - min V`, and
    `V = min(max_a Q, min max_a Q + H)`. Rewards are regressed too, where the paper knows them.
    """
    size = counts.reward.shape
    smooth = lambda sums: regression.smooth(covariance, sums)  # noqa: E731
    reward = smooth(counts.reward.ravel()).reshape(size)
    following = smooth(counts.following.reshape(reward.size, -1)).reshape(*size, -1)
    bonus = hyperparams.beta * jnp.sqrt(jnp.maximum(0.0, regression.leverage(covariance))).reshape(size)
    most = 1 / (1 - hyperparams.discount)

    def action_value(value: Float[Array, " S"]) -> Float[Array, "S A"]:
        least = jnp.min(value)
        ahead = hyperparams.discount * (following @ (value - least) + least)
        return jnp.clip(reward + ahead + bonus, 0.0, most)

    def sweep(value: Float[Array, " S"]) -> Float[Array, " S"]:
        best = jnp.max(action_value(value), axis=-1)
        return jnp.minimum(best, jnp.min(best) + hyperparams.max_span)

    highest = jnp.full(size[0], most)
    value, _ = fixed_point(sweep, highest, sup_norm, hyperparams.tolerance * (1 - hyperparams.discount), MOST_SWEEPS)
    return Plan(action_value(value), value - jnp.max(value), jnp.max(value) / most)


def in_theory(total_steps: int, dimension: int, span: float, delta: float = 0.05, constant: float = 1.0) -> Hyperparams:
    """Hyperparams of the order of the analysis, with the constants of its authors' experiments where there are some.

    Args:
        total_steps: `T`; the discount is `1 - sqrt(log(T) / T)`.
        dimension: Number of features.
        span: A bound of the span of the optimal bias, with rewards between 0 and 1; values are clipped to twice that.
        delta: The probability that the bound may fail.
        constant: Of `beta = constant H dimension sqrt(log(dimension T / delta))`.
    """
    beta = constant * 2 * span * dimension * math.sqrt(math.log(dimension * total_steps / delta))
    return Hyperparams(1 - math.sqrt(math.log(total_steps) / total_steps), 2 * span, beta)
