"""What the instances of the submodular tasks are drawn from, with numpy and seeds: the same on every machine.

The recipes are those of the authors' code of Prajapat et al. (ICLR 2024); the samples are not theirs.
"""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Float, Int

GP_VARIANCE = float(np.log(2.0))
"""`softplus(0)`: the scale of the authors' kernel, never fitted."""
GP_NOISE = 1e-3


def positions(rows: int, columns: int) -> Float[np.ndarray, "S 2"]:
    """Where the cells are for the Gaussian process: `1 + 0.1 (row, column)`."""
    return 1 + 0.1 * np.stack(np.divmod(np.arange(rows * columns), columns), axis=-1)


def random_points(rng: np.random.Generator, count: int) -> Float[np.ndarray, "n 2"]:
    """Places of earlier measurements, uniform in `[0, 10]^2`."""
    return rng.uniform(0, 10, (count, 2))


def gp_density(rows: int, columns: int, seed: int) -> Float[np.ndarray, " S"]:
    """A sample of the process given a 0 at a random point, moved up by 3, or further where that leaves it negative.

    In that rare case the authors' code adds the minimum, which moves it down instead.
    """
    rng = np.random.default_rng([seed, 0])
    point, cells = random_points(rng, 1), positions(rows, columns)
    gain = matern52(cells, point) / (GP_VARIANCE + GP_NOISE)
    covariance = _prior(rows, columns) - gain @ matern52(point, cells)
    sample = np.linalg.cholesky(covariance + 1e-9 * np.eye(len(cells))) @ rng.standard_normal(len(cells))
    return sample + (3 if sample.min() > -3 else -sample.min())


@functools.cache
def _prior(rows: int, columns: int) -> Float[np.ndarray, "S S"]:
    cells = positions(rows, columns)
    return matern52(cells, cells)


def matern52(x: Float[np.ndarray, "n 2"], y: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, "n m"]:
    """The Matern kernel of smoothness 5/2 with lengthscale 1 and variance `GP_VARIANCE`."""
    scaled = np.sqrt(5 * np.square(x[:, None] - y[None]).sum(-1))
    return GP_VARIANCE * (1 + scaled + np.square(scaled) / 3) * np.exp(-scaled)


def bimodal_density(rows: int, columns: int) -> Float[np.ndarray, " S"]:
    """`sigmoid(x y)` for x and y from -1 to 1: high in two opposite corners, low in the other two."""
    product = np.linspace(-1, 1, rows)[:, None] * np.linspace(-1, 1, columns)[None]
    return (1 / (1 + np.exp(-product))).ravel()


def nests_density(rows: int, columns: int, seed: int = 0) -> Float[np.ndarray, " S"]:
    """A made-up density of nests: what a clustered point pattern looks like through a smoothing kernel, from 0 to 1.

    Forty clusters' parents lie uniformly, each with a random number of nests about it; nests are smoothed by a Gaussian
    of 1.5 cells. It stands in for the gorilla nests of the paper, whose density its authors did not release.
    """
    rng = np.random.default_rng([seed, 1])
    parents = rng.uniform(0, 1, (40, 2)) * (rows, columns)
    nests = np.repeat(parents, rng.poisson(rng.exponential(8, len(parents))), axis=0)
    nests = nests + rng.normal(0, 1.5, nests.shape)
    cells = 0.5 + np.stack(np.divmod(np.arange(rows * columns), columns), axis=-1)
    squared = np.square(cells[:, None] - nests[None]).sum(-1)
    density = np.exp(-squared / (2 * 1.5**2)).sum(1)
    return density / density.max()


def item_kinds(cells: int, counts: tuple[int, ...], seed: int) -> Int[np.ndarray, " S"]:
    """Items of each kind on cells of their own, chosen at random; -1 where there is none."""
    kinds = np.repeat(np.arange(len(counts)), counts)
    kinds = np.concatenate([kinds, np.full(cells - len(kinds), -1)])
    return np.random.default_rng([seed, 2]).permutation(kinds)
