"""A grid to walk on, without a reward of its own: the world of the tabular tasks of submodular RL.

Prajapat et al., ICLR 2024 (arXiv:2307.13372). The rules are those of the authors' code, which says more than the paper.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.learning.lazy import when
from jaxreward.names import check_name

STAY, RIGHT, DOWN, LEFT, UP = range(5)
ACTIONS = {STAY: (0, 0), RIGHT: (0, 1), DOWN: (1, 0), LEFT: (0, -1), UP: (-1, 0)}
"""What each action adds to row and column."""

OBSERVATIONS = ("position", "index", "one_hot")


@struct.dataclass
class GridState:
    """Where the walker is, and since when."""

    cell: Int[Array, ""]
    time: Int[Array, ""]


@struct.dataclass
class GridParams:
    """Numbers of a grid, which may be vmapped over.

    Attributes:
        next_cell: Where each action leads, `[cells, 5]`.
        start: The cell an episode starts from.
        slip: With which probability the action is replaced by any of the five, itself among them.
    """

    next_cell: Int[Array, "S 5"]
    start: Int[Array, ""]
    slip: Float[Array, ""]


class Grid(Environment):
    """Rows and columns of cells, numbered row by row. An episode has `horizon` cells, so `horizon - 1` steps.

    The policy sees the time, and the horizon is part of the problem, so at its end an episode terminates.
    `info["executed_action"]` is what was done, by choice or by slip.

    Attributes:
        horizon: How many cells an episode visits, with repetition and with the start.
        num_places: How many cells there are.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        horizon: int,
        start: int = 0,
        observation: str = "position",
        moves: Int[np.ndarray, "S 5"] | None = None,
    ) -> None:
        """Makes a grid.

        Args:
            rows: How many.
            columns: How many.
            horizon: See the class.
            start: The cell to start from.
            observation: What is seen of cell and time: "position", row, column and time from 0 to 1, `[3]`; "one_hot",
                `[cells + horizon]`; "index", the two numbers as they are, `[2]`, as in the authors' code.
            moves: Where each action leads; to the next cell by default, or nowhere at the border.

        Raises:
            ValueError: There is no such observation or cell, or no step to take.
        """
        super().__init__()
        check_name("observation of a grid", observation, OBSERVATIONS)
        if not 0 <= start < rows * columns:
            raise ValueError(f"start={start} is no cell of a {rows} x {columns} grid: 0 to {rows * columns - 1}")
        if horizon < 2:
            raise ValueError(f"an episode visits 2 or more cells; got horizon={horizon}")
        self.rows, self.columns, self.horizon, self.start = rows, columns, horizon, start
        self.observation = observation
        self.num_places = rows * columns
        self.moves = open_moves(rows, columns) if moves is None else moves

    @property
    def name(self) -> str:
        return f"Grid{self.rows}x{self.columns}"

    @property
    def num_actions(self) -> int:
        return len(ACTIONS)

    @property
    def default_params(self) -> GridParams:
        return GridParams(jnp.asarray(self.moves, jnp.int32), jnp.asarray(self.start, jnp.int32), jnp.zeros(()))

    def reset_env(self, key: Key[Array, ""], params: GridParams) -> tuple[Float[Array, " F"], GridState]:
        state = GridState(params.start, jnp.zeros((), jnp.int32))
        return self.observe(state), state

    def step_env(
        self, key: Key[Array, ""], state: GridState, action: Int[Array, ""], params: GridParams
    ) -> tuple[Float[Array, " F"], GridState, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        # Drawing costs several times what all the rest does, so a world in which nobody slips draws nothing.
        action = when(params.slip > 0, _slipped, jnp.asarray(action, jnp.int32), key, params.slip)
        state = GridState(params.next_cell[state.cell, action], state.time + 1)
        over = state.time >= self.horizon - 1
        return self.observe(state), state, jnp.zeros(()), over, {"executed_action": action}

    def observe(self, state: GridState) -> Float[Array, " F"]:
        """What is seen of a state."""
        if self.observation == "index":
            return jnp.stack([state.cell, state.time]).astype(float)
        if self.observation == "one_hot":
            cell, time = jax.nn.one_hot(state.cell, self.num_places), jax.nn.one_hot(state.time, self.horizon)
            return jnp.concatenate([cell, time])
        row, column = state.cell // self.columns, state.cell % self.columns
        most = jnp.array([max(self.rows - 1, 1), max(self.columns - 1, 1), self.horizon - 1], float)
        return jnp.stack([row, column, state.time]) / most

    def observations(self) -> Float[Array, "T S F"]:
        """What is seen in each cell at each time of an episode but its end."""
        cells, times = jnp.arange(self.num_places, dtype=jnp.int32), jnp.arange(self.horizon - 1, dtype=jnp.int32)
        at = lambda time: jax.vmap(lambda cell: self.observe(GridState(cell, time)))(cells)  # noqa: E731
        return jax.vmap(at)(times)

    def place(self, observation: Float[Array, "*batch F"]) -> Int[Array, "*batch"]:
        """The cell that an observation is of."""
        if self.observation == "index":
            return observation[..., 0].astype(jnp.int32)
        if self.observation == "one_hot":
            return jnp.argmax(observation[..., : self.num_places], -1).astype(jnp.int32)
        row = jnp.round(observation[..., 0] * (self.rows - 1)).astype(jnp.int32)
        column = jnp.round(observation[..., 1] * (self.columns - 1)).astype(jnp.int32)
        return row * self.columns + column

    def is_truncated(self, state: GridState, params: GridParams) -> Bool[Array, ""]:
        return jnp.zeros((), bool)

    def is_terminated(self, state: GridState, params: GridParams) -> Bool[Array, ""]:
        return state.time >= self.horizon - 1

    def action_space(self, params: PyTree = None) -> spaces.Discrete:
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: PyTree = None) -> Any:
        size = {"position": 3, "index": 2, "one_hot": self.num_places + self.horizon}[self.observation]
        most = max(self.num_places, self.horizon) if self.observation == "index" else 1
        return spaces.Box(0.0, most, (size,), jnp.float32)


def _slipped(action: Int[Array, ""], key: Key[Array, ""], slip: Float[Array, ""]) -> Int[Array, ""]:
    slips, other = jax.random.uniform(key, (2,))
    return jnp.where(slips < slip, (other * len(ACTIONS)).astype(jnp.int32), action)


def open_moves(rows: int, columns: int) -> Int[np.ndarray, "S 5"]:
    """Where each action leads on a grid without walls; at the border it leads nowhere."""
    return np.stack([_shifted(rows, columns, *ACTIONS[action]) for action in ACTIONS], axis=1)


def walled_moves(open_right: Bool[np.ndarray, "R C"], open_down: Bool[np.ndarray, "R C"]) -> Int[np.ndarray, "S 5"]:
    """Where each action leads on a grid with walls.

    Args:
        open_right: Whether one can pass between a cell and its right neighbour, both ways.
        open_down: Whether one can pass between a cell and the one below it.
    """
    rows, columns = open_right.shape
    moves, cells = open_moves(rows, columns), np.arange(rows * columns)
    right, down = open_right.ravel(), open_down.ravel()
    passes = {RIGHT: right, DOWN: down, LEFT: right[moves[:, LEFT]], UP: down[moves[:, UP]]}
    for action, free in passes.items():
        moves[:, action] = np.where(free, moves[:, action], cells)
    return moves


def discs(rows: int, columns: int, offsets: tuple[tuple[int, int], ...]) -> Int[np.ndarray, "S k"]:
    """The cells at the given offsets of each cell, in rows filled up with the number of cells."""
    cells = np.stack([_neighbours(rows, columns, *offset) for offset in offsets], axis=1)
    return np.where(cells < 0, rows * columns, cells)


def _neighbours(rows: int, columns: int, down: int, right: int) -> Int[np.ndarray, " S"]:
    """The cell so far down and to the right of each cell, -1 where there is none."""
    row, column = np.divmod(np.arange(rows * columns), columns)
    row, column = row + down, column + right
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    return np.where(inside, row * columns + column, -1)


def _shifted(rows: int, columns: int, down: int, right: int) -> Int[np.ndarray, " S"]:
    neighbours = _neighbours(rows, columns, down, right)
    return np.where(neighbours < 0, np.arange(rows * columns), neighbours)
