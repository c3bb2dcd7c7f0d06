"""The lives of agents that follow an objective: what comes of them, and what is told of them on the way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agents.meta import lpg
from jaxreward.agents.meta.parts.follower import Follower, Life
from jaxreward.agents.meta.parts.worlds import worlds
from jaxreward.compilation.cache import compiler_options
from jaxreward.learning.objective import Lifetime

PARTS = 4
"""Of a life, in each of which what an update says and does is averaged."""
TOLD = {"entropy": "policy/entropy", "score": "objective/score", "update": "update/policy"}
"""What is told of a life, by its names in metrics."""

Told = dict[str, Array]


class Lives(NamedTuple):
    """How agents live.

    Attributes:
        follower: Who they are, and what they follow.
        env_params: Of the environment, of which a level is drawn.
        judged_steps: Of the episodes that a life is judged by at its end.
        horizons: Their lengths, in updates.
    """

    follower: Follower
    env_params: PyTree
    judged_steps: int
    horizons: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Environment steps of one life of each length, but for those it is judged by."""
        return sum(self.horizons) * self.follower.num_envs * self.follower.num_steps

    def in_level(self, params: PyTree, key: Key[Array, ""]) -> Told:
        """A life of each length in a level under an objective's params, leaves `[H]` or `[H, parts]`."""
        return jax.lax.map(partial(self.one, params, key), jnp.asarray(self.horizons, jnp.int32))

    def one(self, params: PyTree, key: Key[Array, ""], total: Int[Array, ""]) -> Told:
        """A life of so many updates: the `earned` return at its end, and what is told of it."""
        key_world, key_life, key_course, key_judged = jax.random.split(key, 4)
        world = worlds(self.follower.env)(key_world, self.env_params)
        life, told = course(self.follower, self.follower.init(key_life, world), total, params, world, key_course)
        judged = self.follower.evaluate(
            life.params.policy, world, self.judged_steps, self.follower.num_envs, key_judged
        )
        return {"earned": judged["episode/return"], **told}


def grown(lives: Lives) -> Callable[[PyTree, Key[Array, "runs levels"]], Told]:
    """All lives under each run's params: means over levels, leaves `[runs, H, ...]`."""

    def of_run(params: PyTree, keys: Key[Array, " levels"]) -> Told:
        return jax.tree.map(lambda leaf: leaf.mean(0), jax.vmap(lives.in_level, (None, 0))(params, keys))

    return jax.jit(jax.vmap(of_run), compiler_options=compiler_options())


def course(
    lives: Follower, life: Life, total: Int[Array, ""], params: PyTree, world: PyTree, key: Key[Array, ""]
) -> tuple[Life, dict[str, Float[Array, " parts"]]]:
    """A life from its beginning, and what is told of it, a mean over each part; nothing where it has no updates."""
    rates = lpg.Hyperparams()

    def update(now: tuple[Life, Array, Array, dict[str, Array]]) -> tuple[Life, Array, Array, dict[str, Array]]:
        life, step, count, told = now
        place = PARTS * step // total
        life, _, said = lives.update(life, Lifetime(step, total), params, world, rates, jax.random.fold_in(key, step))
        told = {name: sums.at[place].add(said[TOLD[name]]) for name, sums in told.items()}
        return life, step + 1, count.at[place].add(1.0), told

    zeros = jnp.zeros(PARTS)
    first = life, jnp.zeros((), jnp.int32), zeros, dict.fromkeys(TOLD, zeros)
    life, _, count, told = jax.lax.while_loop(lambda now: now[1] < total, update, first)
    return life, {name: jnp.where(count > 0, sums / jnp.maximum(count, 1), jnp.nan) for name, sums in told.items()}


def table(name: str, horizons: tuple[int, ...], told: dict[str, np.ndarray]) -> pd.DataFrame:
    """A row for each run, lifetime and part, of numbers `[runs, H]` or `[runs, H, parts]`."""
    shape = told["entropy"].shape
    places = pd.MultiIndex.from_product([range(shape[0]), horizons, range(PARTS)], names=["seed", "horizon", "part"])
    numbers = told | {"earned": np.broadcast_to(told["earned"][..., None], shape)}
    return places.to_frame(index=False).assign(method=name, **{key: each.ravel() for key, each in numbers.items()})
