"""What weighs the score of an action in a policy gradient, and what is subtracted from it.

Rewards are marginal gains, `Delta_{h+1} = F(s_{h+1} | s_0 .. s_h)`, zero after an episode's end.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxreward.learning.estimators import discounted_returns

Gains = Float[Array, "T N"]
Scalar = Float[Array, ""] | float


def to_go(gains: Gains, discount: Scalar) -> Gains:
    """`sum_{j >= h} discount^(j - h) Delta_{j+1}`: the policy gradient theorem's (Prajapat et al. 2024, theorem 2)."""
    return discounted_returns(gains, jnp.zeros_like(gains, bool), discount)


def greedy(gains: Gains, discount: Scalar) -> Gains:
    """`Delta_{h+1}` alone, which makes each step's own gain as large as can be: `to_go` with discount 0."""
    del discount
    return gains


def prefix(gains: Gains, discount: Scalar) -> Gains:
    """`F(s_0 .. s_{h+1})`, as the authors' tabular code has it.

    Not the theorem's: `F(s_0 .. s_h)` does not depend on the action, so the expected gradient is that of `greedy`, and
    the rest is variance.
    """
    del discount
    return jnp.cumsum(gains, 0)


def full_return(gains: Gains, discount: Scalar) -> Gains:
    """`F` of the whole episode at every step (REINFORCE, Williams 1992): `to_go` in expectation, more variance."""
    del discount
    return jnp.broadcast_to(gains.sum(0), gains.shape)


ESTIMATORS: dict[str, Callable[[Gains, Scalar], Gains]] = {
    "to_go": to_go,
    "greedy": greedy,
    "prefix": prefix,
    "return": full_return,
}


def others_mean(weight: Gains, valid: Bool[Array, "T N"]) -> Gains:
    """The mean of the other episodes' weights at the same step, 0 where there is no other.

    An episode is left out of its own baseline, which therefore adds no bias.
    """
    weight = jnp.where(valid, weight, 0.0)
    others = valid.sum(1, keepdims=True) - 1
    return (weight.sum(1, keepdims=True) - weight) / jnp.maximum(others, 1) * (others > 0)
