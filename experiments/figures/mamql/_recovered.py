"""How far a recovered reward is from the true one, on a game's listed states: STARC distances.

Each agent's are of the MDP that it is in while the others do as the demonstrator does, by VAL's canonical rewards: what
an action is worth more than one at random, if all that the agent does later is at random.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Array, Float, Int, PyTree

from jaxreward.agent import Agent
from jaxreward.envs import make
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
