"""What a tabular environment pays under the rewards it was given, as the table of its MDP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jax.interpreters import partial_eval
from jaxtyping import Array, Float, Int, PyTree

from jaxreward.environment import WithReward, earn, memories, stage, world
from jaxreward.mdp.environment import TabularEnv, TabularParams, TabularState
from jaxreward.reward import Components, Transition


def reward_table(env: Environment, params: PyTree) -> Float[Array, "S A S"]:
    """The reward of each transition of a `TabularEnv` under any number of Markov rewards, see `with_reward`.

    `world(env, params)[1].mdp._replace(reward=reward_table(env, params))` is the MDP that an agent on `env` solves.
    Pure, so it runs under `jit`, `vmap` over the reward's params, and `grad` in them. Nothing is collected from
    terminal states, and no transition is `truncated`: a time limit is no part of an MDP.

    Args:
        env: A `TabularEnv`, or rewards around one.
        params: Its params.

    Returns:
        Rewards in the dtype of the MDP's, `[S, A, S]`.

    Raises:
        ValueError: The world is no `TabularEnv`; or a reward has a memory, reads the clock, or is no scalar: then no
            such table exists. Raised while tracing.
    """
    inside, own = world(env, params)
    if not isinstance(inside, TabularEnv):
        raise ValueError(
            f"{env.name} is a {type(inside).__name__}; only a TabularEnv has a table of rewards. For another small "
            "environment, see `jaxreward.mdp.to_tabular`"
        )
    if isinstance(stage(env, params)[0], WithReward):
        _refuse_memory(env.name, "something that the policy sees")
    start = memories(env, params)
    check_markov(env.name, start)

    def earned(time: Int[Array, ""], *entry: Int[Array, ""]) -> Float[Array, "..."]:
        episode = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], _transition(inside, own, time, *entry))
        return earn(env, params, start, episode, jnp.ones(1, bool))[1].reward[0]

    def table(time: Int[Array, ""]) -> Float[Array, "S A S ..."]:
        return _over_all_entries(earned, inside, time)

    _check_table(env.name, table)
    terminal = own.mdp.terminal[:, None, None]
    return jnp.where(terminal, 0, table(jnp.int32(0))).astype(own.mdp.reward.dtype)


def _transition(
    env: TabularEnv,
    params: TabularParams,
    time: Int[Array, ""],
    index: Int[Array, ""],
    action: Int[Array, ""],
    following: Int[Array, ""],
) -> Transition:
    """What `step_env` would show of going from one state to another, possible or not."""
    unused = jax.random.key(0)  # states are shown without noise
    state, next_state = TabularState(index=index, time=time), TabularState(index=following, time=time + 1)
    return Transition(
        env.observe(unused, state, None, params),
        action,
        jnp.asarray(params.mdp.reward[index, action, following], float),
        env.observe(unused, next_state, action, params),
        params.mdp.terminal[following],
        jnp.zeros((), bool),
        state,
        next_state,
        {"discount": env.discount(next_state, params)},
    )


def _over_all_entries(earned: Callable[..., Array], env: TabularEnv, time: Int[Array, ""]) -> Float[Array, "S A S ..."]:
    states, actions = (jnp.arange(size, dtype=jnp.int32) for size in (env.mdp.num_states, env.num_actions))
    for axis in (3, 2, 1):
        earned = jax.vmap(earned, tuple(0 if axis == each else None for each in range(4)))
    return earned(time, states, actions, states)


def check_markov(name: str, memory: PyTree) -> None:
    """Refuses a reward that remembers anything but what is logged.

    Raises:
        ValueError: It does.
    """
    leaves = jax.tree.leaves(_remembered(memory))
    if leaves:
        _refuse_memory(name, f"{len(leaves)} array{'s' * (len(leaves) > 1)}")


def _refuse_memory(name: str, what: str) -> NoReturn:
    raise ValueError(
        f"the reward of {name} remembers {what} within an episode, so its value depends on more than state, action and "
        "next state; expected a reward without memory, such as `markov` makes"
    )


def _remembered(memory: PyTree) -> PyTree:
    """A memory without what is kept for logging alone."""
    is_named = lambda node: isinstance(node, Components)  # noqa: E731
    strip: Callable[[Any], Any] = lambda node: _remembered(node.memories) if is_named(node) else node  # noqa: E731
    return jax.tree.map(strip, memory, is_leaf=is_named)


def _check_table(name: str, table: Callable[[Array], Array]) -> None:
    """Refuses what is not one number for each transition, or another one later in an episode."""
    closed = jax.make_jaxpr(table)(jnp.int32(0))
    shape = closed.out_avals[0].shape
    if len(shape) > 3:
        raise ValueError(f"the reward of {name} is a vector of {shape[3:]}; make it a scalar first, see `scalarise`")
    if partial_eval.dce_jaxpr(closed.jaxpr, [True])[1][0]:
        raise ValueError(
            f"the reward of {name} reads the clock, `state.time`, which is no part of its MDP; expected a reward of "
            "state, action and next state"
        )
