"""How well a trained agent does: whole episodes with its policy as it was saved, and one of them to look at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.agent import Policy
from jaxreward.contract.wrappers import as_environment
from jaxreward.results.statistics import aggregate_mean, estimate
from jaxreward.results.summary import configurations, headline_metrics, summary
from jaxreward.run.job import job_of
from jaxreward.run.store import RunError, RunFolder
from jaxreward.run.train import load_state
from jaxreward.sweep import runs_of, sweep_metrics, sweep_of

LONGEST = 10_000
"""Steps after which an episode counts as cut where the environment has no time limit."""


class Episodes(NamedTuple):
    """What `E` episodes came to, one number each.

    Attributes:
        returns: Sums of the reward the agent was trained on.
        env_returns: Sums of the environment's own reward.
        lengths: Steps.
        ended: Whether the episode ended, rather than being cut after `LONGEST` steps.
    """

    returns: Float[Array, " E"]
    env_returns: Float[Array, " E"]
    lengths: Int[Array, " E"]
    ended: Bool[Array, " E"]


class Evaluation(NamedTuple):
    """How well one run's agent does.

    Attributes:
        episodes: The numbers of each episode.
        member: Which configuration it is.
        seed: Which seed.
        overrides: What that configuration was given of what is varied.
        picture: The file with one episode, if it was asked for.
    """

    episodes: Episodes
    member: int
    seed: int
    overrides: dict[str, Any]
    picture: Path | None


class _Walk(NamedTuple):
    """An episode under way."""

    carry: PyTree
    observation: PyTree
    state: PyTree
    key: Key[Array, ""]
    episode: Episodes


def evaluate(
    folder: str | os.PathLike[str],
    *,
    member: int | None = None,
    seed: int | None = None,
    episodes: int = 100,
    stochastic: bool = False,
    render: str | os.PathLike[str] | bool = False,
    key: int = 0,
) -> Evaluation:
    """Runs episodes with the newest checkpoint of a run.

    Args:
        folder: The run folder, or that of a sweep.
        member: Which of its configurations; the best in the environment's own return if not given.
        seed: Which of its seeds; the first if not given.
        episodes: How many.
        stochastic: Whether actions are sampled as in training; the most likely ones otherwise.
        render: Whether to draw one episode, or the path of the file without its ending; `episode` in the run folder by
            default.
        key: The seed of the episodes.

    Raises:
        RunError: There is no run, no checkpoint, or no such member or seed, or the run's code is not trusted, see
            `jaxreward.run.trust`.
        ValueError: If the run was not made by name, or the names no longer exist.
    """
    if episodes < 1:
        raise ValueError(f"episodes must be positive, not {episodes}")
    found = _find(Path(folder), member, seed)
    described = found.run.read_config()
    experiment = job_of(found.run.path, steps=0).experiment()
    state = load_state(found.run.path, experiment.agent, experiment.member(0))
    state = jax.tree.map(lambda leaf: leaf[found.row, described["seeds"].index(found.seed)], state)
    policy = experiment.agent.policy(state)
    walker = Walker(experiment.env, experiment.member_env_params(found.row), policy, stochastic)
    keys = jax.random.split(jax.random.key(key), episodes)
    done = walker.run(keys)
    stem = Path(folder) / "episode" if render is True else Path(render) if render else None
    picture = walker.draw(keys[0], int(done.lengths[0]), stem) if stem else None
    return Evaluation(done, found.member, found.seed, found.overrides, picture)


def describe(evaluation: Evaluation) -> str:
    """An evaluation in a few lines, with 95% intervals over its episodes."""
    episodes = evaluation.episodes
    count = len(episodes.returns)
    overrides = ", ".join(f"{name}={value:.6g}" for name, value in evaluation.overrides.items())
    member = f"member {evaluation.member}" + (f" ({overrides})" if overrides else "")
    lines = [
        f"{count} episodes of {member}, seed {evaluation.seed}",
        f"  return                {_estimate(episodes.returns)}",
        f"  environment's return  {_estimate(episodes.env_returns)}",
        f"  length                {_estimate(episodes.lengths)}",
    ]
    cut = count - int(np.sum(np.asarray(episodes.ended)))
    return "\n".join([*lines, *([f"  {cut} were cut after {LONGEST} steps"] if cut else [])])


class Walker:
    """Episodes of one policy in one environment.

    Args:
        env: The environment.
        params: Its params.
        policy: How to act.
        stochastic: Whether actions are sampled.
        longest: After how many steps an episode without an end is cut.
    """

    def __init__(
        self, env: Environment, params: PyTree, policy: Policy, stochastic: bool = False, longest: int = LONGEST
    ) -> None:
        self._env, self._params, self._policy, self._longest = as_environment(env), params, policy, longest
        self._act = policy.act if stochastic else policy.mode

    def run(self, keys: Key[Array, " E"]) -> Episodes:
        """One episode for each key, from its start to its end, all at once."""
        return jax.jit(jax.vmap(self._episode))(keys)

    def draw(self, key: Key[Array, ""], length: int, stem: str | os.PathLike[str]) -> Path:
        """Draws the episode that `run` walks with this key, of this length; returns the file's path."""
        from jaxreward.envs.render import render

        def seen(walk: _Walk, _: None) -> tuple[_Walk, tuple[PyTree, PyTree]]:
            return self._step(walk), (walk.state, walk.observation)

        @jax.jit
        def trace(key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
            return jax.lax.scan(seen, self._start(key), length=length + 1)[1]

        states, observations = trace(key)
        return render(self._env, states, observations, Path(stem), self._params)

    def _episode(self, key: Key[Array, ""]) -> Episodes:
        going = lambda walk: ~walk.episode.ended & (walk.episode.lengths < self._longest)  # noqa: E731
        return jax.lax.while_loop(going, self._step, self._start(key)).episode

    def _start(self, key: Key[Array, ""]) -> _Walk:
        key, key_reset = jax.random.split(key)
        observation, state = self._env.reset_env(key_reset, self._params)
        zero = jnp.zeros((), float)
        episode = Episodes(zero, zero, jnp.zeros((), jnp.int32), jnp.zeros((), bool))
        walk = _Walk(self._policy.reset(), observation, state, key, episode)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), walk)

    def _step(self, walk: _Walk) -> _Walk:
        key, key_act, key_step = jax.random.split(walk.key, 3)
        carry, action = self._act(walk.carry, walk.observation, key_act)
        observation, state, reward, terminated, info = self._env.step_env(key_step, walk.state, action, self._params)
        ended = terminated | self._env.is_truncated(state, self._params)
        past = walk.episode
        episode = Episodes(
            past.returns + reward,
            past.env_returns + info.get("env_reward", reward),
            past.lengths + 1,
            jnp.asarray(ended, bool),
        )
        now = _Walk(carry, observation, state, key, episode)
        return jax.tree.map(_as_before, now, walk)


def _as_before(new: Array, old: Array) -> Array:
    """A leaf in the type a loop began with; environments are not always strict about theirs."""
    return new if jnp.result_type(new) == old.dtype else jnp.asarray(new, old.dtype)


class _Found(NamedTuple):
    """One agent among all that a folder holds.

    Attributes:
        run: The run folder that it is in.
        row: Which of that run's members it is.
        member: Which of the folder's configurations.
        seed: Which seed.
        overrides: What its configuration was given.
    """

    run: RunFolder
    row: int
    member: int
    seed: int
    overrides: dict[str, Any]


def _find(folder: Path, member: int | None, seed: int | None) -> _Found:
    if (folder / "study.json").is_file():
        raise RunError(
            f"{folder} holds a search, whose runs are short; train its best trial with the command that "
            "`jaxreward search` ended with, then evaluate that run"
        )
    if not (folder / "sweep.json").is_file():
        described = RunFolder(folder).read_config()
        member = _chosen(member, described["population"], RunFolder(folder).metrics(), configurations(described))
        seed = described["seeds"][0] if seed is None else _check(seed, described["seeds"], "seed")
        return _Found(RunFolder(folder), member, member, seed, described["population"][member])
    sweep = sweep_of(folder)
    member = _chosen(member, sweep.choices(), sweep_metrics(sweep, folder), sweep.names())
    places = runs_of(sweep, folder, member)
    seed = next(iter(places), 0) if seed is None else seed
    run, row = places[_check(seed, list(places), "seed")]
    return _Found(RunFolder(run), row, member, seed, sweep.choices()[member])


def _chosen(member: int | None, choices: list[dict[str, Any]], frame: pd.DataFrame, by: list[str]) -> int:
    """The configuration that was asked for, or the best."""
    if member is not None:
        return _check(member, range(len(choices)))
    if len(choices) == 1 or frame.empty:
        return 0
    return int(summary(frame, by, headline_metrics(frame)[0])["member"].iloc[0])


def _check(given: int, there: Any, kind: str = "member") -> int:
    if given not in there:
        raise RunError(
            f"there is no {kind} {given}; they are {', '.join(map(str, there[:20]))}{'...' * (len(there) > 20)}"
        )
    return given


def _estimate(values: Array) -> str:
    value, low, high, _ = estimate(np.asarray(values, float), aggregate_mean)
    interval = "" if np.isnan(low) else f"  [{low:.4g}, {high:.4g}]"
    return f"{value:.4g}{interval}"
