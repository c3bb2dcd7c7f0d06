"""Soft penalties, shares from 0 to 1 of what is not paid: those by which CaRL multiplies how a route goes on.

Jaeger et al. 2025, "CaRL: learning scalable planning policies with simple rewards" (arXiv:2504.17838), with the numbers
of the authors' code for CARLA at 10 steps a second. They go into `route_completion(..., penalties=[...])`.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from jaxreward.reward import Params, Reward, Transition, as_init, markov

Violated = Callable[[Transition], Bool[Array, ""]]
"""Whether something is violated in a step."""


def speeding_penalty(
    speed: Callable[[Transition], Float[Array, ""]], limit: Callable[[Transition], ArrayLike], most: ArrayLike = 2.23
) -> Reward:
    """How far a speed is above its limit, as a share of `most`: from 0 at the limit to 1.

    Params: `most`.

    Args:
        speed: In the unit of the limit.
        limit: What is allowed where the step led to.
        most: So much above the limit nothing is left; the authors' is in metres a second.

    Raises:
        ValueError: If `most` is a number and not positive.
    """
    _check_positive("most", most)

    def share(params: Params, transition: Transition) -> Float[Array, ""]:
        return jnp.clip((speed(transition) - limit(transition)) / params["most"], 0.0, 1.0)

    return markov(share, as_init({"most": most}))


def lingering_penalty(*violated: Violated, steps: ArrayLike = 500.0, share: ArrayLike = 0.5) -> Reward:
    """A share for what was violated in this step or one of the `steps - 1` before it, in the same episode.

    Of several, each is an equal part of the share. The authors have it of the time to a collision, and of six measures
    of comfort: longitudinal and lateral acceleration, jerk and longitudinal jerk, yaw rate and yaw acceleration.

    Params: `steps`, `share`.

    Args:
        *violated: What may be, one thing or several.
        steps: How long it is not forgiven.
        share: Where all is violated.

    Raises:
        ValueError: If nothing is to be violated, `steps` is a number and not positive, or `share` one that is not in
            `[0, 1]`.
    """

    def after(left: Float[Array, " K"], now: Bool[Array, " K"], params: Params) -> Float[Array, " K"]:
        return jnp.where(now, params["steps"], jnp.maximum(left - 1, 0.0))

    return _remembering(violated, after, lambda left, params: left > 0, steps, share)


def habitual_penalty(*violated: Violated, steps: ArrayLike = 30.0, share: ArrayLike = 0.5) -> Reward:
    """A share for what was violated in more steps than not, by more than `steps`, since when they were even.

    A count goes up in steps that violate, and down to 0 in others; above `steps` it is penalised. The authors have it
    of how far the middle of the lane is away, more than half a metre, so that changing lanes is free.

    Params: `steps`, `share`.

    Args:
        *violated: What may be, one thing or several, of which each is an equal part of the share.
        steps: What is free.
        share: Where all is violated.

    Raises:
        ValueError: If nothing is to be violated, `steps` is a number and not positive, or `share` one that is not in
            `[0, 1]`.
    """

    def after(count: Float[Array, " K"], now: Bool[Array, " K"], params: Params) -> Float[Array, " K"]:
        return jnp.maximum(jnp.where(now, count + 1, count - 1), 0.0)

    return _remembering(violated, after, lambda count, params: count > params["steps"], steps, share)


def _remembering(
    violated: tuple[Violated, ...],
    after: Callable[[Array, Array, Params], Float[Array, " K"]],
    counts: Callable[[Array, Params], Bool[Array, " K"]],
    steps: ArrayLike,
    share: ArrayLike,
) -> Reward:
    """A share of what counts, by a number for each violation that begins at 0 in every episode."""
    if not violated:
        raise ValueError("a penalty needs something that may be violated, such as lambda t: t.action > 0; got nothing")
    _check_positive("steps", steps)
    if isinstance(share, int | float) and not 0 <= share <= 1:
        raise ValueError(f"a soft penalty is a share from 0 to 1; got share={share}")

    def step(params: Params, memory: Float[Array, " K"], transition: Transition) -> tuple[Array, Float[Array, ""]]:
        now = jnp.stack([jnp.asarray(each(transition), bool) for each in violated])
        memory = after(memory, now, params)
        return memory, params["share"] * counts(memory, params).mean()

    own = as_init({"steps": steps, "share": share})
    return Reward(own, lambda params: jnp.zeros(len(violated), float), step)


def _check_positive(name: str, value: ArrayLike) -> None:
    if isinstance(value, int | float) and not value > 0:
        raise ValueError(f"{name} is positive; got {name}={value}")
