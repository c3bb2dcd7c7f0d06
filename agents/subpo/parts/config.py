"""SubPO's settings: what shapes the program, and its numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, PyTree

from jaxreward.agents.subpo.parts.estimators import ESTIMATORS
from jaxreward.contract.sizes import Sized, size
from jaxreward.learning.networks import ACTIVATIONS
from jaxreward.names import check_name

Scalar = Float[Array, ""] | float


Baseline = Literal["none", "batch", "value"]


History = Literal["none", "padded", "visited", "gru"]


Acted = Literal["chosen", "executed"]


@dataclass(frozen=True)
class Config(Sized):
    """What shapes the program: sizes and architecture.

    Attributes:
        num_envs: Episodes of an iteration, `N`.
        num_steps: Their length, or the most steps of them, `T`: a grid's horizon minus 1.
        estimator: What weighs the score of an action. "to_go" is what followed it, as in the theorem; "greedy" its own
            gain; "prefix" all gains so far, as in the authors' tabular code; "return" those of the whole episode; "gae"
            generalised advantages, whose baseline is a learned value.
        baseline: What is subtracted: "none", "batch", the mean of the other episodes at the same step, or "value", a
            learned one.
        history: What the policy sees beside the observation: "none"; "padded", all observations before in their order;
            "visited", the places visited before, in environments that have places; "gru", a learned summary.
        memory: Units of the GRU.
        layers: Widths of the hidden layers of policy and value.
        activation: Between them, a name in `jaxreward.learning.networks.ACTIVATIONS`.
        log_prob_of: Which action's score is weighed where the environment executes another one: that which was
            "chosen", or, as in the authors' code, that which was "executed", a biased estimate.
    """

    needs_episodes: ClassVar[bool] = True

    num_envs: int = size(500)
    num_steps: int = size(39)
    estimator: Literal["to_go", "greedy", "prefix", "return", "gae"] = "to_go"
    baseline: Baseline = "batch"
    history: History = "none"
    memory: int = size(128)
    layers: tuple[int, ...] = size((64, 32))
    activation: str = "tanh"
    log_prob_of: Acted = "chosen"


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        learning_rate: Adam's step size.
        discount: Per step, 1 for the objective `J`.
        gae_lambda: Trace decay of generalised advantages.
        entropy_coefficient: Weight of the entropy bonus.
        value_coefficient: Weight of the value loss, if there is one.
        max_grad_norm: Gradients are scaled down to this global norm; infinity to not scale them.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    learning_rate: Scalar = 1e-2
    discount: Scalar = 1.0
    gae_lambda: Scalar = 0.95
    entropy_coefficient: Scalar = 0.0
    value_coefficient: Scalar = 0.5
    max_grad_norm: Scalar = math.inf
    env_params: PyTree = None


def check_config(config: Config, env: Environment, base: Environment) -> None:
    """Refuses options that are unknown or don't fit the environment, before anything is compiled."""
    check_name("estimator", config.estimator, [*ESTIMATORS, "gae"])
    check_name("baseline", config.baseline, get_args(Baseline))
    check_name("history", config.history, get_args(History))
    check_name("action whose log-probability counts", config.log_prob_of, get_args(Acted))
    check_name("activation", config.activation, ACTIVATIONS)
    if config.history in ("padded", "visited") and not config.layers:
        raise ValueError(f"history={config.history!r} is read by the first of the layers; there are none")
    if config.history == "visited" and not hasattr(base, "place"):
        raise ValueError(f"{env.name} has no places to have visited; use history='padded' or history='gru'")
    horizon = getattr(base, "horizon", None)
    if horizon is not None and config.num_steps != horizon - 1:
        raise ValueError(
            f"an episode of {env.name} has {horizon - 1} steps, num_steps={config.num_steps}; "
            f"set num_steps={horizon - 1}"
        )
