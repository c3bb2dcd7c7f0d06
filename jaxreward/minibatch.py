"""Shuffling without sorting.

`jax.random.permutation` sorts, and a sort is up to half of a small PPO update on a CPU. `shuffle` is a bijection by
construction: it lays the indices out as a grid and turns columns and rows by random offsets, an unbalanced Feistel
network over the two coordinates (Black and Rogaway 2002, "Ciphers with arbitrary finite domains").
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

ROUNDS = 3
_SMALLEST_SIDE = 4


def shuffle(key: Key[Array, ""], size: int) -> Int[Array, " size"]:
    """A random permutation of `size` indices; each index is equally likely at each place.

    Sizes with no divisor to make a grid of (primes, or nearly) fall back to `jax.random.permutation`.
    """
    rows = max(d for d in range(1, math.isqrt(size) + 1) if size % d == 0)
    if rows < _SMALLEST_SIDE:
        return jax.random.permutation(key, size)
    return _turn_grid(key, rows, size // rows)


def _turn_grid(key: Key[Array, ""], rows: int, columns: int) -> Int[Array, " rows*columns"]:
    row, column = jnp.divmod(jnp.arange(rows * columns), columns)
    for key_round in jax.random.split(key, ROUNDS):
        key_row, key_column = jax.random.split(key_round)
        row = (row + jax.random.randint(key_row, (columns,), 0, rows)[column]) % rows
        column = (column + jax.random.randint(key_column, (rows,), 0, columns)[row]) % columns
    return row * columns + column
