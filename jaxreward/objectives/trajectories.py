"""All episodes that an MDP allows, where they are finitely many."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxreward.mdp import TabularMDP
from jaxreward.mdp.bellman import EXACT, Discount

Steps: TypeAlias = list[tuple[int, int, int]]
"""State, action and next state of each."""
MOST = 100_000
"""Of episodes."""


class Trajectories(NamedTuple):
    """`N` episodes of up to `T` steps; what is behind an episode's end means nothing.

    Attributes:
        state: `[N, T]`.
        action: `[N, T]`.
        following: The state after each step, `[N, T]`.
        valid: Which steps belong to an episode, `[N, T]`.
        chance: How likely the start and all next states are if these actions are taken, `[N]`.
    """

    state: Int[Array, "N T"]
    action: Int[Array, "N T"]
    following: Int[Array, "N T"]
    valid: Bool[Array, "N T"]
    chance: Float[Array, " N"]

    def lottery(self, policy: Float[Array, "S A"]) -> Float[Array, " N"]:
        """The probability of each episode under a policy; they sum to 1."""
        taken = jnp.where(self.valid, policy[self.state, self.action], 1)
        return self.chance * jnp.prod(taken, -1)

    def returns(self, rewards: Float[Array, "*K S A S"], discount: Discount) -> Float[Array, "*K N"]:
        """The discounted sum of rewards of each episode."""
        weight = jnp.where(self.valid, jnp.asarray(discount, self.chance.dtype) ** jnp.arange(self.state.shape[1]), 0)
        return jnp.einsum(
            "nt,...nt->...n", weight, rewards[..., self.state, self.action, self.following], precision=EXACT
        )


def trajectories(mdp: TabularMDP) -> Trajectories:
    """Lists every episode of an MDP; on the host.

    Raises:
        ValueError: An episode may come back to a state, so that there is no end to them, or they are too many.
    """
    moves, start, terminal = (np.asarray(x) for x in (mdp.transition, mdp.start, mdp.terminal))
    done: list[tuple[Steps, float]] = []
    open_: list[tuple[Steps, int, float]] = [([], int(state), float(start[state])) for state in np.flatnonzero(start)]
    while open_:
        steps, state, chance = open_.pop()
        if terminal[state]:
            done.append((steps, chance))
            continue
        _check_new(steps, state, len(done) + len(open_))
        for action, following in np.argwhere(moves[state] > 0)[::-1]:
            step = state, int(action), int(following)
            open_.append(([*steps, step], int(following), chance * float(moves[step])))
    return _padded(done, moves.dtype)


def _check_new(steps: Steps, state: int, number: int) -> None:
    if any(before == state for before, *_ in steps):
        raise ValueError(
            f"an episode may come back to state {state}, so there is no end to the list of them; expected an MDP whose "
            "episodes never meet a state twice. With a time limit, make the time a part of the state"
        )
    if number > MOST:
        raise ValueError(f"there are more than {MOST:,} episodes; expected a smaller MDP")


def _padded(done: list[tuple[Steps, float]], dtype: np.dtype) -> Trajectories:
    longest = max(len(steps) for steps, _ in done)
    table = np.zeros((len(done), longest, 3), np.int32)
    valid = np.zeros((len(done), longest), bool)
    for row, (steps, _) in enumerate(done):
        table[row, : len(steps)], valid[row, : len(steps)] = steps, True
    chance = np.array([chance for _, chance in done], dtype)
    state, action, following = (jnp.asarray(table[..., i]) for i in range(3))
    return Trajectories(state, action, following, jnp.asarray(valid), jnp.asarray(chance))
