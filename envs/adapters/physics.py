"""Physics simulators as environments: what the brax and the MuJoCo Playground adapters share.

Both libraries describe an environment by `reset(key) -> state` and `step(state, action) -> state`, with a state
that has `obs`, `reward`, `done`, `metrics` and `info` beside the physics. `PhysicsEnv` makes gymnax's protocol of that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment, spaces
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxreward.envs.adapters.foreign import lenient, strongly_typed
from jaxreward.names import check_name


class Simulator(Protocol):
    """An environment as brax (`brax.envs.Env`) and MuJoCo Playground (`mjx_env.MjxEnv`) define it."""

    @property
    def action_size(self) -> int:
        """Number of actuators."""

    @property
    def dt(self) -> Any:
        """Seconds of a control step."""

    def reset(self, rng: Key[Array, ""]) -> PyTree:
        """A start state."""

    def step(self, state: PyTree, action: Float[Array, " action"]) -> PyTree:
        """The state after `action`."""


@struct.dataclass
class PhysicsState(environment.EnvState):
    """State of a simulated environment.

    Attributes:
        time: Control steps since the start of the episode (an action repeated `k` times counts `k`), int32.
        sim: The simulator's own state: the physics (`pipeline_state` in brax, `data` in MuJoCo Playground), the whole
            observation, `metrics` and `info`. Privileged rewards read it as `transition.state.sim`.
    """

    sim: PyTree


@struct.dataclass
class PhysicsParams(environment.EnvParams):
    """Params of a simulated environment.

    Attributes:
        max_steps_in_episode: Time limit in control steps; reaching it truncates and never terminates.
    """

    max_steps_in_episode: int = 1000


class PhysicsEnv(environment.Environment[PhysicsState, PhysicsParams]):
    """A simulator under gymnax's protocol.

    `terminated` is the simulator's `done`, `is_truncated` the time limit alone. The simulator's metrics are in `info`
    under their own names. Actions are `[action]` in `[-1, 1]` and are passed on as they are.

    Attributes:
        simulator: The brax or MuJoCo Playground environment, without any of their training wrappers.
        expensive_reset: A reset is worth avoiding, so episodes start from cached states.
    """

    expensive_reset = True

    def __init__(
        self,
        name: str,
        simulator: Simulator,
        max_steps_in_episode: int = 1000,
        action_repeat: int = 1,
        observation_key: str = "state",
    ) -> None:
        """Wraps a simulator.

        Args:
            name: What the environment is called, such as "brax/ant".
            simulator: The environment to wrap.
            max_steps_in_episode: The default time limit, in control steps.
            action_repeat: How often an action is applied; the rewards are summed up to a terminal state.
            observation_key: The entry that the agent sees where the simulator shows a dictionary. The others
                (`privileged_state`) stay in `state.sim.obs`, where rewards can read them.

        Raises:
            ValueError: If `action_repeat` is less than 1 or there is no such entry in the observation.
        """
        super().__init__()
        if action_repeat < 1:
            raise ValueError(f"action_repeat is at least 1; got {action_repeat}")
        self.simulator = simulator
        self.action_repeat = action_repeat
        self._name = name
        self._max_steps_in_episode = max_steps_in_episode
        self._observation_key = observation_key
        with lenient():
            shown = jax.eval_shape(simulator.reset, jax.random.key(0)).obs
        if isinstance(shown, Mapping):
            check_name(f"observation of {name} called", observation_key, shown)
        self._shown = self._select(shown)

    @property
    def default_params(self) -> PhysicsParams:
        """The time limit."""
        return PhysicsParams(self._max_steps_in_episode)

    @property
    def name(self) -> str:
        """What `make` calls it."""
        return self._name

    @property
    def num_actions(self) -> int:
        """Number of actuators."""
        return self.simulator.action_size

    def action_space(self, params: PhysicsParams | None = None) -> spaces.Box:
        """`[action]` in `[-1, 1]`, which the simulator scales to its actuators."""
        return spaces.Box(-1.0, 1.0, (self.num_actions,))

    def observation_space(self, params: PhysicsParams | None = None) -> spaces.Box:
        """Unbounded, of the shape that the simulator shows."""
        return spaces.Box(-jnp.inf, jnp.inf, self._shown.shape, self._shown.dtype)

    def reset_env(self, key: Key[Array, ""], params: PhysicsParams) -> tuple[Array, PhysicsState]:
        """The first observation and the state of an episode."""
        with lenient():
            sim = jax.tree.map(strongly_typed, self.simulator.reset(key))
        return self._select(sim.obs), PhysicsState(time=jnp.zeros((), jnp.int32), sim=sim)

    def step_env(
        self, key: Key[Array, ""], state: PhysicsState, action: Float[Array, " action"], params: PhysicsParams
    ) -> tuple[Array, PhysicsState, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        """Observation, state, reward, terminated and the simulator's metrics after `action`."""
        sim, reward = self._repeat(state.sim, action)
        state = PhysicsState(time=state.time + self.action_repeat, sim=sim)
        return self._select(sim.obs), state, reward, self.is_terminated(state, params), dict(sim.metrics)

    def is_terminated(self, state: PhysicsState, params: PhysicsParams) -> Bool[Array, ""]:
        """Whether the simulator says that the episode is over; the time limit is not asked."""
        return state.sim.done.astype(bool)

    def _repeat(self, sim: PyTree, action: Float[Array, " action"]) -> tuple[PyTree, Float[Array, ""]]:
        """Applies an action `action_repeat` times, standing still from the first terminal state on."""

        def again(sim: PyTree, _: None) -> tuple[PyTree, Float[Array, ""]]:
            ended = sim.done.astype(bool)
            still = sim.replace(reward=jnp.zeros_like(sim.reward))
            sim = jax.tree.map(lambda old, new: jnp.where(ended, old, new), still, self._step(sim, action))
            return sim, sim.reward

        sim = self._step(sim, action)
        first = sim.reward
        if self.action_repeat == 1:
            return sim, first
        sim, rewards = jax.lax.scan(again, sim, length=self.action_repeat - 1)
        return sim, first + rewards.sum()

    def _step(self, sim: PyTree, action: Float[Array, " action"]) -> PyTree:
        copied = jax.tree.map(
            lambda leaf: leaf, sim
        )  # simulators write into the dictionaries of the state they are given
        with lenient():
            stepped = self.simulator.step(copied, action)
        return jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), stepped, sim)

    def _select(self, observation: Any) -> Any:
        return observation[self._observation_key] if isinstance(observation, Mapping) else observation


@contextlib.contextmanager
def building() -> Iterator[None]:
    """`lenient`, for building a simulator: MuJoCo would log what it warns of to a file in the current folder."""
    import mujoco  # only what has imported a simulator builds one

    handler = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        with lenient():
            yield
    finally:
        mujoco.set_mju_user_warning(handler)
