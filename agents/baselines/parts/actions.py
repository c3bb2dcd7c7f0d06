"""What a soft actor-critic asks of a space of actions; continuous and discrete ones answer it each in their way.

Its losses are made of what the policy expects in a state: of the values of its actions, and of their surprise. A sample
tells that of continuous actions, differentiably; discrete ones are summed over.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from gymnax.environments import spaces
from jaxtyping import Array, Float, Key

from jaxreward.learning.networks import categorical_head
from jaxreward.learning.squashed import mean_and_log_std, squashed_sample, unit_box

Critics = Callable[[Array], Array]
"""`[*batch, F] -> [2, *batch, values]`."""


class Actions(NamedTuple):
    """A stochastic policy's actions and their two critics.

    Attributes:
        outputs: How many a policy has.
        values: How many a critic has.
        size: How many numbers an action adds to what a critic reads.
        unit: What a target entropy is told in: the number of dimensions, or the most that the entropy can be.
        noise: `(key, batch shape) -> noise` of a batch of actions.
        sample: `(outputs, noise) -> action` of the environment.
        mode: `(outputs) -> action`, the most likely one (of continuous actions, that before tanh).
        taken: `(critics, features, action) -> [2, *batch]`, what an action is worth.
        expected: `(critics, features, outputs, noise) -> (value, entropy)`, `[*batch]` each: of what the policy does,
            the smaller of two values and minus the log-probability.
    """

    outputs: int
    values: int
    size: int
    unit: float
    noise: Callable[[Key[Array, ""], tuple[int, ...]], Array]
    sample: Callable[[Array, Array], Array]
    mode: Callable[[Array], Array]
    taken: Callable[[Critics, Array, Array], Array]
    expected: Callable[[Critics, Array, Array, Array], tuple[Array, Array]]


def actions_for(space: Any, who: str) -> Actions:
    """Those of a gymnax space.

    Raises:
        TypeError: If it is neither a `Box` nor `Discrete`.
        ValueError: If a side of the box has no bound.
    """
    if isinstance(space, spaces.Discrete):
        return discrete_actions(int(space.n))
    if isinstance(space, spaces.Box):
        return continuous_actions(space, who)
    raise TypeError(f"{who} has no policy for the action space {type(space).__name__}; supported are Discrete and Box")


def continuous_actions(space: spaces.Box, who: str) -> Actions:
    """A Gaussian squashed into a box; critics read actions scaled to [-1, 1], where densities are measured too."""
    box = unit_box(space, who)

    def sample(outputs: Float[Array, "*batch 2d"], noise: Float[Array, "*batch d"]) -> Array:
        return box.to_env(squashed_sample(outputs, noise)[0])

    def taken(critics: Critics, features: Float[Array, "*batch F"], action: Array) -> Float[Array, "2 *batch"]:
        return critics(jnp.concatenate([features, box.from_env(action)], -1))[..., 0]

    def expected(
        critics: Critics, features: Float[Array, "*batch F"], outputs: Array, noise: Array
    ) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        action, log_prob = squashed_sample(outputs, noise)
        return critics(jnp.concatenate([features, action], -1))[..., 0].min(0), -log_prob

    return Actions(
        outputs=2 * box.size,
        values=1,
        size=box.size,
        unit=box.size,
        noise=lambda key, batch: jax.random.normal(key, (*batch, box.size)),
        sample=sample,
        mode=lambda outputs: box.to_env(jnp.tanh(mean_and_log_std(outputs)[0])),
        taken=taken,
        expected=expected,
    )


def discrete_actions(num_actions: int) -> Actions:
    """A softmax; a critic tells the values of all actions (Christodoulou 2019, arXiv:1910.07207, section 3)."""
    head = categorical_head(num_actions)

    def taken(critics: Critics, features: Float[Array, "*batch F"], action: Array) -> Float[Array, "2 *batch"]:
        values = critics(features)
        chosen = jnp.broadcast_to(action[None, ..., None], (2, *action.shape, 1))
        return jnp.take_along_axis(values, chosen, -1)[..., 0]

    def expected(
        critics: Critics, features: Float[Array, "*batch F"], outputs: Array, noise: Array
    ) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        surprise = -jax.nn.log_softmax(outputs)
        probability = jnp.exp(-surprise)
        return (probability * critics(features).min(0)).sum(-1), (probability * surprise).sum(-1)

    return Actions(
        outputs=num_actions,
        values=num_actions,
        size=0,
        unit=math.log(num_actions),
        noise=jax.random.uniform,
        sample=head.sample,
        mode=lambda outputs: jnp.argmax(outputs, -1),
        taken=taken,
        expected=expected,
    )
