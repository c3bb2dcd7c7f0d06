"""Set functions of places: the cells they cover, the items found there, how well they serve or watch others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Key

from jaxreward.reward import Params, as_init
from jaxreward.rewards.sets.bits import Bits, contains, insert, no_bits
from jaxreward.rewards.sets.function import SetFunction, set_function

Place = Int[Array, ""]


def coverage(cells: Int[np.ndarray, "S k"], weights: Any) -> SetFunction:
    """The weight of all cells that a set of places covers, each cell counted once.

    Items are places, numbers from 0 to `S - 1`. Monotone and submodular where no weight is negative.

    Params: the weights, `[C]`.

    Args:
        cells: The cells that each place covers. Rows are filled up with `C`: whatever lies beyond the last cell, or
            comes twice in a row, counts nothing.
        weights: The weight of each cell, `[C]`, or a function `(key) -> weights` that draws them.

    Raises:
        ValueError: If `cells` is not a table of numbers from 0, or the weights are not one number a cell.
    """
    init = _drawn(weights)
    (num_cells,) = _shape(init, "weights are one number a cell, [C]", 1)
    table = _distinct(np.asarray(cells), num_cells)

    def worth(weights: Float[Array, " C"], own: Int[Array, " k"]) -> Float[Array, " k"]:
        return jnp.where(own < num_cells, weights.at[own].get(mode="clip"), 0)

    def add(weights: Float[Array, " C"], covered: Bits, place: Place) -> tuple[Bits, Float[Array, ""]]:
        own = jnp.asarray(table)[place]
        gain = jnp.where(contains(covered, own), 0, worth(weights, own)).sum()
        return insert(covered, own), gain

    def single(weights: Float[Array, " C"], place: Place) -> Float[Array, ""]:
        return worth(weights, jnp.asarray(table)[place]).sum()

    return set_function(init, lambda _: no_bits(num_cells), add, single)


def _drawn(numbers: Any) -> Callable[[Key[Array, ""]], Params]:
    """As `as_init`, of one array, which may be given as a list."""
    return numbers if callable(numbers) else as_init(jnp.asarray(numbers))


def _shape(init: Callable[[Key[Array, ""]], Params], what: str, axes: int) -> tuple[int, ...]:
    shape = jax.eval_shape(init, jax.random.key(0)).shape
    if len(shape) != axes:
        raise ValueError(f"{what}; got shape {list(shape)}")
    return shape


def _distinct(cells: np.ndarray, num_cells: int) -> Int[np.ndarray, "S k"]:
    """`cells` with all that counts nothing, beyond the last cell or again in a row, replaced by `num_cells`."""
    what = f"cells are numbers from 0, [S, k], in rows filled up with {num_cells}"
    if cells.ndim != 2 or not np.issubdtype(cells.dtype, np.integer):
        raise ValueError(f"{what}; got {cells.dtype}{list(cells.shape)}")
    if cells.min(initial=0) < 0:
        raise ValueError(f"{what}; got {cells.min()}")
    ordered = np.sort(np.minimum(cells, num_cells), axis=1)
    again = np.diff(ordered, axis=1, prepend=-1) == 0
    return np.where(again, num_cells, ordered).astype(np.int32)


def items(kinds: Int[np.ndarray, " S"], required: Float[np.ndarray, " K"]) -> SetFunction:
    """How many of the required items of each kind a set of places holds: `sum_k min(required_k, found_k)`.

    Items are places, numbers from 0 to `S - 1`; a place counts once. Monotone and submodular (submodular Steiner
    covering).

    Params: `kinds` `[S]`, integers, and `required` `[K]`.

    Args:
        kinds: The kind of item each place holds, from 0 to `K - 1`, or -1 for none.
        required: How many of each kind count.

    Raises:
        ValueError: If there is a kind for which nothing is said to be required.
    """
    kinds, required = np.asarray(kinds), np.asarray(required)
    if kinds.min(initial=0) < -1 or kinds.max(initial=-1) >= required.size:
        found = f"got kinds from {kinds.min()} to {kinds.max()}"
        raise ValueError(f"kinds are -1 for none, or 0 to {required.size - 1} as {required.size} are required; {found}")

    def init(key: Key[Array, ""]) -> Params:
        return {"kinds": jnp.asarray(kinds, jnp.int32), "required": jnp.asarray(required, float)}

    def empty(params: Params) -> tuple[Bits, Float[Array, " K"]]:
        return no_bits(kinds.size), jnp.zeros(required.size)

    def add(params: Params, memory: tuple, place: Place) -> tuple[tuple, Float[Array, ""]]:
        visited, found = memory
        kind = params["kinds"][place]
        new = (kind >= 0) & ~contains(visited, place)
        mine = (jnp.arange(required.size) == kind) & new
        gain = jnp.where(mine, jnp.clip(params["required"] - found, 0, 1), 0).sum()
        return (insert(visited, place), found + mine), gain

    def single(params: Params, place: Place) -> Float[Array, ""]:
        kind = params["kinds"][place]
        return jnp.where(kind >= 0, jnp.clip(params["required"][kind], 0, 1), 0)

    return set_function(init, empty, add, single)


def facility_location(similarity: Any) -> SetFunction:
    """How well the best place of a set serves each client: `sum_i max_{s in A} similarity[s, i]`.

    Items are places, numbers from 0 to `S - 1`. A client whom no place serves counts 0, so negative similarities are
    worth nothing. Monotone and submodular.

    Params: the similarities, `[S, clients]`.

    Args:
        similarity: How well each place serves each client, `[S, clients]`, or a function `(key) -> similarity`.

    Raises:
        ValueError: If it is no such table.
    """
    init = _drawn(similarity)
    clients = _shape(init, "similarities are those of places to clients, [S, clients]", 2)[1]

    def add(
        similarity: Float[Array, "S clients"], best: Float[Array, " clients"], place: Place
    ) -> tuple[Float[Array, " clients"], Float[Array, ""]]:
        better = jnp.maximum(best, similarity[place])
        return better, (better - best).sum()

    return set_function(init, lambda _: jnp.zeros(clients), add)


def probabilistic_coverage(probabilities: Float[ArrayLike, "S C"], weights: Float[ArrayLike, " C"]) -> SetFunction:
    """The weight of what a set of places is expected to detect: `sum_c weights_c (1 - prod_{s in A} (1 - p[s, c]))`.

    Items are places, numbers from 0 to `S - 1`, each visit one more independent try: a repeated place gains again,
    though less. Monotone and submodular where no weight is negative.

    Params: `probabilities` `[S, C]`, `weights` `[C]`.

    Args:
        probabilities: With which probability a visit of place `s` detects target `c`, `[S, C]`.
        weights: The weight of each target, `[C]`.

    Raises:
        ValueError: If the two do not have the same targets.
    """
    if jnp.ndim(probabilities) != 2 or jnp.shape(probabilities)[1:] != jnp.shape(weights):
        got = f"{list(jnp.shape(probabilities))} and {list(jnp.shape(weights))}"
        raise ValueError(f"probabilities are [S, C] and weights [C]; got shapes {got}")
    init = as_init({"probabilities": jnp.asarray(probabilities), "weights": jnp.asarray(weights)})

    def empty(params: Params) -> Float[Array, " C"]:
        return jnp.ones_like(params["weights"])

    def add(params: Params, missed: Float[Array, " C"], place: Place) -> tuple[Float[Array, " C"], Float[Array, ""]]:
        detected = missed * params["probabilities"][place]
        return missed - detected, (params["weights"] * detected).sum()

    return set_function(init, empty, add)


def pairwise(weights: Any) -> SetFunction:
    """The weight of all pairs of different places within a set.

    Items are places, numbers from 0 to `S - 1`; a place counts once. Supermodular where no weight is negative (places
    that are worth more together), submodular where none is positive (places too much alike).

    Params: the weights, `[S, S]`, of which the diagonal counts nothing.

    Args:
        weights: The weight of each pair, `[S, S]`, symmetric, or a function `(key) -> weights`.

    Raises:
        ValueError: If it is no such table.
    """
    init = _drawn(weights)
    num_places = _shape(init, "weights are those of pairs of places, [S, S]", 2)[0]

    def add(
        weights: Float[Array, "S S"], visited: Bool[Array, " S"], place: Place
    ) -> tuple[Bool[Array, " S"], Float[Array, ""]]:
        gain = jnp.where(visited, weights[place], 0).sum()
        return visited.at[place].set(True), jnp.where(visited[place], 0, gain)

    return set_function(init, lambda _: jnp.zeros(num_places, bool), add, lambda *_: jnp.zeros(()))
