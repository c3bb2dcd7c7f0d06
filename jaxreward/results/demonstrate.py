"""What a trained agent does, recorded to a file from which another one may learn."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agent import Policy
from jaxreward.environment import select
from jaxreward.learning.demonstrations import Demonstrations, observation_of
from jaxreward.learning.rollout import Trajectory, reset_batch, rollout
from jaxreward.results.load import load
from jaxreward.run.store import write_atomically

STREAMS, LENGTH = 16, 1_000
"""How many environments are recorded at a time, at most, and how many steps of each make one more worth it."""


class Recording(NamedTuple):
    """What was recorded.

    Attributes:
        path: The file.
        steps: How many steps it has.
        episodes: How many of its episodes ended; the others are cut.
        returns: The mean return of those, NaN if there are none; in a game also over agents.
        member: Which configuration of a run acted.
        seed: Of which seed.
    """

    path: Path
    steps: int
    episodes: int
    returns: float
    member: int = 0
    seed: int = 0


def demonstrate(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    steps: int = 10_000,
    member: int | None = None,
    seed: int | None = None,
    stochastic: bool = False,
    key: int = 0,
) -> Recording:
    """Records steps of the newest checkpoint of a run, see `jaxreward.learning.demonstrations`.

    Args:
        folder: The run folder, or that of a sweep.
        out: The file to write.
        steps: How many, at least.
        member: Which of the run's configurations; the best if not given.
        seed: Which of its seeds; the first if not given.
        stochastic: Whether actions are sampled as in training; the most likely ones otherwise.
        key: The seed of the episodes.

    Raises:
        RunError: There is no run, no checkpoint, or no such member or seed, or the run's code is not trusted.
        ValueError: If the file exists, its folder does not, there are no steps to record, or an observation is not one
            array.
    """
    check_place(out, steps)
    found = load(folder, member=member, seed=seed)
    policy = found.policy._replace(act=found.policy.act if stochastic else found.policy.mode)
    return record(found.env, found.env_params, policy, out, steps, key)._replace(member=found.member, seed=found.seed)


def record(
    env: Environment,
    env_params: PyTree,
    policy: Policy,
    out: str | os.PathLike[str],
    steps: int = 10_000,
    key: int = 0,
) -> Recording:
    """Records steps of any policy, such as a scripted one, as it acts.

    Args:
        env: The environment, which may be a game.
        env_params: Its params.
        policy: How to act.
        out: The file to write.
        steps: How many, at least.
        key: The seed of the episodes.

    Raises:
        ValueError: See `demonstrate`.
    """
    check_place(out, steps)
    observation_of(env, env_params)
    run = jax.jit(lambda key: recorded(env, env_params, policy, steps, key))
    shown, metrics = jax.tree.map(np.asarray, run(jax.random.key(key)))
    content = io.BytesIO()
    np.savez_compressed(content, **one_after_the_other(shown)._asdict(), env=env.name)
    write_atomically(Path(out), content.getvalue())
    ended, mean = int(metrics["episode/count"]), float(metrics.get("episode/return", np.nan))
    return Recording(Path(out), shown.terminated.size, ended, mean)


def check_place(out: str | os.PathLike[str], steps: int) -> None:
    """Refuses a file that can't be written or would be overwritten, and to record nothing."""
    path = Path(out)
    if path.exists() or not path.absolute().parent.is_dir():
        raise ValueError(f"{path} {'exists already' if path.exists() else 'is in no folder'}; give another name")
    if steps < 1:
        raise ValueError(f"steps must be positive, not {steps}")


def recorded(
    env: Environment, params: PyTree, policy: Policy, steps: int, key: Key[Array, ""]
) -> tuple[Trajectory, dict[str, Float[Array, ""]]]:
    """At least so many steps of a policy in some environments, leaves `[T, N, ...]`, and what they came to; pure."""
    num_envs = min(STREAMS, -(-steps // LENGTH))
    key_reset, key_act, key_envs = jax.random.split(key, 3)
    keys = jax.random.split(key_act, (-(-steps // num_envs), num_envs))
    fresh = jax.vmap(lambda _: policy.reset())(jnp.arange(num_envs))

    def act(carry: tuple, observation: PyTree, keys: Key[Array, " N"]) -> tuple[tuple, PyTree, tuple]:
        begun, memory = carry  # a rollout leaves zeros where an episode begins, and a policy may want something else
        memory, action = jax.vmap(policy.act)(select(begun, memory, fresh), observation, keys)
        return (jnp.ones_like(begun), memory), action, ()

    start = jnp.zeros(num_envs, bool), fresh
    envs = reset_batch(env, params, num_envs, key_reset)
    _, _, trajectory, metrics = rollout(env, params, act, start, envs, keys, key_envs)
    return trajectory, metrics


def one_after_the_other(steps: Trajectory) -> Demonstrations:
    """What was recorded side by side, `[T, N, ...]`, as one stream `[N T, ...]`, cut where one environment's ends."""
    terminated, truncated = np.asarray(steps.terminated), np.array(steps.truncated)
    truncated[-1] |= ~terminated[-1]
    found = steps.observation, steps.action, terminated, truncated, steps.reward
    return Demonstrations(*(np.swapaxes(leaf, 0, 1).reshape(-1, *leaf.shape[2:]) for leaf in map(np.asarray, found)))
