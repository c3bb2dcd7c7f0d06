"""Covariance functions of Gaussian processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Key, PyTree

from jaxreward.reward import Params


class Kernel(NamedTuple):
    """A covariance function of two items.

    Attributes:
        init: `(key) -> params`.
        features: `(params, item) -> x`, what the covariance looks at, computed once for each item.
        covariance: `(params, x, y) -> k(x, y)`, a scalar.
        item: An example of an item, for its shape and type.
    """

    init: Callable[[Key[Array, ""]], Params]
    features: Callable[[Params, PyTree], PyTree]
    covariance: Callable[[Params, PyTree, PyTree], Float[Array, ""]]
    item: PyTree


def matern52(lengthscale: ArrayLike = 1.0, scale: ArrayLike = 1.0, dimension: int = 2) -> Kernel:
    """Matern with smoothness 5/2: `scale (1 + a + a^2 / 3) exp(-a)`, `a = sqrt(5) |x - y| / lengthscale`.

    Items are positions `[dimension]`. Params: `lengthscale`, `scale`.

    Args:
        lengthscale: A scalar, or one for each coordinate.
        scale: The variance `k(x, x)`.
        dimension: How many coordinates a position has.
    """

    def init(key: Key[Array, ""]) -> Params:
        return {"lengthscale": jnp.asarray(lengthscale, float), "scale": jnp.asarray(scale, float)}

    def features(params: Params, position: Float[Array, " d"]) -> Float[Array, " d"]:
        return position / params["lengthscale"]

    def covariance(params: Params, x: Float[Array, " d"], y: Float[Array, " d"]) -> Float[Array, ""]:
        a = jnp.sqrt(5 * jnp.maximum(((x - y) ** 2).sum(), 1e-30))  # the root has no derivative at 0
        return params["scale"] * (1 + a + a**2 / 3) * jnp.exp(-a)

    return Kernel(init, features, covariance, jnp.zeros(dimension))


def posterior(kernel: Kernel, points: Float[ArrayLike, "n ..."], noise: ArrayLike) -> Kernel:
    """The covariance that is left after `points` were measured, `k(x, y) - k(x, P) (K_PP + noise I)^-1 k(P, y)`.

    Items are those of `kernel`. Params: `kernel`, `points`, `noise`.

    Args:
        kernel: The covariance before.
        points: What was measured, `[n, ...]`, few.
        noise: The variance of the noise of those measurements.

    Raises:
        ValueError: If the points are not a list of what `kernel` compares.
    """
    measured = jnp.asarray(points, jnp.asarray(kernel.item).dtype)
    if measured.shape[1:] != jnp.shape(kernel.item) or measured.ndim == 0:
        shape = list(jnp.shape(kernel.item))
        raise ValueError(f"points are n items of shape {shape} of the kernel, got shape {list(measured.shape)}")

    def init(key: Key[Array, ""]) -> Params:
        return {"kernel": kernel.init(key), "points": measured, "noise": jnp.asarray(noise, float)}

    def features(params: Params, item: PyTree) -> tuple[PyTree, Float[Array, " n"]]:
        of_points = jax.vmap(kernel.features, (None, 0))(params["kernel"], params["points"])

        def with_points(x: PyTree) -> Float[Array, " n"]:
            return jax.vmap(lambda point: kernel.covariance(params["kernel"], x, point))(of_points)

        root = jnp.linalg.cholesky(jax.vmap(with_points)(of_points) + params["noise"] * jnp.eye(len(measured)))
        # Few points: a product with the inverse is as good as a solve, and far cheaper for many items.
        whiten = jax.scipy.linalg.solve_triangular(root, jnp.eye(len(measured)), lower=True)
        x = kernel.features(params["kernel"], item)
        return x, whiten @ with_points(x)

    def covariance(params: Params, x: PyTree, y: PyTree) -> Float[Array, ""]:
        return kernel.covariance(params["kernel"], x[0], y[0]) - (x[1] * y[1]).sum()

    return Kernel(init, features, covariance, kernel.item)


def table(covariances: Float[ArrayLike, "n n"]) -> Kernel:
    """The covariances of finitely many variables; items are their numbers. Params: the matrix, `[n, n]`.

    Raises:
        ValueError: If the matrix is not square and symmetric.
    """
    matrix = check_covariances(covariances)

    def covariance(params: Float[Array, "n n"], x: Int[Array, ""], y: Int[Array, ""]) -> Float[Array, ""]:
        return params[x, y]

    return Kernel(lambda _: jnp.asarray(matrix, float), lambda _, item: item, covariance, jnp.zeros((), jnp.int32))


def check_covariances(covariances: Float[ArrayLike, "n n"]) -> Float[np.ndarray, "n n"]:
    """The matrix in float64.

    Raises:
        ValueError: If it is not square and symmetric.
    """
    matrix = np.asarray(covariances, np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"covariances are a square matrix; got shape {list(matrix.shape)}")
    if not np.allclose(matrix, matrix.T, rtol=1e-4, atol=1e-6 * np.abs(matrix).max()):
        raise ValueError(f"covariances are symmetric; these differ by up to {np.abs(matrix - matrix.T).max():.3g}")
    return matrix
