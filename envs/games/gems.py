"""Gems to be collected on a grid by two agents, some alone and some together.

The rules are those of the code that comes with MAMQL (Haynam et al., "Multi-Agent Inverse Q-Learning from
Demonstrations", ICRA 2025, arXiv:2503.04679). `CleanGems` has the same without its quirks.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key

from jaxreward.envs.games.gems_view import features, picture, planes
from jaxreward.names import check_name

AGENTS, GEMS = 2, 3
"""How many agents there are, and how many gems of each colour: agent 0's, agent 1's, purple ones."""
MOVES = ((0, 1), (1, 0), (0, -1), (-1, 0), (0, 0))
"""Where each action leads, in rows and columns; the last stays."""

Scalar = Float[Array, ""] | float
View = Literal["features", "planes"]


@struct.dataclass
class GemsState:
    """Where agents and gems are, how many gems were collected, and since when the episode runs.

    Attributes:
        agents: Row and column of each.
        gems: The same of agent 0's gems, agent 1's and the purple ones.
        collected: Over the episode, by both.
        time: Steps since the start of the episode.
    """

    agents: Int[Array, "2 2"]
    gems: Int[Array, "9 2"]
    collected: Int[Array, ""]
    time: Int[Array, ""]


@struct.dataclass
class GemsParams:
    """Numbers of the game, which may be vmapped over.

    Attributes:
        own_reward: What each agent is paid for a gem of its own.
        purple_reward: What each is paid when both have touched a purple one.
        gems_to_end: After how many gems an episode terminates.
        respawn_from: The least row and column that a gem appears in again.
        max_steps_in_episode: The time limit, which truncates.
    """

    own_reward: tuple[Scalar, Scalar] = (1.0, 1.0)
    purple_reward: tuple[Scalar, Scalar] = (6.0, 6.0)
    gems_to_end: Int[Array, ""] | int = 7
    respawn_from: Int[Array, ""] | int = 1
    max_steps_in_episode: Int[Array, ""] | int = 45


class Gems(Environment):
    """Two agents on a grid, which may stand on one cell, as may gems; moves over the border stay on it.

    An agent that stands on gems of its own after moving is paid `own_reward`, once however many there are, and those
    gems appear elsewhere. If both agents have touched a purple gem in this step, where they stood before moving or
    where they stand after, and not necessarily the same one, each is paid `purple_reward`, and the gems they touched
    appear elsewhere: of each agent the last of those under it after the move, or else before. What is collected
    in this way is counted, and ends the episode.

    At the start all are anywhere, each independently; gems appear again anywhere in `respawn_from` to the last row and
    column. An agent sees what `gems_view.features` tells, or, with `observation="planes"`, where everything is, as in
    the authors' code; then all see the same. `info` has `own` `[2]` and `purple`: who took gems of its own, and
    whether purple ones were taken.
    """

    num_agents = AGENTS

    def __init__(self, *, size: int = 15, observation: View = "features") -> None:
        """A square grid of `size` rows.

        Raises:
            ValueError: It has no room, or there is no such observation.
        """
        super().__init__()
        check_name("observation", observation, get_args(View))
        if size < 2:
            raise ValueError(f"size={size}; a grid needs 2 rows at least")
        self.size = size
        self.view = observation

    @property
    def name(self) -> str:
        return "games/gems"

    @property
    def num_actions(self) -> int:
        return len(MOVES)

    @property
    def default_params(self) -> GemsParams:
        return GemsParams()

    def reset_env(self, key: Key[Array, ""], params: GemsParams) -> tuple[Float[Array, "2 *F"], GemsState]:
        places = jax.random.randint(key, (AGENTS + 3 * GEMS, 2), 0, self.size, jnp.int32)
        zero = jnp.zeros((), jnp.int32)
        state = GemsState(places[:AGENTS], places[AGENTS:], zero, zero)
        return self.observe(state), state

    def step_env(
        self, key: Key[Array, ""], state: GemsState, action: Int[Array, "2"], params: GemsParams
    ) -> tuple[Float[Array, "2 *F"], GemsState, Float[Array, "2"], Bool[Array, ""], dict[str, Array]]:
        agents = jnp.clip(state.agents + jnp.asarray(MOVES, jnp.int32)[action], 0, self.size - 1)
        own = _under(agents, state.gems[: 2 * GEMS].reshape(AGENTS, GEMS, 2))
        purple = state.gems[2 * GEMS :]
        taken = self.taken(_under(state.agents, purple[None]), _under(agents, purple[None]))
        gone = jnp.concatenate([own.reshape(-1), taken])
        gems = jnp.where(gone[:, None], self._appear(key, params), state.gems)
        after = GemsState(agents, gems, state.collected + gone.sum(dtype=jnp.int32), state.time + 1)
        parts = {
            "reward/own": jnp.asarray(params.own_reward, float) * self.paid(own),
            "reward/purple": jnp.asarray(params.purple_reward, float) * taken.any(),
        }
        info = {**parts, "own": own.any(-1), "purple": taken.any()}
        reward = parts["reward/own"] + parts["reward/purple"]
        return self.observe(after), after, reward, self.is_terminated(after, params), info

    def taken(self, before: Bool[Array, "2 3"], after: Bool[Array, "2 3"]) -> Bool[Array, "3"]:
        """Which purple gems are taken, given those under each agent before and after the move."""
        numbers = jnp.arange(GEMS)[None]
        last = lambda touched: jnp.where(touched, numbers, -1).max(-1)  # noqa: E731
        touched = jnp.where(after.any(-1), last(after), last(before))
        return (numbers == touched[:, None]).any(0) & (touched >= 0).all()

    def paid(self, own: Bool[Array, "2 3"]) -> Float[Array, "2"]:
        """For how many gems of its own each agent is paid, given which it took."""
        return own.any(-1).astype(float)

    def is_terminated(self, state: GemsState, params: GemsParams) -> Bool[Array, ""]:
        return state.collected >= params.gems_to_end

    def observe(self, state: GemsState) -> Float[Array, "2 *F"]:
        """What each agent sees."""
        if self.view == "features":
            return features(state.agents, state.gems, self.size)
        shown = planes(state.agents, state.gems, self.size)
        return jnp.broadcast_to(shown, (AGENTS, *shown.shape))

    def image(self, state: GemsState, params: GemsParams, size: int = 256) -> Float[Array, "size size 3"]:
        """The grid from above: agents as squares, their gems as discs of their colour, purple ones in purple."""
        return picture(state.agents, state.gems, self.size, size)

    def action_space(self, params: GemsParams | None = None) -> spaces.Discrete:
        return spaces.Discrete(len(MOVES))

    def observation_space(self, params: GemsParams | None = None) -> Any:
        """Of one agent."""
        if self.view == "features":
            return spaces.Box(-2.0, 2.0, (42,))
        return spaces.Box(0.0, 1.0, (5, self.size, self.size))

    def _appear(self, key: Key[Array, ""], params: GemsParams) -> Int[Array, "9 2"]:
        """Where each gem would appear again: one word a gem, whose remainder favours no cell by more than 1e-6."""
        span = jnp.asarray(self.size - params.respawn_from, jnp.uint32)
        cells = jax.random.bits(key, (3 * GEMS,)) % (span * span)
        return jnp.stack(jnp.divmod(cells, span), -1).astype(jnp.int32) + params.respawn_from


class CleanGems(Gems):
    """The same without quirks: purple gems are taken by both standing on the same one after moving, each gem is paid.

    So nothing is taken on leaving, and two gems on one cell pay twice if they are an agent's own.
    """

    @property
    def name(self) -> str:
        return "games/gems_clean"

    def taken(self, before: Bool[Array, "2 3"], after: Bool[Array, "2 3"]) -> Bool[Array, "3"]:
        return after.all(0)

    def paid(self, own: Bool[Array, "2 3"]) -> Float[Array, "2"]:
        return own.sum(-1).astype(float)


def _under(agents: Int[Array, "2 2"], gems: Int[Array, "_ G 2"]) -> Bool[Array, "2 G"]:
    """Which gems are where each agent is; `gems` are all agents', or each one's."""
    return (jnp.broadcast_to(gems, (AGENTS, *gems.shape[1:])) == agents[:, None]).all(-1)
