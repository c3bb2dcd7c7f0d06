"""What a search has found so far: its evaluations, where they ended, and the best of each reward area."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jax import vmap
from jaxtyping import Array, Bool, Float, Int

from jaxreward.agents.quality_diversity.parts.evaluation import Outcome
from jaxreward.quality_diversity import cell_index

BINS = 50
"""Cells in each dimension of descriptors, as in the authors' analysis of SERENE and STAX."""


class Statistics(NamedTuple):
    """Counts of a run.

    Attributes:
        evaluations: How many genomes were tried, fewer than 2**31.
        visits: How many ended in each cell of the descriptor's grid.
        best: The highest reward of each area, 0 where there was none.
        env_steps: Environment steps since it was last asked,
        episodes: episodes,
        reward: and the sum of their rewards.
    """

    evaluations: Int[Array, ""]
    visits: Int[Array, " cells"]
    best: Float[Array, " areas"]
    env_steps: Int[Array, ""]
    episodes: Int[Array, ""]
    reward: Float[Array, ""]


def empty_statistics(env: Environment) -> Statistics:
    """Nothing tried yet."""
    zero = jnp.zeros((), jnp.int32)
    cells = BINS ** len(env.descriptor_bounds[0])
    return Statistics(zero, jnp.zeros(cells, jnp.int32), jnp.zeros(env.num_areas), zero, zero, jnp.zeros(()))


def since(statistics: Statistics) -> Statistics:
    """The same, counting steps and episodes from here on."""
    zero = jnp.zeros((), jnp.int32)
    return statistics._replace(env_steps=zero, episodes=zero, reward=jnp.zeros(()))


def cells_of(env: Environment, descriptors: Float[Array, "n d"]) -> Int[Array, " n"]:
    """The cell of each descriptor on the grid of `BINS` cells a dimension."""
    low, high = (jnp.asarray(corner) for corner in env.descriptor_bounds)
    return vmap(lambda descriptor: cell_index(descriptor, low, high, (BINS,) * low.size))(descriptors)


def count(
    statistics: Statistics,
    env: Environment,
    outcomes: Outcome,
    *,
    visits: bool,
    counts: Bool[Array, " n"] | None = None,
) -> Statistics:
    """The statistics after some genomes were evaluated.

    Args:
        statistics: Before.
        env: The environment.
        outcomes: What came of them, leaves `[n, ...]`.
        visits: Whether they count for coverage; what emitters try does not, as in the authors' analysis.
        counts: Which of them were tried at all; all by default.
    """
    counts = jnp.ones(outcomes.reward.shape, bool) if counts is None else counts
    number = counts.sum(dtype=jnp.int32)
    area = jnp.where(counts, outcomes.area, -1)
    best = statistics.best.at[jnp.where(area >= 0, area, statistics.best.size)].max(outcomes.reward, mode="drop")
    seen = statistics.visits
    if visits:
        cells = jnp.where(counts, cells_of(env, outcomes.descriptor), -1)
        seen = seen.at[jnp.where(cells >= 0, cells, seen.size)].add(1, mode="drop")
    return Statistics(
        statistics.evaluations + number,
        seen,
        best,
        statistics.env_steps + jnp.where(counts, outcomes.steps, 0).sum(dtype=jnp.int32),
        statistics.episodes + number,
        statistics.reward + jnp.where(counts, outcomes.reward, 0.0).sum(),
    )


def uniformity(visits: Int[Array, " cells"]) -> Float[Array, ""]:
    """One less the Jensen-Shannon distance (base 2) of a histogram to the uniform one; 1 if they are equal."""
    share = visits / jnp.maximum(visits.sum(), 1)
    even = jnp.full(visits.shape, 1 / visits.size)
    middle = (share + even) / 2
    of = lambda p: jnp.where(p > 0, p * jnp.log2(jnp.where(p > 0, p, 1) / middle), 0.0).sum()  # noqa: E731
    return 1 - jnp.sqrt(jnp.maximum(of(share) + of(even), 0.0) / 2)


def metrics(statistics: Statistics) -> dict[str, Array]:
    """The statistics as an agent's metrics: coverage, uniformity and the best of each area among them."""
    return {
        "env_steps": statistics.env_steps,
        "episode/count": statistics.episodes.astype(float),
        "episode/return": statistics.reward / jnp.maximum(statistics.episodes, 1),
        "evaluations": statistics.evaluations.astype(float),
        "coverage": (statistics.visits > 0).mean(),
        "uniformity": uniformity(statistics.visits),
        **{f"best/area_{area}": statistics.best[area] for area in range(statistics.best.size)},
    }
