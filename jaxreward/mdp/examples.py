"""Small MDPs with names, whose solutions are known."""

from __future__ import annotations

import jax
import numpy as np
from numpy.typing import ArrayLike

from jaxreward.mdp.tabular import TabularMDP, tabular_mdp


def two_state(leave: ArrayLike, reward: ArrayLike, dtype: jax.typing.DTypeLike | None = None) -> TabularMDP:
    """Two states, each left for the other with a probability that depends on the action.

    With one action the stationary distribution is `(leave[1], leave[0]) / (leave[0] + leave[1])`. With
    `leave = [[0, 1], [0, 1]]`, stay or move, it is communicating, though staying in both is a multichain policy and
    moving a periodic one.

    Args:
        leave: Probability of leaving state `s` with action `a`, `[2, A]`.
        reward: `[2]`, `[2, A]` or `[2, A, 2]`, as in `tabular_mdp`.
        dtype: Of the numbers.
    """
    leave = np.asarray(leave, float)
    transition = np.stack([[1 - leave[0], leave[0]], [leave[1], 1 - leave[1]]]).transpose(0, 2, 1)
    return tabular_mdp(transition, reward, dtype=dtype)


def cycle(num_states: int, dtype: jax.typing.DTypeLike | None = None) -> TabularMDP:
    """A ring on which action 0 waits and action 1 moves on; closing the ring (last state to first) pays 1.

    Communicating. The best policy always moves: gain `1 / S`, bias span `(S - 1) / S`, and a chain of period `S`.
    """
    states = np.eye(num_states)
    transition = np.stack([states, np.roll(states, 1, axis=1)], axis=1)
    reward = np.zeros((num_states, 2))
    reward[-1, 1] = 1
    return tabular_mdp(transition, reward, states[0], dtype=dtype)


def corridor(num_states: int, dtype: jax.typing.DTypeLike | None = None) -> TabularMDP:
    """A corridor left and right along which every step costs 1, until the last state, which is terminal.

    Action 0 goes left (nowhere in state 0), action 1 right. Undiscounted, state `s` is worth `-(S - 1 - s)`.
    """
    states = np.eye(num_states)
    left = np.roll(states, -1, axis=1)
    left[0] = states[0]
    transition = np.stack([left, np.roll(states, 1, axis=1)], axis=1)
    terminal = np.arange(num_states) == num_states - 1
    return tabular_mdp(transition, -np.ones(num_states), states[0], terminal, dtype=dtype)


def river_swim(
    num_states: int = 6,
    *,
    up: float = 0.35,
    down: float = 0.05,
    first_up: float = 0.6,
    last_down: float = 0.4,
    small: float = 0.005,
    large: float = 1.0,
    dtype: jax.typing.DTypeLike | None = None,
) -> TabularMDP:
    """RiverSwim: drifting left is certain, swimming right against the current is not (Strehl and Littman 2008).

    Several versions circulate under this name. The default numbers are those of Osband, Russo and Van Roy (2013,
    figure 1); `up=0.3, down=0.1, first_up=0.3, last_down=0.7, small=5e-4` are those of Strehl and Littman, with
    rewards scaled to 1.

    Args:
        num_states: `S`, at least 2.
        up: Probability that swimming moves right, between the ends.
        down: Probability that swimming moves left all the same, between the ends.
        first_up: Probability that swimming moves right from the leftmost state, which is stayed in otherwise.
        last_down: Probability that swimming moves left from the rightmost state, which is stayed in otherwise.
        small: Reward for drifting (action 0) in the leftmost state.
        large: Reward for swimming (action 1) in the rightmost state.
        dtype: Of the numbers.
    """
    states, last = np.arange(num_states), num_states - 1
    rise = np.where(states == 0, first_up, np.where(states == last, 0, up))
    fall = np.where(states == 0, 0, np.where(states == last, last_down, down))
    transition = np.zeros((num_states, 2, num_states))
    transition[states, 0, np.maximum(states - 1, 0)] = 1
    transition[states, 1, np.minimum(states + 1, last)] += rise
    transition[states, 1, np.maximum(states - 1, 0)] += fall
    transition[states, 1, states] += 1 - rise - fall
    reward = np.zeros((num_states, 2))
    reward[0, 0], reward[last, 1] = small, large
    return tabular_mdp(transition, reward, np.eye(num_states)[0], dtype=dtype)
