"""Least squares over the pairs of states and actions of a finite world, and how much worse a hypothesis fits.

With features `phi`, `Lambda = regularisation I + sum phi phi'`; all that is asked of it is its covariance over pairs,
`phi' Lambda^-1 phi`, which is diagonal where pairs share nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Fit(NamedTuple):
    """A ridge regression.

    Attributes:
        value: What is predicted: of each pair, `[N]`, or the weights, `[d]`.
        covariance: `[N]` if it is diagonal, else `[N, N]` or `[d, d]`.
    """

    value: Float[Array, " N"]
    covariance: Float[Array, "*N"]


class Regression(NamedTuple):
    """A kind of least squares over `N` pairs.

    Attributes:
        covariance: `(visits [N], hyperparams) -> covariance` after so many visits of each pair.
        smooth: `(covariance, sums [N, ...]) -> [N, ...]`, what is predicted of targets with these sums at each pair.
        leverage: `covariance -> [N]`, its diagonal.
        norm: `(visits [N], values [N], hyperparams) -> |w|_Lambda^2` of the function nearest to the values.
        learn: `(fit, pair, target) -> (fit, prediction, leverage)`, one more target; the last two are of before.
    """

    covariance: Callable[[Float[Array, " N"], Any], Float[Array, "*N"]]
    smooth: Callable[[Float[Array, "*N"], Float[Array, "N *k"]], Float[Array, "N *k"]]
    leverage: Callable[[Float[Array, "*N"]], Float[Array, " N"]]
    norm: Callable[[Float[Array, " N"], Float[Array, " N"], Any], Float[Array, ""]]
    learn: Callable[[Fit, Int[Array, ""], Float[Array, ""]], tuple[Fit, Float[Array, ""], Float[Array, ""]]]


def per_pair() -> Regression:
    """Each pair by itself: means that are shrunk to zero."""

    def smooth(covariance: Float[Array, " N"], sums: Float[Array, "N *k"]) -> Float[Array, "N *k"]:
        return covariance.reshape(-1, *[1] * (sums.ndim - 1)) * sums

    def learn(
        fit: Fit, pair: Int[Array, ""], target: Float[Array, ""]
    ) -> tuple[Fit, Float[Array, ""], Float[Array, ""]]:
        prediction, leverage = fit.value[pair], fit.covariance[pair]
        after = leverage / (1 + leverage)
        value = fit.value.at[pair].add(-after * (prediction - target))
        return Fit(value, fit.covariance.at[pair].set(after)), prediction, leverage

    return Regression(
        covariance=lambda visits, hyperparams: 1 / (visits + hyperparams.regularisation),
        smooth=smooth,
        leverage=lambda covariance: covariance,
        norm=lambda visits, values, hyperparams: jnp.sum((visits + hyperparams.regularisation) * values**2),
        learn=learn,
    )


def across_pairs(features: Callable[[Any], Float[Array, "N d"]]) -> Regression:
    """Linear in features, or of a kernel, whose features are a root of its matrix.

    Args:
        features: `hyperparams -> [N, d]`.
    """

    def covariance(visits: Float[Array, " N"], hyperparams: Any) -> Float[Array, "N N"]:
        phi = features(hyperparams)
        precision = hyperparams.regularisation * jnp.eye(phi.shape[1]) + phi.T @ (visits[:, None] * phi)
        return phi @ jnp.linalg.solve(precision, phi.T)

    def norm(visits: Float[Array, " N"], values: Float[Array, " N"], hyperparams: Any) -> Float[Array, ""]:
        phi = features(hyperparams)
        weights = jnp.linalg.lstsq(phi, values)[0]
        return hyperparams.regularisation * jnp.sum(weights**2) + jnp.sum(visits * (phi @ weights) ** 2)

    def learn(
        fit: Fit, pair: Int[Array, ""], target: Float[Array, ""]
    ) -> tuple[Fit, Float[Array, ""], Float[Array, ""]]:
        prediction, image = fit.value[pair], fit.covariance[pair]
        return learned(fit, image, prediction, image[pair], target), prediction, image[pair]

    return Regression(covariance, jnp.matmul, jnp.diagonal, norm, learn)


def learned(
    fit: Fit,
    image: Float[Array, " N"],
    prediction: Float[Array, ""],
    leverage: Float[Array, ""],
    target: Float[Array, ""],
) -> Fit:
    """With one more target (Sherman and Morrison's formula).

    Args:
        fit: The regression before.
        image: The covariance times the regressor `x`.
        prediction: At `x`, before.
        leverage: `x' covariance x`, before.
        target: Of `x`.
    """
    step = image / (1 + leverage)
    return Fit(fit.value - step * (prediction - target), fit.covariance - jnp.outer(step, image))


def added_excess(
    held: Float[Array, ""], prediction: Float[Array, ""], leverage: Float[Array, ""], target: Float[Array, ""]
) -> Float[Array, ""]:
    """By how much one more target raises the loss of a hypothesis above the least loss there is.

    The loss of the hypothesis rises by `(held - target)^2`, the least by `(prediction - target)^2 / (1 + leverage)`.
    Written without the difference of these two, which are large where the hypothesis is nearly as good as the best.

    Args:
        held: What the hypothesis predicts.
        prediction: What the regression predicts before it learns the target.
        leverage: `x' covariance x`, before.
        target: What was seen.
    """
    apart = (held - prediction) * (held + prediction - 2 * target)
    return apart + (prediction - target) ** 2 * leverage / (1 + leverage)
