"""Two rewards of a finite environment, by every distance there is."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, PyTree

from jaxreward.distances.equivalence import npec_distance
from jaxreward.distances.pearson import pearson_distance, spearman_distance
from jaxreward.distances.proxy import proxy_correlation
from jaxreward.distances.regret import regret, regret_bound
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
    """

    name: str
    value: float
    most: float | None
    about: str


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
    if not 0 <= discount < 1:
        raise ValueError(f"distances are of discounted rewards: expected a discount from 0 to below 1, not {discount}")

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
