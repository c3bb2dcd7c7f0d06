"""Jumanji's puzzles, packings and routings under gymnax's protocol.

Bonnet et al., "Jumanji: a Diverse Suite of Scalable Reinforcement Learning Environments in JAX", ICLR 2024,
arXiv:2306.09884. An optional extra, `pip install 'jaxreward[jumanji]'`, imported when the first environment is made.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments import spaces
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.envs.adapters.foreign import import_extra, lenient
from jaxreward.envs.adapters.worlds import WorldEnv, check_limit
from jaxreward.names import check_name

_NEVER = np.iinfo(np.int32).max
"""Jumanji ends most episodes at their time limits as at other ends; with this limit it does only at the latter."""
_LEFT_OUT = {
    "Connector": "each agent is paid its own",
    "JobShop": "it has 21 actions for each of 10 machines at once",
    "LevelBasedForaging": "each agent is paid its own",
    "MMST": "it has 36 actions for each of 3 agents at once",
    "MultiCVRP": "its action is a vector of node numbers, one for each vehicle",
    "SearchAndRescue": "each agent is paid its own",
    "Sokoban": "its levels are downloaded",
}
"""What is not adapted, by the name without the version, and why."""


class JumanjiEnv(WorldEnv):
    """One of Jumanji's environments, with its rewards.

    An action of several parts is numbered as one, the last part fastest (`np.unravel_index`). The mask of allowed
    actions is part of what is seen, and nothing else keeps an agent to it. `state.inner` is Jumanji's own state.
    """

    def __init__(self, name: str, max_steps_in_episode: int | None = None, observation_key: str | None = None) -> None:
        """Makes one.

        Args:
            name: One of `jumanji_names()`, such as "Snake-v1".
            max_steps_in_episode: The time limit; Jumanji's own unless given, and none where it has none.
            observation_key: The part of the observation that is seen, as it is, such as "grid"; unless given, all
                parts are seen as one vector.

        Raises:
            ImportError: If Jumanji is not installed.
            ValueError: If there is no such environment or part, or the limit is not positive.
        """
        _check(name)
        check_limit(max_steps_in_episode)
        with lenient():
            self.world, limit = _without_limit(name)
            start = jax.eval_shape(self.world.reset, jax.random.key(0))[1].observation
        self.parts = np.atleast_1d(np.asarray(self.world.action_spec.num_values))
        if observation_key is not None:
            check_name(f"part of what {name} shows called", observation_key, start._fields)
        self._key = observation_key
        seen = jax.eval_shape(self._see, start)
        shown = spaces.Box(-jnp.inf, jnp.inf, seen.shape, seen.dtype)
        super().__init__(f"jumanji/{name}", math.prod(self.parts.tolist()), shown, max_steps_in_episode or limit)

    def begin(self, key: Key[Array, ""]) -> tuple[Float[Array, "*seen"], PyTree]:
        inner, start = self.world.reset(key)
        return self._see(start.observation), inner

    def advance(
        self, key: Key[Array, ""], inner: PyTree, action: Int[Array, ""]
    ) -> tuple[Float[Array, "*seen"], PyTree, Float[Array, ""], Bool[Array, ""]]:
        parts = jnp.stack(jnp.unravel_index(action, tuple(self.parts.tolist())))
        inner, after = self.world.step(inner, parts.reshape(self.world.action_spec.shape))
        return self._see(after.observation), inner, after.reward, after.last()

    def _see(self, observation: Any) -> Float[Array, "*seen"]:
        if self._key is not None:
            return jnp.asarray(getattr(observation, self._key), jnp.float32)
        return jnp.concatenate([jnp.ravel(leaf).astype(jnp.float32) for leaf in jax.tree.leaves(observation)])


def jumanji_names() -> list[str]:
    """The environments that are adapted, without their prefix.

    Raises:
        ImportError: If Jumanji is not installed.
    """
    return sorted(name for name in _jumanji().registered_environments() if _family(name) not in _LEFT_OUT)


def _check(name: str) -> None:
    if _family(name) in _LEFT_OUT:
        raise ValueError(
            f"Jumanji environment {name!r} is left out: {_LEFT_OUT[_family(name)]}. Choose among {jumanji_names()}"
        )
    check_name("Jumanji environment", name, jumanji_names(), "`jumanji_names()` lists them.")


def _family(name: str) -> str:
    return name.rpartition("-v")[0] or name


def _without_limit(name: str) -> tuple[Any, int]:
    """The world, its own time limit put out of reach, and what that was; 0 where it has none."""
    world = _jumanji().make(name)
    limit = getattr(world, "time_limit", None)
    if limit is None:
        return world, 0
    return _jumanji().make(name, time_limit=_NEVER), int(limit)


def _jumanji() -> ModuleType:
    return import_extra("jumanji", "jumanji", "Jumanji")
