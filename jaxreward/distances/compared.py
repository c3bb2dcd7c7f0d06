"""Two rewards of an environment, by every distance there is: exactly where it is finite, or from samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.distances.canonical import check_discount
from jaxreward.distances.equivalence import npec_distance
from jaxreward.distances.pearson import pearson_distance, spearman_distance
from jaxreward.distances.proxy import proxy_correlation
from jaxreward.distances.regret import regret, regret_bound
from jaxreward.distances.sampled import Estimates, Pair, distance_of, estimated, resampled, visited
from jaxreward.distances.starc import epic_distance, starc_distance
from jaxreward.environment import world
from jaxreward.mdp import TabularMDP, reward_table, uniform_policy


class Row(NamedTuple):
    """One distance.

    Attributes:
        name: What it is called.
        value: The distance.
        most: The largest it can be, if there is such.
        about: What it does not see, or is of.
        low: The lower end of its 95% interval, of samples.
        high: The upper end.
    """

    name: str
    value: float
    most: float | None
    about: str
    low: float | None = None
    high: float | None = None


def compared(mdp: TabularMDP, other: Float[Array, "S A S"], discount: float) -> list[Row]:
    """The reward of an MDP beside another one, exactly.

    In double precision: near a discount of 1, values are so much larger than their differences that single precision
    takes those for rounding.

    Args:
        mdp: The MDP with the one reward.
        other: The other one.
        discount: In `[0, 1)`.

    Raises:
        ValueError: If the discount is not in `[0, 1)`.
    """
    check_discount(discount)

    @jax.jit
    def every(mdp: TabularMDP, other: Float[Array, "S A S"]) -> list[Array]:
        back = mdp._replace(reward=other)
        starc = [starc_distance(mdp, other, discount, kind=kind) for kind in ("val", "minimal", "dard")]
        plain = mdp.reward.ravel(), other.ravel()
        lost = regret(mdp, other, discount), regret_bound(mdp, other, discount), regret(back, mdp.reward, discount)
        npec = npec_distance(mdp, other, discount), npec_distance(back, mdp.reward, discount)
        correlations = pearson_distance(*plain), spearman_distance(*plain)
        together = proxy_correlation(mdp, other, uniform_policy(mdp), discount)
        return [*starc, epic_distance(mdp, other, discount), *npec, *correlations, *lost, together]

    with jax.enable_x64(True):
        values = every(*_double(mdp, other))
        return [Row(name, float(value), most, about) for (name, most, about), value in zip(_TOLD, values, strict=True)]


def compared_by_samples(
    pair: Pair, discount: float, *, samples: int = 1_000, draws: int = 4, seed: int = 0
) -> list[Row]:
    """Two rewards of any environment that can be stepped from the states it visits, with intervals.

    Intervals are percentiles of the bootstrap over states, which come from 64 environments that act at random: what
    those have in common is not in them.

    Args:
        pair: The rewards, see `jaxreward.distances.sampled.pair_of`.
        discount: In `[0, 1)`.
        samples: How many states.
        draws: For each of two estimates of every expectation.
        seed: Of all draws.

    Raises:
        ValueError: If the discount is not in `[0, 1)`, or there are no samples.
    """
    check_discount(discount)
    if samples < 2 or draws < 1:
        raise ValueError(f"give 2 samples and 1 draw at least, not samples={samples} and draws={draws}")

    @jax.jit
    def run(key: Key[Array, ""]) -> Estimates:
        key_places, key = jax.random.split(key)
        return estimated(pair, visited(pair, samples, key_places), discount, draws, key)

    found = jax.tree.map(np.asarray, run(jax.random.key(seed)))
    of = {kind: (np.stack(getattr(found, kind), -1), distance_of) for kind in ("val", "dard", "epic")}
    of["epic"] = of["epic"][0], lambda means: distance_of(means) / 2
    first, second = found.paid.astype(float)
    moments = np.stack([first, second, first**2, second**2, first * second], -1)
    of |= {"pearson": (moments, lambda means: np.sqrt((1 - _correlation(means)) / 2)), "proxy": (moments, _correlation)}
    return [_with_interval(*of[kind], told) for kind, told in _SAMPLED.items()]


def _with_interval(rows: Float[np.ndarray, "N K"], fn: Callable, told: tuple[str, float, str]) -> Row:
    (name, most, about), every = told, fn(resampled(rows))
    low, high = (math.nan, math.nan) if np.isnan(every).any() else np.percentile(every, (2.5, 97.5))
    value = float(fn(rows.mean(0)))
    if math.isnan(value) or math.isnan(low):
        about = "one of them is the same for all steps, or noise is larger than it: try more samples"
    return Row(name, value, most, about, float(low), float(high))


def _correlation(means: Float[np.ndarray, "*batch 5"]) -> Float[np.ndarray, "*batch"]:
    """Of means of both, of their squares and of their product; NaN where one doesn't vary."""
    x, y, xx, yy, xy = np.moveaxis(means, -1, 0)
    spread = [np.maximum(square - mean**2, 0) for square, mean in ((xx, x), (yy, y))]
    varies = (spread[0] > 1e-12 * xx) & (spread[1] > 1e-12 * yy)
    scale = np.sqrt(np.where(varies, spread[0] * spread[1], 1))
    return np.where(varies, np.clip((xy - x * y) / scale, -1, 1), np.nan)


def _double(mdp: TabularMDP, other: Float[Array, "S A S"]) -> tuple[TabularMDP, Float[Array, "S A S"]]:
    """An MDP and a reward in double precision, what follows a step and the start summing to 1 again."""
    tables = mdp.transition, mdp.reward, mdp.start, other
    transition, reward, start, wide = (jnp.asarray(np.asarray(table), jnp.float64) for table in tables)
    transition, start = transition / transition.sum(-1, keepdims=True), start / start.sum()
    return mdp._replace(transition=transition, reward=reward, start=start), wide


def tables(
    first: Environment, first_params: PyTree, second: Environment, second_params: PyTree
) -> tuple[TabularMDP, Float[Array, "S A S"]]:
    """The MDP of a finite environment with one reward, and the table of the other.

    Args:
        first: The environment with one reward, or with its own.
        first_params: Its params.
        second: The same environment with the other reward.
        second_params: Its params.

    Raises:
        ValueError: If the environment is not finite, or a reward has a memory, see `jaxreward.mdp.reward_table`.
    """
    reward, other = reward_table(first, first_params), reward_table(second, second_params)
    return world(first, first_params)[1].mdp._replace(reward=reward), other


_SHAPING = "shaping, scale and what next states by chance are paid are no difference"
_TOLD: tuple[tuple[str, float | None, str], ...] = (
    ("STARC (VAL)", 2, _SHAPING),
    ("STARC (minimal)", 2, _SHAPING),
    ("DARD, as a STARC distance", 2, "shaping and scale are no difference"),
    ("EPIC", 1, "shaping and scale are no difference; next states that can't follow count as well"),
    ("NPEC", 1, "of the second from what the first is equivalent to"),
    ("NPEC, the other way", 1, "of the first from what the second is equivalent to"),
    ("Pearson", 1, "over all transitions, possible or not; shaping is a difference"),
    ("Spearman", 1, "the same of ranks"),
    ("regret", 1, "what the best policy for the second loses by the first, of all that can be lost"),
    ("its bound", None, "by the STARC distance; loose"),
    ("regret, the other way", 1, "what the best policy for the first loses by the second"),
    ("correlation as a proxy", 1, "on what acting at random visits; above 0 what hacking costs can be bounded"),
)
_SAMPLED: dict[str, tuple[str, float, str]] = {
    "val": ("STARC (VAL)", 2, _SHAPING),
    "dard": ("DARD, as a STARC distance", 2, "shaping and scale are no difference; over steps as they follow"),
    "epic": ("EPIC", 1, "shaping and scale are no difference; next states that can't follow count as well"),
    "pearson": ("Pearson", 1, "over steps as they follow; shaping is a difference"),
    "proxy": ("correlation as a proxy", 1, "of rewards of steps, on what acting at random visits"),
}
