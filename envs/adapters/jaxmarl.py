"""JaxMARL's environments as games, and games as JaxMARL's environments.

JaxMARL (Rutherford et al., arXiv:2311.10090) keeps what agents see, do and get in dicts by their names. Nothing of the
package is imported: an environment is whatever has its functions.
"""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxreward.contract.games import num_agents

ByName = dict[str, Any]
ALL = "__all__"
"""The name of the end of the episode for all, beside each agent's."""


class MultiAgentEnv(Protocol):
    """What is called of a JaxMARL environment; `step_env` is the step that does not reset."""

    num_agents: int
    agents: list[str]

    def reset(self, key: Key[Array, ""]) -> tuple[ByName, PyTree]: ...

    def step_env(
        self, key: Key[Array, ""], state: PyTree, actions: ByName
    ) -> tuple[ByName, PyTree, ByName, ByName, ByName]: ...

    def observation_space(self, agent: str) -> Any: ...

    def action_space(self, agent: str) -> Any: ...


@struct.dataclass
class JaxMARLState:
    """The state of a JaxMARL environment, and how the episode stands."""

    inner: PyTree
    terminated: Bool[Array, ""]
    truncated: Bool[Array, ""]


@struct.dataclass
class JaxMARLParams:
    """There are none: a JaxMARL environment holds its numbers itself."""


class JaxMARLGame(Environment):
    """A JaxMARL environment whose agents are alike as a game: `JaxMARLGame(jaxmarl.make("overcooked"))`.

    JaxMARL does not tell an end from a time limit. Here an episode is truncated when its clock, `state.step` or
    `state.time`, has come to the environment's `max_steps`, and otherwise terminated; without such a clock every end is
    a termination, as it is there. `info` is left out: its entries may be of any shape.
    """

    def __init__(self, env: MultiAgentEnv, max_steps: int | None = None) -> None:
        """The environment as a game.

        Args:
            env: What has JaxMARL's functions.
            max_steps: Its time limit; `env.max_steps` if it has that.

        Raises:
            ValueError: If it lacks a function, or its agents see or do different things.
        """
        super().__init__()
        _check(env)
        self.env, self.agents = env, list(env.agents)
        self.num_agents = len(self.agents)
        self.max_steps = getattr(env, "max_steps", None) if max_steps is None else max_steps

    @property
    def name(self) -> str:
        return f"jaxmarl/{getattr(self.env, 'name', type(self.env).__name__)}"

    @property
    def num_actions(self) -> int:
        return self.action_space().n

    @property
    def default_params(self) -> JaxMARLParams:
        return JaxMARLParams()

    def reset_env(self, key: Key[Array, ""], params: JaxMARLParams) -> tuple[PyTree, JaxMARLState]:
        seen, inner = self.env.reset(key)
        return self._stacked(seen), JaxMARLState(inner, jnp.zeros((), bool), jnp.zeros((), bool))

    def step_env(
        self, key: Key[Array, ""], state: JaxMARLState, action: PyTree, params: JaxMARLParams
    ) -> tuple[PyTree, JaxMARLState, Float[Array, " n"], Bool[Array, ""], dict[str, Array]]:
        actions = {name: jax.tree.map(lambda leaf, k=k: leaf[k], action) for k, name in enumerate(self.agents)}
        seen, inner, rewards, dones, _ = self.env.step_env(key, state.inner, actions)
        ended, cut = jnp.asarray(dones[ALL], bool), self._is_late(inner)
        after = JaxMARLState(inner, ended & ~cut, ended & cut)
        reward = jnp.stack([jnp.asarray(rewards[name], float) for name in self.agents])
        return self._stacked(seen), after, reward, after.terminated, {}

    def is_terminated(self, state: JaxMARLState, params: JaxMARLParams) -> Bool[Array, ""]:
        return state.terminated

    def is_truncated(self, state: JaxMARLState, params: JaxMARLParams) -> Bool[Array, ""]:
        return state.truncated

    def action_space(self, params: JaxMARLParams | None = None) -> Any:
        """Of one agent."""
        return _space(self.env.action_space(self.agents[0]))

    def observation_space(self, params: JaxMARLParams | None = None) -> Any:
        """Of one agent, as JaxMARL declares it, which need not be the shape that is shown."""
        return _space(self.env.observation_space(self.agents[0]))

    def _stacked(self, by_name: ByName) -> PyTree:
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(by_name[name] for name in self.agents))

    def _is_late(self, inner: PyTree) -> Bool[Array, ""]:
        clock = getattr(inner, "step", getattr(inner, "time", None))
        return jnp.zeros((), bool) if clock is None or self.max_steps is None else jnp.asarray(clock) >= self.max_steps


class AsJaxMARL:
    """A game with JaxMARL's functions, for what is written for those; agents are `agent_0`, `agent_1`, ....

    `step` resets by itself and shows the new start, as JaxMARL's does; `step_env` does not. An episode that is
    truncated is done there too.
    """

    def __init__(self, env: Environment, params: PyTree = None) -> None:
        """A game and its params, by default its own.

        Raises:
            ValueError: If it has one agent.
        """
        agents = num_agents(env)
        if agents is None:
            raise ValueError(f"{env.name} has one agent; expected a game, such as games/gems")
        self.env, self.params = env, env.default_params if params is None else params
        self.name, self.num_agents = env.name, agents
        self.agents = [f"agent_{k}" for k in range(agents)]

    def reset(self, key: Key[Array, ""]) -> tuple[ByName, PyTree]:
        """What each agent sees at a start, and the state."""
        seen, state = self.env.reset_env(key, self.params)
        return self._by_name(seen), state

    def step_env(
        self, key: Key[Array, ""], state: PyTree, actions: ByName
    ) -> tuple[ByName, PyTree, ByName, ByName, ByName]:
        """What each sees then, the state, what each is paid, which are done, and `info` of the game."""
        joint = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(actions[name] for name in self.agents))
        seen, after, reward, terminated, info = self.env.step_env(key, state, joint, self.params)
        done = terminated | self.env.is_truncated(after, self.params)
        rewards = jnp.broadcast_to(reward, (self.num_agents,))
        return self._by_name(seen), after, self._by_name(rewards), dict.fromkeys([*self.agents, ALL], done), info

    def step(
        self, key: Key[Array, ""], state: PyTree, actions: ByName
    ) -> tuple[ByName, PyTree, ByName, ByName, ByName]:
        """The same, but for the start of another episode where one is done."""
        key_step, key_reset = jax.random.split(key)
        seen, after, rewards, dones, info = self.step_env(key_step, state, actions)
        start = self.reset(key_reset)
        seen, after = jax.tree.map(lambda x, y: jnp.where(dones[ALL], x, y), start, (seen, after))
        return seen, after, rewards, dones, info

    def observation_space(self, agent: str) -> Any:
        """Of one agent."""
        return self.env.observation_space(self.params)

    def action_space(self, agent: str) -> Any:
        """Of one agent."""
        return self.env.action_space(self.params)

    def _by_name(self, stacked: PyTree) -> ByName:
        return {name: jax.tree.map(lambda leaf, k=k: leaf[k], stacked) for k, name in enumerate(self.agents)}


def _check(env: Any) -> None:
    missing = [
        name for name in ("agents", "reset", "step_env", "observation_space", "action_space") if not hasattr(env, name)
    ]
    if missing:
        raise ValueError(f"a {type(env).__name__} has no `{missing[0]}`; expected a JaxMARL environment")
    seen, _ = jax.eval_shape(env.reset, jax.random.key(0))
    shapes = {str(jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), seen[name])) for name in env.agents}
    actions = {repr(vars(_space(env.action_space(name)))) for name in env.agents}
    if len(shapes) > 1 or len(actions) > 1:
        what, given = ("see", shapes) if len(shapes) > 1 else ("do", actions)
        raise ValueError(
            f"the agents of {type(env).__name__} {what} different things: {', '.join(sorted(given))}; expected the "
            "same of all, so pad them first"
        )


def _space(space: Any) -> Any:
    """JaxMARL's spaces are its own; those of gymnax have the same fields."""
    if hasattr(space, "n"):
        return spaces.Discrete(int(space.n))
    if hasattr(space, "low") and hasattr(space, "high"):
        return spaces.Box(space.low, space.high, tuple(space.shape))
    raise ValueError(f"a {type(space).__name__} is neither discrete nor a box, which is what games' agents have")
