"""XLand-MiniGrid's grid worlds under gymnax's protocol: MiniGrid's rooms.

Nikulin et al., "XLand-MiniGrid: Scalable Meta-Reinforcement Learning Environments in JAX", NeurIPS Datasets 2024,
arXiv:2312.12044. An optional extra, `pip install 'jaxreward[xminigrid]'`, imported when the first environment is made.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Key, PyTree, UInt8

from jaxreward.names import check_name

HIGHEST = 255
"""No number of a tile or a colour is higher."""


@struct.dataclass
class XMiniGridState:
    """The state of the world (`inner`, XLand-MiniGrid's own), and how the episode stands."""

    inner: PyTree
    terminated: Bool[Array, ""]
    truncated: Bool[Array, ""]


@struct.dataclass
class XMiniGridParams:
    """The time limit, which shapes the program, as the world's size does: the environment holds both."""

    max_steps_in_episode: int = struct.field(pytree_node=False, default=0)


class XMiniGridEnv(Environment):
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
        super().__init__()
        check_name("XLand-MiniGrid environment", name, xminigrid_names(), "`xminigrid_names()` lists them.")
        if max_steps_in_episode is not None and max_steps_in_episode < 1:
            raise ValueError(f"max_steps_in_episode must be positive, not {max_steps_in_episode}")
        self.world, limits = _xminigrid().make(name)
        given = {} if max_steps_in_episode is None else {"max_steps": max_steps_in_episode}
        self.limits = limits.replace(**given)
        self._name = f"xminigrid/{name}"

    @property
    def name(self) -> str:
        return self._name

    @property
    def num_actions(self) -> int:
        return int(self.world.num_actions(self.limits))

    @property
    def default_params(self) -> XMiniGridParams:
        return XMiniGridParams(int(self.limits.max_steps))

    def reset_env(self, key: Key[Array, ""], params: XMiniGridParams) -> tuple[UInt8[Array, "V V 2"], XMiniGridState]:
        start = self.world.reset(self.limits, key)
        return start.observation, XMiniGridState(start.state, jnp.zeros((), bool), jnp.zeros((), bool))

    def step_env(
        self, key: Key[Array, ""], state: XMiniGridState, action: Any, params: XMiniGridParams
    ) -> tuple[UInt8[Array, "V V 2"], XMiniGridState, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        now = _xminigrid().types.TimeStep(
            state=state.inner, step_type=jnp.ones((), jnp.uint8), reward=0.0, discount=1.0, observation=()
        )
        after = self.world.step(self.limits, now, action)
        terminated = after.discount == 0
        late = after.state.step_num >= self.limits.max_steps
        reached = XMiniGridState(after.state, terminated, late & ~terminated)
        return after.observation, reached, jnp.asarray(after.reward, float), terminated, {}

    def is_terminated(self, state: XMiniGridState, params: XMiniGridParams) -> Bool[Array, ""]:
        return state.terminated

    def is_truncated(self, state: XMiniGridState, params: XMiniGridParams) -> Bool[Array, ""]:
        return state.truncated

    def action_space(self, params: XMiniGridParams | None = None) -> spaces.Discrete:
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: XMiniGridParams | None = None) -> spaces.Box:
        shape = self.world.observation_shape(self.limits)
        return spaces.Box(0, HIGHEST, tuple(int(side) for side in np.atleast_1d(shape)), jnp.uint8)


def xminigrid_names() -> list[str]:
    """The environments there are, without their prefix.

    Raises:
        ImportError: If XLand-MiniGrid is not installed.
    """
    return sorted(name for name in _xminigrid().registered_environments() if not name.startswith("XLand"))


def _xminigrid() -> ModuleType:
    try:
        import xminigrid
    except ImportError as error:
        raise ImportError(f"XLand-MiniGrid can't be imported ({error}): pip install 'jaxreward[xminigrid]'") from error
    return xminigrid
