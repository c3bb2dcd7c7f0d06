"""How far a recovered reward is from the true one: STARC distances, on a game's listed states or of samples.

Each agent's are of the MDP that it is in while the others do as the demonstrator does, by VAL's canonical rewards, of
which any policy makes some: what an action is worth more than what the noisy demonstrator does, if that goes on. So
rewards are compared where something was shown, and futures are short where a demonstrator comes to an end.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import Agent
from jaxreward.distances.futures import Place, World, worths
from jaxreward.distances.sampled import distance_of, products
from jaxreward.envs import make
from jaxreward.learning.episodes import transition_of
from jaxreward.learning.rollout import reset_batch, rollout
from jaxreward.reward import Transition

if TYPE_CHECKING:
    from jaxreward.experiments.figures.mamql._common import Game

DISCOUNT = 0.99
"""Of every method, and so of what is shaping."""
ENVS, STEPS, NOISE = 16, 256, 0.3
"""Of the steps that say how much a state counts, and how likely each agent acts at random in them.

Where a demonstrator alone never comes, nobody can be told what is paid.
"""
DRAWS, OF_TRUE, AT_ONCE = 4, 16, 64
"""Of samples: futures of an action for each of two estimates of a recovered reward, and of the true one, in which few
steps count for much; and how many at a time."""
OWN = 64
"""Actions by which it is known how likely the noisy demonstrator does what."""


@partial(jax.jit, static_argnums=0)
def noisy_steps(game: Game, key: Key[Array, ""]) -> Transition:
    """Steps of the demonstrator, who now and then acts at random, leaves `[B, ...]`."""
    env, params = make(game.task)
    key_reset, key_act, key_step = jax.random.split(key, 3)

    def act(carry: tuple, observation: PyTree, keys: Array) -> tuple[tuple, Array, tuple]:
        return carry, jax.vmap(partial(noisy_actions, game))(observation, keys), ()

    envs = reset_batch(env, params, ENVS, key_reset)
    keys = jax.random.split(key_act, (STEPS, ENVS))
    steps = rollout(env, params, act, (), envs, keys, key_step, lambda transition: transition)[2].recorded
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), steps)


def noisy_actions(game: Game, observation: PyTree, key: Key[Array, ""]) -> Int[Array, " n"]:
    """What the noisy demonstrator does: each agent acts at random now and then."""
    key_player, key_whether, key_action = jax.random.split(key, 3)
    planned = game.player.act((), observation, key_player)[1]
    anything = jax.random.randint(key_action, planned.shape, 0, make(game.task)[0].num_actions)
    return jnp.where(jax.random.uniform(key_whether, planned.shape) < NOISE, anything, planned)


def recovered(agent: Agent, state: PyTree) -> Callable[[Transition], Float[Array, " n"]]:
    """What the reward that was recovered in a run pays for a step."""
    assert agent.reward is not None
    reward = agent.reward(state)
    params = reward.init(jax.random.key(0))
    return lambda transition: reward.step(params, (), transition)[1]


def sampled_starc(game: Game, agent: Agent, states: PyTree) -> Float[np.ndarray, " R"]:
    """The STARC distance of each run's recovered reward to the true one, a mean over agents, of samples.

    In states that the noisy demonstrator comes to, others for each run, all actions are tried. What they are worth is
    estimated twice, and products are of one with the other, as in `jaxreward.distances.sampled`.
    """

    @partial(jax.jit, static_argnums=0)
    def of(number: int, places: Place, run: PyTree, key: Key[Array, ""]) -> Float[Array, "N 2 A"]:
        return sampled_advantages(game, number, recovered(agent, run), places, DRAWS, key)

    def product(number: int, seed: int) -> Float[np.ndarray, "3"]:
        key = jax.random.fold_in(jax.random.key(0), seed)
        run = jax.tree.map(lambda leaf: leaf[seed], states)
        both = jnp.stack([true_advantages(game, number, seed), of(number, visited(game, seed), run, key)], -1)
        return np.mean(products(jnp.moveaxis(both, 1, 2).reshape(-1, 2, 2)), -1)

    agents, runs = make(game.task)[0].num_agents, len(jax.tree.leaves(states)[0])
    return distance_of(np.array([[product(number, seed) for seed in range(runs)] for number in range(agents)])).mean(0)


@cache
def true_advantages(game: Game, number: int, seed: int) -> Float[Array, "N 2 A"]:
    """What an agent is truly paid, as a canonical reward, in the states of a run."""
    return _true_advantages(game, number, visited(game, seed), jax.random.fold_in(jax.random.key(1), seed))


@partial(jax.jit, static_argnums=(0, 1))
def _true_advantages(game: Game, number: int, places: Place, key: Key[Array, ""]) -> Float[Array, "N 2 A"]:
    return sampled_advantages(game, number, lambda step: step.reward, places, OF_TRUE, key)


@cache
def visited(game: Game, seed: int) -> Place:
    """The states that the noisy demonstrator comes to in a run."""
    happened = noisy_steps(game, jax.random.key(seed))
    return Place(happened.observation, happened.state)


def sampled_advantages(
    game: Game,
    number: int,
    paid: Callable[[Transition], Float[Array, " n"]],
    places: Place,
    draws: int,
    key: Key[Array, ""],
) -> Float[Array, "N 2 A"]:
    """Two estimates of VAL's canonical reward of an agent in some places; pure.

    Other keys have independent chances, as products of different rewards need them.
    """
    world = _among_others(game, number, lambda step: paid(step)[number][None])
    actions = jnp.arange(make(game.task)[0].num_actions)

    def canonical(x: tuple[Place, Key[Array, "2 D"], Key[Array, ""]]) -> Float[Array, "2 A"]:
        place, keys, key_own = x
        each = jax.vmap(jax.vmap(lambda key: worths(world, place, actions, DISCOUNT, key)[:, 0]))(keys).mean(1)
        own = jax.vmap(partial(world.act, place))(jax.random.split(key_own, OWN))
        return each - (each @ jax.nn.one_hot(own, len(actions)).mean(0))[:, None]

    key_draws, key_own = jax.random.split(key)
    states = len(jax.tree.leaves(places)[0])
    keys = jax.random.split(key_draws, (states, 2, draws)), jax.random.split(key_own, states)
    return jax.lax.map(canonical, (places, *keys), batch_size=max(1, AT_ONCE // draws))


def _among_others(game: Game, number: int, paid: Callable[[Transition], Float[Array, " K"]]) -> World:
    """The world that an agent is in while the others do as the demonstrator does; places are of all agents."""
    env, params = make(game.task)
    move = transition_of(env)

    def step(place: Place, action: Int[Array, ""], key: Key[Array, ""]) -> Transition:
        key_others, key_step = jax.random.split(key)
        joint = game.player.act((), place.observation, key_others)[1].at[number].set(action)
        return move(key_step, *place, joint, params)

    return World(step, lambda place, key: noisy_actions(game, place.observation, key)[number], paid)


class Listed(NamedTuple):
    """The MDP that an agent is in while others play, by what can follow, and how likely it goes on to do what.

    Attributes:
        following: The number of the state that follows an action of the agent and one of `B` things that others do.
        likely: How likely others do it.
        own: How likely the agent does what.
    """

    following: Int[np.ndarray, "S A B"]
    likely: Float[np.ndarray, "S B"]
    own: Float[np.ndarray, "S A"]


def advantages(listed: Listed, rewards: Float[np.ndarray, "K S A B"], discount: float) -> Float[np.ndarray, "K S A"]:
    """VAL's canonical rewards, what actions are worth more than what the agent does if it goes on.

    See `jaxreward.distances.canonical.advantage`, of which the tables would have `S^2` numbers.
    """
    states, actions, others = listed.following.shape
    share = listed.own[:, :, None] * listed.likely[:, None]
    rows = np.repeat(np.arange(states), actions * others)
    chain = scipy.sparse.csr_array((share.ravel(), (rows, listed.following.ravel())), (states, states))
    system = scipy.sparse.eye_array(states, format="csr") - discount * chain
    expected = np.einsum("ksab,sb->ksa", rewards, listed.likely)
    found = []
    for each in expected:
        value, failed = scipy.sparse.linalg.bicgstab(system, np.einsum("sa,sa->s", each, listed.own), rtol=1e-8)
        if failed:
            raise RuntimeError(f"values of the policy were not found within {failed} iterations")
        later = np.einsum("sab,sb->sa", value[listed.following], listed.likely)
        found.append(each + discount * later - value[:, None])
    return np.stack(found)


def distances(canonical: Float[np.ndarray, "K S A"], weight: Float[np.ndarray, " S"]) -> Float[np.ndarray, " K-1"]:
    """STARC distances, from 0 to 2, of canonical rewards from the first, states counting as much as they weigh."""
    flat = (canonical * np.sqrt(weight)[None, :, None]).reshape(len(canonical), -1)
    size = np.linalg.norm(flat, axis=-1, keepdims=True)
    unit = np.divide(flat, size, out=np.zeros_like(flat), where=size > 0)
    return np.linalg.norm(unit[1:] - unit[0], axis=-1)
