"""Whole episodes with their returns, gathered from rollouts that cut them anywhere."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxreward.environment import select


class Episodes(NamedTuple):
    """Episodes of up to `L` steps.

    Attributes:
        inputs: What a model reads of each step; zeros behind an episode's end.
        length: How many steps there are, 0 of an episode that is none.
        total: What they paid.
    """

    inputs: Float[Array, "*batch L F"]
    length: Int[Array, "*batch"]
    total: Float[Array, "*batch"]

    @property
    def valid(self) -> Bool[Array, "*batch L"]:
        """Which steps there are."""
        shape = self.inputs.shape[:-1]
        return jax.lax.broadcasted_iota(jnp.int32, shape, len(shape) - 1) < self.length[..., None]


class Store(NamedTuple):
    """Where episodes are gathered.

    Attributes:
        running: The one that each environment is in, `[N, L, F]`.
        ended: The last ones that ended, a ring, `[E, L, F]`.
        position: Where the next one is put.
    """

    running: Episodes
    ended: Episodes
    position: Int[Array, ""]


def empty_episodes(number: int, steps: int, size: int) -> Episodes:
    """None yet."""
    return Episodes(jnp.zeros((number, steps, size)), jnp.zeros(number, jnp.int32), jnp.zeros(number))


def empty_store(num_envs: int, capacity: int, steps: int, size: int) -> Store:
    """Room for episodes.

    Args:
        num_envs: How many are running at a time, `N`.
        capacity: How many that ended are kept, `E`, `N` or more.
        steps: The most steps of one, `L`; those behind are not kept, and counted.
        size: Of what is read of a step, `F`.
    """
    running, ended = (empty_episodes(number, steps, size) for number in (num_envs, capacity))
    return Store(running, ended, jnp.zeros((), jnp.int32))


def gathered(
    store: Store, inputs: Float[Array, "T N F"], reward: Float[Array, "T N"], done: Bool[Array, "T N"]
) -> Store:
    """The store with a rollout."""

    def step(store: Store, x: tuple) -> tuple[Store, None]:
        inputs, reward, done = x
        running, rows = store.running, jnp.arange(len(done))
        running = Episodes(
            running.inputs.at[rows, running.length].set(inputs, mode="drop"),
            running.length + 1,
            running.total + reward,
        )
        capacity = len(store.ended.length)
        ends = done.astype(jnp.int32)
        # Where environments end together their places follow each other; the others are put behind the ring: nowhere.
        place = jnp.where(done, (store.position + jnp.cumsum(ends, dtype=jnp.int32) - ends) % capacity, capacity)
        ended = jax.tree.map(lambda old, new: old.at[place].set(new, mode="drop"), store.ended, running)
        fresh = jax.tree.map(jnp.zeros_like, running)
        return Store(select(done, fresh, running), ended, (store.position + ends.sum(dtype=jnp.int32)) % capacity), None

    return jax.lax.scan(step, store, (inputs, reward, done))[0]


def drawn(episodes: Episodes, key: Key[Array, ""], shape: tuple[int, ...]) -> Episodes:
    """Of those that there are, each equally likely, with replacement; where there are none, ones without steps."""
    there = episodes.length > 0
    cumulative = jnp.cumsum(there)
    wanted = jax.random.randint(key, shape, 0, jnp.maximum(cumulative[-1], 1)) + 1
    rows = jnp.minimum(jnp.searchsorted(cumulative, wanted.ravel()), len(there) - 1).reshape(shape)
    return jax.tree.map(lambda leaf: leaf[rows], episodes)
