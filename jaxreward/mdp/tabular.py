"""The tabular MDP: four arrays, so that it vmaps, differentiates and travels in environment params."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from numpy.typing import ArrayLike


class TabularMDP(NamedTuple):
    """A Markov decision process with `S` states and `A` actions; leading axes are a batch, for `jax.vmap`.

    A terminal state absorbs: it leads to itself, for no reward, and nothing is collected from it, not even entropy. The
    reward of entering it counts. A state that merely leads to itself is not terminal: its reward, zero or not, goes on.

    Attributes:
        transition: Probability of the next state, `[S, A, S]`; rows sum to one.
        reward: Reward of each transition, `[S, A, S]`.
        start: Distribution of the first state, `[S]`; terminal states have none of it.
        terminal: Which states end the episode, `[S]`.
    """

    transition: Float[Array, "*batch S A S"]
    reward: Float[Array, "*batch S A S"]
    start: Float[Array, "*batch S"]
    terminal: Bool[Array, "*batch S"]

    @property
    def num_states(self) -> int:
        """Number of states, `S`."""
        return self.transition.shape[-1]

    @property
    def num_actions(self) -> int:
        """Number of actions, `A`."""
        return self.transition.shape[-2]


def tabular_mdp(
    transition: ArrayLike,
    reward: ArrayLike,
    start: ArrayLike | None = None,
    terminal: ArrayLike | None = None,
    dtype: jax.typing.DTypeLike | None = None,
) -> TabularMDP:
    """A checked `TabularMDP`; works on the host, so not under `jit`.

    Args:
        transition: `[S, A, S]`, rows that sum to one.
        reward: `[S, A, S]`, or `[S, A]` or `[S]` if it does not depend on what is left out.
        start: `[S]`; uniform over the states that are not terminal by default.
        terminal: `[S]`, none by default. Rows of terminal states are overwritten: they absorb, for no reward.
        dtype: Of the numbers; that of `transition` by default (float64 needs JAX's x64 mode).

    Raises:
        ValueError: If shapes disagree, a number is not finite, or a row is no distribution; it says which.
    """
    transition, reward = np.array(transition), np.asarray(reward)
    _check_transition_shape(transition)
    num_states = transition.shape[0]
    terminal = np.zeros(num_states, bool) if terminal is None else np.asarray(terminal, bool)
    _check_shape("terminal", terminal, (num_states,))
    start = _uniform_start(terminal) if start is None else np.asarray(start)
    reward = np.array(_broadcast_reward(reward, transition.shape))
    transition[terminal] = np.eye(num_states)[terminal][:, None, :]
    reward[terminal] = 0
    floats = np.result_type(transition.dtype, np.float32)
    transition, reward, start = (jnp.asarray(x.astype(floats), dtype) for x in (transition, reward, start))
    return validate(TabularMDP(transition, reward, start, jnp.asarray(terminal)))


def validate(mdp: TabularMDP) -> TabularMDP:
    """Returns `mdp` if it is one MDP (no batch axes), on the host.

    Rows may miss one by the square root of the dtype's resolution: 3e-4 in float32, 1.5e-8 in float64.

    Raises:
        ValueError: If shapes disagree, a number is not finite, or a row is no distribution; it says which.
    """
    transition, reward, start, terminal = (np.asarray(x) for x in mdp)
    _check_transition_shape(transition)
    num_states = transition.shape[0]
    _check_shape("reward", reward, transition.shape)
    _check_shape("start", start, (num_states,))
    _check_shape("terminal", terminal, (num_states,))
    _check_finite("reward", reward)
    _check_distribution("transition", transition)
    _check_distribution("start", start)
    _check_terminal(transition, reward, start, terminal)
    return mdp


def with_terminal(mdp: TabularMDP, terminal: Bool[Array, " S"]) -> TabularMDP:
    """`mdp` with the given states terminal: they absorb, for no reward, and episodes start elsewhere.

    At least one state with a share of the start distribution must be left.
    """
    here = terminal[:, None, None]
    absorb = jnp.broadcast_to(jnp.eye(mdp.num_states, dtype=mdp.start.dtype)[:, None, :], mdp.transition.shape)
    start = jnp.where(terminal, 0, mdp.start)
    transition = jnp.where(here, absorb, mdp.transition)
    return TabularMDP(transition, jnp.where(here, 0, mdp.reward), start / jnp.sum(start), terminal)


def _check_transition_shape(transition: np.ndarray) -> None:
    shape = transition.shape
    if len(shape) != 3 or shape[0] != shape[2] or 0 in shape:
        raise ValueError(f"transition has shape {shape}; expected [S, A, S]: state, action, next state")


def _check_shape(name: str, array: np.ndarray, expected: tuple[int, ...]) -> None:
    if array.shape != expected:
        raise ValueError(f"{name} has shape {array.shape}; the transition makes it {expected}")


def _broadcast_reward(reward: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if reward.ndim > 3 or reward.ndim < 1 or reward.shape != shape[: reward.ndim]:
        raise ValueError(f"reward has shape {reward.shape}; expected [S, A, S] = {shape}, {shape[:2]} or {shape[:1]}")
    return np.broadcast_to(reward.reshape(reward.shape + (1,) * (3 - reward.ndim)), shape)


def _uniform_start(terminal: np.ndarray) -> np.ndarray:
    if terminal.all():
        raise ValueError("every state is terminal; at least one must be left to start in")
    return ~terminal / np.sum(~terminal)


def _check_finite(name: str, array: np.ndarray) -> None:
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        raise ValueError(f"{name}{bad[0].tolist()} is {array[tuple(bad[0])]}; expected a finite number")


def _check_distribution(name: str, rows: np.ndarray) -> None:
    _check_finite(name, rows)
    negative = np.argwhere(rows < 0)
    if len(negative):
        raise ValueError(f"{name}{negative[0].tolist()} is {rows[tuple(negative[0])]}; probabilities are not negative")
    total = rows.sum(-1, dtype=np.float64)
    wrong = np.argwhere(np.abs(total - 1) > np.sqrt(np.finfo(rows.dtype).eps))
    if len(wrong):
        where = f"{name}{wrong[0].tolist()}" if wrong.shape[1] else name
        raise ValueError(f"{where} sums to {total[tuple(wrong[0])]:.6g} ({len(wrong)} such); rows must sum to 1")


def _check_terminal(transition: np.ndarray, reward: np.ndarray, start: np.ndarray, terminal: np.ndarray) -> None:
    for state in np.flatnonzero(terminal):
        if start[state]:
            raise ValueError(f"start gives terminal state {state} probability {start[state]:.6g}; expected 0")
        if np.any(transition[state, :, state] != 1) or np.any(reward[state]):
            raise ValueError(f"terminal state {state} must lead to itself for no reward; `tabular_mdp` makes it so")
