"""BiPaRS: how much of an auxiliary reward to use, where (Hu et al., NeurIPS 2020, arXiv:2011.02669).

The policy climbs the return under `r_p + z_phi(s, a) r_aux`, and the shaping weight `z_phi`, linear in features of the
state for each action and 1 at first, the return under `r_p`. The paper has three ways to find its gradient, which
differ in what of the policy depends on `phi`: see `Config.method`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.barfi.parts import online as shared
from jaxreward.agents.barfi.parts.online import (
    Batch,
    Improvement,
    Online,
    State,
    learner_for,
    make_agent,
    through_one_step,
)
from jaxreward.agents.baselines.parts.learner import Scalar, shows_auxiliary
from jaxreward.names import check_name

Method = Literal["explicit", "meta", "incremental"]


@dataclass(frozen=True)
class Config(shared.Config):
    """What shapes the program.

    Attributes:
        method: What of the policy depends on `phi`. "explicit": it sees the shaping weights of all actions beside the
            features, and nothing else does. (Of continuous actions it sees the weight at the middle of their range, and
            what depends on the action is not learned.) "meta": its params do, through their last step. "incremental":
            through all their steps; the Jacobian is carried along, `n_theta n_phi` numbers. It may grow without bound
            where the policy's steps are large, above all with optimiser="sgd".
    """

    method: Method = "meta"


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        learning_rate: Of the policy.
        reward_learning_rate: Of the shaping weights.
        discount: Per step, of both returns.
        entropy_coefficient: Weight of the entropy bonus in the policy's step.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    learning_rate: Scalar = 2e-3
    reward_learning_rate: Scalar = 5e-3
    discount: Scalar = 0.99
    entropy_coefficient: Scalar = 0.25
    env_params: PyTree = None


def bipars(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A BiPaRS agent.

    Args:
        env: A gymnax `Environment` with a `Discrete` or a `Box` action space, which shows an auxiliary reward in
            `info["reward/auxiliary"]`, see `jaxreward.rewards.beside`.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes and architecture.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If an option is unknown, an episode can be too long, the reward is a vector, or there is no
            auxiliary reward.
    """
    check_name("method", config.method, get_args(Method))
    if not shows_auxiliary(env, env_params):
        raise ValueError(
            f"{env.name} shows no auxiliary reward to weigh; put one beside its own, "
            "with_reward(env, beside(environment_reward(), auxiliary=...)), or use the agent 'lirpg'"
        )
    algorithm = Online(
        learner_for(env, env_params, config),
        env_params,
        config,
        called="shaping_weight",
        start=1.0,
        combine=shaped,
        improve=METHODS[config.method],
        carries_jacobian=config.method == "incremental",
        shows_values=config.method == "explicit",
    )
    return make_agent(algorithm)


def shaped(weight: Float[Array, "T N"], batch: Batch, hyperparams: Any) -> Float[Array, "T N"]:
    """What the policy learns from."""
    del hyperparams
    return batch.primary + weight * batch.auxiliary


def explicit(online: Online, state: State, batch: Batch) -> Improvement:
    """The policy gradient in `phi`, which the policy sees: `E[d log pi(a | s, z_phi(s, .)) / d phi G]`."""
    weight = online.returns(batch.primary, batch, state.hyperparams)

    def objective(phi: PyTree) -> Float[Array, ""]:
        seen = online.seen(phi, batch.features)
        return online.learner.surrogate(state.actor.params, seen, batch.action, weight, batch.valid)

    actor = online.advance(state.actor, state.phi, batch, state.hyperparams)
    return Improvement(jax.grad(objective)(state.phi), actor)


def incremental(online: Online, state: State, batch: Batch) -> Improvement:
    """As `through_one_step`, where the policy before the step depends on `phi` too.

    With a step `theta' = theta + alpha g(theta, phi)` and `D = d theta / d phi`, zero at first,
    `D' = (I + alpha dg/dtheta) D + alpha dg/dphi`. With RMSprop `theta` is the optimiser's state too.
    """
    theta, unravel_theta = ravel_pytree(state.actor)
    phi, unravel_phi = ravel_pytree(state.phi)

    def advance(theta: Float[Array, " n"], phi: Float[Array, " m"]) -> Float[Array, " n"]:
        actor = online.advance(unravel_theta(theta), unravel_phi(phi), batch, state.hyperparams)
        return ravel_pytree(actor)[0]

    def push(of_theta: Float[Array, " n"], of_phi: Float[Array, " m"]) -> tuple[Array, Array]:
        return jax.jvp(advance, (theta, phi), (of_theta, of_phi))

    after, jacobian = jax.vmap(push, (1, 1), (None, 1))(state.jacobian, jnp.eye(phi.size, dtype=phi.dtype))
    objective = lambda theta: online.objective(unravel_theta(theta).params, batch, state.hyperparams)  # noqa: E731
    gradient = jax.grad(objective)(after) @ jacobian
    return Improvement(unravel_phi(gradient), unravel_theta(after), jacobian)


METHODS: dict[str, Callable[[Online, State, Batch], Improvement]] = {
    "explicit": explicit,
    "meta": through_one_step,
    "incremental": incremental,
}
