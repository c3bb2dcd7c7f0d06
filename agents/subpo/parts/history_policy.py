"""SubPO's policy: a network that reads what its history setting says of the past."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, PyTree

from jaxreward.agents.subpo.parts.config import Config, Hyperparams
from jaxreward.agents.subpo.parts.network import HistoryActorCritic
from jaxreward.environment import WithReward, stage
from jaxreward.learning.networks import ACTIVATIONS, ActorCritic, Head, flatten, unroll
from jaxreward.reward import bind_discount


@dataclass(frozen=True)
class HistoryPolicy:
    """What the steps of the algorithm need of the policy and its world.

    Attributes:
        env: The environment.
        env_params: The params it was made with.
        config: Sizes and options.
        head: The distribution of actions.
    """

    env: Environment
    env_params: PyTree
    config: Config
    head: Head

    @property
    def base(self) -> Environment:
        """The environment in which episodes are played before they are paid, see `jaxreward.environment.stage`."""
        return stage(self.env, self.env_params)[0]

    @property
    def is_tabular(self) -> bool:
        """Whether a batch visits the policy's pairs of place and time more than once, and nothing else is learned."""
        bare = not isinstance(self.base, WithReward) and hasattr(self.base, "observations")
        small = bare and self.base.num_places <= self.config.num_envs
        return small and self.config.history == "none" and not self.learns_value

    @property
    def learns_value(self) -> bool:
        """Whether a value is learned."""
        return self.config.estimator == "gae" or self.config.baseline == "value"

    @property
    def network(self) -> ActorCritic | HistoryActorCritic:
        """Policy and value."""
        config, head = self.config, self.head
        activation = ACTIVATIONS[config.activation]
        if config.history in ("none", "gru"):
            memory = config.memory if config.history == "gru" else 0
            return ActorCritic(head.size, head.free, config.layers, activation, memory)
        slots = self.base.num_places if config.history == "visited" else config.num_steps + 1
        features = self.example()[0].size
        return HistoryActorCritic(head.size, head.free, config.layers, activation, config.history, slots, features)

    def forward(self, params: PyTree, carry: PyTree, features: Array, place: Array) -> tuple[PyTree, Array, Array]:
        """One step: the network's memory, the policy's outputs and the value."""
        result: Any = self.network.apply(params, carry, *self.inputs(features, place))
        return result

    def inputs(self, features: Array, place: Array) -> tuple[Array, ...]:
        """What of these the network takes."""
        return (features, place) if isinstance(self.network, HistoryActorCritic) else (features,)

    def unroll(
        self, params: PyTree, features: Float[Array, "T N F"], place: Int[Array, "T N"]
    ) -> tuple[Float[Array, "T N O"], Float[Array, "T N"]]:
        """The policy's outputs and the values along `N` episodes."""
        if isinstance(self.network, HistoryActorCritic):
            result: Any = self.network.apply(params, features, place, method="sequence")
            return result
        carry = self.network.initial_carry(features.shape[1])
        start = jnp.zeros(features.shape[:2], bool)
        return unroll(self.network.apply, params, carry, features, start)[1:]

    def read(self, observation: PyTree, batch_axes: int = 2) -> tuple[Float[Array, "*batch F"], Int[Array, "*batch"]]:
        """What is read of observations: their numbers, and the places they are of where these count."""
        features = flatten(observation, batch_axes)
        if self.config.history == "visited" or self.is_tabular:
            return features, self.base.place(observation)
        return features, jnp.zeros(features.shape[:-1], jnp.int32)

    def example(self) -> tuple[Float[Array, " F"], Int[Array, ""]]:
        """What the network might read at one step: zeros."""
        base, params = stage(self.env, self.env_params)
        shapes = jax.eval_shape(base.reset_env, jax.random.key(0), params)[0]
        return self.read(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes), 0)

    def params_of_env(self, hyperparams: Hyperparams) -> PyTree:
        """The environment's params, any discount among its reward's following the agent's."""
        params = self.env_params if hyperparams.env_params is None else hyperparams.env_params
        return bind_discount(params, hyperparams.discount)

    def optimiser(self, hyperparams: Hyperparams) -> optax.GradientTransformation:
        """Adam on gradients clipped by global norm, all params as one vector."""
        return optax.flatten(
            optax.chain(
                optax.clip_by_global_norm(hyperparams.max_grad_norm),
                optax.scale_by_adam(),
                optax.scale(-hyperparams.learning_rate),
            )
        )
