"""Soft actor-critic (Haarnoja et al. 2018, arXiv:1812.05905), for discrete actions as in Christodoulou 2019.

The policy maximises the return and its own entropy. An update moves two critics towards what follows a transition, the
policy towards what the smaller of them prefers, and the temperature until the policy's entropy is a given one. With
discrete actions (arXiv:1910.07207) expectations over actions are sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agent import Agent, Policy
from jaxreward.agents.baselines.parts import off_policy as loop
from jaxreward.agents.baselines.parts.actions import Actions, actions_for
from jaxreward.agents.baselines.parts.critics import MLP, Twins
from jaxreward.agents.baselines.parts.off_policy import Metrics, Scalar
from jaxreward.contract.sizes import size
from jaxreward.learning.n_step import Batch
from jaxreward.learning.networks import ACTIVATIONS, flatten
from jaxreward.learning.reading import PLAIN, Reading, reading_for
from jaxreward.learning.targets import soft_update
from jaxreward.names import check_name


@dataclass(frozen=True)
class Config(loop.Config):
    """What shapes the program; see `jaxreward.agents.baselines.parts.off_policy.Config` too.

    Attributes:
        layers: Widths of the hidden layers of policy and critics.
        activation: Between them, a name in `jaxreward.learning.networks.ACTIVATIONS`.
    """

    batch_size: int = size(256)
    layers: tuple[int, ...] = size((256, 256))
    activation: str = "relu"


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        learning_rate: Adam's step size, of the policy.
        critic_learning_rate: Of the critics.
        temperature_learning_rate: Of the temperature; 0 keeps it.
        temperature: What entropy is worth against reward, at the start.
        entropy_per_dimension: What the temperature is moved towards where actions are continuous: entropy in nats, of
            actions scaled to [-1, 1], for each of their dimensions.
        entropy_share: The same where they are discrete, as a share of the most that there can be.
        discount: Per step; rewards with an `AgentDiscount` follow it.
        target_step: How far an update moves the target critics.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    learning_rate: Scalar = 3e-4
    critic_learning_rate: Scalar = 3e-4
    temperature_learning_rate: Scalar = 3e-4
    temperature: Scalar = 1.0
    entropy_per_dimension: Scalar = -1.0
    entropy_share: Scalar = 0.5
    discount: Scalar = 0.99
    target_step: Scalar = 0.005
    env_params: PyTree = None


class Params(NamedTuple):
    """What has gradients."""

    policy: PyTree
    critics: PyTree
    log_temperature: Float[Array, ""]


class Learner(NamedTuple):
    """What an update changes; `rate` is a reward rate where that is what counts, else 0."""

    params: Params
    target: PyTree
    optimiser: PyTree
    rate: Float[Array, ""]


def sac(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A soft actor-critic.

    Args:
        env: A gymnax `Environment` with a `Discrete` action space, or a `Box` with bounds.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes and architecture.

    Raises:
        TypeError: If there is no policy for the action space.
        ValueError: If a side of the action space has no bound, the activation is unknown, the reward is a vector, or
            sizes do not fit.
    """
    algorithm = SAC(*networks(env.action_space(env_params), config, "sac", reading_for(env, env_params, config)))
    return loop.off_policy(env, env_params, config, lambda env, env_params: algorithm, name="sac")


def networks(space: Any, config: Config, who: str, reading: Reading = PLAIN) -> tuple[Actions, MLP, Twins]:
    """The actions of a space, and a policy and critics for them; raises as `sac` does."""
    check_name("activation", config.activation, ACTIVATIONS)
    actions, activation = actions_for(space, who), ACTIVATIONS[config.activation]
    policy = MLP(actions.outputs, config.layers, activation, 0.01, reading)
    return actions, policy, Twins(MLP(actions.values, config.layers, activation, reading=reading))


@dataclass(frozen=True)
class SAC:
    """The steps of the algorithm; a variant overrides what the critics are moved towards.

    Attributes:
        actions: What differs between continuous and discrete ones.
        network: The policy's.
        critics: The two critics'.
    """

    actions: Actions
    network: MLP
    critics: Twins

    def start(self, key: Key[Array, ""], observation: PyTree, hyperparams: Hyperparams) -> Learner:
        """Draws params; the target critics begin as the critics."""
        key_policy, key_critics = jax.random.split(key)
        features = flatten(observation)
        read = jnp.concatenate([features, jnp.zeros((features.shape[0], self.actions.size))], -1)
        policy, critics = self.network.init(key_policy, features), self.critics.init(key_critics, read)
        params = Params(policy, critics, jnp.log(jnp.asarray(hyperparams.temperature, float)))
        return Learner(params, critics, adam().init(params), jnp.zeros(()))

    def noise(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Array:
        """What so many actions need."""
        return self.actions.noise(key, shape)

    def act(
        self, learner: Learner, hyperparams: Hyperparams, taken: Scalar, observation: PyTree, noise: Array
    ) -> Array:
        """Actions of the policy, for `[N]` environments."""
        return self.actions.sample(self.outputs(learner, flatten(observation)), noise)

    def policy(self, learner: Learner, hyperparams: Hyperparams) -> Policy:
        """The policy learned so far; its mode is the most likely action (of continuous ones, before tanh)."""

        def act(carry: tuple, observation: PyTree, key: Key[Array, ""]) -> tuple[tuple, Array]:
            outputs = self.outputs(learner, flatten(observation, 0))
            return carry, self.actions.sample(outputs, self.actions.noise(key, ()))

        def mode(carry: tuple, observation: PyTree, key: Key[Array, ""]) -> tuple[tuple, Array]:
            return carry, self.actions.mode(self.outputs(learner, flatten(observation, 0)))

        return Policy(lambda: (), act, mode)

    def update(self, learner: Learner, hyperparams: Any, batch: Batch, key: Key[Array, ""]) -> tuple[Learner, Metrics]:
        """One gradient step of everything, then the target critics follow."""
        noise, next_noise = self.actions.noise(key, (2, *batch.reward.shape))
        next_value = self.soft_value(learner, flatten(batch.next_observation), next_noise)
        target = self.target(learner, batch, next_value)
        gradient, metrics = jax.grad(self.loss, has_aux=True)(learner.params, hyperparams, batch, target, noise)
        params, optimiser = stepped(learner, gradient, hyperparams)
        following = soft_update(params.critics, learner.target, hyperparams.target_step)
        return Learner(params, following, optimiser, self.rate(learner, hyperparams, next_value)), metrics

    def target(self, learner: Learner, batch: Batch, next_value: Float[Array, " B"]) -> Float[Array, " B"]:
        """What the critics are moved towards (eq. 5)."""
        return batch.reward + batch.discount * next_value

    def rate(self, learner: Learner, hyperparams: Any, next_value: Float[Array, " B"]) -> Float[Array, ""]:
        """The reward rate after an update; where rewards are discounted there is none."""
        return learner.rate

    def soft_value(self, learner: Learner, features: Float[Array, "B F"], noise: Array) -> Float[Array, " B"]:
        """`E[min Q(s, a) - temperature log pi(a | s)]` by the target critics (eq. 3)."""
        critics = partial(self.critics, learner.target)
        value, entropy = self.actions.expected(critics, features, self.outputs(learner, features), noise)
        return value + jnp.exp(learner.params.log_temperature) * entropy

    def loss(
        self, params: Params, hyperparams: Hyperparams, batch: Batch, target: Float[Array, " B"], noise: Array
    ) -> tuple[Float[Array, ""], Metrics]:
        """The sum of the losses of the critics (eq. 5), the policy (eq. 7) and the temperature (eq. 18).

        Each has gradients in a part of its own only. All see the params from before the step.
        """
        held, features = jax.lax.stop_gradient(params), flatten(batch.observation)
        taken = self.actions.taken(partial(self.critics, params.critics), features, batch.action)
        critic_loss = 0.5 * jnp.square(taken - target[None]).mean(1).sum()
        outputs: Any = self.network.apply(params.policy, features)
        value, entropy = self.actions.expected(partial(self.critics, held.critics), features, outputs, noise)
        policy_loss = -(value + jnp.exp(held.log_temperature) * entropy).mean()
        share = jnp.asarray(hyperparams.entropy_per_dimension if self.actions.size else hyperparams.entropy_share)
        surplus = jax.lax.stop_gradient(entropy.mean()) - share * self.actions.unit
        total = critic_loss + policy_loss + jnp.exp(params.log_temperature) * surplus
        metrics = {
            "loss/critics": critic_loss,
            "loss/policy": policy_loss,
            "policy/entropy": entropy.mean(),
            "policy/temperature": jnp.exp(params.log_temperature),
            "value/mean": taken.mean(),
        }
        return total, metrics

    def outputs(self, learner: Learner, features: Float[Array, "*batch F"]) -> Float[Array, "*batch O"]:
        """What the policy's network says."""
        result: Any = self.network.apply(learner.params.policy, features)
        return result


def adam() -> optax.GradientTransformation:
    """Adam's direction; it sees all params as one vector, which is a few operations in place of a few for each."""
    return optax.flatten(optax.scale_by_adam())


def stepped(learner: Learner, gradient: Params, hyperparams: Hyperparams) -> tuple[Params, PyTree]:
    """The params after a step, of a size of its own for each part, and the optimiser's state."""
    direction, optimiser = adam().update(gradient, learner.optimiser)
    rates = (hyperparams.learning_rate, hyperparams.critic_learning_rate, hyperparams.temperature_learning_rate)
    downhill = Params(
        *(jax.tree.map(partial(jnp.multiply, -rate), way) for way, rate in zip(direction, rates, strict=True))
    )
    return optax.apply_updates(learner.params, downhill), optimiser
