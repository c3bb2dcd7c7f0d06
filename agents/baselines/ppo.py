"""Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347) with generalised advantages.

One iteration is `collect` -> `advantages` -> `update`, see `jaxreward.agents.baselines.parts.on_policy`; the update is
several epochs of clipped minibatch steps.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import jax
import jax.numpy as jnp
import optax
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.baselines.parts.on_policy import (
    Batch,
    Metrics,
    OnPolicy,
    RolloutConfig,
    Scalar,
    State,
    check_activation,
    on_policy,
)
from jaxreward.contract.sizes import size
from jaxreward.learning.drifts import PPO as CLIPPED
from jaxreward.learning.drifts import get_drift
from jaxreward.learning.learned_drifts import digest_of
from jaxreward.learning.lifetimes import Lived
from jaxreward.learning.minibatch import check_minibatches, epochs
from jaxreward.learning.networks import unroll
from jaxreward.learning.objective import Drift, Lifetime, Objective


@dataclass(frozen=True)
class Config(Lived, RolloutConfig):
    """What shapes the program: that of `RolloutConfig`, and these.

    Attributes:
        num_epochs: Passes over the `T * N` transitions.
        num_minibatches: Parts of a pass; divides `T * N` (`N` for a recurrent policy, whose sequences stay whole).
        objective: What keeps the policy near the one that acted: "ppo" clips, others are drifts, see
            `jaxreward.learning.drifts.get_drift`.
        objective_digest: Of its file, if it is in one, filled in when a run begins: it doesn't go on with another.
    """

    num_epochs: int = size(4)
    num_minibatches: int = size(4)
    objective: str = CLIPPED
    objective_digest: str = ""

    def for_env(self, env: Environment, env_params: PyTree) -> Self:
        """The config with the digest of its objective's file."""
        del env, env_params
        return dataclasses.replace(self, objective_digest=digest_of(self.objective))

    def with_numbers(self, hyperparams: Any) -> Any:
        """The hyperparams with the objective's params in them, those that it has unless something else is said."""
        drift = drift_of(self)
        return dataclasses.replace(hyperparams, objective=params_of(drift)) if drift else hyperparams

    def followed(self) -> tuple[Objective, Drift] | None:
        """The drift, if there is one but for clipping, and a batch to trace it with."""
        drift = drift_of(self)
        return (drift, Drift(jnp.ones(1), jnp.ones(1))) if drift else None


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        learning_rate: Adam's step size.
        discount: Per step; rewards with an `AgentDiscount` follow it.
        gae_lambda: Trace decay of the advantage estimates.
        clip: How far the probability ratio may move from 1.
        value_clip: How far a value may move from its last estimate; infinity to not clip.
        entropy_coefficient: Weight of the entropy bonus.
        value_coefficient: Weight of the value loss.
        max_grad_norm: Gradients are scaled down to this global norm.
        anneal_iterations: The learning rate falls linearly to zero over so many iterations; infinity to keep it.
        lifetime: How many iterations there will be in all, for objectives that ask; where it is infinite, a run that is
            begun by name knows its length, see `jaxreward.run.spec.resolve`.
        rate_step: With centring, how far an iteration moves the running means of rewards and values.
        value_bias: With centring, how much of the running mean of values is taken from what they are moved towards,
            which keeps them near 0 where no discount does (Ma et al., IJCAI 2021, arXiv:2106.03442).
        objective: Params of the objective; None for its own.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    learning_rate: Scalar = 3e-4
    discount: Scalar = 0.99
    gae_lambda: Scalar = 0.95
    clip: Scalar = 0.2
    value_clip: Scalar = 0.2
    entropy_coefficient: Scalar = 0.01
    value_coefficient: Scalar = 0.5
    max_grad_norm: Scalar = 0.5
    anneal_iterations: Scalar = math.inf
    lifetime: Scalar = math.inf
    rate_step: Scalar = 0.1
    value_bias: Scalar = 0.0
    objective: PyTree = None
    env_params: PyTree = None


def ppo(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A PPO agent.

    Args:
        env: A gymnax `Environment` with a `Discrete` or a `Box` action space.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes and architecture.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If sizes do not divide, the activation or the objective is unknown, the reward is a vector, or it is
            to be centred and the environment has episodes.
    """
    check_config(config)
    return on_policy(partial(PPO, drift=drift_of(config)), env, env_params, config)


def drift_of(config: Config) -> Objective | None:
    """The drift that a config names; None for clipping, which needs none.

    Raises:
        ValueError: There is no such drift.
    """
    return None if config.objective == CLIPPED else get_drift(config.objective)


def params_of(drift: Objective) -> PyTree:
    """A drift's params where none are given."""
    return drift.init(jax.random.key(0))


def check_config(config: Config) -> None:
    """Refuses sizes that do not divide or leave nothing to normalise, before anything is compiled."""
    steps = config.num_envs * config.num_steps
    whole, name = (config.num_envs, "num_envs") if config.memory else (steps, "num_envs * num_steps")
    check_minibatches(config.num_minibatches, whole, name)
    if steps < 2 * config.num_minibatches:
        raise ValueError(
            f"num_envs={config.num_envs}, num_steps={config.num_steps} and num_minibatches={config.num_minibatches} "
            "make minibatches of one step, whose advantage less its own mean is 0: nothing would be learned; give "
            "fewer minibatches or more steps"
        )
    check_activation(config.activation)


@dataclass(frozen=True)
class PPO(OnPolicy):
    """The steps of the algorithm; a variant overrides one.

    Attributes:
        config: Sizes and architecture.
        drift: What the surrogate is less by; None for clipping.
    """

    config: Config
    drift: Objective | None

    def update(self, state: State, batch: Batch, key: Key[Array, ""]) -> tuple[PyTree, PyTree, Metrics]:
        """Several epochs of minibatch steps; a recurrent policy's minibatches are whole sequences."""
        axis = 1 if self.config.memory else 0
        batch = batch if self.config.memory else jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
        optimiser = self.optimiser(state.hyperparams, state.iteration)

        def step(carry: tuple, minibatch: Batch) -> tuple[tuple, Metrics]:
            params, optimiser_state = carry
            grads, metrics = jax.grad(self.loss, has_aux=True)(params, minibatch, state.hyperparams, state.iteration)
            updates, optimiser_state = optimiser.update(grads, optimiser_state)
            return (optax.apply_updates(params, updates), optimiser_state), metrics

        sizes = self.config.num_epochs, self.config.num_minibatches
        (params, optimiser_state), metrics = epochs(step, (state.params, state.optimiser), batch, key, *sizes, axis)
        return params, optimiser_state, metrics

    def loss(
        self, params: PyTree, batch: Batch, hyperparams: Hyperparams, iteration: Int[Array, ""] | int = 0
    ) -> tuple[Float[Array, ""], Metrics]:
        """The surrogate (section 3, eq. 7) with value loss and entropy bonus (eq. 9), and what to log of it."""
        memory = jax.tree.map(lambda x: x[0], batch.memory)
        _, outputs, value = unroll(self.forward, params, memory, batch.features, batch.start)
        advantage = self.advantage_of(batch)
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        policy_loss, metrics = self.policy_loss(outputs, batch, advantage, hyperparams, iteration)
        value_loss = clipped_value_loss(value, batch, hyperparams.value_clip)
        entropy = metrics["policy/entropy"]
        total = policy_loss + hyperparams.value_coefficient * value_loss - hyperparams.entropy_coefficient * entropy
        return total, {**metrics, "loss/value": value_loss}

    def advantage_of(self, batch: Batch) -> Float[Array, "*batch"]:
        """What the policy is to ascend, before it is brought to one scale."""
        return batch.advantage

    def policy_loss(
        self,
        outputs: Float[Array, "*batch O"],
        batch: Batch,
        advantage: Float[Array, "*batch"],
        hyperparams: Any,
        iteration: Int[Array, ""] | int,
    ) -> tuple[Float[Array, ""], Metrics]:
        """The surrogate of a policy's outputs, to be descended, and what to log of it."""
        distribution = self.head.distribution(outputs)
        log_ratio = distribution.log_prob(batch.action) - batch.log_prob
        ratio = jnp.exp(log_ratio)
        below, above = self.limits(hyperparams)
        policy_loss = -self.surrogate(ratio, advantage, hyperparams, iteration).mean()
        metrics = {
            "loss/policy": policy_loss,
            "policy/entropy": mean_of(distribution.entropy(), batch.counted),
            "policy/kl": mean_of(ratio - 1 - log_ratio, batch.counted),
            "policy/clipped": mean_of((ratio < 1 - below) | (ratio > 1 + above), batch.counted),
        }
        return policy_loss, metrics

    def limits(self, hyperparams: Any) -> tuple[Scalar, Scalar]:
        """How far the probability ratio may fall from 1 and rise."""
        return hyperparams.clip, hyperparams.clip

    def surrogate(
        self,
        ratio: Float[Array, "*batch"],
        advantage: Float[Array, "*batch"],
        hyperparams: Hyperparams,
        iteration: Int[Array, ""] | int,
    ) -> Float[Array, "*batch"]:
        """What the policy ascends at each step: `r A` less the drift, or clipped, which is the same of PPO's drift."""
        if self.drift is None:
            below, above = self.limits(hyperparams)
            clipped = jnp.clip(ratio, 1 - below, 1 + above)
            return jnp.minimum(ratio * advantage, clipped * advantage)
        params = params_of(self.drift) if hyperparams.objective is None else hyperparams.objective
        life = Lifetime(jnp.asarray(iteration, jnp.int32), jnp.asarray(hyperparams.lifetime, float))
        batch = Drift(ratio, advantage, jnp.asarray(hyperparams.clip))
        return ratio * advantage - self.drift.apply(params, batch, life)

    def scaling(self, hyperparams: Hyperparams) -> optax.GradientTransformation:
        """Adam."""
        return optax.scale_by_adam(eps=1e-5)


def mean_of(x: Array, counted: Bool[Array, "*batch"] | tuple[()]) -> Float[Array, ""]:
    """The mean of what counts, 0 where nothing does."""
    if isinstance(counted, tuple):
        return x.mean()
    return jnp.where(counted, x, 0).sum() / jnp.maximum(counted.sum(), 1)


def clipped_value_loss(value: Float[Array, "*batch"], batch: Batch, clip: Scalar) -> Float[Array, ""]:
    """Half the mean squared error to the return estimate, pessimistic about values that moved further than `clip`."""
    target = batch.advantage + batch.value
    near = batch.value + jnp.clip(value - batch.value, -clip, clip)
    return 0.5 * jnp.maximum(jnp.square(value - target), jnp.square(near - target)).mean()
