"""UCRL2: a ball around each row of the estimated transitions (Jaksch, Ortner and Auer, JMLR 2010)."""

from __future__ import annotations

import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.loop.parts.counts import Counts
from jaxreward.agents.loop.parts.learner import StreamConfig as Config
from jaxreward.agents.loop.parts.optimism import Confidence as Hyperparams
from jaxreward.agents.loop.parts.optimism import optimist
from jaxreward.agents.loop.parts.planning import LookAhead


def ucrl2(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A UCRL2 agent; see `optimist`."""
    return optimist("ucrl2", env, env_params, config, confidence_set)


def confidence_set(counts: Counts, hyperparams: Hyperparams) -> LookAhead:
    """Rewards within the radius of equation 3, transitions within the L1 radius of equation 4 of the paper."""
    num_states, num_actions = counts.reward.shape
    visits, time = jnp.maximum(1.0, counts.visits), jnp.maximum(1.0, counts.time)
    log_reward = jnp.log(2 * num_states * num_actions * time / hyperparams.delta)
    log_following = jnp.log(2 * num_actions * time / hyperparams.delta)
    reward = jnp.minimum(1.0, counts.reward / visits + jnp.sqrt(3.5 * log_reward / visits))
    radius = jnp.sqrt(14 * num_states * log_following / visits)
    estimate = counts.following / visits[..., None]

    def look_ahead(bias: Float[Array, " S"]) -> Float[Array, "S A"]:
        return reward + most_in_ball(estimate, radius, bias)

    return look_ahead


def most_in_ball(
    estimate: Float[Array, "S A S"], radius: Float[Array, "S A"], bias: Float[Array, " S"]
) -> Float[Array, "S A"]:
    """The largest `p . bias` of distributions within an L1 distance of the estimate (figure 2 of the paper).

    The best state gains half of the radius, and what is too much is taken from the worst states upwards. Where nothing
    was seen the estimate is zero and all goes to the best state.
    """
    order = jnp.argsort(bias)
    ascending = estimate[..., order]
    best = jnp.minimum(1.0, ascending[..., -1] + radius / 2)
    raised = ascending.at[..., -1].set(best)
    excess = jnp.sum(raised, axis=-1, keepdims=True) - 1
    below = jnp.cumsum(raised, axis=-1) - raised
    taken = jnp.clip(excess - below, 0.0, raised)
    return jnp.where(jnp.sum(estimate, axis=-1) > 0, (raised - taken) @ bias[order], bias[order[-1]])
