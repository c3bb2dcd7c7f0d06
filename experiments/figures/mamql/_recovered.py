"""How far a recovered reward is from the true one: STARC distances on a game's listed states, or of samples.

Each agent's are of the MDP that it is in while the others do as the demonstrator does, by VAL's canonical rewards: what
an action is worth more than one at random, if all that the agent does later is at random.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import Agent
from jaxreward.contract.games import sample_action
from jaxreward.distances.sampled import distance_of, products
from jaxreward.envs import make
from jaxreward.envs.games.among_others import JOINT, Among, AmongOthers
from jaxreward.learning.episodes import transition_of
from jaxreward.learning.networks import flatten
from jaxreward.learning.rollout import reset_batch, rollout
from jaxreward.reward import Transition

if TYPE_CHECKING:
    from jaxreward.experiments.figures.mamql._common import Game

DISCOUNT = 0.99
"""Of every method, and so of what is shaping."""
ENVS, STEPS, NOISE = 16, 256, 0.3
"""Of steps that recovered rewards are judged by, and how likely each agent acts at random in them.

What a demonstrator never does, such as to crash, nobody can be told the price of by its steps alone.
"""


SAMPLES, DRAWS = 2_048, 2
"""States that a distance is of samples of, and how often each of two estimates has each action tried there."""
STREAMS, LENGTH, UNITS, RIDGE = 64, 512, 256, 1e-4
"""What values at random are learned of: games and steps of each, how many drawn functions of what is seen, a prior."""


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

    States are those that the demonstrator comes to who now and then acts at random, the same for all runs; the values
    that make rewards canonical are those of `random_values`, and what actions have in common is taken off.
    """
    env, params = make(game.task)
    happened = noisy_steps(game)

    def of_agent(number: int, key: Key[Array, ""]) -> Float[Array, "R 3"]:
        one = AmongOthers(env, number, game.player)

        def paid(transition: Transition) -> Float[Array, " R+1"]:
            joint = transition.info[JOINT]
            estimates = jax.vmap(lambda state: recovered(agent, state)(joint)[number])(states)
            return jnp.concatenate([joint.reward[number][None], estimates])

        key_rows, key_values, key_steps = jax.random.split(key, 3)
        value, step = random_values(one, params, paid, key_values), transition_of(one)
        rows = jax.random.randint(key_rows, (SAMPLES,), 0, len(happened.terminated))
        seen, at = jax.tree.map(lambda leaf: leaf[rows], (happened.observation, happened.state))
        own = jax.tree.map(lambda leaf: leaf[:, number], seen)

        def worth(place: tuple[PyTree, Among], action: Int[Array, ""], key: Key[Array, ""]) -> Float[Array, " R+1"]:
            taken = step(key, *place, action, params)
            return paid(taken) + DISCOUNT * jnp.where(taken.terminated, 0.0, value(taken.next_observation))

        def canonical(x: tuple[PyTree, Key[Array, ""]]) -> Float[Array, "2 A R+1"]:
            place, keys = x[0], jax.random.split(x[1], (2, DRAWS))
            of_actions = lambda key: jax.vmap(lambda a: worth(place, a, key))(jnp.arange(env.num_actions))  # noqa: E731
            found = jax.vmap(jax.vmap(of_actions))(keys).mean(1)
            return found - found.mean(1, keepdims=True)

        both = jax.lax.map(canonical, ((own, Among(at, seen)), jax.random.split(key_steps, SAMPLES)), batch_size=256)
        flat = jnp.moveaxis(both, 1, 2).reshape(-1, *both.shape[1::2])
        each = jax.vmap(lambda run: jnp.stack([flat[..., 0], run], -1), 2)(flat[..., 1:])
        return jax.vmap(lambda pair: jnp.stack(products(pair), -1).mean(0))(each)

    keys = jax.random.split(jax.random.key(1), env.num_agents)
    means = [jax.jit(partial(of_agent, number))(key) for number, key in enumerate(keys)]
    return distance_of(np.stack(means)).mean(0)


def random_values(
    env: Environment, params: PyTree, paid: Callable[[Transition], Float[Array, " K"]], key: Key[Array, ""]
) -> Callable[[PyTree], Float[Array, " K"]]:
    """The values of acting at random for several rewards, by what is seen.

    They are those of least squares temporal differences (Bradtke and Barto 1996), linear in what is seen and in sums of
    it that are drawn at random and rectified: so shaping by such potentials makes no difference.
    """
    key_reset, key_act, key_step, key_units = jax.random.split(key, 4)
    envs = reset_batch(env, params, STREAMS, key_reset)
    width = flatten(envs.observation, 1).shape[-1]
    weights = jax.random.normal(key_units, (width + 1, UNITS)) / np.sqrt(width + 1)

    def functions(observation: PyTree) -> Float[Array, " M"]:
        seen = jnp.append(flatten(observation, 0), 1.0)
        return jnp.concatenate([seen, jax.nn.relu(seen @ weights)])

    def act(carry: tuple, _: PyTree, keys: Key[Array, " E"]) -> tuple[tuple, PyTree, tuple]:
        return carry, jax.vmap(lambda key: sample_action(env, params, key))(keys), ()

    def kept(transition: Transition) -> tuple[Array, Array, Array]:
        later = jnp.where(transition.terminated, 0.0, functions(transition.next_observation))
        return functions(transition.observation), later, paid(transition)

    keys = jax.random.split(key_act, (LENGTH, STREAMS))
    steps = rollout(env, params, act, (), envs, keys, key_step, kept)[2].recorded
    here, later, rewards = (leaf.reshape(STREAMS * LENGTH, -1) for leaf in steps)
    system = here.T @ (here - DISCOUNT * later) / len(here) + RIDGE * jnp.eye(here.shape[-1])
    found = jnp.linalg.solve(system, here.T @ rewards / len(here))
    return lambda observation: functions(observation) @ found


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
