"""Gems so few that all states can be listed: 40,000 of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key

from jaxreward.envs.games.gems import AGENTS, MOVES, Scalar
from jaxreward.envs.games.gems_view import picture
from jaxreward.mdp.environment import Outcomes

SIZE = 5
"""Rows of the grid."""
CELLS = SIZE * SIZE
CANDIDATES = np.array([[0, 2, 22, 24], [4, 14, 10, 20], [6, 8, 16, 18]], np.int32)
"""Where agent 0's gem, agent 1's and the purple one may be, by the numbers of cells, row by row."""
PLACES = CANDIDATES.shape[1]
SHAPE = (CELLS, CELLS, PLACES, PLACES, PLACES)
"""How many values each part of a state has: both agents' cells, and which of its places each gem is at."""


@struct.dataclass
class MiniGemsState:
    """Cells of the agents, which of its places each gem is at, and since when the episode runs."""

    agents: Int[Array, "2"]
    gems: Int[Array, "3"]
    time: Int[Array, ""]


@struct.dataclass
class MiniGemsParams:
    """Numbers of the game, which may be vmapped over; see `GemsParams`."""

    own_reward: tuple[Scalar, Scalar] = (1.0, 1.0)
    purple_reward: tuple[Scalar, Scalar] = (6.0, 6.0)
    max_steps_in_episode: Int[Array, ""] | int = 45


class MiniGems(Environment):
    """The rules of `games/gems` on 5 x 5 cells with a gem of each colour, each with four places that it appears at.

    What is collected is not counted, so nothing but the time limit ends an episode. All agents see the state, one-hot,
    `[62]`. `step_outcomes` lists all that may happen in a step, `number` and `states` are the states by number, for
    exact solutions.
    """

    num_agents = AGENTS

    @property
    def name(self) -> str:
        return "games/mini_gems"

    @property
    def num_actions(self) -> int:
        return len(MOVES)

    @property
    def num_states(self) -> int:
        """But for the time."""
        return int(np.prod(SHAPE))

    @property
    def default_params(self) -> MiniGemsParams:
        return MiniGemsParams()

    def reset_env(self, key: Key[Array, ""], params: MiniGemsParams) -> tuple[Float[Array, "2 62"], MiniGemsState]:
        parts = (jax.random.bits(key, (len(SHAPE),)) % jnp.asarray(SHAPE, jnp.uint32)).astype(jnp.int32)
        state = MiniGemsState(parts[:AGENTS], parts[AGENTS:], jnp.zeros((), jnp.int32))
        return self.observe(state), state

    def step_env(
        self, key: Key[Array, ""], state: MiniGemsState, action: Int[Array, "2"], params: MiniGemsParams
    ) -> tuple[Float[Array, "2 62"], MiniGemsState, Float[Array, "2"], Bool[Array, ""], dict[str, Array]]:
        agents, taken = moved(state, action)
        fresh = (jax.random.bits(key, (3,)) % PLACES).astype(jnp.int32)
        after = MiniGemsState(agents, jnp.where(taken, fresh, state.gems), state.time + 1)
        info = {"own": taken[:AGENTS], "purple": taken[AGENTS]}
        return self.observe(after), after, self.paid(taken, params), self.is_terminated(after, params), info

    def step_outcomes(self, state: MiniGemsState, action: Int[Array, "2"], params: MiniGemsParams) -> Outcomes:
        """All that may happen, 64 cases: rewards are `[64, 2]`, and many a case has no probability."""
        agents, taken = moved(state, action)
        cases = jnp.asarray(list(np.ndindex(PLACES, PLACES, PLACES)), jnp.int32)
        stays = (cases == state.gems[None]).astype(float)
        probability = jnp.where(taken[None], 1 / PLACES, stays).prod(-1)
        many = lambda leaf: jnp.broadcast_to(leaf, (len(cases), *leaf.shape))  # noqa: E731
        after = MiniGemsState(many(agents), cases, many(state.time + 1))
        return Outcomes(probability, after, many(self.paid(taken, params)), jnp.zeros(len(cases), bool))

    def paid(self, taken: Bool[Array, "3"], params: MiniGemsParams) -> Float[Array, "2"]:
        """What each agent is paid where gems of the three colours are taken or not."""
        own, purple = (jnp.asarray(each, float) for each in (params.own_reward, params.purple_reward))
        return own * taken[:AGENTS] + purple * taken[AGENTS]

    def is_terminated(self, state: MiniGemsState, params: MiniGemsParams) -> Bool[Array, ""]:
        return jnp.zeros((), bool)

    def number(self, state: MiniGemsState) -> Int[Array, ""]:
        """Of a state, but for its time."""
        parts = jnp.concatenate([state.agents, state.gems])
        return (parts * jnp.asarray(_STRIDES)).sum()

    @property
    def states(self) -> MiniGemsState:
        """All states at the start of an episode, leaves `[40000, ...]`, by number."""
        parts = (jnp.arange(self.num_states)[:, None] // jnp.asarray(_STRIDES)[None]) % jnp.asarray(SHAPE)[None]
        parts = parts.astype(jnp.int32)
        return MiniGemsState(parts[:, :AGENTS], parts[:, AGENTS:], jnp.zeros(self.num_states, jnp.int32))

    def observe(self, state: MiniGemsState) -> Float[Array, "2 62"]:
        """What each agent sees."""
        parts = zip([*state.agents, *state.gems], SHAPE, strict=True)
        shown = jnp.concatenate([jax.nn.one_hot(part, size) for part, size in parts])
        return jnp.broadcast_to(shown, (AGENTS, *shown.shape))

    def image(self, state: MiniGemsState, params: MiniGemsParams, size: int = 256) -> Float[Array, "size size 3"]:
        """See `Gems.image`."""
        place = lambda cells: jnp.stack(jnp.divmod(cells, SIZE), -1)  # noqa: E731
        return picture(place(state.agents), place(_gem_cells(state.gems)), SIZE, size)

    def action_space(self, params: MiniGemsParams | None = None) -> spaces.Discrete:
        return spaces.Discrete(len(MOVES))

    def observation_space(self, params: MiniGemsParams | None = None) -> spaces.Box:
        """Of one agent."""
        return spaces.Box(0.0, 1.0, (sum(SHAPE),))


def moved(state: MiniGemsState, action: Int[Array, "2"]) -> tuple[Int[Array, "2"], Bool[Array, "3"]]:
    """Where the agents come to, and which gems are taken."""
    places = jnp.stack(jnp.divmod(state.agents, SIZE), -1) + jnp.asarray(MOVES, jnp.int32)[action]
    places = jnp.clip(places, 0, SIZE - 1)
    agents = SIZE * places[:, 0] + places[:, 1]
    gems = _gem_cells(state.gems)
    purple = ((agents == gems[AGENTS]) | (state.agents == gems[AGENTS])).all()
    return agents, jnp.append(agents == gems[:AGENTS], purple)


def _gem_cells(gems: Int[Array, "3"]) -> Int[Array, "3"]:
    return jnp.asarray(CANDIDATES)[jnp.arange(len(CANDIDATES)), gems]


_STRIDES = np.array([int(np.prod(SHAPE[part + 1 :])) for part in range(len(SHAPE))], np.int32)
"""What one more of each part of a state adds to its number."""
