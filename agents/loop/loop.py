"""LOOP: optimism over hypotheses whose Bellman errors are small, and few switches (He, Zhong and Yang, ICLR 2024).

A hypothesis `f` has a `Q_f` and a reward rate `J_f`. The agent holds the most optimistic one of those that fit the
data nearly as well as any does, acts greedily, and looks for another one once that one fits badly. Exact for the
classes here, as worlds are finite: the set is known in closed form, and its most optimistic member is found to a local
maximum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.loop.parts.features import features_of, features_of_pairs, kernel_features
from jaxreward.agents.loop.parts.hypotheses import Hypotheses, value_based
from jaxreward.agents.loop.parts.learner import StreamConfig, finite_learner
from jaxreward.agents.loop.parts.likelihood import likelihood_based
from jaxreward.agents.loop.parts.limits import check_bound
from jaxreward.agents.loop.parts.mixture import value_targeted
from jaxreward.agents.loop.parts.regression import across_pairs, per_pair
from jaxreward.agents.loop.parts.switching import Switching, low_switching
from jaxreward.agents.loop.parts.world import FiniteWorld, finite_world
from jaxreward.contract.sizes import size
from jaxreward.lookup import is_reference
from jaxreward.names import check_name

Model = Literal["tabular", "linear", "kernel", "mixture", "likelihood"]
Planner = Literal["ell", "box"]


@dataclass(frozen=True)
class Config(StreamConfig):
    """What shapes the program.

    Attributes:
        model: The class of hypotheses. Value functions: "tabular", "linear" in features, or of a Gaussian "kernel" on
            them. Models of the world: a "mixture" that is linear in features and learned by the values it predicts, or
            all there are, by their "likelihood".
        planner: "ell" keeps to the confidence set, "box" gives each pair of state and action the whole of it.
        switching: When to plan: once the excess loss of the held hypothesis, "discrepancy", the visits of a pair,
            "count", or the "determinant" of the features' matrix is `ratio` times what it was.
        starts: From how many plans "ell" begins; the best end is kept.
        features: Of "linear", "kernel" and "mixture", see `features_of`.
        check_span: Whether a bound on the span below the true one is refused.
    """

    model: Model = "tabular"
    planner: Planner = "ell"
    switching: Switching = "discrepancy"
    starts: int = size(1)
    features: str = "one_hot"
    check_span: bool = True


@struct.dataclass
class Hyperparams:
    """Traced numbers. Rewards are scaled to `[0, 1]`; all are choices that did well, see `theory` for the other ones.

    Attributes:
        beta: How much larger than the least loss that of a hypothesis may be.
        ratio: Plans again once a measure is this many times what it was; above 1.
        regularisation: Weight of the data of which it is assumed that they are as good as can be; above 0.
        pseudo_reward: What those data pay.
        max_span: A bound on the span of the bias, infinite if none is known. One below the true span spoils optimism.
        tolerance: Of planning, relative to the bias.
        bandwidth: Of the kernel.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    beta: Float[Array, ""] | float = 0.5
    ratio: Float[Array, ""] | float = 3.0
    regularisation: Float[Array, ""] | float = 0.1
    pseudo_reward: Float[Array, ""] | float = 1.0
    max_span: Float[Array, ""] | float = jnp.inf
    tolerance: Float[Array, ""] | float = 1e-4
    bandwidth: Float[Array, ""] | float = 0.5
    env_params: PyTree = None


def loop(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A LOOP agent.

    It logs beside what all agents of finite worlds do `optimistic_gain`, `J_f`, `span` and `true_span`, `switches`,
    and the `discrepancy` of the held hypothesis with the `threshold` at which it is given up.

    Args:
        env: A finite world that never ends.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: The class of hypotheses, the planner, when to plan, and sizes.

    Raises:
        ValueError: If the environment is not finite, or ends, or its reward has a memory; or if an option is unknown or
            does not fit the others.
    """
    _check(config)
    world = finite_world(env, env_params, "loop")
    pairs = world.num_states, world.num_actions
    method = low_switching(hypotheses_of(world, config), pairs, config.switching)
    return finite_learner(world, env_params, config, method)


def _check(config: Config) -> None:
    """Refuses what is unknown or does not fit together."""
    check_name("model", config.model, get_args(Model))
    check_name("planner", config.planner, get_args(Planner))
    check_name("switching", config.switching, get_args(Switching))
    if config.model in ("tabular", "likelihood") and config.features != "one_hot":
        raise ValueError(f"model={config.model} has no features, and features={config.features}; try model=linear")
    if config.model in ("mixture", "likelihood") and config.starts > 1:
        raise ValueError(f"starts={config.starts} are of functions of value, and model={config.model}; try starts=1")
    if config.planner == "box" and config.starts > 1:
        raise ValueError(f"starts={config.starts} are of planner=ell; planner=box has one optimum: try starts=1")
    if config.model == "mixture" and config.planner != "box":
        raise ValueError(
            f"planner={config.planner} is of a set of value functions or likely models; model=mixture needs planner=box"
        )
    if config.model == "mixture" and not is_reference(config.features):
        raise ValueError(
            f"model=mixture needs features of each step, and features={config.features} are of pairs; give your own, "
            "features=module:function, a function of the numbers of states and actions that returns [S, A, S, d]"
        )


def hypotheses_of(world: FiniteWorld, config: Config) -> Hypotheses:
    """The class of hypotheses that was chosen."""
    pairs = world.num_states, world.num_actions
    if config.model == "tabular":
        return value_based(pairs, per_pair(), config.planner, config.starts)
    if config.model == "likelihood":
        return likelihood_based(pairs, config.planner)
    if config.model == "mixture":
        phi = features_of(config.features, (*pairs, pairs[0]))
        return value_targeted(jnp.asarray(phi, float))
    features = features_of_pairs(config.features, pairs)
    known = lambda hyperparams: jnp.asarray(features, float)  # noqa: E731
    regression = across_pairs(kernel_features(features) if config.model == "kernel" else known)
    return value_based(pairs, regression, config.planner, config.starts)


def theory(
    env: Environment,
    env_params: PyTree,
    horizon: int,
    *,
    delta: float = 0.05,
    span: float | None = None,
    dimension: int | None = None,
    constant: float = 1.0,
) -> Hyperparams:
    """Hyperparams of the form that makes the truth be in every confidence set, with probability `1 - delta`.

    `beta = constant max(1, span)^2 dimension log(horizon / delta)`, the order of the squared error of least squares
    whose targets have this span. The constant is a choice, as is a `ratio` of 3: an analysis needs it above 1.

    Args:
        env: A finite world that never ends.
        env_params: Its params.
        horizon: How many steps will be taken.
        delta: How likely it may be that the truth is outside.
        span: A bound on the span of the optimal bias, in rewards as the environment pays them; by default the true one.
        dimension: Of the features; by default the number of pairs of state and action.
        constant: See above.

    Raises:
        ValueError: If the horizon is too short for anything to be learned, or the span is below the true one, or a
            number is not positive, or the world is not one for `loop`.
    """
    world = finite_world(env, env_params, "loop")
    pairs = world.num_states * world.num_actions
    if not (0 < delta < 1 and constant > 0):
        raise ValueError(f"expected delta between 0 and 1 and a constant above 0, not {delta} and {constant}")
    if horizon <= pairs:
        raise ValueError(f"horizon={horizon} is over before each of the {pairs} pairs of state and action was tried")
    truth = world.truth(env_params)
    true_span = float(truth.span)
    if span is not None:
        check_bound(span, true_span, "span")
    scaled = (true_span if span is None else span) / float(truth.width)
    beta = constant * max(1.0, scaled) ** 2 * (dimension or pairs) * math.log(horizon / delta)
    return Hyperparams(beta=beta, max_span=jnp.inf if span is None else scaled)
