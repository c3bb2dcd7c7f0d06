"""Filling a grid with elites: what MAP-Elites and CMA-ME have in common (Mouret & Clune 2015).

A cell is found in closed form or, in a centroidal Voronoi tessellation, as that of the nearest centroid
(CVT-MAP-Elites, Vassiliades, Chatzilygeroudis & Mouret 2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import strong
from jaxreward.agents.quality_diversity.parts.evaluation import EvaluationConfig, Evaluator, Outcome, make_evaluator
from jaxreward.agents.quality_diversity.parts.statistics import Statistics, count, empty_statistics, metrics
from jaxreward.contract.sizes import size
from jaxreward.environment import world
from jaxreward.names import check_name
from jaxreward.quality_diversity import Grid, cell_index, centroid_index, cvt_centroids, empty_grid, insert

Cells = Literal["grid", "cvt"]


@dataclass(frozen=True)
class CellsConfig(EvaluationConfig):
    """Into what the space of descriptors is divided, and who holds a part of it.

    Attributes:
        cells: "grid", a regular one whose cells cost nothing to find, or "cvt", those of centroids.
        bins: Cells in each dimension of a grid.
        num_cells: How many centroids, drawn for each seed.
        ties_replace: Whether a newcomer as good as what its cell holds replaces it, as in the authors' code of SERENE
            and STAX (arXiv:2102.03140, 2111.01919); in Mouret & Clune it does not.
        worst_reward: What an elite's reward is counted from in `qd_score`.
    """

    cells: Cells = "grid"
    bins: int = size(50)
    num_cells: int = size(1024)
    ties_replace: bool = True
    worst_reward: float = size(0.0, least=-math.inf)


class Elites(NamedTuple):
    """A grid that is being filled.

    Attributes:
        grid: Of genomes.
        centroids: Of its cells; `()` for a regular grid.
        statistics: What was found.
        start: The key of every evaluation.
    """

    grid: Grid
    centroids: PyTree
    statistics: Statistics
    start: Key[Array, ""]


class Evaluated(NamedTuple):
    """What came of some genomes, and the cell of each, -1 for none."""

    outcome: Outcome
    cell: Int[Array, " B"]


@dataclass(frozen=True)
class Illumination:
    """The steps of filling a grid. `env` is the environment beneath all rewards."""

    evaluator: Evaluator
    env: Environment
    config: CellsConfig

    def init(self, key: Key[Array, ""]) -> Elites:
        """An empty grid."""
        config = self.config
        key_start, key_centroids = jax.random.split(key)
        low, high = self.bounds()
        is_cvt = config.cells == "cvt"
        centroids = cvt_centroids(key_centroids, config.num_cells, low, high) if is_cvt else ()
        grid = empty_grid(jnp.zeros(self.evaluator.controller.size), len(centroids) or config.bins**low.size)
        return strong(Elites(grid, centroids, empty_statistics(self.env), key_start))

    def evaluated(self, elites: Elites, genomes: Float[Array, "B D"], env_params: PyTree) -> tuple[Elites, Evaluated]:
        """Tries genomes, which the statistics then knows and the grid not yet. What is not a number has no cell."""
        outcome = self.evaluator.evaluate(genomes, env_params, elites.start)
        statistics = count(elites.statistics, self.env, outcome, visits=True)
        is_broken = ~jnp.isfinite(genomes).all(1) | jnp.isnan(outcome.descriptor).any(1)
        cell = jnp.where(is_broken, -1, self.cells_of(outcome.descriptor, elites.centroids))
        return elites._replace(statistics=statistics), Evaluated(outcome, cell)

    def enter(self, elites: Elites, genomes: Float[Array, "B D"], evaluated: Evaluated) -> Elites:
        """Puts each in its cell if it is better than what this holds."""
        reward, ties_replace = evaluated.outcome.reward, self.config.ties_replace
        return elites._replace(grid=insert(elites.grid, genomes, reward, evaluated.cell, ties_replace=ties_replace))

    def cells_of(self, descriptors: Float[Array, "B d"], centroids: PyTree) -> Int[Array, " B"]:
        """The cell of each descriptor."""
        if self.config.cells == "cvt":
            return centroid_index(descriptors, centroids)
        low, high = self.bounds()
        return jax.vmap(lambda descriptor: cell_index(descriptor, low, high, (self.config.bins,) * low.size))(
            descriptors
        )

    def bounds(self) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
        """The corners between which descriptors lie."""
        low, high = (jnp.asarray(corner, float) for corner in self.env.descriptor_bounds)
        return low, high

    def metrics(self, elites: Elites) -> dict[str, Array]:
        """Those of the statistics, how many elites there are, and the sum of their rewards."""
        grid = elites.grid
        above = jnp.where(jnp.isneginf(grid.fitness), 0.0, grid.fitness - self.config.worst_reward)
        held = {"archive/size": grid.occupied.size.astype(float), "qd_score": above.sum()}
        return metrics(elites.statistics) | held


def make_illumination(env: Environment, env_params: PyTree, config: CellsConfig) -> Illumination:
    """The steps of filling a grid with the best in an environment.

    Raises:
        ValueError: If an option is unknown or does not fit the environment, or there is not to be a cell.
    """
    check_name("cells", config.cells, get_args(Cells))
    return Illumination(make_evaluator(env, env_params, config), world(env, env_params)[0], config)


def best_elite(grid: Grid) -> Float[Array, " D"]:
    """The genome that earned most."""
    return grid.items[jnp.argmax(grid.fitness)]
