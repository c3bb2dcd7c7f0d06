"""CMA-ES as pure functions (Hansen, The CMA Evolution Strategy: A Tutorial, 2016, arXiv:1604.00772).

With the tutorial's default constants, negative weights among them. Bounds and criteria to stop are those of the `cmaes`
package, which the authors of SERENE and STAX use, as far as float32 allows.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jaxreward.agent import strong
from jaxreward.learning.lazy import when

MAX_RESAMPLING = 100
"""How often a genome outside of its bounds is drawn again; if all are outside, the last is clipped."""

_EPSILON = 1e-8
_LARGEST_SIGMA = 1e32
_TOLERANCE_X, _TOLERANCE_X_UP, _TOLERANCE_REWARD, _CONDITION = 1e-12, 1e4, 1e-12, 1e14

_dot = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)  # never the 10 bits of TF32


class CMAState(NamedTuple):
    """A distribution of genomes, and how it came about.

    Attributes:
        mean: Its centre.
        sigma: Its step size.
        covariance: Its shape, `C`.
        axes: Eigenvectors of `C`, in columns, as of the last decomposition,
        lengths: and the square roots of its eigenvalues.
        path_sigma: The evolution path of the step size,
        path_covariance: and that of the covariance.
        generation: How often it was told.
        extremes: The best and the worst reward of each of the last generations.
        first_sigma: The step size it began with.
    """

    mean: Float[Array, " D"]
    sigma: Float[Array, ""]
    covariance: Float[Array, "D D"]
    axes: Float[Array, "D D"]
    lengths: Float[Array, " D"]
    path_sigma: Float[Array, " D"]
    path_covariance: Float[Array, " D"]
    generation: Int[Array, ""]
    extremes: Float[Array, "T 2"]
    first_sigma: Float[Array, ""]


class Constants(NamedTuple):
    """The strategy's numbers, named as in the tutorial; `parents` is its mu, `expected` its E||N(0, I)||."""

    weights: np.ndarray
    parents: int
    mu_eff: float
    c_1: float
    c_mu: float
    c_c: float
    c_sigma: float
    d_sigma: float
    expected: float


@dataclass(frozen=True)
class CMA:
    """The strategy: all methods are pure, and rewards are maximised.

    Attributes:
        size: How many genes there are, `D`.
        population: How many genomes a generation has, at least 4.
        low: Genes are kept above this,
        high: and below this.
    """

    size: int
    population: int = 6
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        """Refuses what can't be.

        Raises:
            ValueError: The population is smaller than 4, of which the best two are averaged, or there is no gene.
        """
        if self.population < 4 or self.size < 1:
            raise ValueError(
                f"CMA-ES needs a population of at least 4 and at least 1 gene; got {self.population} and {self.size}"
            )

    def init(self, mean: Float[Array, " D"], sigma: Float[Array, ""] | float) -> CMAState:
        """A round distribution about `mean` with standard deviation `sigma`."""
        mean, sigma = jnp.asarray(mean, float), jnp.asarray(sigma, float)
        round_ = jnp.eye(self.size, dtype=mean.dtype)
        still = jnp.zeros_like(mean)
        extremes = jnp.zeros((self.memory, 2), mean.dtype)
        generation = jnp.zeros((), jnp.int32)
        shape = (round_, round_, jnp.ones_like(mean))
        return strong(CMAState(mean, sigma, *shape, still, still, generation, extremes, sigma))

    def ask(self, state: CMAState, key: Key[Array, ""]) -> Float[Array, "n D"]:
        """A generation of genomes, those outside of the bounds drawn again and at last clipped.

        Drawing again goes on, at most `MAX_RESAMPLING` times, until all genomes are inside: under `vmap` all wait for
        the slowest.
        """
        genomes = self._draw(state, jax.random.fold_in(key, 0))

        def draw_again(carry: tuple[Array, Array]) -> tuple[Array, Array]:
            genomes, tries = carry
            drawn = self._draw(state, jax.random.fold_in(key, tries))
            return jnp.where(self._inside(genomes)[:, None], genomes, drawn), tries + 1

        goes_on = lambda carry: ~self._inside(carry[0]).all() & (carry[1] <= MAX_RESAMPLING)  # noqa: E731
        genomes, _ = jax.lax.while_loop(goes_on, draw_again, (genomes, jnp.ones((), jnp.int32)))
        return jnp.clip(genomes, self.low, self.high)

    def tell(self, state: CMAState, genomes: Float[Array, "n D"], rewards: Float[Array, " n"]) -> CMAState:
        """The distribution after a generation: equations 41 to 47 of the tutorial.

        Eigenvectors are computed again every `interval` generations, which loses nothing that matters (its section
        B.2); all that is not `when` one is needed costs `D^2`.
        """
        k = self.constants
        order = jnp.argsort(-rewards)
        steps = (genomes[order] - state.mean[None]) / state.sigma
        round_steps = _dot(_dot(steps, state.axes) / state.lengths[None], state.axes.T)  # C^(-1/2) y
        step, round_step = (_dot(k.weights[: k.parents], of[: k.parents]) for of in (steps, round_steps))
        path_sigma = (1 - k.c_sigma) * state.path_sigma + _gain(k.c_sigma, k.mu_eff) * round_step
        length = jnp.linalg.norm(path_sigma) / k.expected
        sigma = jnp.minimum(state.sigma * jnp.exp(k.c_sigma / k.d_sigma * (length - 1)), _LARGEST_SIGMA)
        generation = state.generation + 1
        grown = jnp.sqrt(1 - (1 - k.c_sigma) ** (2 * (generation + 1).astype(length.dtype)))
        is_steady = length / grown < 1.4 + 2 / (self.size + 1)
        path = (1 - k.c_c) * state.path_covariance + is_steady * _gain(k.c_c, k.mu_eff) * step
        covariance = self._covariance(state.covariance, path, steps, round_steps, is_steady)
        shape = (state.axes, state.lengths)
        axes, lengths = when(generation % self.interval == 0, _decomposed, shape, covariance)
        ends = rewards[order][jnp.array([0, -1])]
        extremes = state.extremes.at[generation % self.memory].set(ends)
        mean = state.mean + state.sigma * step
        of_shape = (covariance, axes, lengths, path_sigma, path)
        return CMAState(mean, sigma, *of_shape, generation, extremes, state.first_sigma)

    def should_stop(self, state: CMAState) -> Bool[Array, ""]:
        """Whether going on is pointless: the criteria of section B.3 of the tutorial that the `cmaes` package has.

        Rewards did not differ for some time; steps are tiny, or grew without bounds, or no longer change the mean; or
        the covariance is ill-conditioned: worse than 1e14 or, in float32, than that resolves.
        """
        extremes, mean = state.extremes, state.mean
        deviations = state.sigma * jnp.sqrt(jnp.diagonal(state.covariance))
        tolerance = _TOLERANCE_X * state.first_sigma
        is_flat = (state.generation > self.memory) & (extremes.max() - extremes.min() < _TOLERANCE_REWARD)
        is_tiny = (deviations < tolerance).all() & (jnp.abs(state.sigma * state.path_covariance) < tolerance).all()
        is_huge = ~(state.sigma * state.lengths.max() <= _TOLERANCE_X_UP)  # or no number at all
        along = state.generation % self.size
        axis = 0.1 * state.sigma * state.lengths[along] * state.axes[:, along]
        is_stuck = (mean == mean + 0.2 * deviations).any() | (mean == mean + axis).all()
        worst = min(_CONDITION, 1 / float(jnp.finfo(mean.dtype).eps))
        is_ill = state.lengths.max() ** 2 > worst * state.lengths.min() ** 2
        return is_flat | is_tiny | is_huge | is_stuck | is_ill

    @property
    def memory(self) -> int:
        """Over how many generations rewards are compared, `T`."""
        return 10 + math.ceil(30 * self.size / self.population)

    @property
    def interval(self) -> int:
        """Every how many generations eigenvectors are computed."""
        k = self.constants
        return max(1, int(1 / (10 * self.size * (k.c_1 + k.c_mu))))

    @functools.cached_property
    def constants(self) -> Constants:
        """The default constants: equations 49 to 58 of the tutorial."""
        n, parents = self.size, self.population // 2
        raw = math.log((self.population + 1) / 2) - np.log(np.arange(1, self.population + 1))
        mu_eff, mu_eff_minus = (of.sum() ** 2 / (of**2).sum() for of in (raw[:parents], raw[parents:]))
        c_1 = 2 / ((n + 1.3) ** 2 + mu_eff)
        c_mu = min(1 - c_1 - _EPSILON, 2 * (mu_eff - 2 + 1 / mu_eff) / ((n + 2) ** 2 + mu_eff))
        least = min(1 + c_1 / c_mu, 1 + 2 * mu_eff_minus / (mu_eff + 2), (1 - c_1 - c_mu) / (n * c_mu))
        weights = np.where(raw >= 0, raw / raw[raw > 0].sum(), least * raw / -raw[raw < 0].sum())
        c_c = (4 + mu_eff / n) / (n + 4 + 2 * mu_eff / n)
        c_sigma = (mu_eff + 2) / (n + mu_eff + 5)
        d_sigma = 1 + 2 * max(0.0, math.sqrt((mu_eff - 1) / (n + 1)) - 1) + c_sigma
        expected = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2))
        return Constants(weights, parents, *map(float, (mu_eff, c_1, c_mu, c_c, c_sigma, d_sigma, expected)))

    def _draw(self, state: CMAState, key: Key[Array, ""]) -> Float[Array, "n D"]:
        noise = jax.random.normal(key, (self.population, self.size), state.mean.dtype)
        return state.mean[None] + state.sigma * _dot(noise * state.lengths[None], state.axes.T)

    def _inside(self, genomes: Float[Array, "n D"]) -> Bool[Array, " n"]:
        return ((self.low <= genomes) & (genomes <= self.high)).all(1)

    def _covariance(
        self, covariance: Array, path: Array, steps: Array, round_steps: Array, is_steady: Bool[Array, ""]
    ) -> Float[Array, "D D"]:
        """Equations 46 and 47: the covariance with its rank-one and rank-mu updates."""
        k = self.constants
        weights = k.weights * jnp.where(k.weights >= 0, 1, self.size / (jnp.square(round_steps).sum(1) + _EPSILON))
        missing = k.c_1 * (1 - is_steady) * k.c_c * (2 - k.c_c)
        kept = 1 + missing - k.c_1 - k.c_mu * k.weights.sum()
        return kept * covariance + k.c_1 * jnp.outer(path, path) + k.c_mu * _dot(steps.T * weights[None], steps)


def _gain(c: float, mu_eff: float) -> float:
    """What keeps the variance of an evolution path."""
    return math.sqrt(c * (2 - c) * mu_eff)


def _decomposed(_: tuple[Array, Array], covariance: Float[Array, "D D"]) -> tuple[Array, Array]:
    """Eigenvectors and square roots of eigenvalues; what rounding made negative counts as tiny."""
    values, vectors = jnp.linalg.eigh(covariance)
    return vectors, jnp.sqrt(jnp.where(values <= 0, _EPSILON, values))
