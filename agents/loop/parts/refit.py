"""A network of action values for the reward rate, and how it is fitted to all that was seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.learning.networks import Torso, dense
from jaxreward.learning.replay import Replay, sample

Scalar = Float[Array, ""] | float


class Transitions(NamedTuple):
    """Steps that were taken, leaves `[*batch, ...]`; in a ring `[capacity, N, ...]`.

    Attributes:
        observation: As the network reads it.
        action: What was done.
        reward: What it paid.
        next_observation: What followed.
    """

    observation: Float[Array, "*batch F"]
    action: Int[Array, "*batch"]
    reward: Float[Array, "*batch"]
    next_observation: Float[Array, "*batch F"]


class Hypothesis(NamedTuple):
    """What is held between two switches.

    Attributes:
        params: Of the network.
        target: Of the one that it was moved towards.
        inverse: Of the Gram matrix at the switch, `[A, d, d]`.
        log_determinant: Of that matrix.
        gain: The reward rate that is hoped for.
        switches: How many there were.
    """

    params: PyTree
    target: PyTree
    inverse: Float[Array, "A d d"]
    log_determinant: Float[Array, ""]
    gain: Float[Array, ""]
    switches: Int[Array, ""]


class ValueNetwork(nn.Module):
    """The value of each action, `[..., F] -> [..., A]`, zero at first."""

    num_actions: int
    layers: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Float[Array, "*batch F"]) -> Float[Array, "*batch A"]:
        return dense(self.num_actions, 0.0)(Torso(self.layers, nn.relu)(x))


def refitted(
    network: ValueNetwork,
    value: Callable[[PyTree, Array], Array],
    held: Hypothesis,
    seen: Replay,
    key: Key[Array, ""],
    hyperparams: Any,
    steps: int,
    batch_size: int,
) -> Hypothesis:
    """Moves a network towards `r + V(s') - J`, the gain `J` being the mean of `V` over a sample of states.

    Args:
        network: What is fitted.
        value: `(params, observation) -> V`, optimistic; it is cut to the least of the sample plus `max_span`.
        held: From where.
        seen: `Transitions` that it is fitted to.
        key: Draws the sample, and the transitions of each step.
        hyperparams: `max_span`, `learning_rate` and `target_step`.
        steps: Of Adam.
        batch_size: Transitions of each, and states of the sample.
    """
    key_reference, key_batches = jax.random.split(key)
    reference = sample(seen, key_reference, (batch_size,)).observation
    optimiser = optax.adam(hyperparams.learning_rate)

    def cut(target: PyTree, observation: Array, least: Scalar) -> Array:
        return jnp.minimum(value(target, observation), least + hyperparams.max_span)

    def centre(target: PyTree) -> tuple[Array, Array]:
        least = jnp.min(value(target, reference))
        return least, jnp.mean(cut(target, reference, least))

    def loss(params: PyTree, target: PyTree, batch: Transitions) -> Array:
        least, gain = centre(target)
        goal = batch.reward + cut(target, batch.next_observation, least) - gain
        values = jnp.asarray(network.apply(params, batch.observation))
        return jnp.mean(jnp.square(jnp.take_along_axis(values, batch.action[:, None], -1)[:, 0] - goal))

    def update(carry: tuple, key: Key[Array, ""]) -> tuple[tuple, None]:
        params, target, moments = carry
        gradient = jax.grad(loss)(params, target, sample(seen, key, (batch_size,)))
        change, moments = optimiser.update(gradient, moments)
        params = optax.apply_updates(params, change)
        return (params, optax.incremental_update(params, target, hyperparams.target_step), moments), None

    first = (held.params, held.target, optimiser.init(held.params))
    (params, target, _), _ = jax.lax.scan(update, first, jax.random.split(key_batches, steps))
    return held._replace(params=params, target=target, gain=centre(target)[1])
