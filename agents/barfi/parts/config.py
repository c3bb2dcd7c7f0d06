"""BARFI's settings: what shapes the program, and its numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from flax import struct
from jaxtyping import PyTree

from jaxreward.agents.baselines.parts.learner import (
    Average,
    Optimiser,
    Scalar,
)
from jaxreward.contract.sizes import Sized, size
from jaxreward.names import check_name
from jaxreward.rewards.alignment import Initial, Primary

Solver = Literal["neumann", "first_order", "cg", "gmres", "dense", "unrolled"]


RewardKind = Literal["state", "state_action", "numbers", "environment"]


Baseline = Literal["none", "mean"]


@dataclass(frozen=True)
class Config(Sized):
    """What shapes the program.

    The defaults are those of the grid world. Where the authors' code does something else than one would expect, that
    is an option: `outer_batch=4`, `warm_up_batch=2` and, in the grid world, `primary="fixed"`.

    Attributes:
        num_envs: New episodes of an iteration, their `delta`.
        num_steps: The most steps of one, `T`.
        learned: What `r_phi` is. "state" and "state_action", an alignment reward (`jaxreward.rewards.alignment`) whose
            weights are linear in the features of the state, or of those for each action; "numbers", one whose weights
            are the same everywhere, as in HalfCheetah; "environment", the reward that the environment was given by
            `with_reward`, whose params are learned, the primary reward being that beneath it.
        primary: See `alignment`: whether the weight of the primary reward is "learned" or "fixed" to 1.
        initial: See `alignment`: "random", or "sum", the naive sum; with learned="numbers" it is always that.
        solver: How `phi` gets its gradient: of the fixed point, by the name of a solver of
            `jaxreward.learning.bilevel`, or "unrolled", through the inner steps of the iteration (the authors' "Frodo",
            whose discount is fixed).
        num_terms: Terms of the Neumann series beyond the first, or the most steps of "cg" and "gmres".
        buffer: Episodes that are kept.
        batch: Episodes of an inner step.
        inner_steps: Of an iteration.
        first_rounds: How often the first iteration after the warm-up takes them beside its own.
        warm_up: Episodes after which `phi` takes part.
        warm_up_updates: Whether the policy learns from the naive sum before (not in HalfCheetah), a step an iteration.
        warm_up_batch: The newest episodes that it learns from; 0 for all new ones.
        outer_batch: The newest episodes for the primary policy gradient; 0 for all new ones.
        curvature_batch: Earlier episodes for the derivatives of the update at the fixed point.
        features: What policy and alignment reward see, see `jaxreward.agents.baselines.parts.learner.features_of`.
        layers: Widths of rectified linear layers between the features and the policy's output.
        optimiser: Of all three, "rmsprop" or "adam" with PyTorch's defaults.
        average: See `Learner`.
        baseline: What is subtracted from returns: "none", or the "mean" over the batch's steps (in HalfCheetah the
            authors' code has a running mean).
    """

    needs_episodes: ClassVar[bool] = True

    num_envs: int = size(3)
    num_steps: int = size(50)
    learned: RewardKind = "state"
    primary: Primary = "learned"
    initial: Initial = "random"
    solver: Solver = "neumann"
    num_terms: int = size(5)
    buffer: int = size(1000)
    batch: int = size(1)
    inner_steps: int = size(15)
    first_rounds: int = size(10, least=0)
    warm_up: int = size(155)
    warm_up_updates: bool = True
    warm_up_batch: int = size(0, least=0)
    outer_batch: int = size(0, least=0)
    curvature_batch: int = size(15)
    features: str = "auto"
    layers: tuple[int, ...] = size(())
    optimiser: Optimiser = "rmsprop"
    average: Average = "padded"
    baseline: Baseline = "none"


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        learning_rate: Of the policy.
        reward_learning_rate: Of the reward's params.
        discount_learning_rate: Of the learned discount's logit; 0 to keep the discount.
        discount: Of the primary reward, and where the learned discount starts.
        entropy_coefficient: Weight of the entropy bonus, in the inner objective alone.
        discount_penalty: `lambda_gamma`, on the discount itself. It is not scaled by `alpha` as the implicit gradient
            is, so the two are to be searched together.
        reward_penalty: `lambda_r`, on the norm of each of the reward's arrays, not squared.
        alpha: Step of the Neumann series.
        damping: Added to the curvature in "cg" and "gmres"; in "dense" the least that there is of it.
        max_grad_norm: Gradients are scaled down to this norm, those of policy, reward and discount each.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    learning_rate: Scalar = 5e-3
    reward_learning_rate: Scalar = 5e-3
    discount_learning_rate: Scalar = 5e-3
    discount: Scalar = 0.99
    entropy_coefficient: Scalar = 0.25
    discount_penalty: Scalar = 0.25
    reward_penalty: Scalar = 0.0
    alpha: Scalar = 5e-4
    damping: Scalar = 1e-3
    max_grad_norm: Scalar = math.inf
    env_params: PyTree = None


def check_config(config: Config) -> None:
    """Refuses options that are unknown or don't go together, before anything is compiled."""
    check_name("learned reward", config.learned, get_args(RewardKind))
    check_name("weight of the primary reward", config.primary, get_args(Primary))
    check_name("initial alignment reward", config.initial, get_args(Initial))
    check_name("solver", config.solver, get_args(Solver))
    check_name("baseline", config.baseline, get_args(Baseline))
    check_name("optimiser", config.optimiser, get_args(Optimiser))
    newest = max(config.outer_batch, config.warm_up_batch, config.num_envs)
    if config.buffer <= newest:
        raise ValueError(f"buffer={config.buffer} has no room for episodes before the newest {newest}; make it larger")
    if config.warm_up < newest:
        raise ValueError(f"warm_up={config.warm_up} ends before there are {newest} episodes; set warm_up={newest}")
