"""XLand-MiniGrid's grid worlds under gymnax's protocol: MiniGrid's rooms.

Nikulin et al., "XLand-MiniGrid: Scalable Meta-Reinforcement Learning Environments in JAX", NeurIPS Datasets 2024,
arXiv:2312.12044. An optional extra, `pip install 'jaxreward[xminigrid]'`, imported when the first environment is made.
"""

from __future__ import annotations

from types import ModuleType

import jax.numpy as jnp
import numpy as np
from gymnax.environments import spaces
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, UInt8

from jaxreward.envs.adapters.foreign import import_extra
from jaxreward.envs.adapters.worlds import WorldEnv, check_limit
from jaxreward.names import check_name

HIGHEST = 255
"""No number of a tile or a colour is higher."""


class XMiniGridEnv(WorldEnv):
    """One of XLand-MiniGrid's environments.

    The agent sees the tiles before it, `[view, view, 2]`: what each is and of which colour, as numbers. It is paid
    `1 - 0.9 t / max_steps` where it reaches its goal in step `t`, which ends the episode, and nothing else. The worlds
    called `XLand-...` have no goal until they are given rules, so they are not here.
    """

    def __init__(self, name: str, max_steps_in_episode: int | None = None) -> None:
        """Makes one.

        Args:
            name: One of `xminigrid_names()`, such as "MiniGrid-Empty-5x5".
            max_steps_in_episode: The time limit; the package's own unless given.

        Raises:
            ImportError: If XLand-MiniGrid is not installed.
            ValueError: If there is no such environment, or the limit is not positive.
        """
        check_name("XLand-MiniGrid environment", name, xminigrid_names(), "`xminigrid_names()` lists them.")
        check_limit(max_steps_in_episode)
        self.world, limits = _xminigrid().make(name)
        given = {} if max_steps_in_episode is None else {"max_steps": max_steps_in_episode}
        self.limits = limits.replace(**given)
        sides = tuple(int(side) for side in np.atleast_1d(self.world.observation_shape(self.limits)))
        shown = spaces.Box(0, HIGHEST, sides, jnp.uint8)
        super().__init__(f"xminigrid/{name}", int(self.world.num_actions(self.limits)), shown, self.limits.max_steps)

    def begin(self, key: Key[Array, ""]) -> tuple[UInt8[Array, "V V 2"], PyTree]:
        start = self.world.reset(self.limits, key)
        return start.observation, start.state

    def advance(
        self, key: Key[Array, ""], inner: PyTree, action: Int[Array, ""]
    ) -> tuple[UInt8[Array, "V V 2"], PyTree, Float[Array, ""], Bool[Array, ""]]:
        now = _xminigrid().types.TimeStep(
            state=inner, step_type=jnp.ones((), jnp.uint8), reward=0.0, discount=1.0, observation=()
        )
        after = self.world.step(self.limits, now, action)
        return after.observation, after.state, after.reward, after.discount == 0


def xminigrid_names() -> list[str]:
    """The environments there are, without their prefix.

    Raises:
        ImportError: If XLand-MiniGrid is not installed.
    """
    return sorted(name for name in _xminigrid().registered_environments() if not name.startswith("XLand"))


def _xminigrid() -> ModuleType:
    return import_extra("xminigrid", "xminigrid", "XLand-MiniGrid")
