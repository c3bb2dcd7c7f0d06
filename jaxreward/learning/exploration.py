"""How an agent comes to actions that it does not think best."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments import spaces
from jaxtyping import Array, Float, Int, Key

Scalar = Float[Array, ""] | float


def linear(start: Scalar, end: Scalar, steps: Scalar, taken: Scalar) -> Float[Array, ""]:
    """What goes from `start` to `end` while `steps` are taken, and stays there; all may be traced."""
    return jnp.asarray(start + (end - start) * jnp.clip(taken / jnp.maximum(steps, 1e-8), 0.0, 1.0))


def epsilon_greedy(
    values: Float[Array, "*batch A"], noise: Float[Array, "*batch"], epsilon: Scalar
) -> Int[Array, "*batch"]:
    """The action of the highest value, or with probability `epsilon` any action.

    Args:
        values: Of each action.
        noise: Uniform in [0, 1): below `epsilon` it explores, and is then uniform in [0, epsilon), which chooses.
        epsilon: From 0 to 1.
    """
    num_actions = values.shape[-1]
    drawn = jnp.asarray(noise / jnp.maximum(epsilon, 1e-8) * num_actions, jnp.int32)
    return jnp.where(noise < epsilon, jnp.clip(drawn, 0, num_actions - 1), jnp.argmax(values, -1)).astype(jnp.int32)


def check_explorable(space: Any, agent: str) -> None:
    """Refuses an action space of which none can be drawn evenly.

    Raises:
        TypeError: It is neither a `Discrete` nor a `Box`, or a `Box` without bounds.
    """
    if not isinstance(space, spaces.Discrete | spaces.Box):
        raise TypeError(f"{agent} draws actions of a Discrete or a Box at first; the action space is {space}")
    if isinstance(space, spaces.Box) and not np.all(np.isfinite([space.low, space.high])):
        raise TypeError(f"{agent} draws actions evenly at first; this Box is from {space.low} to {space.high}")


def random_actions(space: Any, key: Key[Array, ""], shape: tuple[int, ...]) -> Array:
    """Actions of a `Discrete` or a bounded `Box`, all equally likely, `[*shape, ...]`, by one draw."""
    if isinstance(space, spaces.Discrete):
        return jax.random.randint(key, shape, 0, space.n, jnp.int32)
    low, high = (jnp.broadcast_to(jnp.asarray(bound, float), space.shape) for bound in (space.low, space.high))
    return jax.random.uniform(key, (*shape, *space.shape), minval=low, maxval=high)
