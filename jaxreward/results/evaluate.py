"""How well a trained agent does: whole episodes, or rewards a step, with its policy as it was saved."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from jaxreward.contract.wrappers import never_ends
from jaxreward.learning.walker import LONGEST, Episodes, Walker
from jaxreward.results.load import load
from jaxreward.results.statistics import aggregate_mean, estimate

DRAWN = 200
"""Steps that are drawn of a walk without an end."""


class Evaluation(NamedTuple):
    """How well one run's agent does.

    Attributes:
        episodes: The numbers of each episode.
        member: Which configuration it is.
        seed: Which seed.
        overrides: What that configuration was given of what is varied.
        picture: The file with one episode, if it was asked for.
        endless: Whether the environment never ends, so that each episode is so many steps, judged by rewards a step.
        folder: The run folder that the agent is from.
    """

    episodes: Episodes
    member: int
    seed: int
    overrides: dict[str, Any]
    picture: Path | None
    endless: bool = False
    folder: Path = Path()


def evaluate(
    folder: str | os.PathLike[str],
    *,
    member: int | None = None,
    seed: int | None = None,
    best: bool = False,
    episodes: int = 100,
    steps: int = LONGEST,
    stochastic: bool = False,
    render: str | os.PathLike[str] | bool = False,
    key: int = 0,
) -> Evaluation:
    """Runs episodes with the newest checkpoint of a run, or the best.

    Args:
        folder: The run folder, or that of a sweep.
        member: Which of its configurations; if not given, the best in the environment's own return, or reward a step.
        seed: Which of its seeds; the first if not given.
        best: Whether to take the checkpoint of the best evaluation, see `jaxreward.results.load.load`.
        episodes: How many.
        steps: After how many steps an episode is cut that has not ended; where none ends, each has this many.
        stochastic: Whether actions are sampled as in training; the most likely ones otherwise.
        render: Whether to draw one episode, or the path of the file without its ending; `episode` in the run folder by
            default.
        key: The seed of the episodes.

    Raises:
        RunError: There is no run, no checkpoint, or no such member or seed, or the run's code is not trusted, see
            `jaxreward.run.trust`.
        ValueError: If the run was not made by name, or the names no longer exist.
    """
    for name, number in {"episodes": episodes, "steps": steps}.items():
        if number < 1:
            raise ValueError(f"{name} must be positive, not {number}")
    found = load(folder, member=member, seed=seed, best=best)
    walker = Walker(found.env, found.env_params, found.policy, stochastic, steps)
    keys = jax.random.split(jax.random.key(key), episodes)
    done = walker.run(keys)
    stem = Path(folder) / "episode" if render is True else Path(render) if render else None
    endless = never_ends(found.env)
    shown = min(int(done.lengths[0]), DRAWN) if endless else int(done.lengths[0])
    picture = draw(walker, keys[0], shown, stem) if stem else None
    return Evaluation(done, found.member, found.seed, found.overrides, picture, endless, found.folder)


def draw(walker: Walker, key: Key[Array, ""], length: int, stem: Path) -> Path:
    """Draws the episode that a walker walks with a key, its first `length` steps; returns the file's path."""
    from jaxreward.envs.render import render  # imports every simulator that can be drawn

    states, observations, facts = walker.seen(key, length)
    return render(walker.env, states, observations, stem, walker.params, facts)


def describe(evaluation: Evaluation) -> str:
    """An evaluation in a few lines, with 95% intervals over its episodes."""
    episodes = evaluation.episodes
    count = len(episodes.returns)
    overrides = ", ".join(f"{name}={value:.6g}" for name, value in evaluation.overrides.items())
    member = f"member {evaluation.member}" + (f" ({overrides})" if overrides else "")
    whose = f"{member}, seed {evaluation.seed}"
    if evaluation.endless:
        return "\n".join(_described_rates(episodes, whose))
    lines = [
        f"{count} episodes of {whose}",
        f"  return                {_estimate(episodes.returns)}",
        *_by_agent(episodes.by_agent[:, 0]),
        f"  environment's return  {_estimate(episodes.env_returns)}",
        *_by_agent(episodes.by_agent[:, 1]),
        f"  length                {_estimate(episodes.lengths)}",
    ]
    left = np.asarray(episodes.lengths)[~np.asarray(episodes.ended)]
    return "\n".join([*lines, *([f"  {len(left)} were cut after {left.max()} steps"] if len(left) else [])])


def _by_agent(sums: Float[Array, "E n"]) -> list[str]:
    """What each agent of a game got; nothing where there is but one."""
    return [f"    of agent {agent}          {_estimate(each)}" for agent, each in enumerate(sums.T)]


def _described_rates(episodes: Episodes, whose: str) -> list[str]:
    """The same where nothing ends."""
    steps = int(np.max(np.asarray(episodes.lengths)))
    own = episodes.env_returns / episodes.lengths
    return [
        f"{len(episodes.returns)} walks of {steps:,} steps of {whose}",
        f"  reward a step                {_estimate(episodes.returns / episodes.lengths)}",
        f"  environment's reward a step  {_estimate(own)}",
    ]


def _estimate(values: Array) -> str:
    value, low, high, _ = estimate(np.asarray(values, float), aggregate_mean)
    interval = "" if np.isnan(low) else f"  [{low:.4g}, {high:.4g}]"
    return f"{value:.4g}{interval}"
