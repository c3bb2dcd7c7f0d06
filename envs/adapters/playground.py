"""MuJoCo Playground's environments under gymnax's protocol: the DeepMind control suite, locomotion and manipulation.

Zakka et al., MuJoCo Playground, 2025. An optional extra, `pip install 'jaxreward[playground]'`, imported when the first
environment is made. The control suite (CartpoleBalance, WalkerRun, ...) needs nothing else; locomotion and manipulation
use robots of MuJoCo Menagerie, which playground clones with git from GitHub when the first of them is made.
"""

from __future__ import annotations

import functools
import subprocess
from types import ModuleType
from typing import Any

from jaxreward.envs.adapters.foreign import lenient
from jaxreward.envs.adapters.physics import PhysicsEnv, Simulator, building
from jaxreward.names import check_name

IMPLEMENTATIONS = ("jax", "warp")
"""MuJoCo's two batched engines: plain JAX, which runs anywhere, and Warp, for NVIDIA GPUs."""


class PlaygroundEnv(PhysicsEnv):
    """One of MuJoCo Playground's environments; see `PhysicsEnv` for what ends an episode and what is in `info`.

    The metrics in `info` are playground's, such as `reward/upright`. Where the observation is a dictionary, the agent
    sees its `state` entry; `privileged_state` stays in `state.sim.obs`. The physics is in `state.sim.data`.
    """

    def __init__(
        self,
        name: str,
        impl: str = "jax",
        max_steps_in_episode: int | None = None,
        action_repeat: int | None = None,
        observation_key: str = "state",
        **config_overrides: Any,
    ) -> None:
        """Makes a playground environment.

        Args:
            name: One of `playground_names()`, such as "CartpoleBalance".
            impl: One of `IMPLEMENTATIONS`.
            max_steps_in_episode: The default time limit, in control steps; that of playground's config unless given.
            action_repeat: How often an action is applied; as in playground's config unless given.
            observation_key: The entry that the agent sees where the environment shows a dictionary.
            **config_overrides: Entries of playground's config for this environment, nested ones by dotted names.

        Raises:
            ImportError: If playground is not installed.
            ValueError: If there is no such environment, implementation or config entry, or one is of the wrong type.
            RuntimeError: If the robots' models could not be downloaded.
        """
        check_name("playground environment", name, playground_names(), "`playground_names()` lists them.")
        check_name("playground implementation", impl, IMPLEMENTATIONS)
        config = _registry().get_default_config(name)
        for entry in config_overrides:
            check_name(f"config entry of playground environment {name!r} called", entry, _flat(config))
        if "impl" in config:  # every one but those whose author fixed it
            config_overrides["impl"] = impl
        simulator = _load(name, config_overrides)
        super().__init__(
            f"playground/{name}",
            simulator,
            max_steps_in_episode or config.episode_length,
            action_repeat or config.action_repeat,
            observation_key,
        )


def playground_names() -> list[str]:
    """The names of MuJoCo Playground's environments.

    Raises:
        ImportError: If playground is not installed.
    """
    return sorted(_registry().ALL_ENVS)


def _load(name: str, config_overrides: dict[str, Any]) -> Simulator:
    try:
        with building():
            return _registry().load(name, config_overrides=config_overrides)
    except TypeError as error:
        raise ValueError(f"playground environment {name!r}: {error}") from error
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        raise RuntimeError(
            f"playground environment {name!r} needs the robots of MuJoCo Menagerie, which playground clones with git "
            f"from GitHub on first use, and that failed: {error}"
        ) from error


def _flat(config: Any, prefix: str = "") -> list[str]:
    """The dotted names of a config's entries."""
    names: list[str] = []
    for key, value in config.items():
        names += _flat(value, f"{prefix}{key}.") if hasattr(value, "items") else [f"{prefix}{key}"]
    return names


@functools.cache
def _registry() -> ModuleType:
    try:
        with lenient():
            from mujoco_playground import registry
    except ModuleNotFoundError as error:
        if error.name != "mujoco_playground":
            raise
        raise ImportError(
            "MuJoCo Playground is not installed; install it with: pip install 'jaxreward[playground]'"
        ) from error
    return registry
