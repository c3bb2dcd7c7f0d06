"""Searches that leave no run folder: what is drawn is in their last states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import pandas as pd
from jaxtyping import Array, Key, PyTree

from jaxreward.agent import vmap
from jaxreward.experiments.figures.qd._common import Method, Size, experiment_of, steps_of, tasks_of
from jaxreward.reproduce.parts import Computed
from jaxreward.reproduce.work import Work, of_agent
from jaxreward.run.spec import Experiment


def searched(task: str, method: Method, size: Size) -> tuple[Experiment, PyTree]:
    """A search from its start to its end, not by way of a run folder: what it was, and all seeds' states."""
    experiment = experiment_of(task, method, size)
    agent, iterations = vmap(experiment.agent), experiment.iterations(steps_of(experiment, size))

    def run(keys: Key[Array, " S"]) -> PyTree:
        state = agent.init(keys, experiment.member(0))
        return jax.lax.fori_loop(0, iterations, lambda _, now: agent.step(now)[0], state)

    return experiment, jax.jit(run)(jax.vmap(jax.random.key)(jnp.arange(size.seeds)))


def work_of(task: str, method: Method, size: Size) -> Work:
    """What a search takes."""
    experiment = experiment_of(task, method, size)
    iterations, each = experiment.iterations(steps_of(experiment, size)), experiment.steps_per_iteration
    return of_agent(experiment.agent, experiment.hyperparams, size.seeds, iterations, each)


def computed(
    sizes: Sequence[Size], methods: Mapping[str, Method], table: Callable[[str, str, Size], pd.DataFrame]
) -> dict[str, Computed]:
    """What is drawn from searches that leave no run folder, by method.

    Args:
        sizes: What is searched; a method may be in several.
        methods: By name.
        table: What becomes of a task and a method's name.
    """
    places: dict[str, list[tuple[str, Size]]] = {}
    for size in sizes:
        for name, tasks in tasks_of(size).items():
            places.setdefault(name, []).extend((task, size) for task in tasks)

    def part(name: str) -> Computed:
        rows = lambda: [table(task, name, size).assign(task=task, method=name) for task, size in places[name]]  # noqa: E731
        works = lambda: [work_of(task, methods[name], size) for task, size in places[name]]  # noqa: E731
        return Computed(lambda: pd.concat(rows(), ignore_index=True), places[name], works)

    return {name: part(name) for name in places}
