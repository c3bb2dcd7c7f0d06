"""Two cooks in a cramped room: onions into a pot, soup onto a plate, and out; each has rewards of its own.

The rules are those of `Overcooked` in JaxMARL (Rutherford et al., arXiv:2311.10090), which follows Carroll et al., "On
the Utility of Learning about Humans for Human-AI Coordination", NeurIPS 2019 (arXiv:1910.05789), but that nothing can
be put on counters. So there are 221,184 states, and what each cook is paid is linear in four counts that `info` shows.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

from jaxreward.envs.games.kitchen import (
    FACED,
    FLOOR,
    ONIONS,
    PLAN,
    PLATES,
    POT,
    SERVING,
    STARTS,
    WALKED,
    picture,
    seen,
    seen_space,
)
from jaxreward.envs.games.kitchen_planes import PLANES, planes
from jaxreward.names import check_name

AGENTS = 2
NOTHING, ONION, PLATE, SOUP = range(4)
"""What a cook may hold."""
STAY, INTERACT = 4, 5
"""The actions beside going up, down, right and left, which turn that way too."""
FULL = 3
"""How many onions make a soup."""
SOON = 40
"""How many steps before the time limit planes show that it is near."""

LONGEST = 20
"""The longest cooking time that states are numbered for."""
SHAPE = (len(FLOOR), len(FLOOR), 4, 4, 4, 4, FULL + LONGEST + 1)
"""How many values each part of a state has: cells, ways cooks look, what they hold, and the pot."""

Scalar = Float[Array, ""] | float
Weights = tuple[Scalar, Scalar]
View = Literal["vector", "planes"]


@struct.dataclass
class OvercookedState:
    """Where cooks are, what they hold, and the pot.

    Attributes:
        cells: Of the floor, by number, row by row.
        facing: 0 up, 1 down, 2 right, 3 left.
        held: `NOTHING`, `ONION`, `PLATE` or `SOUP`.
        onions: In the pot.
        left: Steps until the soup is ready; 0 also where none is cooking.
        time: Steps since the start of the episode.
    """

    cells: Int[Array, "2"]
    facing: Int[Array, "2"]
    held: Int[Array, "2"]
    onions: Int[Array, ""]
    left: Int[Array, ""]
    time: Int[Array, ""]


@struct.dataclass
class OvercookedParams:
    """Numbers of the game, which may be vmapped over; each weight has one for each cook.

    Attributes:
        w_put: Paid for putting an onion into the pot.
        w_plate: For taking a plate while something is in the pot and nobody holds one.
        w_soup: For putting the soup onto a plate.
        w_deliver: To each for every soup that either delivers.
        cook_time: Steps that a full pot cooks.
        max_steps_in_episode: The time limit, which truncates.
    """

    w_put: Weights = (3.0, 3.0)
    w_plate: Weights = (3.0, 3.0)
    w_soup: Weights = (5.0, 5.0)
    w_deliver: Weights = (20.0, 20.0)
    cook_time: Int[Array, ""] | int = 20
    max_steps_in_episode: Int[Array, ""] | int = 400


class Overcooked(Environment):
    """Two cooks that move at once, then interact with what they faced before they moved, cook 0 first.

    A move turns a cook, and takes it there if that is floor, where the other is not going as well (or staying), and if
    the two do not change places; otherwise both stay. The pot starts to cook with the third onion, and that step is the
    first of `cook_time`. It starts with cooks in the upper corners, who look anywhere.

    A cook sees `kitchen.seen`, `[27]`, itself first, or with `observation="planes"` what JaxMARL's sees, `[4, 5, 26]`,
    see `kitchen_planes.planes`. `info` has who in this step did `put`, `plate`, `soup` and `deliver`, `[2]` each.
    A step is deterministic; `number` and `states` are the states by number, for exact solutions.
    """

    num_agents = AGENTS

    def __init__(self, *, observation: View = "vector") -> None:
        """The room, and how it is seen.

        Raises:
            ValueError: There is no such observation.
        """
        super().__init__()
        check_name("observation", observation, get_args(View))
        self.view = observation

    @property
    def name(self) -> str:
        return "games/overcooked"

    @property
    def num_actions(self) -> int:
        return 6

    @property
    def default_params(self) -> OvercookedParams:
        return OvercookedParams()

    def reset_env(self, key: Key[Array, ""], params: OvercookedParams) -> tuple[Shaped[Array, "2 *F"], OvercookedState]:
        facing = (jax.random.bits(key, (AGENTS,)) % 4).astype(jnp.int32)
        zero = jnp.zeros((), jnp.int32)
        state = OvercookedState(jnp.asarray(STARTS), facing, jnp.zeros_like(facing), zero, zero, zero)
        return self.observe(state, params), state

    def step_env(
        self, key: Key[Array, ""], state: OvercookedState, action: Int[Array, "2"], params: OvercookedParams
    ) -> tuple[Shaped[Array, "2 *F"], OvercookedState, Float[Array, "2"], Bool[Array, ""], dict[str, Array]]:
        before, state = state, moved(state, action)
        acts = jnp.where(action == INTERACT, jnp.asarray(FACED)[before.cells, before.facing], 0)
        happened = []
        for cook in range(AGENTS):
            state, events = interacted(state, cook, acts[cook], params)
            happened.append(events)
        events = {name: jnp.stack([each[name] for each in happened]) for name in happened[0]}
        left = jnp.maximum(state.left - 1, 0)
        after = OvercookedState(state.cells, state.facing, state.held, state.onions, left, state.time + 1)
        parts = earned(events, params)
        reward = sum(parts.values(), jnp.zeros(AGENTS))
        info = {**events, **{f"reward/{name}": part for name, part in parts.items()}}
        return self.observe(after, params), after, reward, self.is_terminated(after, params), info

    def is_terminated(self, state: OvercookedState, params: OvercookedParams) -> Bool[Array, ""]:
        return jnp.zeros((), bool)

    def observe(self, state: OvercookedState, params: OvercookedParams) -> Shaped[Array, "2 *F"]:
        """What each cook sees."""
        if self.view == "planes":
            is_late = params.max_steps_in_episode - state.time < SOON
            return planes(state.cells, state.facing, state.held, state.onions, state.left, is_late)
        full = state.onions == FULL
        pot = jnp.stack([state.onions, jnp.where(full, params.cook_time - state.left, 0), full & (state.left > 0)])
        return seen(state.cells, state.facing, state.held, pot)

    @property
    def num_states(self) -> int:
        """But for the time, with pots that cook for `LONGEST` steps at most; some of them can't be come to."""
        return int(np.prod(SHAPE))

    def number(self, state: OvercookedState) -> Int[Array, ""]:
        """Of a state, but for its time."""
        pot = jnp.where(state.onions == FULL, LONGEST + FULL - state.left, state.onions)
        parts = jnp.concatenate([state.cells, state.facing, state.held, pot[None]])
        return (parts * jnp.asarray(_STRIDES)).sum()

    @property
    def states(self) -> OvercookedState:
        """All states at the start of an episode, leaves `[221184, ...]`, by number."""
        numbers = jnp.arange(self.num_states, dtype=jnp.int32)
        parts = (numbers[:, None] // jnp.asarray(_STRIDES)[None]) % jnp.asarray(SHAPE, jnp.int32)[None]
        pot = parts[:, -1]
        onions, left = jnp.minimum(pot, FULL), jnp.where(pot >= FULL, LONGEST + FULL - pot, 0)
        return OvercookedState(parts[:, :2], parts[:, 2:4], parts[:, 4:6], onions, left, jnp.zeros_like(pot))

    def image(self, state: OvercookedState, params: OvercookedParams, size: int = 256) -> Float[Array, "size size 3"]:
        """The room from above: a pot in grey that fills with onions, cooks with what they hold before them."""
        cooking = (state.onions == FULL) & (state.left > 0)
        return picture(state.cells, state.facing, state.held, state.onions, cooking, size)

    def action_space(self, params: OvercookedParams | None = None) -> spaces.Discrete:
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: OvercookedParams | None = None) -> Any:
        """Of one cook."""
        if self.view == "planes":
            return spaces.Box(0, 255, (len(PLAN), len(PLAN[0]), PLANES), jnp.uint8)
        return seen_space((self.default_params if params is None else params).cook_time)


def moved(state: OvercookedState, action: Int[Array, "2"]) -> OvercookedState:
    """The state in which cooks have turned and gone."""
    moves = action < STAY
    facing = jnp.where(moves, action, state.facing).astype(jnp.int32)
    to = jnp.where(moves, jnp.asarray(WALKED)[state.cells, facing], state.cells)
    blocked = (to[0] == to[1]) | ((to[0] == state.cells[1]) & (to[1] == state.cells[0]))
    return state.replace(cells=jnp.where(blocked, state.cells, to), facing=facing)  # type: ignore[attr-defined]


def interacted(
    state: OvercookedState, cook: int, thing: Int[Array, ""], params: OvercookedParams
) -> tuple[OvercookedState, dict[str, Bool[Array, ""]]]:
    """The state after one cook interacted with a thing, 0 for none, and what it did."""
    held, other = state.held[cook], state.held[1 - cook]
    put = (thing == POT) & (held == ONION) & (state.onions < FULL)
    soup = (thing == POT) & (held == PLATE) & (state.onions == FULL) & (state.left == 0)
    takes_onion = (thing == ONIONS) & (held == NOTHING)
    takes_plate = (thing == PLATES) & (held == NOTHING)
    deliver = (thing == SERVING) & (held == SOUP)
    onions = jnp.where(soup, 0, state.onions + put)
    now = jnp.where(put | deliver, NOTHING, jnp.where(takes_onion, ONION, held))
    now = jnp.where(takes_plate, PLATE, jnp.where(soup, SOUP, now))
    left = jnp.where(put & (onions == FULL), params.cook_time, state.left).astype(jnp.int32)
    plate = takes_plate & (state.onions > 0) & (other != PLATE)
    hands = jnp.where(np.arange(AGENTS) == cook, now, state.held)
    after = state.replace(held=hands, onions=onions, left=left)  # type: ignore[attr-defined]
    return after, {"put": put, "plate": plate, "soup": soup, "deliver": deliver}


def earned(events: dict[str, Bool[Array, "2"]], params: OvercookedParams) -> dict[str, Float[Array, "2"]]:
    """What each event of a step pays each cook."""
    counts = {**events, "deliver": jnp.broadcast_to(events["deliver"].sum(), (AGENTS,))}
    return {name: jnp.asarray(getattr(params, f"w_{name}"), float) * count for name, count in counts.items()}


_STRIDES = np.array([int(np.prod(SHAPE[part + 1 :])) for part in range(len(SHAPE))], np.int32)
"""What one more of each part of a state adds to its number."""
