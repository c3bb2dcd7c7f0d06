"""What a search is: plain data, the same in Python, in a TOML file and in the study's folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from jaxreward.contract.agents import RATES, RETURNS
from jaxreward.names import check_name
from jaxreward.run.job import NAMED, Setup
from jaxreward.run.store import flatten
from jaxreward.search.check import check_space
from jaxreward.search.objective import Objective, check_metrics, default_objective, parse_objective
from jaxreward.search.samplers import check_sampler, default_batch
from jaxreward.search.schedule import Schedule, hyperband, once, successive_halving
from jaxreward.settings.space import Space, ordered, show_value
from jaxreward.settings.text import read_space
from jaxreward.settings.values import Value, parse_value

SCHEDULERS = {
    "none": "every trial is trained to its end",
    "halving": "successive halving: the worse part of a generation is stopped, again and again",
    "hyperband": "successive halving from several numbers of steps, in turn",
}
"""How much each trial is trained."""

STOPPING = ("reduction", "min_steps", "min_seeds")
"""Entries of a search that only a scheduler uses."""

MAY_GROW = ("trials", "baseline")
"""Entries of a search that another session of it may have different."""


@dataclass(frozen=True)
class Search:
    """What is searched, how, and for how long.

    Attributes:
        setup: What is the same in all trials.
        space: What is chosen, see `jaxreward.settings.space`.
        steps: Environment steps of each run that is trained to its end.
        seeds: Of each trial.
        trials: How many configurations are tried.
        objectives: What is made better; with several, the trials that none betters in all of them are sought.
        sampler: One of `jaxreward.search.samplers.SAMPLERS`.
        scheduler: One of `SCHEDULERS`.
        reduction: Of how many trials one goes on, where some are stopped.
        min_steps: The fewest steps before trials are compared; see `jaxreward.search.schedule.successive_halving`.
        min_seeds: The fewest seeds with which they are compared; all by default.
        batch: Trials that train together, a generation; see `jaxreward.search.samplers.default_batch`. Hyperband has
            its own numbers.
        seed: Of the choices; the runs' seeds are 0, 1, ...
        baseline: Whether the first trial is what would be trained without a search.
        log_every: Iterations to a row of the metrics; see `jaxreward.run.train.train`.
    """

    setup: Setup
    space: Space
    steps: int
    seeds: int = 4
    trials: int = 64
    objectives: tuple[Objective, ...] = (Objective(),)
    sampler: str = "tpe"
    scheduler: str = "none"
    reduction: int = 3
    min_steps: int | None = None
    min_seeds: int | None = None
    batch: int | None = None
    seed: int = 0
    baseline: bool = True
    log_every: int | None = None

    def completed(self) -> Search:
        """With everything that was left open decided.

        Raises:
            ValueError: A name does not exist, or a number is not positive.
        """
        for name in ("steps", "seeds", "trials", "batch"):
            number = getattr(self, name)
            if number is not None and (not isinstance(number, int) or number < 1):
                raise ValueError(f"{name} must be a positive integer, not {number!r}")
        if self.setup.settings.get("evaluation.stop_when"):
            raise ValueError("a search compares trials after the same steps, so none may rest: leave out stop_when")
        if not self.objectives:
            raise ValueError("a search needs an objective, such as final:episode/return")
        check_sampler(self.sampler, len(self.objectives))
        check_name("scheduler", self.scheduler, SCHEDULERS)
        self._check_scheduler()
        batch = self.batch or default_batch(self.sampler, self.trials, len(self.space))
        if self.scheduler == "halving" and self.batch is None:
            batch = max(batch, min(self.reduction**2, self.trials))  # or there would be nothing to halve
        completed = replace(self, batch=batch)
        completed.schedule(0)
        return completed

    def _check_scheduler(self) -> None:
        if self.scheduler != "none" and len(self.objectives) > 1:
            raise ValueError(
                f"{self.scheduler} stops trials by one objective, but there are {len(self.objectives)}; several need "
                'the scheduler "none"'
            )
        unused = [name for name in STOPPING if getattr(self, name) != _DEFAULTS[name]]
        if self.scheduler == "none" and unused:
            raise ValueError(
                f"{unused[0]} says when trials are stopped, but none is: it needs the scheduler halving or hyperband"
            )

    def check(self) -> None:
        """Refuses what could not be trained or measured, before anything compiles.

        Raises:
            ValueError: See `jaxreward.search.check.check_space` and `jaxreward.search.objective.check_metrics`.
        """
        check_space(self.space, self.setup)
        check_metrics(self.objectives, self.setup)

    def doubts(self) -> list[str]:
        """What can be done and is hardly meant, in words."""
        found = []
        searched = [name for name in self.space if name.split(".")[0] == "reward"]
        for given, own in (RETURNS, RATES):
            if searched and any(objective.metric == given for objective in self.objectives):
                found.append(f"{given} is measured in the reward, of which {searched[0]} is searched: {own} is not")
        if self.scheduler == "hyperband":
            options = {name: getattr(self, name) for name in STOPPING}
            sizes = [schedule[0].members for schedule in hyperband(self.steps, self.seeds, **options)]
            if self.trials < sum(sizes):
                brackets = " + ".join(map(str, sizes))
                found.append(f"hyperband's brackets have {brackets} trials; of {self.trials} some have none, or fewer")
        return found

    def schedule(self, generation: int) -> Schedule:
        """How a generation is trained, if there are trials enough left for it."""
        assert self.batch is not None, "a completed search has one"
        if self.scheduler == "none":
            return once(self.batch, self.steps, self.seeds)
        options: dict[str, Any] = {
            "reduction": self.reduction,
            "min_steps": self.min_steps,
            "min_seeds": self.min_seeds,
        }
        if self.scheduler == "halving":
            return successive_halving(self.batch, self.steps, self.seeds, **options)
        brackets = hyperband(self.steps, self.seeds, **options)
        return brackets[generation % len(brackets)]

    def to_table(self) -> dict[str, Any]:
        """As `read_search` takes it."""
        entries = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        named = {name: getattr(self.setup, name) for name in NAMED}
        settings = {name: show_value(value) for name, value in self.setup.settings.items()}
        space = {name: str(self.space[name]) for name in ordered(self.space)}
        objectives = [objective.name for objective in self.objectives]
        del entries["setup"]
        return {**named, "settings": settings, **entries, "space": space, "objectives": objectives}


_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Search)}


def read_search(table: Mapping[str, Any]) -> Search:
    """A search of a table of a TOML or JSON file: the fields of `Setup` and of `Search` by name.

    ```toml
    env = "CartPole-v1"
    steps = 50_000
    objectives = ["final:episode/return"]
    settings = { num_envs = 16 }

    [space]
    learning_rate = "log(1e-5,1e-1)"
    num_minibatches = [1, 2, 4]
    ```

    Raises:
        ValueError: An entry doesn't exist or is missing, or the space or an objective is of another form.
    """
    fields = {field.name for field in dataclasses.fields(Search)} - {"setup"}
    for name in table:
        check_name("entry of a search", name, [*NAMED, "settings", *fields])
    missing = [name for name in ("env", "steps", "space") if not table.get(name)]
    if missing:
        raise ValueError(f"a search needs {' and '.join(missing)}, for example {_EXAMPLES[missing[0]]}")
    settings = {name: _setting(value) for name, value in flatten(table.get("settings", {})).items()}
    setup = Setup(**{name: table[name] for name in NAMED if name in table}, settings=settings)
    given = {name: table[name] for name in fields & set(table)}
    given["space"] = read_space(table["space"])
    if "objectives" in given:
        texts = [given["objectives"]] if isinstance(given["objectives"], str) else given["objectives"]
        given["objectives"] = tuple(parse_objective(text) for text in texts)
    else:
        given["objectives"] = (default_objective(setup, given["space"]),)
    return Search(setup, **given)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """How two searches, as `Search.to_table` gives them, differ in what may not: a line for each entry."""
    before, after = (flatten({k: v for k, v in table.items() if k not in MAY_GROW}) for table in (old, new))
    names = [*before, *(name for name in after if name not in before)]
    return [
        f"{name}: {before.get(name, 'absent')} -> {after.get(name, 'absent')}"
        for name in names
        if (name in before) != (name in after) or before.get(name) != after.get(name)
    ]


_EXAMPLES = {
    "env": 'env = "CartPole-v1"',
    "steps": "steps = 50_000",
    "space": 'space.learning_rate = "log(1e-5,1e-2)"',
}


def _setting(value: Any) -> Value:
    if isinstance(value, list):
        return tuple(value)
    return parse_value(value) if isinstance(value, str) else value
