"""What linear models and kernels know of the pairs of states and actions of a finite world."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxreward.lookup import is_reference, load_reference, users_code
from jaxreward.names import check_name

_OWN = "Your own are `module:function`, of the numbers of states and actions."
MOST = 2_000
"""Features a regression may have; its matrix is squared this."""
_ROUNDING = 1e-6


def features_of(name: str, rows: tuple[int, ...]) -> Float[np.ndarray, "*rows d"]:
    """The features of each pair, or of each pair and next state.

    Args:
        name: "one_hot", one for each row; "rotated", the same in a random basis, always the same one, in which nothing
            can be told apart at a glance and least squares is unchanged; or your own as `module:function`, a function
            `(num_states, num_actions) -> [*rows, d]`.
        rows: `(S, A)` or `(S, A, S)`.

    Raises:
        ValueError: If there is no such function, or it gives something else, or there are too many.
    """
    if is_reference(name):
        with users_code(f"features {name}"):
            found = np.asarray(load_reference(name, "features")(*rows[:2]), float)
        return _checked(name, found, rows)
    check_name("features", name, ["one_hot", "rotated"], _OWN)
    count = int(np.prod(rows))
    if count > MOST:
        raise ValueError(f"features {name!r} are {count} here, and at most {MOST} can be used. {_OWN}")
    basis = np.eye(count) if name == "one_hot" else _rotation(count)
    return basis.reshape(*rows, count)


def features_of_pairs(name: str, pairs: tuple[int, int]) -> Float[np.ndarray, "N d"]:
    """The features of all `N = S A` pairs in a row, see `features_of`."""
    return features_of(name, pairs).reshape(pairs[0] * pairs[1], -1)


def _checked(name: str, found: np.ndarray, rows: tuple[int, ...]) -> np.ndarray:
    """Features a user gave, if they can be used."""
    if found.ndim != len(rows) + 1 or found.shape[:-1] != rows or not 0 < found.shape[-1] <= MOST:
        expected = ", ".join(map(str, rows))
        raise ValueError(f"features {name} have shape {list(found.shape)}; expected [{expected}, d], d at most {MOST}")
    if not np.isfinite(found).all():
        raise ValueError(f"features {name} are not all finite numbers")
    return found


def _rotation(size: int) -> Float[np.ndarray, "N N"]:
    """An orthogonal matrix, always the same."""
    return np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))[0]


def kernel_features(inputs: Float[np.ndarray, "N d"]) -> Callable[[Any], Float[Array, "N N"]]:
    """A root of the matrix of the Gaussian kernel `exp(-|x - x'|^2 / (2 bandwidth^2))`, by hyperparams.

    Args:
        inputs: `x` of each pair.
    """
    squares = np.sum((inputs[:, None] - inputs[None]) ** 2, axis=-1)

    def features(hyperparams: Any) -> Float[Array, "N N"]:
        kernel = jnp.exp(-jnp.asarray(squares) / (2 * hyperparams.bandwidth**2))
        return jnp.linalg.cholesky(kernel + _ROUNDING * jnp.eye(len(squares)))

    return features
