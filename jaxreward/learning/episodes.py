"""Whole episodes of many environments: played first, rewarded afterwards.

Algorithms that learn from whole episodes need no auto-reset, and no reward before the episode has ended. Rewards that
look back (set functions, automata) are then computed for all steps at once where they know how.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxreward.environment import earn, memories, select, stage, world
from jaxreward.learning.proxies import told_together, with_true
from jaxreward.learning.rollout import Act, summands
from jaxreward.reward import ENVIRONMENTS, Transition


class Episodes(NamedTuple):
    """`N` episodes of up to `T` steps, leaves `[T, N, ...]`.

    Attributes:
        steps: What happened, with its rewards, which are zero after an episode's end.
        extras: What else the policy said of each step.
        valid: Which steps belong to the episode: all up to its end. Others mean nothing.
    """

    steps: Transition
    extras: PyTree
    valid: Bool[Array, "T N"]


def start_memories(env: Environment, params: PyTree, num_envs: int) -> tuple[PyTree, ...]:
    """What the rewards of `N` environments remember before their first episodes, leaves `[N, ...]`."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (num_envs, *jnp.shape(x))), memories(env, params))


def time_limit(env: Environment, params: PyTree) -> int:
    """The most steps of an episode by the environment's own params; 0 if they say none."""
    return int(getattr(world(env, params)[1], "max_steps_in_episode", 0))


def episode_limit(env: Environment, params: PyTree, num_steps: int = 0) -> int:
    """The most steps of an episode: those that were asked for, or else the environment's own limit.

    Raises:
        ValueError: If neither says.
    """
    limit = num_steps or time_limit(env, params)
    if limit < 1:
        raise ValueError(f"num_steps={num_steps}, and {env.name} has no time limit; give the steps of an episode")
    return limit


def play(
    env: Environment,
    params: PyTree,
    act: Act,
    carry: PyTree,
    noise: PyTree,
    ended: tuple[PyTree, ...],
    num_envs: int,
    key: Key[Array, ""],
) -> tuple[tuple[PyTree, ...], Episodes, dict[str, Float[Array, ""]]]:
    """Plays `N` episodes of at most `T` steps, each from a start of its own.

    Args:
        env: The environment.
        params: Its params.
        act: `(carry, observation [N, ...], noise) -> (carry, action [N, ...], extras [N, ...])`.
        carry: The policy's memory at the start of an episode, leaves `[N, ...]`.
        noise: What `act` is given at each step, leaves `[T, ...]`.
        ended: What the rewards remember of the episodes before, see `start_memories`.
        num_envs: `N`.
        key: For the environments.

    Returns:
        What the rewards remember, the episodes, and the means over them, as `episode/NAME`, with what
        `jaxreward.learning.proxies.told_together` tells.
    """
    num_steps = jax.tree.leaves(noise)[0].shape[0]
    key_reset, key_steps = jax.random.split(key)
    base, base_params = stage(env, params)
    start = jax.vmap(base.reset_env, (0, None))(jax.random.split(key_reset, num_envs), base_params)
    step_keys = jax.random.split(key_steps, (num_steps, num_envs))

    def step(now: tuple, x: tuple) -> tuple[tuple, tuple]:
        carry, observation, state, over = now
        noise, keys = x
        carry, action, extras = act(carry, observation, noise)
        happened = jax.vmap(transition_of(base), (0, 0, 0, 0, None))(keys, observation, state, action, base_params)
        following = (happened.next_observation, happened.next_state)
        # What would follow an episode's end may be anything, NaN included.
        now = (carry, *select(over, (observation, state), following), over | happened.terminated | happened.truncated)
        return now, (happened, extras, ~over)

    steps, extras, valid = jax.lax.scan(step, (carry, *start, jnp.zeros(num_envs, bool)), (noise, step_keys))[1]
    ended, steps = _rewarded(env, params, ended, steps, valid)
    return ended, Episodes(steps, extras, valid), _metrics(steps, valid)


def transition_of(env: Environment) -> Callable[..., Transition]:
    """One step of an environment, `(key, observation, state, action, params) -> Transition`."""

    def step(key: Key[Array, ""], observation: PyTree, state: PyTree, action: PyTree, params: PyTree) -> Transition:
        last, after, reward, terminated, info = env.step_env(key, state, action, params)
        ends = jnp.asarray(terminated, bool), jnp.asarray(env.is_truncated(after, params), bool)
        return Transition(observation, action, jnp.asarray(reward, float), last, *ends, state, after, info)

    return step


def _rewarded(
    env: Environment, params: PyTree, ended: tuple[PyTree, ...], steps: Transition, valid: Bool[Array, "T N"]
) -> tuple[tuple[PyTree, ...], Transition]:
    def one(ended: tuple[PyTree, ...], steps: Transition, valid: Bool[Array, " T"]) -> tuple:
        ended, steps = earn(env, params, memories(env, params, ended), steps, valid)
        return ended, steps._replace(reward=jnp.where(valid, steps.reward, 0.0))

    return jax.vmap(one, (0, 1, 1), (0, 1), axis_name=ENVIRONMENTS)(ended, steps, valid)


def _metrics(steps: Transition, valid: Bool[Array, "T N"]) -> dict[str, Float[Array, ""]]:
    of_steps = jax.vmap(jax.vmap(summands))(steps.reward, steps.info)
    totals = {name: jnp.where(valid, value, 0.0).sum(0) for name, value in of_steps.items()}
    means = {f"episode/{name}": value.mean() for name, value in totals.items()}
    together = told_together(with_true(steps.reward, steps.info), valid)
    return {"episode/count": jnp.asarray(valid.shape[1], float), **means, **together}
