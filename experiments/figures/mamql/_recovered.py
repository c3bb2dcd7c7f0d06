"""How far a recovered reward is from the true one: STARC distances, on a game's listed states or of samples.

Each agent's are of the MDP that it is in while the others do as the demonstrator does, by VAL's canonical rewards: what
an action is worth more than one at random, if all that the agent does later is at random.
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
from jaxreward.distances.futures import Place, World, random_values, worths
from jaxreward.distances.sampled import distance_of, products
from jaxreward.envs import make
from jaxreward.learning.episodes import transition_of
from jaxreward.learning.networks import flatten
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
DRAWS, OF_TRUE, AT_ONCE = 1, 4, 64
"""Of samples: futures of an action for each of two estimates of a recovered reward, and of the true one, in which a
rare step counts for much; and states at a time."""

OFF = 0.1
"""By how much distances of samples may be wrong, as seen on the cooks, whose distances are exact."""


def noisy_steps(game: Game) -> Transition:
    """Steps of the demonstrator, who now and then acts at random, leaves `[B, ...]`."""
    env, params = make(game.task)
    agents = env.num_agents

    def act(carry: tuple, observation: PyTree, keys: Array) -> tuple[tuple, Array, tuple]:
        key_player, key_whether, key_action = jnp.moveaxis(keys, -1, 0)
        planned = jax.vmap(lambda seen, key: game.player.act((), seen, key)[1])(observation, key_player)
        anything = jax.vmap(lambda key: jax.random.randint(key, (agents,), 0, env.num_actions))(key_action)
        noisy = jax.vmap(lambda key: jax.random.uniform(key, (agents,)) < NOISE)(key_whether)
        return carry, jnp.where(noisy, anything, planned), ()

    @jax.jit
    def play() -> Transition:
        key_reset, key_act, key_step = jax.random.split(jax.random.key(0), 3)
        envs = reset_batch(env, params, ENVS, key_reset)
        keys = jax.random.split(key_act, (STEPS, ENVS, 3))
        steps = rollout(env, params, act, (), envs, keys, key_step, lambda transition: transition)[2].recorded
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), steps)

    return play()


def recovered(agent: Agent, state: PyTree) -> Callable[[Transition], Float[Array, " n"]]:
    """What the reward that was recovered in a run pays for a step."""
    assert agent.reward is not None
    reward = agent.reward(state)
    params = reward.init(jax.random.key(0))
    return lambda transition: reward.step(params, (), transition)[1]


def sampled_starc(game: Game, agent: Agent, states: PyTree) -> Float[np.ndarray, " R"]:
    """The STARC distance of each run's recovered reward to the true one, a mean over agents, of samples.

    States are all those that the demonstrator comes to who now and then acts at random, the same for all runs, and in
    each all actions are tried. What they are worth is estimated twice, and products are of one with the other, as in
    `jaxreward.distances.sampled`.
    """
    each = lambda moved: jax.vmap(lambda state: recovered(agent, state)(moved))(states)  # noqa: E731
    found = []
    for number in range(make(game.task)[0].num_agents):
        true, runs = true_advantages(game, number), sampled_advantages(game, number, each, DRAWS, seed=1)
        pairs = np.stack([np.broadcast_to(true, runs.shape), runs], -1)
        found.append([np.stack(products(pair), -1).mean(0) for pair in np.moveaxis(pairs, 2, 0)])
    return distance_of(np.stack(found)).mean(0)


@cache
def true_advantages(game: Game, number: int) -> Float[np.ndarray, "N 2 1"]:
    """What an agent is truly paid, as a canonical reward."""
    return sampled_advantages(game, number, lambda moved: moved.reward[None], OF_TRUE, seed=4)


def sampled_advantages(
    game: Game, number: int, paid: Callable[[Transition], Float[Array, "K n"]], draws: int, seed: int
) -> Float[np.ndarray, "N 2 K"]:
    """Two estimates of VAL's canonical rewards of an agent, for all states that a noisy demonstrator comes to.

    Other seeds have independent chances, as products of different rewards need them.
    """
    happened = noisy_steps(game)
    places = Place(happened.observation, happened.state)
    world = _among_others(game, number, lambda moved: paid(moved)[:, number])
    actions = jnp.arange(make(game.task)[0].num_actions)

    @jax.jit
    def run(key: Key[Array, ""]) -> Float[Array, "N 2 A K"]:
        key_fit, key_draws = jax.random.split(key)
        value = random_values(world, places, DISCOUNT, key_fit)
        draw = lambda place, key: worths(world, place, actions, DISCOUNT, key, value, game.futures)  # noqa: E731

        def canonical(x: tuple[Place, Key[Array, "2 D"]]) -> Float[Array, "2 A K"]:
            found = jax.vmap(jax.vmap(partial(draw, x[0])))(x[1]).mean(1)
            return found - found.mean(1, keepdims=True)

        keys = jax.random.split(key_draws, (len(happened.terminated), 2, draws))
        return jax.lax.map(canonical, (places, keys), batch_size=max(1, AT_ONCE // draws))

    found = np.asarray(run(jax.random.fold_in(jax.random.key(seed), number)))
    return np.moveaxis(found, 1, 2).reshape(-1, 2, found.shape[-1])


def _among_others(game: Game, number: int, paid: Callable[[Transition], Float[Array, " K"]]) -> World:
    """The world that an agent is in while the others do as the demonstrator does; places are of all agents."""
    env, params = make(game.task)
    move = transition_of(env)

    def step(place: Place, action: Int[Array, ""], key: Key[Array, ""]) -> Transition:
        key_others, key_step = jax.random.split(key)
        joint = game.player.act((), place.observation, key_others)[1].at[number].set(action)
        return move(key_step, *place, joint, params)

    any_action = lambda key: jax.random.randint(key, (), 0, env.num_actions)  # noqa: E731
    return World(step, any_action, paid, lambda place: flatten(place.observation[number], 0))


class Listed(NamedTuple):
    """The MDP that an agent is in while others play, by what can follow.

    Attributes:
        following: The number of the state that follows an action of the agent and one of `B` things that others do.
        likely: How likely others do it.
    """

    following: Int[np.ndarray, "S A B"]
    likely: Float[np.ndarray, "S B"]


def advantages(listed: Listed, rewards: Float[np.ndarray, "K S A B"], discount: float) -> Float[np.ndarray, "K S A"]:
    """VAL's canonical rewards, what actions are worth more than one at random if all that follows is at random.

    See `jaxreward.distances.canonical.advantage`, of which the tables would have `S^2` numbers.
    """
    states, actions, others = listed.following.shape
    share = np.broadcast_to(listed.likely[:, None] / actions, listed.following.shape).ravel()
    rows = np.repeat(np.arange(states), actions * others)
    chain = scipy.sparse.csr_array((share, (rows, listed.following.ravel())), (states, states))
    system = scipy.sparse.eye_array(states, format="csr") - discount * chain
    expected = np.einsum("ksab,sb->ksa", rewards, listed.likely)
    found = []
    for each in expected:
        value, failed = scipy.sparse.linalg.bicgstab(system, each.mean(-1), rtol=1e-8)
        if failed:
            raise RuntimeError(f"values of the uniform policy were not found within {failed} iterations")
        later = np.einsum("sab,sb->sa", value[listed.following], listed.likely)
        found.append(each + discount * later - value[:, None])
    return np.stack(found)


def distances(canonical: Float[np.ndarray, "K S A"], weight: Float[np.ndarray, " S"]) -> Float[np.ndarray, " K-1"]:
    """STARC distances, from 0 to 2, of canonical rewards from the first, states counting as much as they weigh."""
    flat = (canonical * np.sqrt(weight)[None, :, None]).reshape(len(canonical), -1)
    size = np.linalg.norm(flat, axis=-1, keepdims=True)
    unit = np.divide(flat, size, out=np.zeros_like(flat), where=size > 0)
    return np.linalg.norm(unit[1:] - unit[0], axis=-1)
