"""Whether a space fits what is trained: found out from trial configurations, before anything compiles."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from jaxreward.learning.evaluation import EvaluationConfig
from jaxreward.run.job import NAMED, Group, Setup, split
from jaxreward.run.spec import Experiment, resolve, setting_names, static_names
from jaxreward.run.store import to_json
from jaxreward.settings.space import (
    Choice,
    Given,
    Integer,
    Prior,
    Space,
    Uniform,
    always,
    is_active,
    ordered,
    prior_of,
    show_value,
)
from jaxreward.settings.text import FORMS, show_values
from jaxreward.settings.values import Value, product


def check_space(space: Space, setup: Setup) -> None:
    """Refuses a space that some trial could not be trained in, before anything compiles.

    Ranges are checked at their ends. Values that are right alone and wrong together are found when they train.

    Raises:
        ValueError: A name is no setting (says what is), is fixed as well, can't have such values, or depends on what
            is not searched; or a range is empty.
    """
    if not space:
        raise ValueError(f"the space is empty; it takes choices such as learning_rate=log(1e-5,1e-2): {FORMS}")
    fixed = sorted(set(space) & set(setup.settings))
    if fixed:
        raise ValueError(f"{fixed[0]} is both set to {setup.settings[fixed[0]]!r} and searched")
    judging = [name for name in space if name.startswith(EvaluationConfig.namespace)]
    if judging:
        raise ValueError(f"{judging[0]} says how trials are judged, so it is the same for all: give it by --set")
    for name in ordered(space):
        try:
            prior_of(space[name]).check()
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        _check_condition(name, space)
    for name in space:
        _check_name(name, space, setup)


def untrainable(setup: Setup, choices: Mapping[int, dict[str, Value]]) -> dict[int, str]:
    """Of some choices by number, those whose values are right alone and wrong together, and why."""
    numbers = list(choices)
    wrong: dict[int, str] = {}
    for group in split(setup, list(choices.values())):
        try:
            _resolve(group)
        except ValueError as error:
            wrong |= {numbers[index]: str(error) for index in group.indices}
    return wrong


def describe_programs(space: Space, setup: Setup, count: int) -> str | None:
    """How many programs a generation of `count` trials can need, and why; None if one is enough."""
    static = [name for name in space if name in NAMED or name in _static(space, setup)]
    if not static:
        return None
    sizes = [_count(prior_of(space[name])) for name in static]
    most = min(math.prod(sizes), count)
    values = " x ".join(f"{size:,}" for size in sizes)
    shape = "shapes the program: each of its" if len(static) == 1 else "shape the program: each of their"
    return f"{' and '.join(static)} {shape} {values} values compiles anew, up to {most} programs in a generation"


def defaults(space: Space, setup: Setup) -> dict[str, Value] | None:
    """The choice that leaves everything as it is without a search; None if the space doesn't hold it."""
    experiment = resolve(setup.agent, setup.env, setup.reward, setup.settings)
    known = {**_numbers(experiment), **experiment.config["agent_config"], **{n: getattr(setup, n) for n in NAMED}}
    choice: dict[str, Value] = {}
    for name in ordered(space):
        if not is_active(space[name], choice):
            continue
        if name not in known or known[name] not in prior_of(space[name]):
            return None
        choice[name] = known[name]
    return choice


def _check_condition(name: str, space: Space) -> None:
    entry = space[name]
    if not isinstance(entry, Given):
        return
    parent = prior_of(space[entry.name])
    if isinstance(parent, Uniform):
        raise ValueError(f"{name} depends on a value of {entry.name}, which is any number: {parent}")
    never = [value for value in entry.values if value not in parent]
    if never or not entry.values:
        raise ValueError(f"{name} depends on {entry.name}={show_values(never)}, which never comes up: {parent}")


def _check_name(name: str, space: Space, setup: Setup) -> None:
    """Resolves trial configurations of one name, with all names of agents, environments and rewards around it."""
    prior = prior_of(space[name])
    if name in NAMED and not (isinstance(prior, Choice) and all(isinstance(value, str) for value in prior.values)):
        raise ValueError(f"{name} is a name; expected choice(A,B,...) of such names, not {prior}")
    for around in _surroundings(name, space):
        choices = [{**around, name: value} for value in prior.samples()]
        if _problem(setup, choices) is None:  # all at once, as most spaces fit
            continue
        for choice in choices:
            error = _problem(setup, [choice])
            if error is not None and str(error) == str(_problem(setup, [{}])):  # it is not this name's fault
                raise error
            if error is not None and not _fits_somewhere(setup, choice, space):
                within = "".join(f" with {other}={show_value(value)}" for other, value in around.items())
                raise ValueError(f"{name}={prior}{within}: {error}{_hint(prior, error)}") from error


def _problem(setup: Setup, choices: list[dict[str, Value]]) -> ValueError | None:
    """Why one of some choices can't be trained."""
    try:
        for group in split(setup, choices):
            _resolve(group)
    except ValueError as error:
        return error
    return None


def _fits_somewhere(setup: Setup, choice: dict[str, Value], space: Space) -> bool:
    """Whether a choice fits beside some values of the other names that shape programs."""
    static = _static(space, setup) - set(choice)
    values = {name: prior.samples() for name, prior in always(space).items() if name in static}
    return any(_problem(setup, [{**choice, **others}]) is None for others in product(values)) if values else False


def _surroundings(name: str, space: Space) -> list[dict[str, Value]]:
    """What is to be chosen beside a name for it to exist, and every combination of names that may be beside it."""
    named = {other: prior.samples() for other, prior in always(space).items() if other in NAMED}
    return product({other: values for other, values in {**named, **_parents(name, space)}.items() if other != name})


def _parents(name: str, space: Space) -> dict[str, tuple[Value, ...]]:
    entry = space[name]
    return {**_parents(entry.name, space), entry.name: entry.values} if isinstance(entry, Given) else {}


def _resolve(group: Group) -> Experiment:
    setup = group.setup
    return resolve(setup.agent, setup.env, setup.reward, setup.settings, group.members)


def _hint(prior: Prior, error: ValueError) -> str:
    wants_integer = "must be an integer" in str(error) and isinstance(prior, Uniform)
    return "; search it with integer(LOW,HIGH) or choice(A,B,...)" if wants_integer else ""


def _static(space: Space, setup: Setup) -> set[str]:
    return static_names(setup.agent, setup.env, [name for name in space if name not in NAMED])


def _count(prior: Prior) -> float:
    if isinstance(prior, Choice):
        return len(prior.values)
    return prior.high - prior.low + 1 if isinstance(prior, Integer) else math.inf


def _numbers(experiment: Experiment) -> dict[str, Any]:
    """All traced numbers that one value stands for, those of the environment and the reward too."""
    hyperparams = experiment.member(0)
    if hasattr(hyperparams, "env_params"):
        hyperparams = dataclasses.replace(hyperparams, env_params=experiment.env_params)
    leaves = {name: to_json(leaf) for name, leaf in setting_names(hyperparams).items()}
    return {name: value for name, value in leaves.items() if not isinstance(value, list | dict)}
