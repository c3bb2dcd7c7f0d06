"""Many environments stepped as one by any policy, with their episodes counted exactly.

Auto-reset happens here, in one of two ways. Cheap environments draw a start state for every step of a rollout in one
batch before its time loop, which is what resetting at each step means, without resetting inside the loop. Environments
with `expensive_reset = True` return to the start state they were first given, as brax's own auto-reset does. Those with
`never_ends = True` are never reset.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxreward.contract.games import num_agents, sample_action
from jaxreward.contract.wrappers import as_environment, never_ends
from jaxreward.environment import carry_over, select
from jaxreward.learning.proxies import told_together, with_true
from jaxreward.reward import ENVIRONMENTS, Transition

Act = Callable[[PyTree, PyTree, PyTree], tuple[PyTree, PyTree, PyTree]]


class EnvBatch(NamedTuple):
    """`N` copies of an environment between two steps.

    Attributes:
        observation: What they show, `[N, ...]`.
        state: Their states, leaves `[N, ...]`.
        start: The observation and state each one returns to, if resets are expensive or not needed; `()` otherwise.
        running: What each one's current episode has summed up to so far, by name, `[N]` each.
    """

    observation: PyTree
    state: PyTree
    start: PyTree
    running: dict[str, Float[Array, " N"]]


class Trajectory(NamedTuple):
    """`T` steps of `N` environments, leaves `[T, N, ...]`.

    Attributes:
        observation: What the policy saw.
        action: What it did.
        extras: What else the policy said of each step.
        reward: The reward to learn from.
        terminated: The episode ended; nothing is bootstrapped.
        truncated: The episode was cut; bootstrap from `next_observation`.
        next_observation: What followed the action, before any auto-reset.
        recorded: What was to be kept beside, see `rollout`.
    """

    observation: PyTree
    action: PyTree
    extras: PyTree
    reward: Float[Array, "T N"]
    terminated: Bool[Array, "T N"]
    truncated: Bool[Array, "T N"]
    next_observation: PyTree
    recorded: PyTree = ()

    @property
    def done(self) -> Bool[Array, "T N"]:
        """Whether the episode ended, either way."""
        return self.terminated | self.truncated


def reset_batch(env: Environment, params: PyTree, num_envs: int, key: Key[Array, ""]) -> EnvBatch:
    """Starts `num_envs` environments, each from a start state of its own."""
    env = as_environment(env)
    observation, state = jax.vmap(env.reset_env, (0, None))(jax.random.split(key, num_envs), params)
    start = (observation, state) if _keeps_start(env) else ()
    zeros = {name: jnp.zeros(num_envs) for name in _summed_names(env, params)}
    return EnvBatch(observation, state, start, zeros)


def rollout(
    env: Environment,
    params: PyTree,
    act: Act,
    carry: PyTree,
    batch: EnvBatch,
    noise: PyTree,
    key: Key[Array, ""],
    record: Callable[[Transition], PyTree] | None = None,
    only_first: bool = False,
) -> tuple[EnvBatch, PyTree, Trajectory, dict[str, Float[Array, ""]]]:
    """Steps the environments `T` times.

    Args:
        env: The environment.
        params: Its params.
        act: `(carry, observation [N, ...], noise) -> (carry, action [N, ...], extras [N, ...])`.
        carry: The policy's memory, leaves `[N, ...]`; it returns to zero where an episode ends.
        batch: Where the environments stand.
        noise: What `act` is given at each step, leaves `[T, ...]`: keys, or noise already drawn.
        key: For the environments.
        record: What else the trajectory keeps of each step, of the transition of one environment.
        only_first: Whether metrics of episodes are of the first to end in each environment. Where all begin with the
            rollout, those behind them are told of only if they are short.

    Returns:
        Where the environments stand now, the policy's memory, the trajectory, and the metrics: those of the ended
        episodes, see `episode_statistics`, and of all steps, see `reward_rates` and `told_together`.
    """
    env = as_environment(env)
    num_steps = jax.tree.leaves(noise)[0].shape[0]
    num_envs = jax.tree.leaves(batch.observation)[0].shape[0]
    step_keys, start_keys = jax.random.split(key, (2, num_steps, num_envs))
    starts = () if batch.start else _draw_starts(env, params, start_keys)

    def step(now: tuple, x: tuple) -> tuple[tuple, tuple]:
        carry, observation, state = now
        noise, keys, start = x
        carry, action, extras = act(carry, observation, noise)
        args = (keys, observation, state, action, start or batch.start, params)
        env_step = jax.vmap(_step(env, record), (0, 0, 0, 0, 0, None), axis_name=ENVIRONMENTS)
        (next_observation, next_state), (reward, terminated, truncated, last), sums, pair, recorded = env_step(*args)
        carry = select(terminated | truncated, jax.tree.map(jnp.zeros_like, carry), carry)
        steps = Trajectory(observation, action, extras, reward, terminated, truncated, last, recorded)
        return (carry, next_observation, next_state), (steps, sums, pair)

    now = (carry, batch.observation, batch.state)
    (carry, observation, state), (steps, sums, pair) = jax.lax.scan(step, now, (noise, step_keys, starts))
    told = steps.done & first_episodes(steps.done) if only_first else steps.done
    running, metrics = episode_statistics(batch.running, sums, told)
    return (
        EnvBatch(observation, state, batch.start, running),
        carry,
        steps,
        {**metrics, **reward_rates(sums, parts=never_ends(env)), **told_together(pair)},
    )


def first_episodes(done: Bool[Array, "T *batch"]) -> Bool[Array, "T *batch"]:
    """Which steps are of the first episode in a rollout, its end included."""
    return jnp.cumsum(done, 0) - done == 0


def _step(env: Environment, record: Callable[[Transition], PyTree] | None = None) -> Callable[..., tuple]:
    """One environment's step with auto-reset to a start that is given."""

    def step(key: Key[Array, ""], seen: PyTree, state: PyTree, action: PyTree, start: PyTree, params: PyTree) -> tuple:
        last, ended, reward, terminated, info = env.step_env(key, state, action, params)
        truncated = jnp.asarray(env.is_truncated(ended, params))
        terminated = jnp.asarray(terminated, bool)
        observation, fresh = start
        fresh = carry_over(env, ended, fresh)
        now = select(terminated | truncated, (observation, fresh), (last, ended))
        reward_now = jnp.asarray(reward, float)
        happened = Transition(seen, action, reward_now, last, terminated, truncated, state, ended, info)
        recorded = record(happened) if record else ()
        return (
            now,
            (reward_now, terminated, truncated, last),
            summands(reward, info, num_agents(env) is not None),
            with_true(reward, info),
            recorded,
        )

    return step


def summands(reward: Array, info: dict[str, Any], of_game: bool = False) -> dict[str, Float[Array, ""]]:
    """What episode statistics sum up: the rewards, the steps, and each named part of the reward.

    Args:
        reward: The reward to learn from, a scalar or `[K]`.
        info: What the environment says of the step.
        of_game: Whether a vector is what each agent is paid: then its mean over them is told too, under its own name.

    Returns:
        Scalars by name, those of a vector as `NAME/K`.
    """
    parts = {name.removeprefix("reward/"): info[name] for name in info if name.startswith("reward/")}
    told = {"return": reward, "env_return": info.get("env_reward", reward), **parts}
    named = [by_name(name, jnp.asarray(value, float), of_game) for name, value in told.items()]
    return {name: value for each in named for name, value in each.items()} | {"length": jnp.ones(())}


def by_name(name: str, value: Float[Array, "..."], of_game: bool = False) -> dict[str, Float[Array, ""]]:
    """A scalar by its name, or each of several by its own, and of a game's agents their mean by the one name."""
    if not value.ndim:
        return {name: value}
    each = {f"{name}/{k}": value[k] for k in range(len(value))}
    return {name: value.mean(), **each} if of_game else each


def episode_statistics(
    running: dict[str, Float[Array, " N"]], sums: dict[str, Float[Array, "T N"]], done: Bool[Array, "T N"]
) -> tuple[dict[str, Float[Array, " N"]], dict[str, Float[Array, ""]]]:
    """Exact means over the episodes that ended within `T` steps, computed after the time loop.

    The ended episodes of an environment hold everything up to its last `done`, so their sum is that of those steps and
    of what was running before; what comes after the last `done` runs on.

    Returns:
        The new running sums, and `episode/count` with the means `episode/NAME` (NaN when no episode ended).
    """
    time = jnp.arange(done.shape[0])[:, None]
    last = jnp.where(done, time, -1).max(0, keepdims=True)
    ended, any_ended = time <= last, last[0] >= 0
    count = done.sum().astype(float)
    within = {name: jnp.where(ended, value, 0).sum(0) + any_ended * running[name] for name, value in sums.items()}
    after = {
        name: jnp.where(ended, 0, value).sum(0) + jnp.where(any_ended, 0, running[name]) for name, value in sums.items()
    }
    means = {f"episode/{name}": value.sum() / count for name, value in within.items()}
    return after, {"episode/count": count, **means}


def reward_rates(sums: dict[str, Float[Array, "T N"]], parts: bool = False) -> dict[str, Float[Array, ""]]:
    """Means over all steps, whether episodes end or not.

    Args:
        sums: What each step adds to, see `summands`.
        parts: Whether to tell those of the reward's named parts, which no episode tells.

    Returns:
        The given reward's as `average_reward`, of several `average_reward/K`, the environment's `average_env_reward`,
        and parts as `average/NAME`.
    """
    told = {name: f"average_{name.replace('return', 'reward', 1)}" for name in sums if _is_whole(name)}
    if parts:
        told |= {name: f"average/{name}" for name in sums if not _is_whole(name) and name != "length"}
    return {rate: sums[name].mean() for name, rate in told.items()}


def _is_whole(name: str) -> bool:
    """Whether a summand is a whole reward and no part of one."""
    return name.partition("/")[0] in ("return", "env_return")


def _keeps_start(env: Environment) -> bool:
    return getattr(env, "expensive_reset", False) or never_ends(env)


def _draw_starts(env: Environment, params: PyTree, keys: Key[Array, "T N"]) -> PyTree:
    return jax.vmap(jax.vmap(env.reset_env, (0, None)), (0, None))(keys, params)


def _summed_names(env: Environment, params: PyTree) -> list[str]:
    def step_once(key: Key[Array, ""]) -> dict[str, Array]:
        start = env.reset_env(key, params)
        return _step(env)(key, *start, sample_action(env, params, key), start, params)[2]

    return list(jax.eval_shape(step_once, jax.random.key(0)))
