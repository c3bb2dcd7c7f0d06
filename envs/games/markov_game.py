"""Games of a few states in tables, so that all about them can be computed exactly."""

from __future__ import annotations

import string
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key

from jaxreward.mdp import TabularMDP, garnet


class MarkovGame(NamedTuple):
    """`n` agents with `A` actions each in `S` states; leading axes are a batch, for `jax.vmap`.

    Attributes:
        transition: Probability of the next state, `[S, A, ..., A, S]` with an axis for each agent's action.
        reward: What a step pays each agent, `[S, A, ..., A, n]`.
        start: Distribution of the first state, `[S]`.
    """

    transition: Float[Array, "S *A S"]
    reward: Float[Array, "S *A n"]
    start: Float[Array, " S"]

    @property
    def num_states(self) -> int:
        """`S`."""
        return self.transition.shape[-1]

    @property
    def num_agents(self) -> int:
        """`n`."""
        return self.reward.shape[-1]

    @property
    def num_actions(self) -> int:
        """`A`."""
        return self.transition.shape[-2]


def random_game(
    key: Key[Array, ""], num_states: int = 24, num_actions: int = 3, num_agents: int = 2, branching: int = 3
) -> MarkovGame:
    """A Garnet whose action is joint: each leads to `branching` states with uniform shares; rewards are normal.

    Raises:
        ValueError: If the branching factor is not in `1 .. S`.
    """
    key_next, key_reward = jax.random.split(key)
    actions = (num_actions,) * num_agents
    mdp = garnet(key_next, num_states, num_actions**num_agents, branching)
    transition = mdp.transition.reshape(num_states, *actions, num_states)
    reward = jax.random.normal(key_reward, (num_states, *actions, num_agents))
    return MarkovGame(transition, reward, mdp.start)


def induced(game: MarkovGame, policy: Float[Array, "n S A"], agent: int) -> TabularMDP:
    """The MDP that one agent is in while the others play a policy: all is a mean over their actions.

    Args:
        game: One game.
        policy: Each agent's probabilities of actions; the agent's own is not looked at.
        agent: Which one.
    """
    letters = string.ascii_lowercase[: game.num_agents]
    others = [(f"S{letter}", policy[k]) for k, letter in enumerate(letters) if k != agent]
    names, tables = [name for name, _ in others], [table for _, table in others]
    over = lambda table: jnp.einsum(f"S{letters}T,{','.join(names)}->S{letters[agent]}T", table, *tables)  # noqa: E731
    reward = over(game.reward[..., agent, None])
    transition = over(game.transition)
    return TabularMDP(
        transition, jnp.broadcast_to(reward, transition.shape), game.start, jnp.zeros(game.num_states, bool)
    )


@struct.dataclass
class MarkovGameState:
    """The number of the state, and since when the episode runs."""

    place: Int[Array, ""]
    time: Int[Array, ""]


@struct.dataclass
class MarkovGameParams:
    """The game itself, so that games of one shape can be vmapped over, and the time limit, which truncates."""

    game: MarkovGame
    max_steps_in_episode: Int[Array, ""] | int = 100


class RandomGame(Environment):
    """A `MarkovGame`, drawn by `random_game`; all agents see the state, one-hot."""

    def __init__(
        self,
        *,
        seed: int = 0,
        num_states: int = 24,
        num_actions: int = 3,
        num_agents: int = 2,
        branching: int = 3,
    ) -> None:
        """A game by its seed.

        Raises:
            ValueError: If there are fewer than two agents, or the branching factor is not in `1 .. S`.
        """
        super().__init__()
        if num_agents < 2:
            raise ValueError(f"num_agents={num_agents}; a game has 2 or more, and one agent has average/garnet")
        self.game = random_game(jax.random.key(seed), num_states, num_actions, num_agents, branching)
        self.num_agents = num_agents

    @property
    def name(self) -> str:
        return "games/random_game"

    @property
    def num_actions(self) -> int:
        return self.game.num_actions

    @property
    def default_params(self) -> MarkovGameParams:
        return MarkovGameParams(self.game)

    def reset_env(self, key: Key[Array, ""], params: MarkovGameParams) -> tuple[Float[Array, "n S"], MarkovGameState]:
        state = MarkovGameState(_drawn(key, params.game.start), jnp.zeros((), jnp.int32))
        return self.observe(state), state

    def step_env(
        self, key: Key[Array, ""], state: MarkovGameState, action: Int[Array, " n"], params: MarkovGameParams
    ) -> tuple[Float[Array, "n S"], MarkovGameState, Float[Array, " n"], Bool[Array, ""], dict[str, Array]]:
        here = (state.place, *action)
        after = MarkovGameState(_drawn(key, params.game.transition[here]), state.time + 1)
        return self.observe(after), after, params.game.reward[here], self.is_terminated(after, params), {}

    def is_terminated(self, state: MarkovGameState, params: MarkovGameParams) -> Bool[Array, ""]:
        return jnp.zeros((), bool)

    def observe(self, state: MarkovGameState) -> Float[Array, "n S"]:
        """What each agent sees."""
        return jnp.broadcast_to(
            jax.nn.one_hot(state.place, self.game.num_states), (self.num_agents, self.game.num_states)
        )

    def image(self, state: MarkovGameState, params: MarkovGameParams, size: int = 256) -> Float[Array, "size size 3"]:
        """A column for each state, as dark as it is likely after joint actions at random; the one it is in is red."""
        likely = params.game.transition[state.place].reshape(-1, self.game.num_states).mean(0)
        shade = 1 - 0.8 * likely / likely.max()
        colours = jnp.where(
            jnp.arange(self.game.num_states)[:, None] == state.place, jnp.array([[0.86, 0.24, 0.22]]), shade[:, None]
        )
        columns = (jnp.arange(size) * self.game.num_states) // size
        return jnp.broadcast_to(colours[columns][None], (size, size, 3))

    def action_space(self, params: MarkovGameParams | None = None) -> spaces.Discrete:
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: MarkovGameParams | None = None) -> spaces.Box:
        """Of one agent."""
        return spaces.Box(0.0, 1.0, (self.game.num_states,))


def _drawn(key: Key[Array, ""], probability: Float[Array, " S"]) -> Int[Array, ""]:
    """A state by its probability: one random number."""
    return jax.random.choice(key, probability.shape[0], p=probability).astype(jnp.int32)
