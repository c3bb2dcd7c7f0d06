"""PSRL for the reward rate: plan in a world drawn from the posterior, for an episode.

The posterior is a Dirichlet distribution for each row of the transitions and a Beta for each reward, of which a reward
between 0 and 1 counts as that share of a success (Agrawal and Goyal 2012 toss a coin for it). Episodes end as UCRL2's,
or as TSDE's (Ouyang, Gagrani, Nayyar and Jain, NeurIPS 2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.loop.parts.counts import Counts
from jaxreward.agents.loop.parts.learner import StreamConfig, finite_learner
from jaxreward.agents.loop.parts.optimism import Held, doubled, episodic
from jaxreward.agents.loop.parts.planning import LookAhead
from jaxreward.agents.loop.parts.world import finite_world
from jaxreward.names import check_name


def longer_or_doubled(counts: Counts, held: Held) -> Bool[Array, ""]:
    """TSDE's rule: a count is above twice what it was, or the episode is one step longer than the one before."""
    more = jnp.any(counts.visits > 2 * held.visits)
    return more | (jnp.sum(counts.visits - held.visits) > held.length) | (held.switches == 0)


ENDS = {"doubling": doubled, "tsde": longer_or_doubled}
"""Rules for the end of an episode by name."""


@dataclass(frozen=True)
class Config(StreamConfig):
    """What shapes the program; see `StreamConfig` too.

    Attributes:
        episodes: When a world is drawn: `doubling`, when a pair was visited as often since as before; or `tsde`, when
            one was visited more than twice as often as before or the episode is longer than the last.
    """

    episodes: Literal["doubling", "tsde"] = "doubling"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("episodes", self.episodes, ENDS)


@struct.dataclass
class Hyperparams:
    """Traced numbers.

    Attributes:
        prior_following: What each state has been counted as a successor before the first step.
        prior_reward: What success and failure have been counted for each reward before it.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    prior_following: Float[Array, ""] | float = 1.0
    prior_reward: Float[Array, ""] | float = 1.0
    env_params: PyTree = None


def psrl(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A PSRL agent.

    Args:
        env: A finite world that never ends.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes, and when a world is drawn.

    Raises:
        ValueError: If the environment is not finite, or ends, or its reward has a memory.
    """
    world = finite_world(env, env_params, "psrl")
    precise = lambda counts: 1 / jnp.maximum(10.0, counts.time)  # noqa: E731
    return finite_learner(world, env_params, config, episodic(world, drawn_world, ENDS[config.episodes], precise))


def drawn_world(counts: Counts, hyperparams: Hyperparams, key: Key[Array, ""]) -> LookAhead:
    """A world of the posterior.

    Dirichlet and Beta variables are shares of independent Gamma variables, all drawn at once; their logarithms do not
    underflow where a prior is small.
    """
    successes = hyperparams.prior_reward + counts.reward
    failures = hyperparams.prior_reward + jnp.maximum(0.0, counts.visits - counts.reward)
    shapes = [hyperparams.prior_following + counts.following, successes[..., None], failures[..., None]]
    log_gamma = jax.random.loggamma(key, jnp.concatenate(shapes, axis=-1))
    following = jax.nn.softmax(log_gamma[..., :-2], axis=-1)
    reward = jax.nn.softmax(log_gamma[..., -2:], axis=-1)[..., 0]
    return lambda bias: reward + following @ bias
