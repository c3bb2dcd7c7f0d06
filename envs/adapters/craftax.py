"""Craftax under gymnax's protocol: open-ended survival, and the smaller Craftax-Classic, seen as symbols.

Matthews et al., "Craftax: A Lightning-Fast Benchmark for Open-Ended Reinforcement Learning", ICML 2024,
arXiv:2402.16801. An optional extra, `pip install 'jaxreward[craftax]'`, imported when the first environment is made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
from gymnax.environments import spaces
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.envs.adapters.foreign import import_extra, lenient
from jaxreward.envs.adapters.worlds import WorldEnv, check_limit
from jaxreward.names import check_name

NAMES = ("Craftax-Classic-Symbolic-v1", "Craftax-Symbolic-v1")
_NEVER = jnp.iinfo(jnp.int32).max
"""Craftax ends an episode at its time limit as at a death; with this limit it does only at the latter."""


class CraftaxEnv(WorldEnv):
    """Craftax or Craftax-Classic, with its rewards: achievements, which pay once an episode, and health.

    `state.inner` is Craftax's `EnvState`, whose `achievements` a reward may read.
    """

    def __init__(self, name: str, max_steps_in_episode: int | None = None, **rules: Any) -> None:
        """Makes one.

        Args:
            name: One of `NAMES`.
            max_steps_in_episode: The time limit; Craftax's own unless given.
            **rules: Other fields of Craftax's `EnvParams`, such as `day_length` or `always_diamond`.

        Raises:
            ImportError: If Craftax is not installed.
            ValueError: If there is no such environment or rule, or the limit is not positive.
        """
        check_name("Craftax environment", name, NAMES)
        check_limit(max_steps_in_episode)
        make = import_extra("craftax.craftax_env", "craftax", "Craftax").make_craftax_env_from_name
        with lenient():
            world = make(name, auto_reset=False)
            own = world.default_params
            _check_rules(name, rules, {field.name for field in dataclasses.fields(own)})
            self.rules = own.replace(max_timesteps=_NEVER, **rules)
            shown = world.observation_space(own)
        # Its functions alone are kept: the object looks as if this wrapped another environment.
        self._start, self._step = world.reset_env, world.step_env
        box = spaces.Box(0.0, 1.0, tuple(shown.shape), jnp.float32)
        limit = own.max_timesteps if max_steps_in_episode is None else max_steps_in_episode
        super().__init__(f"craftax/{name}", world.num_actions, box, limit)

    def begin(self, key: Key[Array, ""]) -> tuple[Float[Array, " seen"], PyTree]:
        return self._start(key, self.rules)

    def advance(
        self, key: Key[Array, ""], inner: PyTree, action: Int[Array, ""]
    ) -> tuple[Float[Array, " seen"], PyTree, Float[Array, ""], Bool[Array, ""]]:
        seen, inner, reward, ended, _ = self._step(key, inner, action, self.rules)
        return seen, inner, reward, ended


def _check_rules(name: str, rules: Iterable[str], fields: set[str]) -> None:
    """Refuses what is no field of Craftax's `EnvParams`, and its time limit, which has another name here."""
    if "max_timesteps" in rules:
        raise ValueError(f"the time limit of {name}, Craftax's max_timesteps, is max_steps_in_episode here")
    for rule in rules:
        check_name(f"argument of {name} called", rule, fields - {"max_timesteps"} | {"max_steps_in_episode"})


def craftax_names() -> list[str]:
    """The environments there are, without their prefix; those that show pixels are not among them."""
    return list(NAMES)
