"""Relative value iteration with any look-ahead: what all planners for the reward rate have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreward.mdp.iteration import fixed_point, span

LookAhead = Callable[[Float[Array, " S"]], Float[Array, "S A"]]
"""What each action is worth, its reward and where it leads, when the states are worth so much."""

DAMPING = 0.1
"""How much of the old bias stays in a sweep, so that nothing is periodic (Puterman 1994, section 8.5.4)."""


class Plan(NamedTuple):
    """A solution of the optimality equation of a (perhaps optimistic) model.

    Attributes:
        action_value: `Q = look_ahead(V) - J`, `[S, A]`.
        bias: `V`, up to a constant, of which the largest is 0: `[S]`.
        gain: `J`, the reward rate that is hoped for.
    """

    action_value: Float[Array, "S A"]
    bias: Float[Array, " S"]
    gain: Float[Array, ""]


def relative_plan(
    look_ahead: LookAhead,
    initial: Float[Array, " S"],
    tolerance: Float[Array, ""] | float = 1e-4,
    max_span: Float[Array, ""] | float = jnp.inf,
    max_iterations: int = 3_000,
) -> Plan:
    """Solves `V + J = max_a look_ahead(V)` by damped relative value iteration.

    Args:
        look_ahead: Of a model, monotone in the bias.
        initial: Where to start, `[S]`: the bias of the plan before.
        tolerance: Stops when a sweep changes the differences of the bias by less.
        max_span: Biases are cut to the smallest plus this, as in SCAL (Fruit et al. 2018): what is above is too good.
        max_iterations: Bound on the sweeps.
    """

    def best(bias: Float[Array, " S"]) -> Float[Array, " S"]:
        value = jnp.max(look_ahead(bias), axis=-1)
        return jnp.minimum(value, jnp.min(value) + max_span)

    def sweep(bias: Float[Array, " S"]) -> Float[Array, " S"]:
        following = DAMPING * bias + (1 - DAMPING) * best(bias)
        return following - jnp.max(following)

    bias, _ = fixed_point(sweep, initial - jnp.max(initial), span, tolerance, max_iterations)
    improvement = best(bias) - bias
    gain = (jnp.max(improvement) + jnp.min(improvement)) / 2
    return Plan(look_ahead(bias) - gain, bias, gain)
