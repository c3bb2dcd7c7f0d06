"""What the catalogue accepts as arguments: rewards, numbers and discounts."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from jaxreward.reward import AgentDiscount, Reward, Transition, markov

RewardLike = Reward | Callable[[Transition], Array] | ArrayLike
"""A reward, a function of a transition, or a number."""


def constant(value: ArrayLike) -> Reward:
    """The same reward at each step. Params: `value` itself, a scalar or `[K]`, which may be given as a list."""
    return markov(
        lambda params, _: params, init=jnp.asarray(value, float) if isinstance(value, list | tuple) else value
    )


def as_reward(reward: RewardLike) -> Reward:
    """Lifts a function of a transition or a number to a `Reward`; a `Reward` is given back as it is.

    Raises:
        TypeError: If it is none of these.
    """
    if isinstance(reward, Reward):
        return reward
    if callable(reward):
        return markov(reward)
    if isinstance(reward, int | float | np.ndarray | np.generic | jax.Array):
        return constant(reward)
    raise TypeError(
        f"expected a Reward, a function of a transition or a number; got {type(reward).__name__}: {reward!r}"
    )


def discount_param(discount: ArrayLike | None) -> AgentDiscount | Float[Array, ""]:
    """A discount as a param: the given one, or for `None` one that follows the agent's and is 1 until it is bound.

    Raises:
        ValueError: If it is a number outside of `[0, 1]`.
    """
    if discount is None:
        return AgentDiscount(jnp.ones((), float))
    if isinstance(discount, int | float) and not 0 <= discount <= 1:
        raise ValueError(f"a discount lies in [0, 1]; got {discount}")
    return jnp.asarray(discount, float)


def discount_value(param: AgentDiscount | Float[Array, ""]) -> Float[Array, ""]:
    """The number in what `discount_param` made."""
    return param.value if isinstance(param, AgentDiscount) else param


def check_scalars(name: str, values: Float[Array, " K"], number: int) -> None:
    """Refuses a vector where a reward is made of so many scalars.

    Raises:
        ValueError: There are more values than that.
    """
    if values.shape != (number,):
        raise ValueError(
            f"{name} is made of {number} scalar{'s' * (number != 1)}, and together they have {values.shape[0]} "
            "numbers: one is a vector; scalarise it first"
        )
