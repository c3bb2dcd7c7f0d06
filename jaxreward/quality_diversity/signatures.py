"""Signatures and log-signatures of paths: descriptors of a whole trajectory, to any depth.

The signature of a path in `d` dimensions is a series of tensors, `d^n` numbers at level `n`: its iterated integrals.
That of a segment is the tensor exponential of its increment, and that of one path after another the product of theirs
(Chen's identity), which is how they are computed here. Level 1 is the path's increment; the antisymmetric part of level
2 is the Levy area. Neither the speed along the path nor a detour that is retraced at once makes a difference.
"""

from __future__ import annotations

import functools
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

Levels: TypeAlias = tuple[Array, ...]
"""Levels 1 to `depth` of a tensor series, level `n` flat, `[d^n]`, its last index varying fastest."""

Word: TypeAlias = tuple[int, ...]


@functools.partial(jax.jit, static_argnames=("depth", "time"))
def signature(
    path: Float[Array, "T d"], depth: int, *, mask: Bool[Array, " T"] | None = None, time: bool = False
) -> Float[Array, " size"]:
    """The truncated signature of a piecewise linear path: levels 1 to `depth`, flat, one after the other.

    The size is `d + d^2 + ... + d^depth`, with `d` one more where time is added.

    Args:
        path: The points passed.
        depth: Up to which level.
        mask: Which points exist: the first few, up to the end of an episode. All of them by default.
        time: Whether time is added as the last dimension, from 0 and by `1 / (T - 1)` each step, so that it ends at 1
            where all points exist. The signature then tells speeds apart.

    Raises:
        ValueError: If `depth` is not positive or `path` is no table.
    """
    return jnp.concatenate(_levels(path, depth, mask, time))


@functools.partial(jax.jit, static_argnames=("depth", "time"))
def log_signature(
    path: Float[Array, "T d"], depth: int, *, mask: Bool[Array, " T"] | None = None, time: bool = False
) -> Float[Array, " size"]:
    """The truncated log-signature: what a signature says, without its redundancy, in the Lyndon basis.

    Coordinates are ordered by level, and within one by Lyndon word; `lyndon_words(d, depth)` lists them. The first `d`
    are the path's increment.

    Args:
        path: The points passed.
        depth: Up to which level.
        mask: Which points exist: the first few, up to the end of an episode. All of them by default.
        time: Whether time is added as the last dimension, as in `signature`.

    Raises:
        ValueError: If `depth` is not positive or `path` is no table.
    """
    levels = logarithm(_levels(path, depth, mask, time))
    bases = _lyndon_basis(path.shape[1] + time, depth)
    coordinates = [
        jnp.matmul(inverse.astype(level.dtype), level[positions], precision=jax.lax.Precision.HIGHEST)
        for level, (positions, inverse) in zip(levels, bases, strict=True)
    ]
    return jnp.concatenate(coordinates)


def _levels(path: Float[Array, "T d"], depth: int, mask: Bool[Array, " T"] | None, time: bool) -> Levels:
    if path.ndim != 2 or not path.shape[0] or depth < 1:
        raise ValueError(f"a path is [T, d] with T > 0, and depth at least 1; got {list(path.shape)} and {depth}")
    if time:
        clock = jnp.arange(path.shape[0], dtype=path.dtype) / max(path.shape[0] - 1, 1)
        path = jnp.concatenate([path, clock[:, None]], axis=1)
    increments = jnp.diff(path, axis=0)
    if mask is not None:
        increments = jnp.where(mask[1:, None], increments, 0)  # the exponential of no increment changes nothing
    start = tuple(jnp.zeros(path.shape[1] ** n, path.dtype) for n in range(1, depth + 1))
    return jax.lax.scan(lambda levels, increment: (extended(levels, increment), None), start, increments)[0]


def extended(levels: Levels, increment: Float[Array, " d"]) -> Levels:
    """The signature of a path that goes on by one segment: `chen(levels, exponential(increment, depth))`.

    As in Horner's method, each level is a chain of products with the increment (Kidger & Lyons 2021, Signatory).
    """

    def level(n: int) -> Array:
        value = increment / n
        for step in range(1, n):
            value = _outer(value + levels[step - 1], increment / (n - step))
        return value + levels[n - 1]

    return tuple(level(n) for n in range(1, len(levels) + 1))


def exponential(increment: Float[Array, " d"], depth: int) -> Levels:
    """The signature of a segment: level `n` is the `n`-th tensor power of the increment over `n!`."""
    levels = [increment]
    for n in range(2, depth + 1):
        levels.append(_outer(levels[-1], increment / n))
    return tuple(levels)


def chen(first: Levels, second: Levels) -> Levels:
    """The signature of a path after another one, from theirs: the product of tensor series that start with 1."""
    return tuple(a + b + c for a, b, c in zip(first, second, _product(first, second), strict=True))


def logarithm(levels: Levels) -> Levels:
    """The tensor logarithm `x - x^2/2 + x^3/3 - ...` of `1 + x`, where `levels` are those of `x`."""
    depth = len(levels)
    scaled = lambda factor: tuple(factor * level for level in levels)  # noqa: E731
    total = scaled(1 / depth)
    for n in range(depth - 1, 0, -1):
        total = tuple(a - b for a, b in zip(scaled(1 / n), _product(levels, total), strict=True))
    return total


def _product(first: Levels, second: Levels) -> Levels:
    """The product of two tensor series that start with 0, truncated."""

    def level(n: int) -> Array:
        return sum((_outer(first[i - 1], second[n - i - 1]) for i in range(1, n)), jnp.zeros_like(first[n - 1]))

    return tuple(level(n) for n in range(1, len(first) + 1))


def _outer(a: Float[Array, " m"], b: Float[Array, " n"]) -> Float[Array, " m*n"]:
    return (a[:, None] * b[None, :]).ravel()


def lyndon_words(letters: int, depth: int) -> list[Word]:
    """The words up to a length that come before all their rotations, by length and then in order (Duval's algorithm).

    Letters are `0` to `letters - 1`.
    """
    words, word = [], [-1]
    while word:
        word[-1] += 1
        words.append(tuple(word))
        word = [word[i % len(word)] for i in range(depth)]
        while word and word[-1] == letters - 1:
            word.pop()
    return sorted(words, key=lambda word: (len(word), word))


@functools.cache
def _lyndon_basis(letters: int, depth: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """For each level: where its Lyndon words are in the tensor, and the matrix from there to the Lyndon basis.

    The coefficients of Lyndon words determine a Lie series. Those of the brackets that make up the basis form a
    matrix of integers with ones on its diagonal and zeros on one side, and so does its inverse.
    """
    words, levels = lyndon_words(letters, depth), []
    for length in range(1, depth + 1):
        own = [word for word in words if len(word) == length]
        positions = np.array([functools.reduce(lambda at, letter: at * letters + letter, word) for word in own], int)
        brackets = np.array([_bracket(word, letters)[positions] for word in own]).reshape(len(own), len(own)).T
        levels.append((positions, np.rint(np.linalg.inv(brackets))))
    return tuple(levels)


@functools.cache
def _bracket(word: Word, letters: int) -> np.ndarray:
    """The tensor of a Lyndon word's bracket `[u, v]`, where `v` is its longest proper suffix that is a Lyndon word."""
    if len(word) == 1:
        return np.eye(letters)[word[0]]
    cut = next(i for i in range(1, len(word)) if all(word[i:] < word[j:] for j in range(i + 1, len(word))))
    u, v = _bracket(word[:cut], letters), _bracket(word[cut:], letters)
    return np.outer(u, v).ravel() - np.outer(v, u).ravel()
