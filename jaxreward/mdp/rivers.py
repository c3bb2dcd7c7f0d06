"""RiverSwim in the versions that circulate, and two of its relatives; action 0 drifts left, action 1 swims right."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreward.mdp.examples import river_swim
from jaxreward.mdp.tabular import TabularMDP, tabular_mdp
from jaxreward.names import check_name


class River(NamedTuple):
    """One version of RiverSwim.

    Attributes:
        num_states: The length it was published with.
        up: Probabilities of moving right: in the leftmost state, and between the ends.
        down: Probabilities of moving left: between the ends, and in the rightmost state.
        small: Reward for drifting in the leftmost state; swimming in the rightmost one pays 1.
        starts: The states it starts in, each as often as the others.
    """

    num_states: int
    up: tuple[float, float]
    down: tuple[float, float]
    small: float
    starts: tuple[int, ...] = (0,)


RIVERS = {
    "osband": River(6, (0.6, 0.35), (0.05, 0.4), 5e-3),
    "strehl_littman": River(6, (0.3, 0.3), (0.1, 0.7), 5e-4, (1, 2)),
    "statrl": River(6, (0.4, 0.4), (0.05, 0.05), 5e-3),
    "naik": River(4, (0.3, 0.3), (0.2, 0.2), 5e-3),
}
"""By name: Osband, Russo and Van Roy (2013), also SCAL's; Strehl and Littman (2008), rewards scaled to 1; the library
`statisticalrl-environments`, whose version of 25 states pays 0.99 on the right; Naik's small one."""


def river_swim_variant(
    variant: str = "osband",
    num_states: int | None = None,
    large: float = 1.0,
    dtype: jax.typing.DTypeLike | None = None,
) -> TabularMDP:
    """RiverSwim as one of `RIVERS` has it; their gains go from 0.22 to 0.88, so say which one was solved.

    Args:
        variant: Which one.
        num_states: `S`, at least 3; the length it was published with by default.
        large: Reward for swimming in the rightmost state.
        dtype: Of the numbers.

    Raises:
        ValueError: There is no such variant, or the river is too short.
    """
    check_name("variant of RiverSwim", variant, RIVERS)
    river = RIVERS[variant]
    num_states = river.num_states if num_states is None else num_states
    _check_length(num_states)
    mdp = river_swim(
        num_states,
        first_up=river.up[0],
        up=river.up[1],
        down=river.down[0],
        last_down=river.down[1],
        small=river.small,
        large=large,
        dtype=dtype,
    )
    start = np.isin(np.arange(num_states), river.starts) / len(river.starts)
    return mdp._replace(start=jnp.asarray(start, mdp.start.dtype))


def jump_river_swim(num_states: int = 6, jump: float = 0.01, dtype: jax.typing.DTypeLike | None = None) -> TabularMDP:
    """RiverSwim of Strehl and Littman's numbers with a small chance of landing anywhere (Wei et al. 2020, section 6).

    `jump` is taken from the rightmost state that an action may lead to, and spread over all states. Drifting in the
    leftmost state pays 0.2, swimming in the rightmost one 1: one less the costs of that paper.

    Raises:
        ValueError: The river is too short, or `jump` is more than the least probability it is taken from.
    """
    _check_length(num_states)
    if not 0 <= jump <= 0.3:
        raise ValueError(f"jump={jump}; expected a probability from 0 to 0.3, that of swimming right")
    river = river_swim(num_states, up=0.3, down=0.1, first_up=0.3, last_down=0.7)
    rows = np.asarray(river.transition, np.float64)
    rightmost = num_states - 1 - np.argmax(rows[..., ::-1] > 0, axis=-1)
    rows = rows + jump / num_states - jump * np.eye(num_states)[rightmost]
    reward = np.zeros((num_states, 2))
    reward[0, 0], reward[-1, 1] = 0.2, 1.0
    return tabular_mdp(rows, reward, np.eye(num_states)[0], dtype=dtype)


def river_swim_loop(num_states: int = 4, dtype: jax.typing.DTypeLike | None = None) -> TabularMDP:
    """A river with a fast current to the right, whose rightmost state often leads back to the leftmost (Naik).

    Swimming in the rightmost state pays 5 where one stays there (0.45), leads to the leftmost one (0.5) or a step back
    (0.05). Elsewhere it leads right (0.9), nowhere or left (0.05 each; 0.1 nowhere in the leftmost state).

    Raises:
        ValueError: The river is too short.
    """
    _check_length(num_states)
    last = num_states - 1
    river = river_swim(num_states, up=0.9, down=0.05, first_up=0.9, last_down=0.05)
    rows = np.array(river.transition, np.float64)
    rows[last, 1] = 0.05 * np.eye(num_states)[last - 1] + 0.45 * np.eye(num_states)[last] + 0.5 * np.eye(num_states)[0]
    reward = np.zeros((num_states, 2, num_states))
    reward[last, 1, last] = 5.0
    start = np.full(num_states, 1 / num_states)
    return tabular_mdp(rows, reward, start, dtype=dtype)


def _check_length(num_states: int) -> None:
    if not isinstance(num_states, int) or num_states < 3:
        raise ValueError(f"num_states={num_states!r}; expected a whole number from 3, two ends and something between")
