"""What a model of steps' rewards is to make small, by what episodes paid in all. Pure functions of predictions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxreward.agents.redistribution.parts.store import Episodes

Scalar = Float[Array, ""] | float

LEAST_RIDGE = 1e-7


def subset(key: Key[Array, ""], valid: Bool[Array, "B L"], number: int) -> tuple[Int[Array, "B K"], Bool[Array, "B K"]]:
    """Some steps of each episode without replacement, and which there are where it has less; all if `K = L`."""
    if number >= valid.shape[1]:
        return jnp.broadcast_to(jnp.arange(valid.shape[1])[None], valid.shape), valid
    order = jnp.where(valid, jax.random.uniform(key, valid.shape), -1.0)
    steps = jax.lax.top_k(order, number)[1]
    return steps, jnp.take_along_axis(valid, steps, 1)


def decomposition_loss(
    predicted: Float[Array, "*batch K"],
    chosen: Bool[Array, "*batch K"],
    total: Float[Array, "*batch"],
    length: Int[Array, "*batch"],
    corrected: bool,
) -> Float[Array, "*batch"]:
    """Randomised return decomposition of each episode: `(R / T - mean_K r)**2`, less what it is too much on average.

    With `K` steps drawn of `T` without replacement that is, in expectation, the loss of all steps and
    `(1 - K / T) Var(r) / K`, which pulls predictions together. `corrected`, the variance among the steps drawn
    (divided by `K - 1`) is taken off instead: then the loss of all steps is what is expected (Ren et al. 2022,
    arXiv:2111.13485, who divide by steps in their code). With `K = T` it is that loss itself.

    Args:
        predicted: The reward of each step drawn.
        chosen: Which of them there are.
        total: What the episode paid, `R`.
        length: Its steps, `T`; 0 of one that counts for nothing.
        corrected: Whether the variance is taken off.
    """
    number = jnp.maximum(chosen.sum(-1), 1)
    steps = jnp.maximum(length, 1)
    mean = jnp.where(chosen, predicted, 0.0).sum(-1) / number
    loss = jnp.square(total / steps - mean)
    if corrected:
        squares = jnp.where(chosen, jnp.square(predicted - mean[..., None]), 0.0).sum(-1)
        variance = squares / jnp.maximum(number - 1, 1)
        loss = loss - (1 - number / steps) * variance / number
    return jnp.where(length > 0, loss, 0.0)


def guidance_loss(
    predicted: Float[Array, "*batch K"], chosen: Bool[Array, "*batch K"], guidance: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """The mean squared distance of each step's prediction to its episode's guidance, see `guidance_of`."""
    number = jnp.maximum(chosen.sum(-1), 1)
    return jnp.where(chosen, jnp.square(predicted - guidance[..., None]), 0.0).sum(-1) / number


def guidance_of(total: Float[Array, "*batch"], ended: Episodes) -> Float[Array, "*batch"]:
    """`(R - R_min) / (R_max - R_min)` by the episodes that are kept; where all paid the same, 0.

    The guidance of IRCR (Gangwani, Zhou and Peng 2020, arXiv:2010.12718), whose authors keep the best ones longer.
    """
    there = ended.length > 0
    low = jnp.where(there, ended.total, jnp.inf).min()
    high = jnp.where(there, ended.total, -jnp.inf).max()
    spread = high - low
    return jnp.where(spread > 0, (total - low) / jnp.where(spread > 0, spread, 1.0), 0.0)


def prefix_loss(
    predicted: Float[Array, "*batch L"], episodes: Episodes, scale: Scalar, weight: Scalar
) -> Float[Array, "*batch"]:
    """Of predictions of the return after each step: the last one's squared error, and the mean of all, weighed.

    In units of `scale`, whose square both are divided by.
    """
    error = jnp.square((predicted - episodes.total[..., None]) / scale)
    steps = jnp.clip(episodes.length, 1, predicted.shape[-1])  # of a longer one, what was kept
    last = jnp.take_along_axis(error, (steps - 1)[..., None], -1)[..., 0]
    mean = jnp.where(episodes.valid, error, 0.0).sum(-1) / steps
    return jnp.where(episodes.length > 0, last + weight * mean, 0.0)


def least_squares(episodes: Episodes, ridge: Scalar) -> Float[Array, " F"]:
    """Weights `w` of a reward `w . phi` of a step, by ridge regression of returns on the episodes' sums of `phi`.

    `sum_e (R_e - w . sum_t phi_t)**2 + ridge * sum_i w_i**2 s_i`, where `s_i` is the sum of squares of the `i`-th sum:
    so it does not matter in which units factors are. Closed, by the normal equations.
    A ridge below 1e-7 counts as that.
    """
    sums = episodes.inputs.sum(-2)
    squares = jnp.square(sums).sum(0)
    size = jnp.sqrt(jnp.where(squares > 0, squares, 1.0))
    scaled = sums / size[None]
    # Factors that were 0 so far, or go together, leave nothing to solve for without some.
    gram = scaled.T @ scaled + jnp.maximum(ridge, LEAST_RIDGE) * jnp.eye(len(size))
    return jax.scipy.linalg.solve(gram, scaled.T @ episodes.total, assume_a="pos") / size


def deviation(ended: Episodes) -> Float[Array, ""]:
    """Of what the kept episodes paid; 1 where they paid the same, or differ by no more than rounding."""
    there = ended.length > 0
    number = jnp.maximum(there.sum(), 1)
    mean_of = lambda x: jnp.where(there, x, 0.0).sum() / number  # noqa: E731
    mean = mean_of(ended.total)
    variance: Any = mean_of(jnp.square(ended.total - mean))
    varies = variance > 1e-10 * jnp.square(mean)
    return jnp.where(varies, jnp.sqrt(jnp.where(varies, variance, 1.0)), 1.0)
