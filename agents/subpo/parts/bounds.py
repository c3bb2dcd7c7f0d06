"""Additive bounds of set functions, exact for what was visited (Iyer, Jegelka, Bilmes, ICML 2013, arXiv:1308.1006)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxreward.environment import select
from jaxreward.reward import Memory, Params
from jaxreward.rewards.sets import SetFunction


class Visit(NamedTuple):
    """All places in some order, `[S]`, the first `size` of which were visited."""

    order: Int[Array, " S"]
    size: Int[Array, ""]


def visiting_order(key: Key[Array, ""], places: Int[Array, " T+1"], num_places: int) -> Visit:
    """The places of an episode by their first visits, then all others at random."""
    first = first_visits(places, num_places)
    visited = first < places.size
    rank = jnp.where(visited, first.astype(float), places.size + jax.random.uniform(key, (num_places,)))
    return Visit(jnp.argsort(rank).astype(jnp.int32), visited.sum(dtype=jnp.int32))


def first_visits(places: Int[Array, " T+1"], num_places: int) -> Int[Array, " S"]:
    """When each place is first visited, `T + 1` if never."""
    times = jnp.arange(places.size, dtype=jnp.int32)
    return jnp.full(num_places, places.size, jnp.int32).at[places].min(times)


def submodular_bound(function: SetFunction, params: Params, visit: Visit) -> Float[Array, " S"]:
    """Weights with `F(Y) >= sum_Y w` for all sets of places `Y`, exact for the visited ones; `F` submodular.

    They are the gains along the order. Let the places of `Y` come along in it: each gains at least its weight, as there
    are fewer before it.
    """
    gains = jax.lax.scan(lambda memory, x: function.add(params, memory, x), function.empty(params), visit.order)[1]
    return jnp.zeros(gains.size).at[visit.order].set(gains)


def supermodular_bounds(
    function: SetFunction, params: Params, visit: Visit, most: int
) -> tuple[Float[Array, " S"], Float[Array, " S"]]:
    """Two times weights with `F(Y) >= F(X) + sum_{Y - X} w - sum_{X - Y} w` for all `Y`, `X` visited; `F` supermodular.

    The more there is already the more a place gains. So, of places `V`,
    1. taking `X - Y` off `X`, then adding `Y - X`: `F(Y) >= F(X) - sum_{X - Y} F(j | X - j) + sum_{Y - X} F(j)`;
    2. adding `Y - X` to `X`, then taking `X - Y` off: `F(Y) >= F(X) + sum_{Y - X} F(j | X) - sum_{X - Y} F(j | V - j)`.

    Args:
        function: `F`.
        params: Its params.
        visit: Which places are visited.
        most: How many these are at most.
    """
    order, size = visit.order[:most], visit.size
    everything = jnp.arange(visit.order.size)
    inside_1 = jnp.zeros(everything.size).at[order].set(_last_gains(function, params, order, size))
    inside_2 = _last_gains(function, params, everything, everything.size)  # of no order: `vmap` computes this once
    outside_1, outside_2 = (_gains_to(function, params, order, n, everything) for n in (0, size))
    visited = jnp.zeros(everything.size, bool).at[visit.order].set(everything < size)
    return jnp.where(visited, inside_1, outside_1), jnp.where(visited, inside_2, outside_2)


def _gains_to(
    function: SetFunction, params: Params, order: Int[Array, " n"], size: Int[Array, ""] | int, to: Int[Array, " S"]
) -> Float[Array, " S"]:
    """What each of the places `to` adds to the first `size` of `order`."""
    memory = _add_all(function, params, order, jnp.arange(order.size) < size)
    return jax.vmap(lambda place: function.add(params, memory, place)[1])(to)


def _last_gains(
    function: SetFunction, params: Params, order: Int[Array, " n"], size: Int[Array, ""] | int
) -> Float[Array, " n"]:
    """What each of `order` adds to the others of its first `size`."""
    ranks = jnp.arange(order.size)

    def gain(rank: Int[Array, ""]) -> Float[Array, ""]:
        memory = _add_all(function, params, order, (ranks < size) & (ranks != rank))
        return function.add(params, memory, order[rank])[1]

    return jax.vmap(gain)(ranks)


def _add_all(function: SetFunction, params: Params, order: Int[Array, " n"], chosen: Bool[Array, " n"]) -> Memory:
    """The memory of the chosen ones."""

    def step(memory: Memory, x: tuple[Array, Array]) -> tuple[Memory, None]:
        place, chosen = x
        return select(chosen, function.add(params, memory, place)[0], memory), None

    return jax.lax.scan(step, function.empty(params), (order, chosen))[0]


def timed(weights: Float[Array, " S"], places: Int[Array, " T+1"], arrival: Int[Array, " S"]) -> Float[Array, "T+1 S"]:
    """A reward for being in a place at a time, which pays the weights of visited places, or less.

    A gain is paid at one time only: a place's first visit in this episode, or its `arrival` if it has none. A loss is
    paid at every visit. Both are at most the weight, paid once, and equal to it for this episode, but for a loss of
    places that it visits several times. These it pays nothing for, as if it had been paid anyhow: up to a constant,
    which changes no policy, that is at most the weight, too.

    Args:
        weights: Of each place.
        places: An episode.
        arrival: When a place that this episode does not visit is to be visited; beyond `T` for never.
    """
    num_places, times = weights.size, jnp.arange(places.size)[:, None]
    visits = jnp.zeros(num_places, jnp.int32).at[places].add(1)
    when = jnp.where(visits > 0, first_visits(places, num_places), arrival)
    gains = jnp.where(times == when[None], weights[None], 0.0)
    losses = jnp.where(visits > 1, 0.0, weights)[None]
    return jnp.where((weights >= 0)[None], gains, losses)
