"""Two cooks, learned from demonstrations: what they come to be paid, and how near their recovered rewards are.

Haynam et al., "Multi-Agent Inverse Q-Learning from Demonstrations", ICRA 2025 (arXiv:2503.04679), Overcooked.
Demonstrations are of a scripted pair, where the authors have 501 steps of models of people. In a plot that comes with
their code, in a unit that is not known to us, MAMQL reaches 12.8, 13.0 and 13.2 after 500, 1,000 and 2,000 transitions,
independent IQ-Learn 6.5, 7.9 and 8.5.

Methods are those of `mamql/gems`, see there, and so are all departures; an episode has 400 steps here and 50 there, and
each cook is paid for what it does itself, as in JaxMARL, beside 20 to both for a soup.

The states that can be come to are listed, some 125,000 of them, so the STARC distance of a recovered reward to the true
one is exact but for the weights of states, which are counts of 4,096 steps of the demonstrator that now and then acts
at random: on the MDP that a cook is in while the other acts as the demonstrator does, as in `mamql/gems`; with the
largest number of transitions, a mean over cooks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, Shaped

from jaxreward.agent import Agent
from jaxreward.envs import make
from jaxreward.envs.games.experts import overcooked_expert, overcooked_odds
from jaxreward.envs.games.overcooked import OvercookedState
from jaxreward.experiments.figures.mamql._common import Game, Size, data
from jaxreward.experiments.figures.mamql._recovered import (
    DISCOUNT,
    NOISE,
    Listed,
    advantages,
    distances,
    noisy_steps,
    recovered,
)
from jaxreward.experiments.figures.mamql._told import claims_of, plot
from jaxreward.learning.episodes import transition_of
from jaxreward.reproduce.figure import PaperFigure
from jaxreward.reward import Transition

SIZES = {
    "smoke": Size(2, (500, 1_000), 50, (4,), 16, methods=("MAMQL", "cloning"), rates=(1e-3,), parts=1, measures=False),
    "small": Size(5, (500, 1_000, 2_000), 500, (64, 64), 64, rates=(1e-3, 3e-3)),
    "hour": Size(10, (500, 1_000, 2_000), 2_000, (64, 64), 128),
    "paper": Size(10, (500, 1_000, 2_000), 7_500, (256, 256), 256, dropout=0.5),
}
CHUNK = 1_024
"""States whose steps are taken at once."""


class Kitchen(NamedTuple):
    """The states that can be come to, `S` of them, and what follows.

    Attributes:
        states: They, leaves `[S, ...]`.
        following: Which of them follows what the cooks do.
        odds: How likely the demonstrator has each cook do what.
        weight: How often the demonstrator comes there that now and then acts at random.
        reward: What each cook is truly paid.
    """

    states: OvercookedState
    following: Int[np.ndarray, "S 6 6"]
    odds: Float[np.ndarray, "S 2 6"]
    weight: Float[np.ndarray, " S"]
    reward: Float[np.ndarray, "S 6 6 2"]


@cache
def kitchen() -> Kitchen:
    """All of it, on the host."""
    env, params = make(GAME.task)
    number = lambda transition: env.number(transition.next_state)  # noqa: E731
    every = np.asarray(jax.jit(lambda: by_actions(number, env.states))())
    visited = np.asarray(jax.jit(jax.vmap(env.number))(noisy_steps(GAME, jax.random.key(0)).state))
    reached = come_to(every.reshape(len(every), -1), visited)
    states = jax.tree.map(lambda leaf: leaf[reached], env.states)
    place = np.full(len(every), -1)
    place[reached] = np.arange(len(reached))
    odds = jax.jit(jax.vmap(lambda state: overcooked_odds(env.observe(state, params))))(states)
    weight = np.bincount(place[visited], minlength=len(reached)) / len(visited)
    reward = jax.jit(partial(by_actions, lambda transition: transition.reward))(states)
    return Kitchen(states, place[every[reached]], np.asarray(odds), weight, np.asarray(reward))


def by_actions(told: Callable[[Transition], Array], states: OvercookedState) -> Shaped[Array, "S 6 6 ..."]:
    """What is told of the step that follows from each state and joint action."""
    env, params = make(GAME.task)
    actions = jnp.stack(jnp.meshgrid(*[jnp.arange(env.num_actions, dtype=jnp.int32)] * 2, indexing="ij"), -1)
    step = transition_of(env)

    def one(state: OvercookedState) -> Array:
        seen = env.observe(state, params)
        taken = lambda action: told(step(jax.random.key(0), seen, state, action, params))  # noqa: E731
        return jax.vmap(jax.vmap(taken))(actions)

    return jax.lax.map(one, states, batch_size=CHUNK)


def come_to(following: Int[np.ndarray, "S B"], start: Int[np.ndarray, " K"]) -> Int[np.ndarray, " R"]:
    """The numbers of states that can be come to from some, those among them, in order."""
    reached = np.zeros(len(following), bool)
    front = np.unique(start)
    while len(front):
        reached[front] = True
        after = np.unique(following[front])
        front = after[~reached[after]]
    return np.flatnonzero(reached)


def starc(agent: Agent, states: PyTree) -> Float[np.ndarray, " R"]:
    """The STARC distance of each run's recovered reward to the true one, a mean over cooks."""
    room = kitchen()
    table = jax.jit(lambda states, run: by_actions(recovered(agent, run), states))
    runs = len(jax.tree.leaves(states)[0])
    each = [table(room.states, jax.tree.map(lambda leaf, k=k: leaf[k], states)) for k in range(runs)]
    rewards = np.stack([room.reward, *map(np.asarray, each)])
    found = []
    for cook in range(2):
        own_first = lambda table, axis, cook=cook: np.moveaxis(table, axis + cook, axis)  # noqa: E731
        own = (1 - NOISE) * room.odds[:, cook] + NOISE / room.odds.shape[-1]
        listed = Listed(own_first(room.following, 1), room.odds[:, 1 - cook], own)
        canonical = advantages(listed, own_first(rewards[..., cook], 2), DISCOUNT)
        found.append(distances(canonical, room.weight))
    return np.mean(found, 0)


GAME = Game("games/overcooked", overcooked_expert(), starc)

figure = PaperFigure(
    title="Overcooked: what is learned from how many demonstrations",
    source="Haynam et al. 2025, arXiv:2503.04679, Overcooked",
    data=lambda scale: data(GAME, SIZES[scale]),
    plot=lambda frame: plot(frame),  # its notes are those of the file that it is in
    claims=claims_of(2_000, (500, 1_000)),
)
