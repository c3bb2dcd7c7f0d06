"""The tasks of submodular reinforcement learning by name, `subrl/NAME`.

Prajapat et al., ICLR 2024 (arXiv:2307.13372); grids, horizons, start, discs and walls are those of the authors' code.
Where the paper has ten instances of a task there are ten, drawn by the code's recipes and chosen by `env.instance`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxreward.envs.subrl.car import car
from jaxreward.envs.subrl.coverage_ant import coverage_ant
from jaxreward.envs.subrl.densities import (
    GP_NOISE,
    GP_VARIANCE,
    bimodal_density,
    gp_density,
    item_kinds,
    nests_density,
    random_points,
)
from jaxreward.envs.subrl.grid import Grid, GridState, discs, walled_moves
from jaxreward.envs.subrl.instances import read_covariances, read_densities, read_items
from jaxreward.envs.subrl.task import Task
from jaxreward.names import check_name
from jaxreward.reward import Params, Reward
from jaxreward.rewards.sets import coverage, information_gain, items, marginal_gains, matern52, posterior, table

INSTANCES = 10
START = 34
"""The cell that the authors' code starts from in all tasks."""
DISC = ((0, 0), (0, 1), (1, 0), (1, 1))
"""What a cell covers: itself, right, below and diagonally below, as in the authors' code."""
ITEM_COUNTS, ITEMS_REQUIRED = (18, 14, 13, 16, 18, 14), (3, 2, 3, 4, 6, 3)
DESIGN_NOISE, AUTHORS_OFFSET = 1e-6, 9.965784


def cell(state: GridState) -> Int[Array, ""]:
    """The place that a state adds to what was visited."""
    return state.cell


def gp_coverage(
    horizon: int = 40, slip: float = 0.0, observation: str = "position", instances: str | None = None
) -> Task:
    """Coverage of densities that are samples of a Gaussian process, ten of them: informative path planning.

    Args:
        horizon: Cells of an episode.
        slip: See `Task`.
        observation: See `Grid`.
        instances: A folder with the ten densities that the authors released, see `jaxreward.envs.subrl.instances`.
    """
    weights = _gp_densities() if instances is None else read_densities(instances, 900)
    return _density("gp_coverage", weights, horizon, slip, observation)


def gorilla(horizon: int = 40, slip: float = 0.0, observation: str = "position", density: str | None = None) -> Task:
    """Coverage of a density of nests.

    Args:
        horizon: Cells of an episode.
        slip: See `Task`.
        observation: See `Grid`.
        density: A file with one's own, `.npy` or `.csv`, 30 x 30. The paper's was not released; by default it is a
            made-up one, see `nests_density`.
    """
    weights = nests_density(30, 30) if density is None else read_density(density, (30, 30))
    return _density("gorilla", weights[None], horizon, slip, observation)


def bimodal(horizon: int = 40, slip: float = 0.0, observation: str = "position") -> Task:
    """Coverage of a density that is high in two opposite corners, in one of which the walker starts."""
    return _density("bimodal", bimodal_density(30, 30)[None], horizon, slip, observation)


def uniform(horizon: int = 80, slip: float = 0.0, observation: str = "position") -> Task:
    """Coverage of a grid on which all cells are worth the same. A walk along the border reaches `best`, 162."""
    return _density("uniform", np.ones((1, 900)), horizon, slip, observation)


def two_rooms(horizon: int = 40, slip: float = 0.0, observation: str = "position") -> Task:
    """Coverage of two rooms with a corridor between them, in which the walker starts: building exploration.

    All 68 cells that are not walls can be covered in an episode of 40: `best` is reached.
    """
    right, down, diagonal = two_room_passages()
    rows, columns = right.shape
    world = Grid(rows, columns, horizon, START, observation, walled_moves(right, down))
    reached = [np.ones_like(right), right, down, diagonal]
    cells = np.where(np.stack(reached, -1).reshape(-1, 4), discs(rows, columns, DISC), right.size)
    return _covered(
        "two_rooms", world, cells, np.ones((1, right.size)), slip, most_coverable(np.ones((1, 68)), horizon)
    )


def steiner(horizon: int = 40, slip: float = 0.0, observation: str = "position", instances: str | None = None) -> Task:
    """Collecting items: so many of each of six kinds count, 21 in all, which is `best`. Ten random layouts.

    Args:
        horizon: Cells of an episode.
        slip: See `Task`.
        observation: See `Grid`.
        instances: A folder with the ten layouts that the authors released, see `jaxreward.envs.subrl.instances`.
    """
    world = Grid(7, 15, horizon, START, observation)
    if instances is None:
        kinds = np.stack([item_kinds(world.num_places, ITEM_COUNTS, seed) for seed in range(INSTANCES)])
    else:
        kinds = read_items(instances, world.num_places, len(ITEMS_REQUIRED))
    required = np.broadcast_to(np.asarray(ITEMS_REQUIRED, float), (INSTANCES, len(ITEMS_REQUIRED)))
    objectives = {"kinds": jnp.asarray(kinds, jnp.int32), "required": jnp.asarray(required, float)}
    reward = marginal_gains(items(kinds[0], required[0]), cell)
    return Task("subrl/steiner", world, reward, objectives, slip, required.sum(1))


def design(
    horizon: int = 40,
    slip: float = 0.0,
    observation: str = "position",
    offset: bool = False,
    instances: str | None = None,
) -> Task:
    """Bayesian D-design: measuring a Gaussian process where that tells most, five random points being known.

    Args:
        horizon: Cells of an episode.
        slip: See `Task`.
        observation: See `Grid`.
        offset: Whether each measurement counts what it does in the authors' code, which mixes logarithms, see
            `information_gain`. At a fixed horizon that changes no order.
        instances: A folder with what the authors released, see `jaxreward.envs.subrl.instances`: not the points but the
            covariances of all cells, which make params of 32 MB, for each member that has its own.
    """
    world = Grid(30, 30, horizon, START, observation)
    if instances is not None:
        return _design_by_table(world, read_covariances(instances, world.num_places), slip, offset)
    points = np.stack([random_points(np.random.default_rng([seed, 3]), 5) for seed in range(INSTANCES)])
    kernel = lambda known: posterior(matern52(1.0, GP_VARIANCE), known, GP_NOISE)  # noqa: E731
    gain = information_gain(kernel(points[0]), horizon, DESIGN_NOISE, AUTHORS_OFFSET if offset else None)

    def position(state: GridState) -> Float[Array, " 2"]:
        return 1 + 0.1 * jnp.stack([state.cell // world.columns, state.cell % world.columns]).astype(float)

    objectives = [_params(marginal_gains(information_gain(kernel(p), horizon, DESIGN_NOISE), position)) for p in points]
    return Task("subrl/design", world, marginal_gains(gain, position), _stacked(objectives), slip)


TASKS: dict[str, Callable[..., Environment]] = {
    "gp_coverage": gp_coverage,
    "gorilla": gorilla,
    "bimodal": bimodal,
    "uniform": uniform,
    "two_rooms": two_rooms,
    "steiner": steiner,
    "design": design,
    "car": car,
    "ant": coverage_ant,
}


def two_room_passages() -> tuple[Bool[np.ndarray, "7 14"], Bool[np.ndarray, "7 14"], Bool[np.ndarray, "7 14"]]:
    """Where one can go right, where down, and where a disc reaches diagonally down to the right.

    Rooms are columns 0 to 3 and 10 to 13, the corridor is rows 2 and 3 of those between.
    """
    right, down, diagonal = (np.ones((7, 14), bool) for _ in range(3))
    right[[0, 1, 4, 5, 6], 3:10] = False
    down[[0, 1, 3, 4, 5, 6], 4:10] = False
    diagonal[:2, 4:10] = diagonal[4:6, 3:10] = diagonal[3, 3:9] = diagonal[0, 3] = False
    return right, down, diagonal


def read_density(path: str, shape: tuple[int, int]) -> Float[np.ndarray, " S"]:
    """The weights of cells from a `.npy` or `.csv` file.

    Raises:
        ValueError: It can't be read, is of another shape, or has negative or no numbers.
    """
    suffix = Path(path).suffix
    check_name("kind of density file", suffix, (".npy", ".csv"))
    weights = np.load(path) if suffix == ".npy" else np.loadtxt(path, delimiter=",", ndmin=2)
    if weights.shape != shape or not (weights >= 0).all():
        raise ValueError(f"{path} is to hold {shape[0]} x {shape[1]} numbers from 0; got shape {weights.shape}")
    return weights.ravel()


def _density(name: str, weights: Float[np.ndarray, "K S"], horizon: int, slip: float, observation: str) -> Task:
    """Coverage by 2 x 2 discs on an open grid of 30 x 30."""
    world = Grid(30, 30, horizon, START, observation)
    return _covered(name, world, discs(30, 30, DISC), weights, slip, most_coverable(weights, horizon))


def _covered(
    name: str,
    world: Grid,
    cells: Int[np.ndarray, "S k"],
    weights: Float[np.ndarray, "K S"],
    slip: float,
    best: Float[np.ndarray, " K"],
) -> Task:
    reward = marginal_gains(coverage(cells, weights[0]), cell)
    return Task(f"subrl/{name}", world, reward, jnp.asarray(weights, float), slip, best)


def most_coverable(weights: Float[np.ndarray, "K S"], horizon: int) -> Float[np.ndarray, " K"]:
    """What no walk can cover more than: the heaviest cells, as many as discs of 2 x 2 can cover along it.

    The first disc has four cells, and each step adds two at most. A walk that covers just the heaviest need not exist.
    """
    return np.sort(weights, axis=1)[:, ::-1][:, : 4 + 2 * (horizon - 1)].sum(1)


def _design_by_table(world: Grid, covariances: Float[np.ndarray, "K S S"], slip: float, offset: bool) -> Task:
    gain = information_gain(table(covariances[0]), world.horizon, DESIGN_NOISE, AUTHORS_OFFSET if offset else None)
    objectives = {"kernel": jnp.asarray(covariances, float), "noise": jnp.full(len(covariances), DESIGN_NOISE)}
    return Task("subrl/design", world, marginal_gains(gain, cell), objectives, slip)


@functools.cache
def _gp_densities() -> Float[np.ndarray, "K S"]:
    return np.stack([gp_density(30, 30, seed) for seed in range(INSTANCES)])


def _params(reward: Reward) -> Params:
    return reward.init(jax.random.key(0))


def _stacked(instances: list[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *instances)
