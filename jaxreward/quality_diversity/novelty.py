"""How far a behaviour is from those known already: exact nearest neighbours, block by block.

Float32 and distances: up to `DIRECT` dimensions squared differences are summed, one dimension after the other, exact to
a few roundings and without a `[Q, R, d]` array. Above, `|a|^2 + |b|^2 - 2ab` chooses the neighbours, because one matrix
product is then several times faster. Its rounding error, a few times `2**-24 (|a|^2 + |b|^2)`, would swamp small
distances: it is taken about the mean of the reference, and the distances of the chosen are computed again from
differences. What remains is that of two neighbours whose squared distances differ by less than that error the wrong
one may be chosen.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreward.learning.lazy import when

DIRECT = 10
"""Up to how many dimensions differences are as fast as the matrix product, measured on CPU."""


class Neighbours(NamedTuple):
    """The nearest of a reference to each of `Q` queries, nearest first (up to rounding, see above).

    Attributes:
        distances: Euclidean; infinite where there are fewer than `k`.
        indices: Rows of the reference; meaningless where the distance is infinite.
    """

    distances: Float[Array, "Q k"]
    indices: Int[Array, "Q k"]


def novelty(
    queries: Float[Array, "Q d"],
    reference: Float[Array, "R d"],
    k: int,
    *,
    mask: Bool[Array, " R"] | None = None,
    own: Int[Array, " Q"] | None = None,
    drop_nearest: bool = False,
    block_size: int = 2048,
) -> Float[Array, " Q"]:
    """The mean distance to the `k` nearest of the reference (Lehman & Stanley 2011).

    With fewer than `k` of them it is the mean over those there are; with none it is infinite.

    Args:
        queries: The behaviours in question.
        reference: Those to compare with, for example population, offspring and archive.
        k: How many neighbours count.
        mask: Which rows of the reference exist; all of them by default.
        own: Which row of the reference each query is itself, so that it does not count; -1 for none.
        drop_nearest: Whether the nearest is left out, whichever it is, as in the authors' code of SERENE and STAX. For
            queries that are in the reference this is what `own` does; those that are not lose a true neighbour.
        block_size: How many rows of the reference are compared at once: memory is `Q * block_size` numbers.

    Raises:
        ValueError: As `nearest`, or if both `own` and `drop_nearest` are given.
    """
    if own is not None and drop_nearest:
        raise ValueError("own leaves out a query itself, drop_nearest whatever is nearest; got both, give one of them")
    distances = nearest(queries, reference, k + drop_nearest, mask=mask, own=own, block_size=block_size).distances
    counted = jnp.isfinite(distances)
    if drop_nearest:
        counted &= jnp.arange(k + 1)[None] != jnp.argmin(distances, axis=1)[:, None]
    number = counted.sum(axis=1)
    total = jnp.where(counted, distances, 0).sum(axis=1)
    return jnp.where(number > 0, total / jnp.maximum(number, 1), jnp.inf)


def nearest(
    queries: Float[Array, "Q d"],
    reference: Float[Array, "R d"],
    k: int,
    *,
    mask: Bool[Array, " R"] | None = None,
    own: Int[Array, " Q"] | None = None,
    block_size: int = 2048,
) -> Neighbours:
    """The `k` nearest of the reference, the earlier row first where two are equally near.

    Blocks in which no row exists cost nothing: the time grows with what is in an archive, not with its capacity.

    Args:
        queries: The points in question.
        reference: The points to choose from.
        k: How many to find.
        mask: Which rows of the reference exist; all of them by default.
        own: Which row of the reference each query is itself and must not find; -1 for none.
        block_size: How many rows of the reference are compared at once: memory is `Q * block_size` numbers.

    Raises:
        ValueError: If shapes do not fit, or `k` or `block_size` is not positive.
    """
    queries, reference = jnp.asarray(queries, float), jnp.asarray(reference, float)
    _check(queries, reference, k, block_size)
    mask = jnp.ones(reference.shape[0], bool) if mask is None else mask
    own = jnp.full(queries.shape[0], -1) if own is None else own
    is_direct = queries.shape[1] <= DIRECT
    center = jnp.zeros_like(queries[0]) if is_direct else _masked_mean(reference, mask)
    centered = queries - center[None]

    def search(found: Neighbours, points: Array, exists: Array, rows: Array) -> Neighbours:
        distances = (_direct if is_direct else _gram)(centered, points - center[None])
        excluded = ~exists[None] | (rows[None] == own[:, None])
        return _merge(found, jnp.where(excluded, jnp.inf, distances), rows)

    def visit(found: Neighbours, block: tuple[Array, Array, Array]) -> tuple[Neighbours, None]:
        return when(block[1].any(), search, found, *block), None

    shape = (queries.shape[0], k)
    nothing = Neighbours(jnp.full(shape, jnp.inf, center.dtype), jnp.zeros(shape, jnp.int32))
    found, _ = jax.lax.scan(visit, nothing, _blocks(reference, mask, block_size))
    squared = found.distances if is_direct else _again(queries, reference, found)
    return Neighbours(jnp.sqrt(squared), found.indices)


def _check(queries: Array, reference: Array, k: int, block_size: int) -> None:
    if queries.ndim != 2 or reference.ndim != 2 or queries.shape[1] != reference.shape[1] or not reference.shape[0]:
        got = f"{list(queries.shape)} and {list(reference.shape)}"
        raise ValueError(f"queries are [Q, d] and the reference is [R, d] with the same d and R > 0; got {got}")
    for name, number in (("k", k), ("block_size", block_size)):
        if number < 1:
            raise ValueError(f"{name} must be at least 1; got {number}")


def _masked_mean(points: Float[Array, "R d"], mask: Bool[Array, " R"]) -> Float[Array, " d"]:
    return jnp.where(mask[:, None], points, 0).sum(axis=0) / jnp.maximum(mask.sum(), 1)


def _direct(a: Float[Array, "Q d"], b: Float[Array, "B d"]) -> Float[Array, "Q B"]:
    return sum(((a[:, i, None] - b[None, :, i]) ** 2 for i in range(a.shape[1])), jnp.zeros((len(a), len(b)), a.dtype))


def _gram(a: Float[Array, "Q d"], b: Float[Array, "B d"]) -> Float[Array, "Q B"]:
    products = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)  # never the 10 bits of TF32
    return (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * products


def _merge(found: Neighbours, distances: Float[Array, "Q B"], rows: Int[Array, " B"]) -> Neighbours:
    """The `k` nearest of those found before and those of a block."""
    k = found.distances.shape[1]
    # `top_k` for exactly `k`, none of it sliced away: XLA would then sort everything on CPU, 20 times slower.
    nearness, chosen = jax.lax.top_k(-jnp.concatenate([found.distances, distances], axis=1), k)
    before = jnp.take_along_axis(found.indices, jnp.minimum(chosen, k - 1), axis=1)
    return Neighbours(-nearness, jnp.where(chosen < k, before, rows[jnp.maximum(chosen - k, 0)]))


def _blocks(reference: Float[Array, "R d"], mask: Bool[Array, " R"], size: int) -> tuple[Array, Array, Array]:
    """Points `[blocks, B, d]`, whether they exist `[blocks, B]`, and their rows `[blocks, B]`."""
    number, dimensions = reference.shape
    size = min(size, number)
    padding = -number % size
    points = jnp.pad(reference, ((0, padding), (0, 0))).reshape(-1, size, dimensions)
    exists = jnp.pad(mask, (0, padding)).reshape(-1, size)
    return points, exists, jnp.arange(exists.size, dtype=jnp.int32).reshape(exists.shape)


def _again(queries: Float[Array, "Q d"], reference: Float[Array, "R d"], found: Neighbours) -> Float[Array, "Q k"]:
    """The squared distances of those found from differences, one neighbour after the other to save memory."""
    exact = jax.lax.map(lambda rows: ((reference[rows] - queries) ** 2).sum(axis=1), found.indices.T).T
    return jnp.where(jnp.isfinite(found.distances), exact, jnp.inf)
