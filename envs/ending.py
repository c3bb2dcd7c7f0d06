"""An environment that also ends where a condition holds, which may become stricter while an agent trains."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, ArrayLike, Bool, Key, PyTree

from jaxreward.contract.games import sample_action
from jaxreward.contract.wrappers import AutoReset, as_environment, carry_over, carry_within
from jaxreward.reward import Shared, Transition
from jaxreward.rewards.schedules import Curve, Progress


@struct.dataclass
class EndingParams:
    """The environment's params, the limit's and those of progress; `max_steps_in_episode` is the environment's."""

    env: PyTree
    limit: PyTree
    progress: PyTree

    @property
    def max_steps_in_episode(self) -> Any:
        """As the environment has it, if it has it."""
        return self.env.max_steps_in_episode


@struct.dataclass
class EndingState:
    """The environment's state, what it showed, what is known of progress, and whether the limit was passed."""

    env: PyTree
    observation: PyTree
    progress: Shared
    passed: Bool[Array, ""]


NO_PROGRESS = Progress({}, (), lambda params, known, transition: known, lambda params, known: jnp.zeros(()))
"""Of a limit that stays as it is."""


class Ending(AutoReset):
    """An environment that ends beyond a limit, see `terminate_when`."""

    never_ends = False

    def __init__(
        self, env: Environment, measure: Callable[[Transition], Array], limit: Curve, progress: Progress
    ) -> None:
        """Ends where `measure` is above `limit`; `remembers` says whether that follows training."""
        super().__init__()
        self.env, self.measure, self.limit, self.progress = as_environment(env), measure, limit, progress
        self.remembers = progress is not NO_PROGRESS

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "env" or hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__} could not give its {name}")
        return getattr(self.env, name)

    @property
    def default_params(self) -> EndingParams:
        return EndingParams(self.env.default_params, self.limit.params, self.progress.params)

    @property
    def name(self) -> str:
        return self.env.name

    def reset_env(self, key: Key[Array, ""], params: EndingParams) -> tuple[PyTree, EndingState]:
        observation, state = self.env.reset_env(key, params.env)
        return observation, EndingState(state, observation, Shared(self.progress.start), jnp.zeros((), bool))

    def step_env(
        self, key: Key[Array, ""], state: EndingState, action: PyTree, params: EndingParams
    ) -> tuple[PyTree, EndingState, Array, Array, dict]:
        observation, after, reward, terminated, info = self.env.step_env(key, state.env, action, params.env)
        truncated = jnp.asarray(self.env.is_truncated(after, params.env), bool)
        terminated = jnp.asarray(terminated, bool)
        happened = Transition(
            state.observation, action, reward, observation, terminated, truncated, state.env, after, info
        )
        known = state.progress.value
        limit = self.limit.value(params.limit, self.progress.value(params.progress, known))
        passed = jnp.asarray(self.measure(happened), float) > limit
        happened = happened._replace(terminated=terminated | passed)
        known = self.progress.after(params.progress, known, happened)
        info = {**info, "limit": limit}
        return observation, EndingState(after, observation, Shared(known), passed), reward, terminated | passed, info

    def carry_over(self, ended: PyTree, fresh: PyTree) -> PyTree:
        """The state that an episode starts from after another: progress goes on."""
        return carry_within(EndingState, self._carry_over, ended, fresh)

    def _carry_over(self, ended: EndingState, fresh: EndingState) -> EndingState:
        inside = carry_over(self.env, ended.env, fresh.env)
        return dataclasses.replace(fresh, env=inside, progress=ended.progress)

    def is_truncated(self, state: EndingState, params: EndingParams) -> Bool[Array, ""]:
        return self.env.is_truncated(state.env, params.env)

    def is_terminated(self, state: EndingState, params: EndingParams) -> Bool[Array, ""]:
        return self.env.is_terminated(state.env, params.env) | state.passed

    def action_space(self, params: EndingParams | None = None) -> Any:
        return self.env.action_space(self.env.default_params if params is None else params.env)

    def observation_space(self, params: EndingParams | None = None) -> Any:
        return self.env.observation_space(self.env.default_params if params is None else params.env)

    def state_space(self, params: EndingParams | None = None) -> Any:
        return self.env.state_space(self.env.default_params if params is None else params.env)


def terminate_when(
    env: Environment,
    measure: Callable[[Transition], Array],
    limit: ArrayLike | Curve = 0.5,
    progress: Progress | None = None,
) -> Ending:
    """The environment that also terminates where `measure` is above `limit`, a number or one that follows training.

    What is hard at first, and pointless to go on with, ends an episode; what is allowed may shrink as the agent learns,
    or grow as it is let into more. The limit's numbers and those of progress are params: `params.limit`,
    `params.progress`. The limit is in `info["limit"]`. Progress is that of `jaxreward.rewards.schedule`: known to all
    environments that an agent steps together, and kept through episodes and resume. An episode that is played to
    evaluate a policy has the limit of training's beginning.

    Args:
        env: The environment; rewards go around what this gives.
        measure: Of a step, a number, or whether something holds, such as a hard infraction.
        limit: A number, or a curve by `linear`, `cosine`, `exponential` or `piecewise` of `jaxreward.rewards`.
        progress: What a curve follows, `steps` or `success_rate`; only with one.

    Raises:
        ValueError: If there is a curve without progress, progress without a curve, or `measure` gives no number.
    """
    if isinstance(limit, Curve) and progress is None:
        raise ValueError("the limit is a curve, and nothing is there that it follows: give steps(100_000), for example")
    if not isinstance(limit, Curve) and progress is not None:
        raise ValueError(f"progress is given, and limit={limit} follows none; make it a curve, or leave progress")
    curve = limit if isinstance(limit, Curve) else Curve({"value": jnp.asarray(limit, float)}, lambda p, _: p["value"])
    made = Ending(env, measure, curve, progress or NO_PROGRESS)
    _check_measure(made)
    return made


def _check_measure(env: Ending) -> None:
    """Looks at one step abstractly."""
    params = env.default_params

    def once(key: Key[Array, ""]) -> Array:
        observation, state = env.env.reset_env(key, params.env)
        action = sample_action(env.env, params.env, key)
        following, after, reward, terminated, info = env.env.step_env(key, state, action, params.env)
        never = jnp.zeros((), bool)
        steps = Transition(observation, action, reward, following, terminated, never, state, after, info)
        return jnp.asarray(env.measure(steps))

    try:
        shape = jax.eval_shape(once, jax.random.key(0)).shape
    except (AttributeError, KeyError) as error:
        raise ValueError(f"the measure of an ending reads what is not there: {error}") from error
    if shape:
        raise ValueError(f"the measure of an ending gives shape {shape}; expected one number or bool")
