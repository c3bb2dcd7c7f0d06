"""Agents by name: the built-in ones, imported when asked for, and a user's own by `module:factory`."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxreward.agent import Agent
from jaxreward.lookup import is_reference, load_reference
from jaxreward.names import check_name

_BUILT_IN = {"ppo": "jaxreward.agents.ppo"}
"""Modules by name; each has a factory of that name, `Config` and `Hyperparams`."""


class AgentSpec(NamedTuple):
    """What is needed to make an agent from settings.

    Attributes:
        name: What it is called.
        make: The factory, `(env, env_params, config) -> Agent`.
        Config: A dataclass of what shapes the program, all fields with defaults. Its `steps_per_iteration`, if it has
            one, is how many environment steps an iteration takes; `num_envs * num_steps` otherwise.
        Hyperparams: A pytree dataclass of traced numbers, all with defaults; its `env_params`, if it has that field,
            replaces the environment params the agent was made with.
    """

    name: str
    make: Callable[..., Agent]
    Config: type
    Hyperparams: type

    def steps_per_iteration(self, config: Any) -> int:
        """Environment steps of one iteration.

        Raises:
            ValueError: If the config doesn't say.
        """
        if hasattr(config, "steps_per_iteration"):
            return int(config.steps_per_iteration)
        if hasattr(config, "num_envs") and hasattr(config, "num_steps"):
            return config.num_envs * config.num_steps
        raise ValueError(
            f"{self.name}'s Config must have `steps_per_iteration`, or `num_envs` and `num_steps`, to count steps"
        )

    def config_defaults(self) -> dict[str, Any]:
        """The fields of `Config` and their defaults."""
        return vars(self.Config())

    def hyperparam_defaults(self) -> dict[str, Any]:
        """The fields of `Hyperparams` and their defaults, without `env_params`."""
        hyperparams = self.Hyperparams()
        names = [field.name for field in dataclasses.fields(hyperparams)]
        return {name: getattr(hyperparams, name) for name in names if name != "env_params"}


def list_agents() -> list[str]:
    """The names of the built-in agents."""
    return list(_BUILT_IN)


def get_agent(name: str) -> AgentSpec:
    """The agent called `name`.

    Args:
        name: A built-in name, `module:attribute` or `path/to/file.py:attribute`; the attribute is an `AgentSpec`, or a
            factory `(env, env_params, config)` whose module has `Config` and `Hyperparams`.

    Raises:
        ValueError: If there is no such agent; says which is nearest.
    """
    if is_reference(name):
        return _users_agent(name)
    check_name("agent", name, _BUILT_IN, "Your own agent is `module:factory`.")
    module = importlib.import_module(_BUILT_IN[name])
    return AgentSpec(name, getattr(module, name), module.Config, module.Hyperparams)


def _users_agent(name: str) -> AgentSpec:
    found = load_reference(name, "agent")
    if isinstance(found, AgentSpec):
        return found
    scope = getattr(found, "__globals__", {})
    missing = [part for part in ("Config", "Hyperparams") if part not in scope]
    if not callable(found) or missing:
        raise ValueError(
            f"{name} is not an agent: expected an AgentSpec, or a factory whose module has Config and Hyperparams"
            + (f" (no {' and no '.join(missing)} there)" if missing else "")
        )
    return AgentSpec(name, found, scope["Config"], scope["Hyperparams"])
