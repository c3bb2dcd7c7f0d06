"""The catalogue of rewards. Each is a `Reward` or makes one of others; all can be composed with all."""

from jaxreward.reward import Reward, Transition, environment_reward, markov
from jaxreward.rewards.accumulation import gated_accumulation
from jaxreward.rewards.algebra import (
    add,
    clip,
    ensemble,
    gate,
    kinesthetic,
    scalarise,
    scale,
    stack,
    transform,
    weighted,
)
from jaxreward.rewards.arguments import constant
from jaxreward.rewards.beside import beside
from jaxreward.rewards.constrained import at_least, at_most, constrained
from jaxreward.rewards.goals import gaussian_goal, route_completion, tiered
from jaxreward.rewards.intrinsic import count_bonus
from jaxreward.rewards.landmarks import landmark_bonus
from jaxreward.rewards.penalties import habitual_penalty, lingering_penalty, speeding_penalty
from jaxreward.rewards.perceptual import perceptual_steps
from jaxreward.rewards.random_network import random_network_bonus
from jaxreward.rewards.schedules import cosine, exponential, linear, piecewise, schedule, steps, success_rate
from jaxreward.rewards.shaping import potential_shaping, shaped
from jaxreward.rewards.sharpe import differential_sharpe, terminal_sharpe
from jaxreward.rewards.transforms import delay, normalise, sparsify

__all__ = [  # noqa: RUF022, in the order of the catalogue
    # what others are made of
    "Reward",
    "Transition",
    "constant",
    "environment_reward",
    "markov",
    # algebra
    "add",
    "beside",
    "clip",
    "ensemble",
    "gate",
    "kinesthetic",
    "scalarise",
    "scale",
    "stack",
    "transform",
    "weighted",
    # goals and whole episodes
    "gated_accumulation",
    "gaussian_goal",
    "habitual_penalty",
    "lingering_penalty",
    "perceptual_steps",
    "route_completion",
    "speeding_penalty",
    "tiered",
    "differential_sharpe",
    "terminal_sharpe",
    # shaping
    "potential_shaping",
    "shaped",
    # scale and time
    "delay",
    "normalise",
    "sparsify",
    # while an agent trains
    "schedule",
    "linear",
    "cosine",
    "exponential",
    "piecewise",
    "steps",
    "success_rate",
    "constrained",
    "at_least",
    "at_most",
    # novelty
    "count_bonus",
    "landmark_bonus",
    "random_network_bonus",
]
