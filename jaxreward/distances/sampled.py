"""Distances between rewards from samples: for environments whose states can't be listed, but be stepped from.

A canonical reward is an expectation at each transition, over actions, next states or whole futures. It is estimated
twice by draws that are independent, and products of rewards are those of one estimate with the other: so noise adds
nothing to them in the mean, however few draws there are, and distances come to the exact ones as samples grow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.contract.games import refuse_game, sample_action
from jaxreward.distances.futures import Place, World, after, worths
from jaxreward.environment import earn, memories, reward_shape, world
from jaxreward.learning.episodes import transition_of
from jaxreward.learning.rollout import reset_batch, rollout
from jaxreward.mdp.rewards import check_markov
from jaxreward.reward import Transition

STREAMS, LENGTH = 64, 256
"""Of environments that act at random, and how many steps each, of which states are drawn."""
RESAMPLES = 1_000

Paid = Callable[[Transition], Float[Array, "2"]]
"""What both rewards pay for a transition."""


class Pair(NamedTuple):
    """Two rewards of the same world.

    Attributes:
        env: The world, beneath all rewards.
        params: Its params.
        paid: What each pays.
    """

    env: Environment
    params: PyTree
    paid: Paid

    @property
    def world(self) -> World:
        """What can be done in it; what is done is at random."""
        taken = transition_of(self.env)

        def step(place: Place, action: PyTree, key: Key[Array, ""]) -> Transition:
            return taken(key, *place, action, self.params)._replace(truncated=jnp.zeros((), bool))

        return World(step, lambda _, key: sample_action(self.env, self.params, key), self.paid)


class Products(NamedTuple):
    """Products of canonical rewards, one number for each sample; means over them are what a distance is made of."""

    first: Float[Array, " N"]
    second: Float[Array, " N"]
    both: Float[Array, " N"]


class Estimates(NamedTuple):
    """Products for each kind of canonical reward, and what both rewards pay for the transitions, `[2, N]`."""

    val: Products
    dard: Products
    epic: Products
    paid: Float[Array, "2 N"]


def pair_of(first: Environment, first_params: PyTree, second: Environment, second_params: PyTree) -> Pair:
    """The same environment with one reward and with another.

    Raises:
        ValueError: If a reward has a memory or is a vector, it is a game, or an action has no bounds.
    """
    env, params = world(first, first_params)
    refuse_game(env)
    _check_bounded(env, params)
    both = [(first, first_params), (second, second_params)]
    starts = [memories(*one) for one in both]
    for one, start in zip(both, starts, strict=True):
        check_markov(one[0].name, start)
        if reward_shape(*one):
            raise ValueError(f"a reward of {one[0].name} is a vector of {reward_shape(*one)}; see `scalarise`")

    def paid(transition: Transition) -> Float[Array, "2"]:
        episode = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], transition)
        earned = [earn(*one, start, episode, jnp.ones(1, bool))[1] for one, start in zip(both, starts, strict=True)]
        return jnp.stack([each.reward[0] for each in earned])

    return Pair(env, params, paid)


def visited(pair: Pair, samples: int, key: Key[Array, ""]) -> Place:
    """States that acting at random visits, leaves `[N, ...]`; pure."""
    env, params, (key_reset, key_act, key_step, key_draw) = pair.env, pair.params, jax.random.split(key, 4)
    envs = reset_batch(env, params, STREAMS, key_reset)

    def act(carry: tuple, _: PyTree, keys: Key[Array, " E"]) -> tuple[tuple, PyTree, tuple]:
        return carry, jax.vmap(lambda key: sample_action(env, params, key))(keys), ()

    keys = jax.random.split(key_act, (LENGTH, STREAMS))
    seen = rollout(env, params, act, (), envs, keys, key_step, lambda t: Place(t.observation, t.state))[2].recorded
    rows = jax.random.randint(key_draw, (2, samples), 0, jnp.array([[LENGTH], [STREAMS]]))
    return jax.tree.map(lambda leaf: leaf[rows[0], rows[1]], seen)


def estimated(pair: Pair, places: Place, discount: float, draws: int, key: Key[Array, ""]) -> Estimates:
    """Canonical rewards of actions at random in some states, as products; pure.

    The environment's own reward is taken to be a function of state and action where EPIC and DARD ask for what it pays
    for a next state that does not follow.

    Args:
        pair: The rewards.
        places: The states, of which EPIC also draws next ones.
        discount: In `[0, 1)`.
        draws: For each of the two estimates of an expectation.
        key: For all draws.
    """
    number = len(jax.tree.leaves(places)[0])
    key_step, key_other, key_val, key_dard, key_epic = jax.random.split(key, 5)
    world = pair.world
    moves = jax.vmap(world.move)(places, jax.random.split(key_step, number))
    rows = jax.random.randint(key_other, (number,), 0, number)
    to = jax.tree.map(lambda leaf: leaf[rows], places)
    val = _twice_each(lambda key, *at: _advantage(world, at, discount, draws, key), key_val, places, moves.action)
    dard = _twice_each(lambda key, move: _dard(world, move, discount, draws, key), key_dard, moves)
    epic = _twice_each(lambda key, *at: _epic(world, places, at, discount, draws, key), key_epic, places, to)
    paid = jax.vmap(world.paid)(moves)
    led = jax.vmap(lambda move, to: world.paid(_to(move, to)))(moves, to)
    mean = epic[..., 1, :].mean(0)  # of each estimate and reward
    of_epic = led[:, None] + epic[..., 0, :] - discount * mean[None]
    return Estimates(products(val), products(dard + paid[:, None]), products(of_epic), paid.T)


def _twice_each(fn: Callable[..., Array], key: Key[Array, ""], *given: PyTree) -> Float[Array, "N 2 ..."]:
    """Two independent draws of `fn(key, *of_one)` for each of `N`."""
    number = len(jax.tree.leaves(given)[0])
    both = lambda keys, *of: jax.vmap(lambda key: fn(key, *of))(keys)  # noqa: E731
    return jax.vmap(both)(jax.random.split(key, (number, 2)), *given)


def products(canonical: Float[Array, "N 2 2"]) -> Products:
    """Of `N` canonical rewards, each estimated twice, of two rewards: those of one estimate with the other."""
    one, other = canonical[:, 0], canonical[:, 1]
    both = (one[:, 0] * other[:, 1] + one[:, 1] * other[:, 0]) / 2
    return Products(one[:, 0] * other[:, 0], one[:, 1] * other[:, 1], both)


def distance_of(means: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch"]:
    """The STARC distance in `l2`, `sqrt(2 - 2 cos)`, of means of products; NaN where noise leaves no reward."""
    first, second, both = np.moveaxis(np.asarray(means, float), -1, 0)
    known = (first > 0) & (second > 0)
    cosine = both / np.sqrt(np.where(known, first * second, 1))
    return np.where(known, np.sqrt(np.clip(2 - 2 * cosine, 0, 4)), np.nan)


def resampled(rows: Float[np.ndarray, "N K"], seed: int = 0) -> Float[np.ndarray, "R K"]:
    """Means of as many rows drawn with replacement, many times."""
    rng, number = np.random.default_rng(seed), len(rows)
    return rng.multinomial(number, np.full(number, 1 / number), RESAMPLES) @ rows / number


def _to(move: Transition, place: Place) -> Transition:
    """The same step as if it had led elsewhere, from where it goes on."""
    return move._replace(next_observation=place[0], next_state=place[1], terminated=jnp.zeros((), bool))


def _advantage(
    world: World, at: tuple[Place, PyTree], discount: float, draws: int, key: Key[Array, ""]
) -> Float[Array, "2"]:
    """VAL: what an action is worth more than one at random, if all that follows is at random."""
    place, action = at

    def difference(key: Key[Array, ""]) -> Float[Array, "2"]:
        key_action, key_future = jax.random.split(key)
        both = jax.tree.map(lambda one, other: jnp.stack([one, other]), action, world.act(place, key_action))
        one, other = worths(world, place, both, discount, key_future)
        return one - other

    return jax.vmap(difference)(jax.random.split(key, draws)).mean(0)


def _dard(world: World, move: Transition, discount: float, draws: int, key: Key[Array, ""]) -> Float[Array, "2"]:
    """What DARD adds to a reward: see `jaxreward.distances.canonical.dard`."""
    here, there = Place(move.observation, move.state), after(move)

    def draw(key: Key[Array, ""]) -> Float[Array, "2"]:
        key_action, key_here, key_there, key_between = jax.random.split(key, 4)
        action = world.act(here, key_action)
        from_here, from_there = world.step(here, action, key_here), world.step(there, action, key_there)
        # What ended stays where it is, for nothing.
        end = jax.tree.map(lambda stays, goes: jnp.where(move.terminated, stays, goes), there, after(from_there))
        between = world.step(after(from_here), action, key_between)
        between = between._replace(
            next_observation=end[0], next_state=end[1], terminated=move.terminated | from_there.terminated
        )
        first = jnp.where(move.terminated, 0.0, world.paid(from_there))
        last = jnp.where(from_here.terminated, 0.0, world.paid(between))
        return discount * first - world.paid(from_here) - discount * last

    return jax.vmap(draw)(jax.random.split(key, draws)).mean(0)


def _epic(
    world: World, places: Place, at: tuple[Place, Place], discount: float, draws: int, key: Key[Array, ""]
) -> Float[Array, "2 2"]:
    """What EPIC adds to a reward but for the mean, `discount m(s') - m(s)`, and what that is of, `m(s)`."""
    number = len(jax.tree.leaves(places)[0])

    def mean(place: Place, key: Key[Array, ""]) -> Float[Array, "2"]:
        key_move, key_to = jax.random.split(key)
        row = jax.random.randint(key_to, (), 0, number)
        return world.paid(_to(world.move(place, key_move), jax.tree.map(lambda leaf: leaf[row], places)))

    both = jax.tree.map(lambda here, there: jnp.stack([here, there]), *at)
    each = jax.vmap(lambda place, keys: jax.vmap(lambda key: mean(place, key))(keys).mean(0))
    here, there = each(both, jax.random.split(key, (2, draws)))
    return jnp.stack([discount * there - here, here])


def _check_bounded(env: Environment, params: PyTree) -> None:
    bounds = [np.asarray(getattr(env.action_space(params), name, 0.0)) for name in ("low", "high")]
    if not all(np.isfinite(bound).all() for bound in bounds):
        raise ValueError(f"actions are drawn at random, and those of {env.name} have no bounds")
