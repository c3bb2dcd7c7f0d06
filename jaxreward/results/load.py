"""What was trained, out of a run's folder: to act with, to look at, to go on from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from gymnax.environments.environment import Environment
from jaxtyping import PyTree

from jaxreward.agent import Agent, Policy
from jaxreward.contract.agents import RATES
from jaxreward.learning.evaluation import PREFIX
from jaxreward.results.summary import configurations, declared_metrics, headline_metrics, summary
from jaxreward.results.tables import find_runs
from jaxreward.reward import Reward
from jaxreward.run.job import job_of
from jaxreward.run.store import RunError, RunFolder
from jaxreward.run.train import load_state
from jaxreward.sweep import runs_of, sweep_metrics, sweep_of


@dataclass(frozen=True)
class Trained:
    """One trained agent, with what it was trained in.

    Attributes:
        agent: The agent.
        state: Its state, as the checkpoint has it.
        env: The environment, with the reward that it was trained for.
        env_params: Its params, the reward's among them, as this configuration has them.
        config: What `config.json` says was asked for: names, settings and sizes.
        member: Which configuration of the folder it is.
        seed: Which seed.
        overrides: What that configuration was given of what is varied.
        folder: The run folder that it is from.
    """

    agent: Agent
    state: PyTree
    env: Environment
    env_params: PyTree
    config: dict[str, Any]
    member: int
    seed: int
    overrides: dict[str, Any]
    folder: Path = Path()

    @cached_property
    def policy(self) -> Policy:
        """How it acts."""
        return self.agent.policy(self.state)

    @property
    def params(self) -> PyTree:
        """The numbers it has learned, such as weights of networks.

        Raises:
            AttributeError: Its state has none of that name; says what there is.
        """
        if not hasattr(self.state, "params"):
            there = ", ".join(getattr(self.state, "_fields", ())) or type(self.state).__name__
            raise AttributeError(f"this agent's state has no params; in `state` there are {there}")
        return self.state.params

    @property
    def reward(self) -> Reward | None:
        """The reward that it was trained for; None for the environment's own."""
        return getattr(self.env, "reward", None)

    @property
    def recovered(self) -> Reward:
        """The reward that it takes demonstrators to have been after, to train on as on any other.

        Raises:
            AttributeError: The agent infers none.
        """
        if self.agent.reward is None:
            raise AttributeError(
                f"{self.config['agent']} infers no reward from demonstrations, as mamql and iq_learn do"
            )
        return self.agent.reward(self.state)

    def predict(self, observation: PyTree, memory: PyTree = None, seed: int | None = None) -> tuple[PyTree, PyTree]:
        """An action for an observation, or actions for a batch of them.

        Args:
            observation: One, `[...]`, or a batch, `[B, ...]`.
            memory: What the last call returned, within an episode; None at its start.
            seed: Of a sampled action; the most likely one without.

        Returns:
            The action, or actions, and the memory for the next call, `()` of a policy that has none.

        Raises:
            ValueError: If the observation has another shape than the environment's.
        """
        batch = batch_of(observation, self.observation)
        keys = jax.random.split(jax.random.key(seed or 0), batch) if batch else jax.random.key(seed or 0)
        if memory is None:
            memory = self.policy.reset()
            memory = jax.tree.map(lambda x: jnp.broadcast_to(x, (batch, *jnp.shape(x))), memory) if batch else memory
        act = self._sample if seed is not None else self._mode
        memory, action = (jax.vmap(act) if batch else act)(memory, observation, keys)
        return jax.tree.map(np.asarray, action), memory

    @cached_property
    def observation(self) -> PyTree:
        """The shapes and types of one observation."""
        return jax.eval_shape(self.env.reset_env, jax.random.key(0), self.env_params)[0]

    @cached_property
    def _mode(self) -> Any:
        return jax.jit(self.policy.mode)

    @cached_property
    def _sample(self) -> Any:
        return jax.jit(self.policy.act)


def load(
    folder: str | os.PathLike[str], *, member: int | None = None, seed: int | None = None, best: bool = False
) -> Trained:
    """What was trained in a folder, as of its newest checkpoint or its best evaluation.

    Args:
        folder: The run folder, or that of a sweep.
        member: Which of its configurations; if not given, the best in the environment's own return, or reward a step.
        seed: Which of its seeds; the first if not given.
        best: Whether to take the checkpoint of the run's best evaluation: where a member's mean over its seeds was the
            highest in the environment's own return, or reward a step.

    Raises:
        RunError: There is no run, no checkpoint, or no such member or seed, or the run's code is not trusted, see
            `jaxreward.run.trust`.
        ValueError: If the run was not made by name, or the names no longer exist.
    """
    found = _find(Path(folder), member, seed)
    described = found.run.read_config()
    experiment = job_of(found.run.path, steps=0).experiment()
    state = load_state(found.run.path, experiment.agent, experiment.member(0), best=best)
    state = jax.tree.map(lambda leaf: leaf[found.row, described["seeds"].index(found.seed)], state)
    return Trained(
        agent=experiment.agent,
        state=state,
        env=experiment.env,
        env_params=experiment.member_env_params(found.row),
        config=described["config"],
        member=found.member,
        seed=found.seed,
        overrides=found.overrides,
        folder=found.run.path,
    )


def batch_of(observation: PyTree, expected: PyTree) -> int | None:
    """How many observations there are in a batch, None for a single one.

    Raises:
        ValueError: They have neither the expected shapes nor these behind one common axis.
    """
    given, wanted = (str(jax.tree.structure(tree)) for tree in (observation, expected))
    if given != wanted:
        raise ValueError(f"expected an observation of structure {wanted}, not {given}")
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(observation)]
    single = [leaf.shape for leaf in jax.tree.leaves(expected)]
    if shapes == single:
        return None
    sizes = {shape[0] for shape, one in zip(shapes, single, strict=True) if shape[1:] == one and shape}
    if len(sizes) == 1 and [shape[1:] for shape in shapes] == single:
        return sizes.pop()
    told = lambda every: ", ".join(str(list(shape)) for shape in every)  # noqa: E731
    raise ValueError(f"the observation has shape {told(shapes)}; expected {told(single)}, or a batch of such")


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
    earned = [name for name in declared_metrics(described) if name in RATES or name.startswith(PREFIX)]
    return int(summary(frame, by, headline_metrics(frame, earned)[0])["member"].iloc[0])


def _check(given: int, there: Any, kind: str = "member") -> int:
    if given not in there:
        raise RunError(
            f"there is no {kind} {given}; they are {', '.join(map(str, there[:20]))}{'...' * (len(there) > 20)}"
        )
    return given
