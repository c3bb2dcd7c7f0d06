"""Our environments as gymnasium's, reward included, so that a policy from elsewhere is judged by the same reward.

Of one environment at a time: for speed, train here.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.error import ResetNeeded
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from gymnax.environments.spaces import gymnax_space_to_gym_space
from jaxtyping import PyTree

from jaxreward.contract.wrappers import carry_over
from jaxreward.environment import scalar_environment
from jaxreward.reward import AgentDiscount, bind_discount

_MOST_KEY = 2**31
_RENDERED = "rgb_array"


def as_gymnasium(
    env: Environment, params: PyTree = None, *, discount: float | None = None, render_mode: str | None = None
) -> gymnasium.Env:
    """An environment for programs that know gymnasium.

    Its reward is the environment's, that of `with_reward` where it has one; the environment's own is then in
    `info["env_reward"]`.

    Args:
        env: A gymnax `Environment` of one agent, whose reward is a number; what `jaxreward.load` gives has one.
        params: Its params; its default ones if `None`.
        discount: What a reward that follows an agent's discount is to follow.
        render_mode: "rgb_array", or `None`.

    Raises:
        ValueError: It is a game, its reward is a vector and so on (see `jaxreward.environment.scalar_environment`),
            there is a space that gymnasium has none for, no such render mode, or a reward that follows an agent's
            discount and no discount.
    """
    params = env.default_params if params is None else params
    env = scalar_environment(env, params)
    follows = any(isinstance(node, AgentDiscount) for node in jax.tree.leaves(params, is_leaf=_is_discount))
    if follows and discount is None:
        raise ValueError("this reward follows the discount of an agent: give discount=0.99, or what it is to be")
    if render_mode not in (None, _RENDERED):
        raise ValueError(f"render_mode must be {_RENDERED!r} or None, not {render_mode!r}")
    return GymnasiumEnv(env, params if discount is None else bind_discount(params, discount), render_mode)


def _is_discount(node: Any) -> bool:
    return isinstance(node, AgentDiscount)


class GymnasiumEnv(gymnasium.Env):
    """See `as_gymnasium`."""

    metadata = {"render_modes": [_RENDERED], "render_fps": 25}  # noqa: RUF012, gymnasium has it so

    def __init__(self, env: Environment, params: PyTree, render_mode: str | None) -> None:
        self.env, self.params, self.render_mode = env, params, render_mode
        self.observation_space = _space(env, "observation", env.observation_space(params))
        self.action_space = _space(env, "action", env.action_space(params))
        self._reset, self._step = jax.jit(env.reset_env), jax.jit(self._stepped)
        self._now: tuple[PyTree, PyTree] | None = None
        self._over = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A new episode; what outlives an episode, such as counts of a reward for novelty, is kept without a seed.

        Args:
            seed: Of all random numbers from now on; all begins anew.
            options: There are none.
        """
        super().reset(seed=seed)
        if options:
            raise ValueError(f"{self.env.name} has no options for a reset; got {options}. Its params are `env.params`")
        self._key, key = jax.random.split(jax.random.key(int(self.np_random.integers(_MOST_KEY))))
        observation, state = self._reset(key, self.params)
        if self._now is not None and seed is None:
            state = carry_over(self.env, self._now[1], state)
        self._now, self._over = (observation, state), False
        return self._shown(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """A step; a continuous action beyond the space's bounds is the environment's to deal with.

        Raises:
            gymnasium.error.ResetNeeded: No episode has begun, or it has ended.
            ValueError: It is no action of the space.
        """
        if self._now is None or self._over:
            raise ResetNeeded("the episode has ended" if self._now else "no episode has begun: call reset()")
        taken = self._checked(action)
        self._key, key = jax.random.split(self._key)
        observation, state, reward, terminated, truncated, info = self._step(key, self._now[1], taken, self.params)
        self._now = observation, state
        ended = bool(terminated), bool(truncated)
        self._over = any(ended)
        return self._shown(), float(reward), *ended, jax.device_get(info)

    def render(self) -> Any:
        """The state as it is, `[H, W, 3]`, of what has a picture; see `jaxreward.envs.render`.

        Raises:
            gymnasium.error.ResetNeeded: No episode has begun.
        """
        from jaxreward.envs.render import picture

        if self.render_mode is None:
            return None
        if self._now is None:
            raise ResetNeeded("no episode has begun: call reset()")
        return np.asarray(picture(self.env, self._now[1], self._now[0], self.params))

    def _stepped(self, key: PyTree, state: PyTree, action: PyTree, params: PyTree) -> tuple[Any, ...]:
        """A step without a reset behind its end."""
        observation, state, reward, terminated, info = self.env.step_env(key, state, action, params)
        return observation, state, reward, terminated, self.env.is_truncated(state, params), info

    def _shown(self) -> Any:
        """The observation in the types of the space."""
        assert self._now is not None, "an episode has begun"
        return _typed(jax.device_get(self._now[0]), self.observation_space)

    def _checked(self, action: Any) -> PyTree:
        space = self.env.action_space(self.params)
        if isinstance(space, spaces.Box):
            if np.shape(action) != space.shape:
                raise ValueError(f"an action of {self.env.name} has the shape {space.shape}, not {np.shape(action)}")
        elif not self.action_space.contains(action):
            raise ValueError(f"{action!r} is no action of {self.env.name}, whose actions are {self.action_space}")
        return jax.tree.map(jnp.asarray, action)


def _space(env: Environment, what: str, space: Any) -> gymnasium.Space:
    try:
        return gymnax_space_to_gym_space(space)
    except NotImplementedError as error:
        raise ValueError(
            f"gymnasium has no {what} space like that of {env.name}, {type(space).__name__}; there are Discrete, Box, "
            "Dict and Tuple of gymnax's"
        ) from error


def _typed(value: Any, space: gymnasium.Space) -> Any:
    if isinstance(space, gymnasium.spaces.Dict):
        return {name: _typed(value[name], inside) for name, inside in space.items()}
    if isinstance(space, gymnasium.spaces.Tuple):
        return tuple(_typed(part, inside) for part, inside in zip(value, space.spaces, strict=True))
    return np.asarray(value, space.dtype) if space.shape != () else space.dtype.type(value)  # type: ignore[union-attr]
