"""Advantage actor-critic, the synchronous form of A3C (Mnih et al. 2016, arXiv:1602.01783).

One iteration is `collect` -> `advantages` -> `update`, see `jaxreward.agents.baselines.parts.on_policy`; the update is
one step on all that was collected, which is then thrown away. Where the paper's workers change shared weights one after
the other, the environments here are stepped together and their gradients averaged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.baselines.parts.on_policy import (
    Batch,
    Metrics,
    OnPolicy,
    RolloutConfig,
    Scalar,
    State,
    on_policy,
)
from jaxreward.contract.sizes import size
from jaxreward.learning.networks import unroll


@dataclass(frozen=True)
class Config(RolloutConfig):
    """What shapes the program; see `RolloutConfig`. Short rollouts of few environments are many small updates.

    Attributes:
        num_envs: Environments stepped in parallel, `N`.
        num_steps: Steps of each between two updates, the paper's `t_max`.
    """

    num_envs: int = size(16)
    num_steps: int = size(5)


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        learning_rate: Step size of RMSProp.
        discount: Per step; rewards with an `AgentDiscount` follow it.
        gae_lambda: Trace decay of the advantage estimates. At 1 they are the paper's: the return of as many steps as
            there are, less the value.
        entropy_coefficient: Weight of the entropy bonus.
        value_coefficient: Weight of the value loss.
        max_grad_norm: Gradients are scaled down to this global norm.
        decay: Of RMSProp's running mean of squared gradients.
        epsilon: Added to that mean below the square root.
        anneal_iterations: The learning rate falls linearly to zero over so many iterations; infinity to keep it.
        rate_step: With centring, how far an iteration moves the running means of rewards and values.
        value_bias: With centring, how much of the running mean of values is taken from what they are moved towards.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    learning_rate: Scalar = 7e-4
    discount: Scalar = 0.99
    gae_lambda: Scalar = 1.0
    entropy_coefficient: Scalar = 0.01
    value_coefficient: Scalar = 0.5
    max_grad_norm: Scalar = 0.5
    decay: Scalar = 0.99
    epsilon: Scalar = 1e-5
    anneal_iterations: Scalar = math.inf
    rate_step: Scalar = 0.1
    value_bias: Scalar = 0.0
    env_params: PyTree = None


def a2c(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An advantage actor-critic agent.

    Args:
        env: A gymnax `Environment` with a `Discrete` or a `Box` action space.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes and architecture.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If the activation is unknown, the reward is a vector, or it is to be centred and the environment has
            episodes.
    """
    return on_policy(A2C, env, env_params, config)


@dataclass(frozen=True)
class A2C(OnPolicy):
    """The steps of the algorithm."""

    def update(self, state: State, batch: Batch, key: Key[Array, ""]) -> tuple[PyTree, PyTree, Metrics]:
        """One step of the optimiser on all transitions."""
        del key  # nothing is shuffled
        grads, metrics = jax.grad(self.loss, has_aux=True)(state.params, batch, state.hyperparams)
        optimiser = self.optimiser(state.hyperparams, state.iteration)
        updates, optimiser_state = optimiser.update(grads, state.optimiser)
        return optax.apply_updates(state.params, updates), optimiser_state, metrics

    def loss(self, params: PyTree, batch: Batch, hyperparams: Hyperparams) -> tuple[Float[Array, ""], Metrics]:
        """The policy's surrogate with value loss and entropy bonus (section 4), and what to log of it.

        Its gradient is minus `E[A grad log pi(a | s)]` (algorithm S3), and so on.
        """
        memory = jax.tree.map(lambda x: x[0], batch.memory)
        _, outputs, value = unroll(self.forward, params, memory, batch.features, batch.start)
        distribution = self.head.distribution(outputs)
        policy_loss = -(distribution.log_prob(batch.action) * batch.advantage).mean()
        value_loss = 0.5 * jnp.square(value - batch.value - batch.advantage).mean()
        entropy = distribution.entropy().mean()
        total = policy_loss + hyperparams.value_coefficient * value_loss - hyperparams.entropy_coefficient * entropy
        return total, {"loss/policy": policy_loss, "loss/value": value_loss, "policy/entropy": entropy}

    def scaling(self, hyperparams: Hyperparams) -> optax.GradientTransformation:
        """RMSProp (section 4), which for the paper is one for all workers."""
        return optax.scale_by_rms(hyperparams.decay, hyperparams.epsilon, eps_in_sqrt=True)
