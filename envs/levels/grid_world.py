"""Grid worlds with objects that pay, end the episode, vanish and return; a level is their numbers.

The worlds of LPG (Oh et al., Discovering Reinforcement Learning Algorithms, NeurIPS 2020, arXiv:2007.08794) as
generalised by GROOVE (Jackson et al., NeurIPS 2023, arXiv:2310.02782, appendix C): all that makes a level is in the
environment's params, so many levels are one vmapped program.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.envs.parts.painting import painted, pixel_centres, soft
from jaxreward.names import check_name

UP, DOWN, LEFT, RIGHT, STAY = range(5)
MOVES = np.array([(-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)], np.int32)
"""What each action adds to row and column."""
CLOCK = 1e-3
"""What a step adds to the part of an observation that tells the time."""

OBSERVATIONS = ("one_hot", "index", "number", "planes")
_GREY, _GREEN, _RED, _BLUE = (0.3, 0.3, 0.3), (0.2, 0.6, 0.3), (0.8, 0.25, 0.25), (0.2, 0.35, 0.8)


@struct.dataclass
class Level:
    """The numbers of a level, which may be vmapped over; cells are numbered row by row, `row * side + column`.

    Attributes:
        size: Rows and columns of the level, at most `side`.
        walls: Which cells can't be entered.
        start: Where an episode starts.
        cells: Where each object is; where objects are placed anew, this is not looked at.
        count: How many objects there are, the first of the `n`.
        reward: What collecting each one pays.
        termination: With which probability that ends the episode.
        respawn: With which probability a collected one is there again after a step.
        kind: Which plane of an observation shows it.
        max_steps_in_episode: The time limit, which truncates.
    """

    size: Int[Array, ""]
    walls: Bool[Array, " S"]
    start: Int[Array, ""]
    cells: Int[Array, " n"]
    count: Int[Array, ""]
    reward: Float[Array, " n"]
    termination: Float[Array, " n"]
    respawn: Float[Array, " n"]
    kind: Int[Array, " n"]
    max_steps_in_episode: Int[Array, ""]


@struct.dataclass
class LevelState:
    """Where the agent and the objects are, which of these are there, whether the last step ended it, and the time."""

    position: Int[Array, ""]
    cells: Int[Array, " n"]
    exists: Bool[Array, " n"]
    ended: Bool[Array, ""]
    time: Int[Array, ""]


class GridWorld(Environment):
    """A level to walk in; the agent collects what is where it comes to, or stays.

    A step moves, collects, lets objects return, and ends by chance (GROOVE, appendix C): an object that was collected
    in a step can't return in the same one. Moves into walls and beyond the border lead nowhere.
    In `info` is `collected`, `[n]`, which objects were.

    Attributes:
        side: Rows and columns of the largest level.
        num_objects: Most objects, `n`.
        random_objects: Whether objects are placed anew in each episode and each time they return.
        sample_params: `(key) -> params`, another level.
        num_states: Of the table, if they are not: a cell for each set of objects that are there.
        expensive_reset: Whether all episodes of a level start alike, so that a start need not be drawn again.
    """

    def __init__(
        self,
        draw: Callable[[Key[Array, ""]], Level],
        seed: int = 0,
        observation: str = "one_hot",
        random_objects: bool = False,
        longest: int = 2000,
        name: str = "GridWorld",
    ) -> None:
        """Makes the world of levels of one shape.

        Args:
            draw: Draws a level.
            seed: Of the level that is in the default params.
            observation: What is seen. Of the state's number, `position + side^2 * bits(exists)`, and the time:
                "one_hot", `[num_states + 1]`, its last element `0.001 * time`; "index", the two numbers as they are,
                `[2]`, which a table reads without a large product; "number", without the time. "planes": where the
                agent is and where the objects of each kind are, a plane of cells each, and `0.001 * time`, in one
                vector.
            random_objects: See the class; only "planes" shows where they are.
            longest: The largest time limit of any level, which bounds observations.
            name: What it is called.

        Raises:
            ValueError: There is no such observation, or it does not say where objects are.
        """
        super().__init__()
        check_name("observation of a level", observation, OBSERVATIONS)
        if random_objects and observation != "planes":
            raise ValueError(f"observation={observation!r} does not show where objects are that move; use 'planes'")
        self.sample_params, self.level = draw, jax.jit(draw)(jax.random.key(seed))
        self.observation, self.random_objects, self.longest = observation, random_objects, longest
        self.side = math.isqrt(self.level.walls.shape[-1])
        self.num_objects = self.level.cells.shape[-1]
        self.num_kinds = int(jnp.max(self.level.kind)) + 1
        self.num_states = self.side**2 * 2**self.num_objects
        self.expensive_reset = not random_objects
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    @property
    def num_actions(self) -> int:
        return len(MOVES)

    @property
    def default_params(self) -> Level:
        return self.level

    def reset_env(self, key: Key[Array, ""], params: Level) -> tuple[Array, LevelState]:
        there = jnp.arange(self.num_objects, dtype=jnp.int32) < params.count
        cells = params.cells
        if self.random_objects:
            cells = self.placed(
                jax.random.uniform(key, (self.num_objects,)), params.start, cells, ~there, there, params
            )
        state = LevelState(params.start, cells, there, jnp.zeros((), bool), jnp.zeros((), jnp.int32))
        return self.observe(key, state, None, params), state

    def step_env(
        self, key: Key[Array, ""], state: LevelState, action: Int[Array, ""], params: Level
    ) -> tuple[Array, LevelState, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        n = self.num_objects
        noise = jax.random.uniform(key, (2 * n + 1 if self.random_objects else n + 1,))
        position = self.moved(state.position, action, params)
        collected = state.exists & (state.cells == position)
        kept = state.exists & ~collected
        returns = ~state.exists & (noise[:n] < params.respawn) & (jnp.arange(n, dtype=jnp.int32) < params.count)
        cells = state.cells
        if self.random_objects:
            cells = self.placed(noise[n + 1 :], position, cells, kept, returns, params)
        ended = noise[n] < jnp.where(collected, params.termination, 0.0).sum()
        reward = jnp.where(collected, params.reward, 0.0).sum()
        state = LevelState(position, cells, kept | returns, ended, state.time + 1)
        return self.observe(key, state, action, params), state, reward, ended, {"collected": collected}

    def moved(self, position: Int[Array, ""], action: Int[Array, ""], params: Level) -> Int[Array, ""]:
        """Where an action leads."""
        change = jnp.asarray(MOVES)[jnp.asarray(action, jnp.int32)]
        there = jnp.stack([position // self.side, position % self.side]) + change
        inside = ((there >= 0) & (there < params.size)).all()
        cell = jnp.where(inside, there[0] * self.side + there[1], position)
        return jnp.where(params.walls[cell], position, cell)

    def free(self, params: Level) -> Bool[Array, " S"]:
        """Which cells of a level are no walls."""
        return free_cells(params.walls, params.size)

    def placed(
        self,
        noise: Float[Array, " n"],
        agent: Int[Array, ""],
        cells: Int[Array, " n"],
        kept: Bool[Array, " n"],
        appear: Bool[Array, " n"],
        params: Level,
    ) -> Int[Array, " n"]:
        """Where objects are after some appear, each on a free cell where neither the agent nor another object is.

        Where no cell is left an object is nowhere, at `side^2`.
        """
        numbers = jnp.arange(self.side**2, dtype=jnp.int32)
        taken = (kept[:, None] & (cells[:, None] == numbers[None])).any(0)
        room = self.free(params) & (numbers != agent) & ~taken

        def place(room: Array, object_: tuple) -> tuple[Array, Array]:
            noise, appears, cell = object_
            cell = jnp.where(appears, chosen_cell(noise, room), cell)
            return room & ~(appears & (numbers == cell)), cell

        return jax.lax.scan(place, room, (noise, appear, cells))[1]

    def number(self, state: LevelState) -> Int[Array, ""]:
        """The number of a state of a level whose objects stay where they are."""
        bits = jnp.left_shift(1, jnp.arange(self.num_objects, dtype=jnp.int32))
        return state.position + self.side**2 * jnp.where(state.exists, bits, 0).sum(dtype=jnp.int32)

    def observe(self, key: Key[Array, ""], state: LevelState, action: PyTree, params: Level) -> Array:
        """What is seen of a state."""
        if self.observation == "number":
            return self.number(state)
        if self.observation == "index":
            return jnp.stack([self.number(state), state.time])
        clock = (CLOCK * state.time)[None].astype(jnp.float32)
        if self.observation == "one_hot":
            return jnp.concatenate([jax.nn.one_hot(self.number(state), self.num_states, dtype=jnp.float32), clock])
        agent = jax.nn.one_hot(state.position, self.side**2, dtype=jnp.float32)
        planes = jnp.zeros((self.num_kinds, self.side**2), jnp.float32)
        # An object that is nowhere is beyond the plane, which drops it.
        planes = planes.at[params.kind, state.cells].max(state.exists.astype(jnp.float32), mode="drop")
        return jnp.concatenate([agent, planes.ravel(), clock])

    def is_terminated(self, state: LevelState, params: Level) -> Bool[Array, ""]:
        return state.ended

    def action_space(self, params: PyTree = None) -> spaces.Discrete:
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: PyTree = None) -> Any:
        if self.observation == "number":
            return spaces.Discrete(self.num_states)
        if self.observation == "index":
            return spaces.Box(0, max(self.num_states, self.longest), (2,), jnp.int32)
        cells = self.num_states if self.observation == "one_hot" else (1 + self.num_kinds) * self.side**2
        return spaces.Box(0.0, max(1.0, CLOCK * self.longest), (cells + 1,), jnp.float32)

    def image(self, state: LevelState, params: Level, size: int = 64) -> Float[Array, "size size 3"]:
        """The level from above: walls grey, objects green if they pay and red if they cost, the agent a blue dot."""
        places = pixel_centres(size) * (self.side / size)
        cell = places.astype(jnp.int32)
        number = cell[..., 0] + self.side * cell[..., 1]
        image = painted(jnp.ones((size, size, 3)), ~self.free(params)[number], _GREY)
        largest = jnp.maximum(jnp.abs(params.reward).max(), 1e-6)
        for i in range(self.num_objects):
            here = (number == state.cells[i]) & state.exists[i]
            strength = here * (0.3 + 0.7 * jnp.abs(params.reward[i]) / largest)
            image = painted(image, jnp.where(params.reward[i] >= 0, strength, 0.0), _GREEN)
            image = painted(image, jnp.where(params.reward[i] < 0, strength, 0.0), _RED)
        middle = jnp.stack([state.position % self.side, state.position // self.side]) + 0.5
        away = jnp.linalg.norm(places - middle[None, None], axis=-1) - 0.3
        return painted(image, soft(away * size / self.side), _BLUE)


def free_cells(walls: Bool[Array, " S"], size: Int[Array, ""]) -> Bool[Array, " S"]:
    """Which of the cells of the largest level are those of one of a size, and no walls."""
    side = math.isqrt(walls.shape[-1])
    number = jnp.arange(side**2, dtype=jnp.int32)
    return (number // side < size) & (number % side < size) & ~walls


def chosen_cell(noise: Float[Array, ""], room: Bool[Array, " S"]) -> Int[Array, ""]:
    """One of the cells there is room in, each as likely, by a uniform number; `S` if there is none."""
    reached = jnp.cumsum(room.astype(jnp.int32))
    rank = jnp.floor(noise * reached[-1]).astype(jnp.int32)
    return (reached <= jnp.minimum(rank, jnp.maximum(reached[-1] - 1, 0))).sum(dtype=jnp.int32)
