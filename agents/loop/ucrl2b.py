"""UCRL2B: UCRL2 with Bernstein's intervals around each probability (Fruit, Pirotta and Lazaric 2020)."""

from __future__ import annotations

import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.loop.parts.counts import Counts
from jaxreward.agents.loop.parts.intervals import estimated, most_within
from jaxreward.agents.loop.parts.learner import StreamConfig as Config
from jaxreward.agents.loop.parts.optimism import Confidence as Hyperparams
from jaxreward.agents.loop.parts.optimism import optimist
from jaxreward.agents.loop.parts.planning import LookAhead

EVENTS = 18
"""For how many bounds of each pair `delta` is divided; a choice, that of public implementations."""


def ucrl2b(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A UCRL2B agent; see `optimist`."""
    return optimist("ucrl2b", env, env_params, config, confidence_set)


def confidence_set(counts: Counts, hyperparams: Hyperparams) -> LookAhead:
    """Every reward and every probability within an interval of its own."""
    mean, variance, estimate = estimated(counts)
    visits = jnp.maximum(1.0, counts.visits)
    log = jnp.log(EVENTS * visits.size * visits / hyperparams.delta)
    reward = jnp.minimum(1.0, mean + bernstein(variance, log / visits))
    radius = bernstein(estimate * (1 - estimate), (log / visits)[..., None])
    lower, upper = jnp.maximum(0.0, estimate - radius), jnp.minimum(1.0, estimate + radius)
    return lambda bias: reward + most_within(lower, upper, bias)


def bernstein(variance: Float[Array, "..."], rate: Float[Array, "..."]) -> Float[Array, "..."]:
    """The empirical Bernstein radius `2 sqrt(variance rate) + 6 rate`, the rate being `log(.../delta) / n`."""
    return 2 * jnp.sqrt(variance * rate) + 6 * rate
