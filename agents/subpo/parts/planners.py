"""Planners for rewards that look back: greedy, look-ahead greedy, beam search and the exact optimum by enumeration.

What the environment's reward remembers is part of its state, so a planner that steps copies of the state needs to know
nothing of the set function behind it. Actions are numbers (`Discrete`), and steps after an episode's end are worth
nothing.

In a deterministic environment a plan's value is its return. Where moves are random, every planner plans for the one
future that its key stands for, which it sees coming: the value is what `replay` with the same key returns, and no
estimate of what a policy can expect.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, UInt32

from jaxreward.agent import strong
from jaxreward.contract.wrappers import as_environment
from jaxreward.environment import select

MOST_SEQUENCES = 2**24
"""How many action sequences are enumerated at most."""

_CHUNK = 2**13
"""How many of them are played side by side."""


class Plan(NamedTuple):
    """What to do from the start of an episode on.

    Attributes:
        actions: `[T]`.
        rewards: What each step earns, `[T]`.
        value: Their sum.
    """

    actions: Int[Array, " T"]
    rewards: Float[Array, " T"]
    value: Float[Array, ""]


class _Node(NamedTuple):
    """Where a partial plan has led, and whether its episode is over."""

    state: PyTree
    over: Bool[Array, ""]


_Move: TypeAlias = Callable[[_Node, tuple[Array, Array]], tuple[_Node, Float[Array, ""]]]
"""`(node, (key, action)) -> (node, reward)`."""


@partial(jax.jit, static_argnames=("env", "num_steps", "depth"))
def greedy(env: Environment, params: PyTree, key: Key[Array, ""], num_steps: int, depth: int = 1) -> Plan:
    """At each step the first action of the best sequence of the next `depth` actions, the best ones tied at random.

    Depth 1 is the myopic planner; depth `num_steps` finds an optimum.

    Args:
        env: An environment with discrete actions.
        params: Its params.
        key: For the start, for ties, and for the moves if they are random. May be vmapped over.
        num_steps: Length of the plan, `T`.
        depth: How many steps to look ahead; each step tries `A**depth` sequences.

    Raises:
        ValueError: If the actions are not numbers, a size is not positive, or there are too many sequences to try.
    """
    num_actions = _num_actions(env, params)
    _check_positive(num_steps=num_steps, depth=depth)
    _check_enumerable("depth", num_actions, depth)
    start, keys, tie_keys = _start(env, params, key, num_steps)
    move = _move(env, params)
    sequences = _sequences(jnp.arange(num_actions**depth), num_actions, depth)

    def step(node: _Node, x: tuple[Array, Array]) -> tuple[_Node, tuple[Array, Array]]:
        time, tie_key = x
        ahead = time + jnp.arange(depth)
        rewards = jax.vmap(lambda actions: _rewards(move, node, keys[ahead], actions))(sequences)
        values = jnp.where((ahead < num_steps)[None], rewards, 0.0).sum(1)
        action = _argmax_at_random(tie_key, values.reshape(num_actions, -1).max(1))
        node, reward = move(node, (keys[time], action))
        return node, (action, reward)

    actions, rewards = jax.lax.scan(step, start, (jnp.arange(num_steps), tie_keys))[1]
    return Plan(actions, rewards, rewards.sum())


@partial(jax.jit, static_argnames=("env", "num_steps", "width"))
def beam_search(env: Environment, params: PyTree, key: Key[Array, ""], num_steps: int, width: int) -> Plan:
    """The best plan found by keeping the `width` partial plans that earned most so far, ties at random.

    Of partial plans that led to the same state, memory of the reward included, only the best is kept: whatever
    follows, the others stay behind it. An optimum if there are never more than `width` such states.

    Args:
        env: An environment with discrete actions.
        params: Its params.
        key: For the start, for ties, and for the moves if they are random. May be vmapped over.
        num_steps: Length of the plan, `T`.
        width: How many partial plans are kept, `W`.

    Raises:
        ValueError: If the actions are not numbers or a size is not positive.
    """
    num_actions = _num_actions(env, params)
    _check_positive(num_steps=num_steps, width=width)
    start, keys, tie_keys = _start(env, params, key, num_steps)
    every_action = jax.vmap(_move(env, params), (None, (None, 0)))
    each_beam = jax.vmap(every_action, (0, (None, None)))
    actions = jnp.arange(num_actions, dtype=jnp.int32)

    def step(now: tuple[_Node, Array], x: tuple[Array, Array]) -> tuple[tuple[_Node, Array], tuple]:
        nodes, values = now
        key, tie_key = x
        children, rewards = each_beam(nodes, (key, actions))
        children, rewards = jax.tree.map(lambda y: y.reshape(-1, *y.shape[2:]), (children, rewards))
        values = _without_duplicates(children, jnp.repeat(values, num_actions) + rewards)
        kept = _best(tie_key, values, width)
        return (jax.tree.map(lambda y: y[kept], children), values[kept]), (kept, rewards[kept])

    beams = jax.tree.map(lambda y: jnp.broadcast_to(y, (width, *y.shape)), start)
    now = (beams, jnp.zeros(width).at[1:].set(-jnp.inf))
    (_, values), (kept, rewards) = jax.lax.scan(step, now, (keys, tie_keys))

    def back(beam: Int[Array, ""], x: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        kept, rewards = x
        return kept[beam] // num_actions, (kept[beam] % num_actions, rewards[beam])

    best = jnp.argmax(values).astype(jnp.int32)
    actions, rewards = jax.lax.scan(back, best, (kept, rewards), reverse=True)[1]
    return Plan(actions, rewards, rewards.sum())


@partial(jax.jit, static_argnames=("env", "num_steps"))
def exhaustive(env: Environment, params: PyTree, key: Key[Array, ""], num_steps: int) -> Plan:
    """An optimal plan, found by playing all `A**num_steps` action sequences, some thousands at a time.

    Args:
        env: An environment with discrete actions.
        params: Its params.
        key: For the start, and for the moves if they are random. May be vmapped over.
        num_steps: Length of the plan, `T`.

    Raises:
        ValueError: If the actions are not numbers, the length is not positive, or there are more than
            `MOST_SEQUENCES` sequences.
    """
    num_actions = _num_actions(env, params)
    _check_positive(num_steps=num_steps)
    _check_enumerable("num_steps", num_actions, num_steps)
    start, keys, _ = _start(env, params, key, num_steps)
    move, total = _move(env, params), num_actions**num_steps
    size = min(total, _CHUNK)

    def best_of_chunk(first: Int[Array, ""]) -> tuple[Float[Array, ""], Int[Array, ""]]:
        numbers = jnp.minimum(first + jnp.arange(size), total - 1)
        sequences = _sequences(numbers, num_actions, num_steps)
        values = jax.vmap(lambda actions: _rewards(move, start, keys, actions).sum())(sequences)
        best = jnp.argmax(values)
        return values[best], numbers[best]

    values, numbers = jax.lax.map(best_of_chunk, jnp.arange(0, total, size))
    actions = _sequences(numbers[jnp.argmax(values)], num_actions, num_steps)
    rewards = _rewards(move, start, keys, actions)
    return Plan(actions, rewards, rewards.sum())


@partial(jax.jit, static_argnames="env")
def replay(env: Environment, params: PyTree, key: Key[Array, ""], actions: Int[Array, " T"]) -> tuple[Plan, PyTree]:
    """What a planner with the same key earns by these actions, and the states it passes, leaves `[T + 1, ...]`."""
    start, keys, _ = _start(env, params, key, actions.shape[0])
    move = _move(env, params)

    def step(node: _Node, x: tuple[Array, Array]) -> tuple[_Node, tuple[PyTree, Array]]:
        node, reward = move(node, x)
        return node, (node.state, reward)

    states, rewards = jax.lax.scan(step, start, (keys, actions))[1]
    states = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), start.state, states)
    return Plan(actions, rewards, rewards.sum()), states


def _start(env: Environment, params: PyTree, key: Key[Array, ""], num_steps: int) -> tuple[_Node, Array, Array]:
    """The start of an episode, and for each step a key for its moves, the same in all plans, and one for ties."""
    key_reset, key_moves, key_ties = jax.random.split(key, 3)
    state = strong(as_environment(env).reset_env(key_reset, params)[1])
    keys = jax.random.split(key_moves, num_steps), jax.random.split(key_ties, num_steps)
    return _Node(state, jnp.zeros((), bool)), *keys


def _move(env: Environment, params: PyTree) -> _Move:
    """One step, which changes nothing once the episode is over."""
    env = as_environment(env)

    def move(node: _Node, x: tuple[Array, Array]) -> tuple[_Node, Float[Array, ""]]:
        key, action = x
        _, state, reward, terminated, _ = env.step_env(key, node.state, action, params)
        over = node.over | terminated | env.is_truncated(state, params)
        return _Node(select(node.over, node.state, state), over), jnp.where(node.over, 0.0, reward)

    return move


def _rewards(move: _Move, start: _Node, keys: Key[Array, " T"], actions: Int[Array, " T"]) -> Float[Array, " T"]:
    return jax.lax.scan(move, start, (keys, actions))[1]


def _sequences(numbers: Int[Array, "*batch"], num_actions: int, length: int) -> Int[Array, "*batch length"]:
    """Action sequences by number, the first action being the most significant digit."""
    place_values = jnp.asarray(num_actions ** np.arange(length)[::-1], jnp.int32)
    return (jnp.expand_dims(numbers, -1) // place_values.reshape((1,) * numbers.ndim + (-1,))) % num_actions


def _argmax_at_random(key: Key[Array, ""], values: Float[Array, " n"]) -> Int[Array, ""]:
    """The index of a largest value, each of them equally likely."""
    order = jax.random.uniform(key, values.shape)
    return jnp.argmax(jnp.where(values == values.max(), order, -1.0)).astype(jnp.int32)


def _best(key: Key[Array, ""], values: Float[Array, " n"], width: int) -> Int[Array, " width"]:
    """The indices of the `width` largest values, ties at random."""
    order, index = jax.random.bits(key, values.shape), jnp.arange(values.size, dtype=jnp.int32)
    return jax.lax.sort((-values, order, index), num_keys=2)[2][:width]


def _without_duplicates(nodes: _Node, values: Float[Array, " n"]) -> Float[Array, " n"]:
    """The values, minus infinity for all but a best one of nodes that are the same.

    Nodes are compared by 64 bits of hash. Sorted by them and then by value, a node that has the hash of the one before
    it is a duplicate. That a beam is lost by chance, `n**2 / 2**65`, may be ruled out.
    """
    low, high = _hash(nodes, 0), _hash(nodes, 1)
    index = jnp.arange(values.size, dtype=jnp.int32)
    low, high, _, index = jax.lax.sort((low, high, -values, index), num_keys=3)
    again = (low[1:] == low[:-1]) & (high[1:] == high[:-1])
    return values.at[index[1:]].add(jnp.where(again, -jnp.inf, 0.0))


def _hash(tree: PyTree, seed: int) -> UInt32[Array, " n"]:
    """32 bits for each of the trees whose leaves are `[n, ...]`: the sum of all words, scrambled by position."""
    words = jnp.concatenate([_words(leaf) for leaf in jax.tree.leaves(tree)], 1)
    salt = np.random.default_rng(seed).integers(2**32, size=words.shape[1], dtype=np.uint32)
    mixed = _scramble(words ^ jnp.asarray(salt)[None])
    return mixed.sum(1, dtype=jnp.uint32)


def _words(leaf: Array) -> UInt32[Array, "n words"]:
    """The bits of `[n, ...]`."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if leaf.dtype.itemsize < 4:
        leaf = leaf.astype(float if jnp.issubdtype(leaf.dtype, jnp.inexact) else jnp.int32)
    return jax.lax.bitcast_convert_type(leaf, jnp.uint32).reshape(leaf.shape[0], -1)


def _scramble(word: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """A bijection of 32-bit words each of whose bits depends on all (the finaliser of MurmurHash3)."""
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return word ^ (word >> 16)


def _num_actions(env: Environment, params: PyTree) -> int:
    space = env.action_space(params)
    if not isinstance(space, spaces.Discrete):
        raise ValueError(f"planners try every action, so they need a Discrete action space; got {type(space).__name__}")
    return int(space.n)


def _check_positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1; got {size}")


def _check_enumerable(name: str, num_actions: int, length: int) -> None:
    if num_actions**length > MOST_SEQUENCES:
        longest = max(n for n in range(1, length) if num_actions**n <= MOST_SEQUENCES)
        raise ValueError(
            f"{name}={length} with {num_actions} actions means {num_actions**length} sequences, of which at most "
            f"{MOST_SEQUENCES} are tried; {name}={longest} is the most possible here, or use beam_search"
        )
