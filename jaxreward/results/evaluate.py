"""How well a trained agent does: whole episodes, or rewards a step, with its policy as it was saved."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from jaxtyping import Array

from jaxreward.contract.agents import RATES
from jaxreward.contract.wrappers import never_ends
from jaxreward.results.statistics import aggregate_mean, estimate
from jaxreward.results.summary import configurations, declared_metrics, headline_metrics, summary
from jaxreward.results.tables import find_runs
from jaxreward.results.walker import LONGEST, Episodes, Walker
from jaxreward.run.job import job_of
from jaxreward.run.store import RunError, RunFolder
from jaxreward.run.train import load_state
from jaxreward.sweep import runs_of, sweep_metrics, sweep_of

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
    """

    episodes: Episodes
    member: int
    seed: int
    overrides: dict[str, Any]
    picture: Path | None
    endless: bool = False


def evaluate(
    folder: str | os.PathLike[str],
    *,
    member: int | None = None,
    seed: int | None = None,
    episodes: int = 100,
    steps: int = LONGEST,
    stochastic: bool = False,
    render: str | os.PathLike[str] | bool = False,
    key: int = 0,
) -> Evaluation:
    """Runs episodes with the newest checkpoint of a run.

    Args:
        folder: The run folder, or that of a sweep.
        member: Which of its configurations; if not given, the best in the environment's own return, or reward a step.
        seed: Which of its seeds; the first if not given.
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
    found = _find(Path(folder), member, seed)
    described = found.run.read_config()
    experiment = job_of(found.run.path, steps=0).experiment()
    state = load_state(found.run.path, experiment.agent, experiment.member(0))
    state = jax.tree.map(lambda leaf: leaf[found.row, described["seeds"].index(found.seed)], state)
    policy = experiment.agent.policy(state)
    walker = Walker(experiment.env, experiment.member_env_params(found.row), policy, stochastic, steps)
    keys = jax.random.split(jax.random.key(key), episodes)
    done = walker.run(keys)
    stem = Path(folder) / "episode" if render is True else Path(render) if render else None
    endless = never_ends(experiment.env)
    shown = min(int(done.lengths[0]), DRAWN) if endless else int(done.lengths[0])
    picture = walker.draw(keys[0], shown, stem) if stem else None
    return Evaluation(done, found.member, found.seed, found.overrides, picture, endless)


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
        f"  environment's return  {_estimate(episodes.env_returns)}",
        f"  length                {_estimate(episodes.lengths)}",
    ]
    left = np.asarray(episodes.lengths)[~np.asarray(episodes.ended)]
    return "\n".join([*lines, *([f"  {len(left)} were cut after {left.max()} steps"] if len(left) else [])])


def _described_rates(episodes: Episodes, whose: str) -> list[str]:
    """The same where nothing ends."""
    steps = int(np.max(np.asarray(episodes.lengths)))
    own = episodes.env_returns / episodes.lengths
    return [
        f"{len(episodes.returns)} walks of {steps:,} steps of {whose}",
        f"  reward a step                {_estimate(episodes.returns / episodes.lengths)}",
        f"  environment's reward a step  {_estimate(own)}",
    ]


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
        names = configurations(described)
        member = _chosen(member, described["population"], RunFolder(folder).metrics(), names, [described])
        seed = described["seeds"][0] if seed is None else _check(seed, described["seeds"], "seed")
        return _Found(RunFolder(folder), member, member, seed, described["population"][member])
    sweep = sweep_of(folder)
    every = [RunFolder(run).read_config() for run in find_runs(folder)]
    member = _chosen(member, sweep.choices(), sweep_metrics(sweep, folder), sweep.names(), every)
    places = runs_of(sweep, folder, member)
    seed = next(iter(places), 0) if seed is None else seed
    run, row = places[_check(seed, list(places), "seed")]
    return _Found(RunFolder(run), row, member, seed, sweep.choices()[member])


def _chosen(
    member: int | None,
    choices: list[dict[str, Any]],
    frame: pd.DataFrame,
    by: list[str],
    described: list[dict[str, Any]],
) -> int:
    """The configuration that was asked for, or the best."""
    if member is not None:
        return _check(member, range(len(choices)))
    if len(choices) == 1 or frame.empty:
        return 0
    # What an agent calls its results may be of all it has found; one policy is judged by what it earns.
    rates = [name for name in declared_metrics(described) if name in RATES]
    return int(summary(frame, by, headline_metrics(frame, rates)[0])["member"].iloc[0])


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
