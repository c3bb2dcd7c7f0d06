"""Wrappers that change `step` or `reset`, made into environments whose `step_env` and `reset_env` say the same.

Training calls `step_env` and `reset_env`, and resets where it has to. gymnax's own wrappers override `step` and `reset`
and hand the other two on to the environment inside, past all that they change. `as_environment` gives such a wrapper an
environment inside whose `step` does not reset: what the wrapper makes of that is a step of the wrapped environment.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Key, PyTree

PROTOCOL = ("step_env", "reset_env")
"""What training calls."""
_AROUND = ("step", "reset")
"""What gymnax makes of it, and its wrappers override."""
_API = ("observation", "state", "reward", "terminated", "truncated", "info")


class AutoReset(Environment):
    """An environment whose `step` is `step_env` with a reset that keeps what outlives an episode, see `carry_over`."""

    def step(
        self, key: Key[Array, ""], state: PyTree, action: PyTree, params: PyTree = None
    ) -> tuple[PyTree, PyTree, Array, Array, Array, dict]:
        """Steps and resets by itself, as gymnax does, keeping what of the state outlives the episode."""
        params = self.default_params if params is None else params
        return _auto_reset_step(self, key, state, action, params)


@struct.dataclass
class WrappedState:
    """State of a wrapped environment: the wrapper's, whose attributes it has, and how the episode stands."""

    state: PyTree
    terminated: Bool[Array, ""]
    truncated: Bool[Array, ""]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "state":
            raise AttributeError(name)
        return getattr(self.state, name)


class Wrapped(AutoReset):
    """What a wrapper's `step` and `reset` make of an environment; see `as_environment`."""

    def __init__(self, wrapper: Any, env: Environment) -> None:
        super().__init__()
        self.wrapper = wrapper
        self.env = env

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("wrapper", "env"):
            raise AttributeError(name)
        return getattr(self.wrapper, name)

    def reset_env(self, key: Key[Array, ""], params: PyTree) -> tuple[PyTree, WrappedState]:
        observation, state = self._expect(("observation", "state"), "reset", self.wrapper.reset(key, params))
        return observation, WrappedState(state, jnp.zeros((), bool), jnp.zeros((), bool))

    def step_env(
        self, key: Key[Array, ""], state: WrappedState, action: PyTree, params: PyTree
    ) -> tuple[PyTree, WrappedState, Array, Array, dict]:
        result = self._expect(_API, "step", self.wrapper.step(key, state.state, action, params))
        observation, following, reward, terminated, truncated, info = result
        ends = jnp.asarray(terminated, bool), jnp.asarray(truncated, bool)
        return observation, WrappedState(following, *ends), reward, ends[0], info

    def carry_over(self, ended: PyTree, fresh: PyTree) -> PyTree:
        """The state with what outlives an episode of the environment inside."""
        inside = lambda last, first: first.replace(state=carry_over(self.env, last.state, first.state))  # noqa: E731
        return carry_within(WrappedState, inside, ended, fresh)

    def is_truncated(self, state: WrappedState, params: PyTree) -> Bool[Array, ""]:
        return state.truncated

    def is_terminated(self, state: WrappedState, params: PyTree) -> Bool[Array, ""]:
        return state.terminated

    @property
    def default_params(self) -> Any:
        return self.wrapper.default_params

    @property
    def name(self) -> str:
        return self.wrapper.name

    @property
    def num_actions(self) -> int:
        return self.wrapper.num_actions

    def action_space(self, params: PyTree = None) -> Any:
        return self.wrapper.action_space(self.default_params if params is None else params)

    def observation_space(self, params: PyTree = None) -> Any:
        return self.wrapper.observation_space(self.default_params if params is None else params)

    def state_space(self, params: PyTree = None) -> Any:
        return self.wrapper.state_space(self.default_params if params is None else params)

    def _expect(self, parts: tuple[str, ...], function: str, result: Any) -> tuple:
        if isinstance(result, tuple) and len(result) == len(parts):
            return result
        given = f"{len(result)} values" if isinstance(result, tuple) else f"a {type(result).__name__}"
        raise ValueError(
            f"{type(self.wrapper).__name__}.{function} returns {given}, so nothing can be trained on it; expected "
            f"gymnax's ({', '.join(parts)}). A wrapper for another library is put around what is done with an agent, "
            "not around what it trains on"
        )


class _WithoutReset:
    """An environment, `step` of which does not reset: the observation and state of an episode's end are its own."""

    def __init__(self, env: Environment) -> None:
        self._env = env

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_env":
            raise AttributeError(name)
        return getattr(self._env, name)

    def reset(self, key: Key[Array, ""], params: PyTree = None) -> tuple[PyTree, PyTree]:
        return self._env.reset_env(key, self._env.default_params if params is None else params)

    def step(self, key: Key[Array, ""], state: PyTree, action: PyTree, params: PyTree = None) -> tuple:
        params = self._env.default_params if params is None else params
        observation, state, reward, terminated, info = self._env.step_env(key, state, action, params)
        ends = {"terminated": terminated, "truncated": self._env.is_truncated(state, params)}
        return observation, state, reward, *ends.values(), {**info, **ends, "final_observation": observation}


def as_environment(env: Any) -> Environment:
    """The environment as it is trained on: all that its wrappers override is used, however deep they are.

    Args:
        env: An environment, or wrappers around one; it is not changed.

    Returns:
        The same object, where no wrapper overrides `step` or `reset`.

    Raises:
        ValueError: If it is no environment, or overrides what can't be told from what is called.
    """
    if isinstance(env, Wrapped):
        return env
    if not _is_environment(env):
        raise ValueError(
            f"a {type(env).__name__} is no environment to train on; expected a gymnax Environment: `reset_env`, "
            "`step_env`, `is_truncated` and spaces"
        )
    held = {name: value for name, value in getattr(env, "__dict__", {}).items() if _is_environment(value)}
    inside = {name: as_environment(value) for name, value in held.items()}
    overridden = [name for name in _AROUND if _overrides(env, name)]
    if not overridden:
        return env if all(inside[name] is held[name] for name in held) else _holding(env, inside)
    _check_override(env, overridden, inside)
    ((name, inner),) = inside.items()
    return Wrapped(_holding(env, {name: _WithoutReset(inner)}), inner)


def never_ends(env: Environment) -> bool:
    """Whether an environment says that no state terminates and nothing truncates: its attribute `never_ends`.

    Wrappers hand attributes on, so one that ends what is inside it says `never_ends = False`.
    """
    return bool(getattr(env, "never_ends", False))


_CONTINUING = {"Pendulum-v1": "average/pendulum", "Catch-bsuite": "average/catch"}
"""Tasks that never end, by those with episodes that they are versions of; of brax there are all."""


def check_never_ends(env: Environment, what: str) -> None:
    """Refuses an environment that has episodes.

    Args:
        env: The environment.
        what: What needs one that never ends.

    Raises:
        ValueError: It has episodes; says which continuing version there is.
    """
    if never_ends(env):
        return
    robot = env.name.removeprefix("brax/")
    version = f"average/brax?robot={robot}" if robot != env.name else _CONTINUING.get(env.name)
    instead = f"its continuing version is {version}" if version else "for those that never end, see average/..."
    raise ValueError(f"{what} needs an environment that never ends, and {env.name} has episodes; {instead}")


def carry_over(env: Environment, ended: PyTree, fresh: PyTree) -> PyTree:
    """What a fresh episode's state keeps of the one that ended; nothing, unless the environment says so."""
    return env.carry_over(ended, fresh) if hasattr(env, "carry_over") else fresh


def carry_within(kind: type, carry: Callable[[Any, Any], Any], ended: PyTree, fresh: PyTree) -> PyTree:
    """`fresh` with what `carry(ended, fresh)` gives for the outermost states of a kind, which may be in a wrapper's."""
    is_own = lambda node: isinstance(node, kind)  # noqa: E731
    return jax.tree.map(lambda x, y: carry(x, y) if is_own(y) else y, ended, fresh, is_leaf=is_own)


def select(condition: Bool[Array, "*batch"], on_true: PyTree, on_false: PyTree) -> PyTree:
    """`jnp.where` leaf by leaf, with `condition` on the leading axes; PRNG keys are leaves too."""

    def where(x: Array, y: Array) -> Array:
        mask = condition.reshape(condition.shape + (1,) * (jnp.ndim(y) - condition.ndim))
        return jnp.where(mask, x, y)

    return jax.tree.map(where, on_true, on_false)


@partial(jax.jit, static_argnames="env")
def _auto_reset_step(env: Environment, key: Key[Array, ""], state: PyTree, action: PyTree, params: PyTree) -> tuple:
    key_step, key_reset = jax.random.split(key)
    last, ended, reward, terminated, info = env.step_env(key_step, state, action, params)
    truncated = env.is_truncated(ended, params)
    done = terminated | truncated
    observation, fresh = env.reset_env(key_reset, params)
    fresh = carry_over(env, ended, fresh)
    observation, state = select(done, (observation, fresh), (last, ended))
    info = {**info, "terminated": terminated, "truncated": truncated, "final_observation": last}
    return observation, state, reward, terminated, truncated, info


def _is_environment(value: Any) -> bool:
    return not isinstance(value, type) and all(hasattr(value, name) for name in PROTOCOL)


def _overrides(env: Any, name: str) -> bool:
    """Whether a class of its own defines it, rather than gymnax's `Environment` or the one here that says the same."""
    owner = next((kind for kind in type(env).__mro__ if name in vars(kind)), None)
    if name in _AROUND and owner is not None and owner.__module__.startswith("gymnax.environments."):
        return False  # DeepSea's `step` is `step_env` too; it counts over episodes what nothing in it depends on
    return owner not in (None, Environment, AutoReset)


def _check_override(env: Any, overridden: list[str], inside: dict[str, Environment]) -> None:
    name, listed = type(env).__name__, " and ".join(overridden)
    called = [function for function in PROTOCOL if _overrides(env, function)]
    if called:
        raise ValueError(
            f"{name} overrides {listed} and {' and '.join(called)} too. Training calls `step_env` and `reset_env` and "
            f"resets by itself, so what its {listed} adds would be lost: move that into `step_env` and `reset_env`"
        )
    if len(inside) != 1:
        raise ValueError(
            f"{name} overrides {listed} and holds {len(inside)} environments; a wrapper is expected to hold one, as an "
            "attribute of itself"
        )


def _holding(env: Any, inside: dict[str, Any]) -> Any:
    """A copy that holds these; `copy.copy` would ask a wrapper for attributes before it has any."""
    copied = object.__new__(type(env))
    copied.__dict__.update(env.__dict__ | inside)
    return copied
