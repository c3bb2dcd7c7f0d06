"""KL-UCRL: UCRL2 with balls of the Kullback-Leibler divergence (Filippi, Cappe and Garivier, Allerton 2010)."""

from __future__ import annotations

import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.loop.parts.counts import Counts
from jaxreward.agents.loop.parts.divergence import most_in_kl_ball
from jaxreward.agents.loop.parts.intervals import estimated
from jaxreward.agents.loop.parts.learner import StreamConfig as Config
from jaxreward.agents.loop.parts.optimism import Confidence as Hyperparams
from jaxreward.agents.loop.parts.optimism import optimist
from jaxreward.agents.loop.parts.planning import LookAhead


def kl_ucrl(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A KL-UCRL agent; see `optimist`."""
    return optimist("kl_ucrl", env, env_params, config, confidence_set)


def confidence_set(counts: Counts, hyperparams: Hyperparams) -> LookAhead:
    """Rewards within an interval, transitions within a divergence; constants as in public implementations.

    Rewards are not cut at 1, as there.
    """
    mean, _, estimate = estimated(counts)
    visits = jnp.maximum(1.0, counts.visits)
    for_reward, for_following = constants(counts, hyperparams.delta)
    reward = mean + for_reward / jnp.sqrt(visits)
    radius = jnp.where(counts.visits > 0, for_following / visits, jnp.inf)
    return lambda bias: reward + most_in_kl_ball(estimate, radius, bias)


def constants(counts: Counts, delta: Float[Array, ""] | float) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The radius of rewards times `sqrt(n)`, and that of transitions times `n`."""
    num_states, num_actions = counts.reward.shape
    log_time = jnp.log(jnp.maximum(2.0, counts.time))
    bound = jnp.log(2 * jnp.e * num_states**2 * num_actions * log_time / delta)
    more = bound + 1 / log_time
    for_following = num_states * (bound + jnp.log(more) * (1 + 1 / more))
    return jnp.sqrt(jnp.log(4 * num_states * num_actions * log_time / delta) / 1.99), for_following
