"""UCRL2-VTR: UCRL2 for worlds that are a mixture, learned by the values they predict (Wu, Zhou and Gu, AISTATS 2022).

The probability that `a` in `s` leads to `s'` is `theta' phi(s, a, s')`; each step tells `theta' phi_w = w(s')` for the
bias `w` of the plan it was made with. With Hoeffding's radius.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.loop.parts.features import features_of
from jaxreward.agents.loop.parts.learner import Memory, Method, StreamConfig, Visit, finite_learner
from jaxreward.agents.loop.parts.mean_reward import mean_reward
from jaxreward.agents.loop.parts.optimism import greedy, plan_metrics
from jaxreward.agents.loop.parts.planning import LookAhead, Plan, relative_plan
from jaxreward.agents.loop.parts.value_targets import Features, Targets, no_targets, predicted, with_target
from jaxreward.agents.loop.parts.world import FiniteWorld, finite_world

MOST_SWEEPS = 500
"""Bound on the sweeps of a plan: what is not cut to models need not converge."""


@dataclass(frozen=True)
class Config(StreamConfig):
    """What shapes the program; see `StreamConfig` too.

    Attributes:
        features: Of a pair and where it leads, see `jaxreward.agents.loop.parts.features.features_of`.
    """

    features: str = "one_hot"


@struct.dataclass
class Hyperparams:
    """Traced numbers. Rewards are scaled to be between 0 and 1.

    Attributes:
        delta: The probability that the truth may be outside the confidence set.
        diameter: `D`, a bound on the steps from any state to any other.
        norm: `B`, a bound on the norm of `theta`.
        regularisation: `lambda`, of the regression.
        scale: The radius is multiplied by this; 1 for the paper's.
        pseudo_reward: The reward of one more visit of each pair; the paper knows rewards.
        ratio: Plans again once the determinant is this many times what it was.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    delta: Float[Array, ""] | float = 0.05
    diameter: Float[Array, ""] | float = 10.0
    norm: Float[Array, ""] | float = 1.0
    regularisation: Float[Array, ""] | float = 1.0
    scale: Float[Array, ""] | float = 1.0
    pseudo_reward: Float[Array, ""] | float = 1.0
    ratio: Float[Array, ""] | float = 2.0
    env_params: PyTree = None


class Held(NamedTuple):
    """The plan, how much the logarithm of the determinant grew since, and how many plans there were."""

    plan: Plan
    growth: Float[Array, ""]
    switches: Int[Array, ""]


def ucrl2_vtr(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A UCRL2-VTR agent.

    Args:
        env: A finite world that never ends.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: The features, and sizes.

    Raises:
        ValueError: If the environment is not finite, or ends, or its reward has a memory, or there are no such
            features.
    """
    world = finite_world(env, env_params, "ucrl2_vtr")
    phi = features_of(config.features, (world.num_states, world.num_actions, world.num_states))
    return finite_learner(world, env_params, config, method_of(world, jnp.asarray(phi, float)))


def method_of(world: FiniteWorld, phi: Features) -> Method:
    """Plans when the determinant has doubled."""
    size = world.num_states, world.num_actions

    def start(key: Key[Array, ""], hyperparams: Hyperparams) -> Memory:
        plan = Plan(jnp.zeros(size), jnp.zeros(size[0]), jnp.ones(()))
        held = Held(plan, jnp.zeros(()), jnp.zeros((), jnp.int32))
        return Memory(no_targets(phi, hyperparams.regularisation), held)

    def observe(memory: Memory, visit: Visit, hyperparams: Hyperparams) -> Memory:
        targets, held = memory
        targets, seen = with_target(targets, phi, centred(held.plan.bias), visit)
        return Memory(targets, held._replace(growth=held.growth + jnp.log1p(seen.leverage)))

    def plan(memory: Memory, key: Key[Array, ""], hyperparams: Hyperparams) -> Held:
        targets, held = memory
        precise = 1 / jnp.sqrt(jnp.maximum(1.0, targets.counts.time))
        new = relative_plan(
            look_ahead_of(targets, phi, hyperparams), held.plan.bias, precise, max_iterations=MOST_SWEEPS
        )
        return Held(new, jnp.zeros(()), held.switches + 1)

    def due(memory: Memory, hyperparams: Hyperparams) -> Array:
        unseen_value = jnp.ptp(memory.held.plan.bias) == 0  # such a plan's targets teach nothing
        doubled = memory.held.growth >= jnp.log(hyperparams.ratio)
        return doubled | (memory.held.switches == 0) | unseen_value

    value = lambda memory: memory.held.plan.action_value  # noqa: E731
    return Method(start, greedy, observe, due, plan, value, plan_metrics)


def centred(bias: Float[Array, " S"]) -> Float[Array, " S"]:
    """The bias with its largest and least value equally far from 0."""
    return bias - (jnp.max(bias) + jnp.min(bias)) / 2


def look_ahead_of(targets: Targets, phi: Features, hyperparams: Hyperparams) -> LookAhead:
    """The largest `theta' phi_w` of the ellipsoid for each pair by itself, cut to the values there are.

    The paper takes the largest over those `theta` of the ellipsoid that are models, a smaller set.
    """
    counts, fit = targets
    once = dataclasses.replace(hyperparams, regularisation=1.0)  # one more visit of each pair
    reward, beta = mean_reward(counts, once), radius(counts.time, phi.shape[-1], hyperparams)

    def look_ahead(bias: Float[Array, " S"]) -> Float[Array, "S A"]:
        value = centred(bias)
        following, width = predicted(fit, phi, value)
        following = jnp.clip(following + beta * width, jnp.min(value), jnp.max(value))
        return reward + following + bias[0] - value[0]

    return look_ahead


def radius(time: Float[Array, ""], dimension: int, hyperparams: Hyperparams) -> Float[Array, ""]:
    """`D sqrt(d log((lambda + t D^2) / (delta lambda))) + sqrt(lambda) B`."""
    weight, diameter = hyperparams.regularisation, hyperparams.diameter
    log = jnp.log((weight + time * diameter**2) / (hyperparams.delta * weight))
    return hyperparams.scale * (diameter * jnp.sqrt(dimension * log) + jnp.sqrt(weight) * hyperparams.norm)
