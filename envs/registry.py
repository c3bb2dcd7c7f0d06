"""Environments by name: gymnax's as they are, `brax/NAME` and those of other packages, our own and a user's.

`playground/NAME`, `xminigrid/NAME`, `navix/NAME`, `craftax/NAME` and `jumanji/NAME` are there where the package is.

`subrl/NAME` are the tasks of submodular RL, `barfi/NAME` those of behaviour alignment, `qd/NAME` those of
quality-diversity, `average/NAME` those that never end, `games/NAME` those of several agents,
`levels/NAME` those that are drawn, `hacking/NAME` those that show a proxy of their reward, `finance/NAME` those of
investing, `module:factory` is a user's own environment.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import importlib
import importlib.util
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import gymnax.registration
from gymnax.environments.environment import Environment
from jaxtyping import PyTree

from jaxreward.contract.wrappers import as_environment
from jaxreward.lookup import check_reference, is_reference, load_reference, users_code
from jaxreward.names import check_name

_FAMILIES = {
    "subrl": "submodular task",
    "barfi": "task of behaviour alignment",
    "qd": "task of quality-diversity",
    "average": "never-ending task",
    "games": "game",
    "levels": "distribution of levels",
    "hacking": "task with a proxy",
    "finance": "task of investing",
}
"""Modules of our own tasks by name, each with `TASKS`, and what one is called."""


class _Package(NamedTuple):
    """Another package whose environments are adapted: what is imported of it, and which class adapts one."""

    module: str
    environment: str


_PACKAGES = {
    "brax": _Package("brax", "BraxEnv"),
    "playground": _Package("mujoco_playground", "PlaygroundEnv"),
    "xminigrid": _Package("xminigrid", "XMiniGridEnv"),
    "navix": _Package("navix", "NavixEnv"),
    "craftax": _Package("craftax", "CraftaxEnv"),
    "jumanji": _Package("jumanji", "JumanjiEnv"),
}
"""By what their names begin with, which is the adapter's module too."""
_HOW_TO_LIST = "`jaxreward list` or `list_envs()` shows all; your own environment is `module:factory`."


def make(name: str, **kwargs: Any) -> tuple[Environment, PyTree]:
    """The environment called `name`, and its params.

    Args:
        name: `CartPole-v1` and gymnax's other names, `brax/ant`, `playground/CartpoleBalance`, `subrl/gorilla`,
            `barfi/gridworld`, `qd/point2d`, `average/river_swim`, `levels/dense`, or `module:factory`
            (`path/to/file.py:factory`), where `factory()` returns an environment, or an environment and its params.
            Arguments may follow as in a web address: `brax/ant?backend=generalized`,
            `CartPole-v1?max_steps_in_episode=200`.
        **kwargs: Fields of the environment's params, such as `max_steps_in_episode`, or arguments of what makes it,
            such as `backend`. They take precedence over those in the name.

    Raises:
        ValueError: If there is no such environment, module, factory or argument; says which is nearest.
        ImportError: If it belongs to an optional extra that is not installed.
        RuntimeError: If it needs data that could not be read or downloaded.
    """
    check_reference(name, "environment")
    name, _, query = name.partition("?")
    kwargs = {key: _value(text) for key, text in parse_qsl(query, keep_blank_values=True)} | kwargs
    factory = _factory(name)
    arguments = {key: value for key, value in kwargs.items() if _takes(factory, key)}
    env, params = _build(name, factory, arguments)
    fields = {key: value for key, value in kwargs.items() if key not in arguments}
    for field in fields:
        check_name(f"argument of environment {name!r} called", field, _fields(params) | _arguments(factory))
    return env, dataclasses.replace(params, **fields) if fields else params


def list_envs() -> list[str]:
    """All names that `make` knows, of packages that can be imported. Imports brax, so it takes some seconds."""
    names = [*gymnax.registration.registered_envs]
    for prefix, package in _PACKAGES.items():
        if not importlib.util.find_spec(package.module):
            continue
        with contextlib.suppress(ImportError):  # told to whoever asks for one of them
            names += [f"{prefix}/{name}" for name in getattr(_adapter(prefix), f"{prefix}_names")()]
    return names + [task for family in _FAMILIES for task in _tasks(family)]


def list_families() -> list[str]:
    """What the names of our own tasks begin with."""
    return list(_FAMILIES)


def _tasks(family: str) -> dict[str, Callable[..., Any]]:
    """What makes each task of a family."""
    tasks = importlib.import_module(f"jaxreward.envs.{family}").TASKS
    return {f"{family}/{name}": make for name, make in tasks.items()}


def _factory(name: str) -> Callable[..., Any]:
    """What makes the environment called `name`; nothing but what it needs is imported."""
    if name in gymnax.registration.registered_envs:
        return gymnax.registration._registry[name]
    family, _, own = name.partition("/")
    if family in _PACKAGES:
        return functools.partial(getattr(_adapter(family), _PACKAGES[family].environment), own)
    if family in _FAMILIES:
        tasks = _tasks(family)
        check_name(_FAMILIES[family], name, tasks)
        return tasks[name]
    if is_reference(name):
        return load_reference(name, "environment")
    if own:
        check_name("environments that begin with", family, [*_PACKAGES, *_FAMILIES])
    check_name("environment", name, list_envs(), _HOW_TO_LIST)
    raise AssertionError("every listed environment is gymnax's, another package's or our own")


def _adapter(prefix: str) -> ModuleType:
    return importlib.import_module(f"jaxreward.envs.adapters.{prefix}")


def _build(name: str, factory: Callable[..., Any], arguments: dict[str, Any]) -> tuple[Environment, PyTree]:
    """Calls a factory that returns an environment, or an environment and its params."""
    with users_code(f"environment {name!r}"):
        try:
            made = factory(**arguments)
        except OSError as error:
            raise RuntimeError(f"environment {name!r} could not read or download its data: {error}") from error
    env, params = made if isinstance(made, tuple) else (made, getattr(made, "default_params", None))
    if not (hasattr(env, "step_env") and hasattr(env, "reset_env")):
        raise ValueError(
            f"{name!r} made a {type(env).__name__}; expected a gymnax Environment (`reset_env`, `step_env`, "
            "`is_truncated` and spaces), or a pair of one and its params"
        )
    try:
        return as_environment(env), params
    except ValueError as error:
        raise ValueError(f"environment {name!r}: {error}") from error


def _arguments(factory: Callable[..., Any]) -> set[str]:
    """The arguments of a factory by name, without those already given."""
    parameters = inspect.signature(factory).parameters.values()
    return {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def _takes(factory: Callable[..., Any], argument: str) -> bool:
    takes_any = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(factory).parameters.values())
    return takes_any or argument in _arguments(factory)


def _fields(params: PyTree) -> set[str]:
    return {field.name for field in dataclasses.fields(params)} if dataclasses.is_dataclass(params) else set()


def _value(text: str) -> Any:
    """An argument as written in a name: a number, a boolean, a tuple, or else the text itself."""
    try:
        return ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
    except (ValueError, SyntaxError):
        return text
