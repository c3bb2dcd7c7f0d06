"""FOPO: fixed-point optimisation with optimism, for worlds that are linear in features (Wei et al., AISTATS 2021).

Of "Learning infinite-horizon average-reward MDPs with linear function approximation". It has the confidence set of LOOP
for linear functions, and plans when the determinant of the features' matrix has doubled; LOOP, when what it holds fits
badly. The optimum over the set is found here to a local maximum, as LOOP's `ell` planner does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.loop.parts.features import features_of_pairs
from jaxreward.agents.loop.parts.hypotheses import value_based
from jaxreward.agents.loop.parts.learner import StreamConfig, finite_learner
from jaxreward.agents.loop.parts.regression import across_pairs
from jaxreward.agents.loop.parts.switching import low_switching
from jaxreward.agents.loop.parts.world import finite_world


@dataclass(frozen=True)
class Config(StreamConfig):
    """What shapes the program; see `StreamConfig` too.

    Attributes:
        features: What values are linear in, see `jaxreward.agents.loop.parts.features.features_of`.
        check_span: Whether a bound on the span below the true one is refused.
    """

    features: str = "one_hot"
    check_span: bool = True


@struct.dataclass
class Hyperparams:
    """Traced numbers. Rewards are scaled to be between 0 and 1.

    Attributes:
        beta: The squared radius of the confidence set; `in_theory` gives one of the paper's order.
        ratio: Plans again once the determinant is this many times what it was.
        regularisation: `lambda`, weight of the data of which it is assumed that they are as good as can be.
        pseudo_reward: What those data pay.
        max_span: A bound on the span of the bias, infinite if none is known. One below the true span spoils optimism.
        tolerance: Of planning, relative to the bias.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    beta: Float[Array, ""] | float = 0.5
    ratio: Float[Array, ""] | float = 2.0
    regularisation: Float[Array, ""] | float = 1.0
    pseudo_reward: Float[Array, ""] | float = 1.0
    max_span: Float[Array, ""] | float = jnp.inf
    tolerance: Float[Array, ""] | float = 1e-4
    env_params: PyTree = None


def fopo(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A FOPO agent.

    Args:
        env: A finite world that never ends.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: The features, and sizes.

    Raises:
        ValueError: If the environment is not finite, or ends, or its reward has a memory, or there are no such
            features.
    """
    world = finite_world(env, env_params, "fopo")
    size = world.num_states, world.num_actions
    features = jnp.asarray(features_of_pairs(config.features, size), float)
    hypotheses = value_based(size, across_pairs(lambda hyperparams: features), "ell", 1)
    return finite_learner(world, env_params, config, low_switching(hypotheses, size, "determinant"))


def in_theory(total_steps: int, dimension: int, span: float, delta: float = 0.05, constant: float = 1.0) -> Hyperparams:
    """Hyperparams of the order of the analysis: a radius `constant span dimension sqrt(log(total_steps / delta))`.

    Args:
        total_steps: `T`.
        dimension: Number of features.
        span: A bound of the span of the optimal bias, with rewards between 0 and 1.
        delta: The probability that the truth may be outside the set.
        constant: A choice.
    """
    beta = (constant * span * dimension) ** 2 * math.log(total_steps / delta)
    return Hyperparams(beta=beta, max_span=span)
