"""What measurements say about a Gaussian process, as set functions of where they are taken."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Key, PyTree

from jaxreward.learning.lazy import when
from jaxreward.reward import Params
from jaxreward.rewards.sets.conditioning import Factor, grow, no_rows
from jaxreward.rewards.sets.function import Item, SetFunction, set_function
from jaxreward.rewards.sets.kernels import Kernel, check_covariances


class Measured(NamedTuple):
    """The features of what was measured, padded to the capacity, and the factor of its covariances."""

    features: PyTree
    factor: Factor


def information_gain(kernel: Kernel, capacity: int, noise: float, offset: float | None = None) -> SetFunction:
    """What noisy measurements at the items tell about the process, `F(A) = 0.5 logdet(I + K_A / noise)` in nats.

    The objective of Bayesian D-design. Items are those of `kernel`, each a measurement of its own: a repeated one gains
    again, though little. Monotone and submodular. What is added to a full memory gains nothing.

    In float32 gains are good to about `2e-7 k(x, x) / noise` where nearly all is known already, and better elsewhere.

    Params: `kernel`, `noise`.

    Args:
        kernel: The covariance of the process.
        capacity: The most measurements; an episode of `T` steps has `T + 1`.
        noise: The variance of a measurement's noise.
        offset: If given, `F(A) = 0.5 logdet(K_A + noise I) + offset |A|`. The authors' code of SubPO has noise 1e-6 and
            the offset 9.965784 where information gain has `-0.5 log(noise)`, 6.9078. The difference is the same for all
            sets of one size, so it is harmless at a fixed horizon, though a repeated measurement then gains about 3.

    Raises:
        ValueError: If there is room for no measurement, or the noise is not positive.
    """
    if capacity < 1 or noise <= 0:
        raise ValueError(
            f"information_gain needs room for a measurement and positive noise; got capacity={capacity}, noise={noise}"
        )

    def init(key: Key[Array, ""]) -> Params:
        return {"kernel": kernel.init(key), "noise": jnp.asarray(noise, float)}

    def value(params: Params, variance: Float[Array, "*T"]) -> Float[Array, "*T"]:
        """Of a measurement with `variance`, noise included, given those before it."""
        return 0.5 * jnp.log(variance / params["noise"]) if offset is None else 0.5 * jnp.log(variance) + offset

    def features(params: Params, item: Item) -> PyTree:
        return kernel.features(params["kernel"], item)

    def covariance(params: Params, x: PyTree, y: PyTree) -> Float[Array, ""]:
        return kernel.covariance(params["kernel"], x, y)

    def empty(params: Params) -> Measured:
        one = jax.eval_shape(features, params, kernel.item)
        return Measured(jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), one), no_rows(capacity))

    def add(params: Params, measured: Measured, item: Item) -> tuple[Measured, Float[Array, ""]]:
        slot, x = measured.factor.size, features(params, item)
        covariances = jax.vmap(lambda other: covariance(params, other, x))(measured.features)
        factor, variance = grow(measured.factor, covariances, covariance(params, x, x), params["noise"])
        known = jax.tree.map(lambda xs, x: xs.at[slot].set(x, mode="drop"), measured.features, x)
        return Measured(known, factor), jnp.where(slot < capacity, value(params, variance), 0)

    def single(params: Params, item: Item) -> Float[Array, ""]:
        x = features(params, item)
        return value(params, covariance(params, x, x) + params["noise"])

    def sequence(params: Params, items: Item) -> Float[Array, " T"]:
        length = _check_length(items, capacity)
        xs = jax.vmap(lambda item: features(params, item))(items)
        gram = jax.vmap(lambda x: jax.vmap(lambda y: covariance(params, x, y))(xs))(xs)
        root = jnp.linalg.cholesky(gram + params["noise"] * jnp.eye(length), symmetrize_input=False)
        variances = jnp.diagonal(root) ** 2
        gains = value(params, jnp.maximum(variances, params["noise"]))

        def one_by_one(_: Array) -> Float[Array, " T"]:
            return jax.lax.scan(lambda measured, item: add(params, measured, item), empty(params), items)[1]

        # No variance is below the noise: where rounding made one so, or NaN, `add` is slower but cannot fail.
        return when(~(variances > params["noise"] / 2).all(), one_by_one, gains)

    return set_function(init, empty, add, single, sequence)


def _check_length(items: Item, capacity: int) -> int:
    length = jax.tree.leaves(items)[0].shape[0]
    if length > capacity:
        raise ValueError(f"information_gain has room for capacity={capacity} measurements; got {length}")
    return length


class Sensors(NamedTuple):
    """Places taken, -1 where none, with the factors of their covariances and of their precisions."""

    places: Int[Array, " capacity"]
    covariance: Factor
    precision: Factor


def mutual_information(covariances: Float[ArrayLike, "n n"], capacity: int, noise: float) -> SetFunction:
    """What sensors at a set of places tell about all other places, `F(A) = I(y_A; y_{V - A})` in nats.

    The criterion of sensor placement by Krause et al. 2008. Items are places, numbers from 0 to `n - 1`; a repeated one
    gains nothing. Submodular, but monotone only as long as the set is small: the whole of `V` is worth nothing again.
    What is added to a full memory gains nothing.

    With `S` the covariances with noise, `F(A) = 0.5 (logdet S_AA + logdet (S^-1)_AA)`, so that no other place is ever
    touched.

    Params: `covariance`, which is `S`, and `precision`, its inverse: to be changed together or not at all.

    Args:
        covariances: Those of the process at all places, `[n, n]`, without noise.
        capacity: The most places; an episode of `T` steps has at most `T + 1`.
        noise: The variance of a measurement's noise.

    Raises:
        ValueError: If the matrix is no covariance matrix, there is room for no place, or the noise is negative.
    """
    if capacity < 1 or noise < 0:
        raise ValueError(
            f"mutual_information needs room for a place and no negative noise; got capacity={capacity}, noise={noise}"
        )
    noisy = check_covariances(covariances) + noise * np.eye(len(np.asarray(covariances)))
    precision = _inverse(noisy)

    def init(key: Key[Array, ""]) -> Params:
        return {"covariance": jnp.asarray(noisy, float), "precision": jnp.asarray(precision, float)}

    def empty(params: Params) -> Sensors:
        return Sensors(jnp.full(capacity, -1, jnp.int32), no_rows(capacity), no_rows(capacity))

    def add(params: Params, sensors: Sensors, place: Int[Array, ""]) -> tuple[Sensors, Float[Array, ""]]:
        slot = sensors.covariance.size
        taken = (sensors.places == place).any()

        def given(factor: Factor, matrix: str, inverse: str) -> tuple[Factor, Float[Array, ""]]:
            row, least = params[matrix][place], 1 / params[inverse][place, place]  # the variance given all others
            grown, variance = grow(factor, row[sensors.places], row[place] - least, least)
            return grown._replace(size=jnp.where(taken, slot, grown.size)), variance  # a repeated one is overwritten

        covariance, within = given(sensors.covariance, "covariance", "precision")
        precision, without = given(sensors.precision, "precision", "covariance")
        gain = jnp.where(taken | (slot >= capacity), 0, 0.5 * (jnp.log(within) + jnp.log(without)))
        return Sensors(sensors.places.at[slot].set(place, mode="drop"), covariance, precision), gain

    def single(params: Params, place: Int[Array, ""]) -> Float[Array, ""]:
        return 0.5 * (jnp.log(params["covariance"][place, place]) + jnp.log(params["precision"][place, place]))

    return set_function(init, empty, add, single)


def _inverse(covariances: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    smallest = np.linalg.eigvalsh(covariances).min()
    if smallest <= 0:
        raise ValueError(
            f"covariances with noise have positive eigenvalues; the smallest of these is {smallest:.3g}: more noise?"
        )
    return np.linalg.inv(covariances)
