"""The two loops that solvers share: iterate a map to its fixed point, improve a policy until it is stable."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

FIRST_SWEEPS = 1_000
"""Sweeps of value iteration, at most, for the policy that policy iteration begins with.

Begun with a poor one, policy iteration passes through policies that hold on to what is good and never come back to it:
their values grow with the time until they do, which may be exponential in the number of states, until no digit is left.
"""

Vector = Float[Array, " S"]
Policy = Float[Array, "S A"]


def sup_norm(vector: Vector) -> Float[Array, ""]:
    """`max_s |vector(s)|`."""
    return jnp.max(jnp.abs(vector))


def span(vector: Vector) -> Float[Array, ""]:
    """`max_s vector(s) - min_s vector(s)`, the semi-norm that ignores constants (Puterman 1994, section 6.6.1)."""
    return jnp.max(vector) - jnp.min(vector)


def failed_unless_finite(residual: Float[Array, ""], *numbers: Float[Array, "..."]) -> Float[Array, ""]:
    """The residual, infinite if it or one of the numbers that led to it is not finite: NaN is above no bound."""
    finite = [jnp.all(jnp.isfinite(array)) for array in (residual, *numbers)]
    return jnp.where(jnp.all(jnp.stack(finite)), residual, jnp.inf)


def fixed_point(
    update: Callable[[Vector], Vector],
    initial: Vector,
    norm: Callable[[Vector], Float[Array, ""]],
    tolerance: jax.typing.ArrayLike | None,
    max_iterations: int,
) -> tuple[Vector, Int[Array, ""]]:
    """Applies `update` until a step is no longer than `tolerance`, relative to `max(1, max |vector|)`.

    It also ends, without having converged, once a number is not finite, which no update would mend.

    Args:
        update: The map.
        initial: Where to start, `[S]`.
        norm: How long a step is.
        tolerance: 8 times the resolution of the dtype by default.
        max_iterations: Bound on the number of updates.

    Returns:
        The last vector and the number of updates.
    """
    limit = 8 * jnp.finfo(initial.dtype).eps if tolerance is None else tolerance

    def unfinished(carry: tuple) -> Array:
        vector, step, iterations = carry
        moving = norm(step) > limit * jnp.maximum(1, sup_norm(vector))
        return (iterations == 0) | (moving & jnp.isfinite(sup_norm(vector)) & (iterations < max_iterations))

    def advance(carry: tuple) -> tuple:
        vector, _, iterations = carry
        following = update(vector)
        return following, following - vector, iterations + 1

    vector, _, iterations = jax.lax.while_loop(unfinished, advance, (initial, initial, jnp.int32(0)))
    return vector, iterations


def improve_until_stable(
    improve: Callable[[Policy], Policy], policy: Policy, max_iterations: int
) -> tuple[Policy, Int[Array, ""]]:
    """Applies `improve` to a policy until it changes nothing; also returns how many were looked at.

    A policy whose evaluation is not finite is not improved either; the residual that its evaluation leaves tells.
    """

    def unfinished(carry: tuple) -> Array:
        _, changed, iterations = carry
        return changed & (iterations < max_iterations)

    def advance(carry: tuple) -> tuple:
        policy, _, iterations = carry
        following = improve(policy)
        return following, jnp.any(following != policy), iterations + 1

    policy, _, iterations = jax.lax.while_loop(unfinished, advance, (policy, jnp.array(True), jnp.int32(0)))
    return policy, iterations
