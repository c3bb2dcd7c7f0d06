"""TD3: a deterministic policy, twin critics, smoothed targets and a delayed policy (Fujimoto et al. 2018).

arXiv:1802.09477, algorithm 1. All noise is on actions scaled to [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import Agent, Policy
from jaxreward.agents.baselines.parts import off_policy as loop
from jaxreward.agents.baselines.parts.critics import MLP, Twins
from jaxreward.agents.baselines.parts.off_policy import Metrics, Scalar
from jaxreward.contract.sizes import size
from jaxreward.learning.lazy import when
from jaxreward.learning.n_step import Batch
from jaxreward.learning.networks import ACTIVATIONS, flatten
from jaxreward.learning.reading import reading_for
from jaxreward.learning.squashed import UnitBox, unit_box
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
        discount: Per step; rewards with an `AgentDiscount` follow it.
        target_step: How far the target networks are moved, when they are.
        exploration: Standard deviation of what is added to actions while learning.
        smoothing: Standard deviation of what is added to the target policy's actions.
        smoothing_clip: The most that is added to them.
        policy_delay: Every how many updates of the critics the policy and all targets are updated.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    learning_rate: Scalar = 3e-4
    critic_learning_rate: Scalar = 3e-4
    discount: Scalar = 0.99
    target_step: Scalar = 0.005
    exploration: Scalar = 0.1
    smoothing: Scalar = 0.2
    smoothing_clip: Scalar = 0.5
    policy_delay: Int[Array, ""] | int = 2
    env_params: PyTree = None


class Networks(NamedTuple):
    """Params, or what follows them."""

    policy: PyTree
    critics: PyTree


class Learner(NamedTuple):
    """What an update changes; `updates` is how many there were."""

    params: Networks
    target: Networks
    policy_optimiser: PyTree
    critic_optimiser: PyTree
    updates: Int[Array, ""]


def td3(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A TD3 agent.

    Args:
        env: A gymnax `Environment` whose actions are a `Box` with bounds.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes and architecture.

    Raises:
        TypeError: If actions are not continuous.
        ValueError: If a side of the action space has no bound, the activation is unknown, the reward is a vector, or
            sizes do not fit.
    """
    algorithm = algorithm_for(env, env_params, config, "td3")
    return loop.off_policy(env, env_params, config, lambda env, env_params: algorithm, name="td3")


def algorithm_for(env: Environment, env_params: PyTree, config: Config, name: str) -> TD3:
    """The algorithm for an environment, for an agent of this name; see `td3`."""
    check_name("activation", config.activation, ACTIVATIONS)
    box, activation = unit_box(env.action_space(env_params), name), ACTIVATIONS[config.activation]
    reading = reading_for(env, env_params, config)
    policy = MLP(box.size, config.layers, activation, 0.01, reading)
    return TD3(box, policy, Twins(MLP(1, config.layers, activation, reading=reading)))


@dataclass(frozen=True)
class TD3:
    """The steps of the algorithm.

    Attributes:
        box: The actions.
        network: The policy's, before tanh.
        critics: The two critics', of features and actions.
    """

    box: UnitBox
    network: MLP
    critics: Twins

    def start(self, key: Key[Array, ""], observation: PyTree, hyperparams: Hyperparams) -> Learner:
        """Draws params; all targets begin as what they follow."""
        key_policy, key_critics = jax.random.split(key)
        features = flatten(observation)
        policy = self.network.init(key_policy, features)
        critics = self.critics.init(key_critics, self.read(features, self.action(policy, features)))
        params, zero = Networks(policy, critics), jnp.zeros((), jnp.int32)
        return Learner(params, params, adam(0.0).init(policy), adam(0.0).init(critics), zero)

    def noise(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Array:
        """Standard normal, for so many actions."""
        return jax.random.normal(key, (*shape, self.box.size))

    def act(
        self, learner: Learner, hyperparams: Hyperparams, taken: Scalar, observation: PyTree, noise: Array
    ) -> Array:
        """The policy's actions with noise, for `[N]` environments."""
        action = self.action(learner.params.policy, flatten(observation)) + hyperparams.exploration * noise
        return self.box.to_env(jnp.clip(action, -1, 1))

    def policy(self, learner: Learner, hyperparams: Hyperparams) -> Policy:
        """The policy learned so far, which is deterministic."""

        def act(carry: tuple, observation: PyTree, key: Key[Array, ""]) -> tuple[tuple, Array]:
            return carry, self.box.to_env(self.action(learner.params.policy, flatten(observation, 0)))

        return Policy(lambda: (), act, act)

    def update(
        self, learner: Learner, hyperparams: Hyperparams, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Learner, Metrics]:
        """A step of the critics and, every `policy_delay` of them, one of the policy and of all targets."""
        target = self.bootstrap(learner.target, hyperparams, batch, self.noise(key, batch.reward.shape))
        gradient, metrics = jax.grad(self.critic_loss, has_aux=True)(learner.params.critics, batch, target)
        towards, critic_optimiser = adam(hyperparams.critic_learning_rate).update(gradient, learner.critic_optimiser)
        critics = optax.apply_updates(learner.params.critics, towards)
        updates = learner.updates + 1
        learner = learner._replace(
            params=Networks(learner.params.policy, critics), critic_optimiser=critic_optimiser, updates=updates
        )
        due = updates % jnp.asarray(hyperparams.policy_delay, jnp.int32) == 0
        return when(due, self.improved, learner, hyperparams, flatten(batch.observation)), metrics

    def improved(self, learner: Learner, hyperparams: Hyperparams, features: Float[Array, "B F"]) -> Learner:
        """With a step of the policy, after which all targets follow."""
        policy, critics = learner.params
        gradient = jax.grad(self.policy_loss)(policy, critics, features)
        towards, optimiser = adam(hyperparams.learning_rate).update(gradient, learner.policy_optimiser)
        params = Networks(optax.apply_updates(policy, towards), critics)
        target = soft_update(params, learner.target, hyperparams.target_step)
        return learner._replace(params=params, target=target, policy_optimiser=optimiser)

    def bootstrap(
        self, target: Networks, hyperparams: Hyperparams, batch: Batch, noise: Float[Array, "B d"]
    ) -> Float[Array, " B"]:
        """What critics are moved towards: the smaller value of an action near the target policy's (eq. 14 and 15)."""
        features = flatten(batch.next_observation)
        off = jnp.clip(hyperparams.smoothing * noise, -hyperparams.smoothing_clip, hyperparams.smoothing_clip)
        action = jnp.clip(self.action(target.policy, features) + off, -1, 1)
        return batch.reward + batch.discount * self.critics(target.critics, self.read(features, action))[..., 0].min(0)

    def critic_loss(
        self, critics: PyTree, batch: Batch, target: Float[Array, " B"]
    ) -> tuple[Float[Array, ""], Metrics]:
        """Half the mean squared error of both, summed."""
        read = self.read(flatten(batch.observation), self.box.from_env(batch.action))
        value = self.critics(critics, read)[..., 0]
        loss = 0.5 * jnp.square(value - target[None]).mean(1).sum()
        return loss, {"loss/critics": loss, "value/mean": value.mean()}

    def policy_loss(self, policy: PyTree, critics: PyTree, features: Float[Array, "B F"]) -> Float[Array, ""]:
        """Minus what the first critic says of the policy's actions."""
        first = jax.tree.map(lambda x: x[0], critics)
        value: Any = self.critics.network.apply(first, self.read(features, self.action(policy, features)))
        return -value.mean()

    def action(self, policy: PyTree, features: Float[Array, "*batch F"]) -> Float[Array, "*batch d"]:
        """The policy's, in [-1, 1]."""
        before: Any = self.network.apply(policy, features)
        return jnp.tanh(before)

    def read(self, features: Float[Array, "*batch F"], action: Float[Array, "*batch d"]) -> Float[Array, "*batch F+d"]:
        """What a critic reads."""
        return jnp.concatenate([features, action], -1)


def adam(learning_rate: Scalar) -> optax.GradientTransformation:
    """Adam; it sees all params as one vector, which is a few operations in place of a few for each."""
    return optax.flatten(optax.adam(learning_rate))
