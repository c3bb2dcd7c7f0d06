"""What agents that learn the values of discrete actions share: a network, its optimiser, and how to act by it."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agent import Policy
from jaxreward.learning.action_values import ActionValues
from jaxreward.learning.exploration import epsilon_greedy
from jaxreward.learning.networks import ACTIVATIONS, for_agents
from jaxreward.learning.reading import reading_for
from jaxreward.names import check_name

Scalar = Float[Array, ""] | float
Optimiser = Literal["adam", "radam"]


def network_for(
    env: Environment, env_params: PyTree, agent: str, config: Any, *, agents: tuple[int, ...] = (), **shape: Any
) -> ActionValues:
    """A network for an environment, or one for each agent of a game; see `ActionValues`.

    With `agents=(n,)` what it reads and gives has an axis of agents behind those of a batch, its params a leading one.

    Args:
        env: The environment.
        env_params: Its params.
        agent: Who asks.
        config: Its config, with `layers`, `activation` and what `ReadingConfig` has.
        agents: See above.
        shape: What else `ActionValues` is to be.

    Raises:
        TypeError: If actions are not discrete.
        ValueError: If there is no such activation, or convolutions or the user's network don't fit what is observed.
    """
    space = env.action_space(env_params)
    if not isinstance(space, spaces.Discrete):
        raise TypeError(
            f"{agent} has a value for each of some actions; {env.name} has {type(space).__name__}. See ppo or sac"
        )
    check_name("activation", config.activation, ACTIVATIONS)
    reading = reading_for(env, env_params, config, agents)
    sizes = int(space.n), tuple(config.layers), ACTIVATIONS[config.activation]
    return for_agents(ActionValues, agents)(*sizes, reading=reading, **shape)


def adam(learning_rate: Scalar, max_grad_norm: Scalar, kind: Optimiser = "adam") -> optax.GradientTransformation:
    """Adam, or RAdam (Liu et al. 2020, arXiv:1908.03265), on gradients scaled down to a global norm.

    It sees all params as one vector, which is a few operations in place of a few for each of them.
    """
    scale = {"adam": optax.scale_by_adam, "radam": optax.scale_by_radam}[kind]
    parts = optax.clip_by_global_norm(max_grad_norm), scale(), optax.scale(-learning_rate)
    return optax.flatten(optax.chain(*parts))


def value_of(values: Float[Array, "*batch A"], action: Array) -> Float[Array, "*batch"]:
    """The value of the action that was taken."""
    return jnp.take_along_axis(values, action[..., None], -1)[..., 0]


def huber(error: Float[Array, "*batch"], delta: Scalar) -> Float[Array, "*batch"]:
    """Half the square of errors up to `delta`, linear beyond (Huber 1964); infinity for the square alone."""
    delta = jnp.minimum(delta, 1e10)  # at infinity the side that is not taken has no derivative
    size = jnp.abs(error)
    return jnp.where(size <= delta, 0.5 * jnp.square(error), delta * (size - 0.5 * delta))


def greedy_policy(network: ActionValues, params: PyTree, epsilon: Scalar) -> Policy:
    """The action of the highest value, or with probability `epsilon` any; its mode without those."""

    def values(observation: PyTree) -> Float[Array, " A"]:
        return jnp.asarray(network.apply(params, network.read(observation, 0)))

    def act(carry: tuple, observation: PyTree, key: Key[Array, ""]) -> tuple[tuple, Array]:
        return carry, epsilon_greedy(values(observation), jax.random.uniform(key), epsilon)

    def mode(carry: tuple, observation: PyTree, key: Key[Array, ""]) -> tuple[tuple, Array]:
        return carry, jnp.argmax(values(observation), -1).astype(jnp.int32)

    return Policy(lambda: (), act, mode)
