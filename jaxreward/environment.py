"""An environment with another reward.

The protocol is gymnax's `Environment`: `step_env`, `reset_env`, `is_truncated` and the spaces. `with_reward` wraps
one, and the result is one again. `jaxreward.learning.rollout` steps many of them at once.
"""

from __future__ import annotations

import difflib
from typing import Any

import jax
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Key, PyTree

from jaxreward.contract.environments import Moves, abstract_step, as_number, check_environment, sample_moves
from jaxreward.contract.games import check_game, num_agents, refuse_game, sample_action
from jaxreward.contract.indices import check_indices
from jaxreward.contract.wrappers import AutoReset, Wrapped, as_environment, carry_over, carry_within
from jaxreward.contract.wrappers import select as select
from jaxreward.observed import anew, observed, shown, shown_space
from jaxreward.reward import Reward, Transition, components, episode_rewards, outlives


@struct.dataclass
class WithRewardParams:
    """Params of an environment with its own reward: the environment's and the reward's."""

    env: PyTree
    reward: PyTree


@struct.dataclass
class WithRewardState:
    """State of an environment with its own reward: the environment's, what it showed, and the reward's memory."""

    env: PyTree
    observation: PyTree
    memory: PyTree


class WithReward(AutoReset):
    """An environment whose reward is the given one; see `with_reward`."""

    def __init__(self, env: Environment, reward: Reward) -> None:
        super().__init__()
        self.env = as_environment(env)
        self.reward = reward

    def __getattr__(self, name: str) -> Any:
        # What this class defines gets here only when it raised an AttributeError itself: that one is to be seen.
        if name.startswith("__") or name == "env" or hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__} could not give its {name}")
        return getattr(self.env, name)

    @property
    def default_params(self) -> WithRewardParams:
        return self.init_params(jax.random.key(0))

    def init_params(self, key: Key[Array, ""]) -> Any:
        """The environment's default params beside reward params drawn with `key`."""
        return WithRewardParams(self.env.default_params, self.reward.init(key))

    def reset_env(self, key: Key[Array, ""], params: WithRewardParams) -> tuple[PyTree, WithRewardState]:
        observation, state = self.env.reset_env(key, params.env)
        memory = self.reward.reset(params.reward)
        return self._shown(observation, memory), WithRewardState(state, observation, memory)

    def step_env(
        self, key: Key[Array, ""], state: WithRewardState, action: PyTree, params: WithRewardParams
    ) -> tuple[PyTree, WithRewardState, Array, Array, dict]:
        t = self.transition(key, state, action, params)
        memory, reward = self.reward.step(params.reward, state.memory, t)
        info = self.describe(t.reward, t.info, components(memory))
        now = WithRewardState(t.next_state, t.next_observation, memory)
        return self._shown(t.next_observation, memory), now, reward, t.terminated, info

    def _shown(self, observation: PyTree, memory: PyTree) -> PyTree:
        return shown(observation, memory, num_agents(self.env))

    def transition(
        self, key: Key[Array, ""], state: WithRewardState, action: PyTree, params: WithRewardParams
    ) -> Transition:
        """What happens in a step, and the reward is shown."""
        observation, env_state, reward, terminated, info = self.env.step_env(key, state.env, action, params.env)
        truncated = self.env.is_truncated(env_state, params.env)
        return Transition(
            state.observation, action, reward, observation, terminated, truncated, state.env, env_state, info
        )

    def describe(self, env_reward: Array, info: dict[str, Any], parts: dict[str, Array]) -> dict[str, Any]:
        """What `info` says of the rewards: the environment's own, of several the innermost, and the named parts."""
        return {"env_reward": env_reward, **info, **{f"reward/{name}": value for name, value in parts.items()}}

    def carry_over(self, ended: PyTree, fresh: PyTree) -> PyTree:
        """The state that an episode starts from after another, also within a wrapper's; see `Reward.persist`."""
        return carry_within(WithRewardState, self._carry_over, ended, fresh)

    def _carry_over(self, ended: WithRewardState, fresh: WithRewardState) -> WithRewardState:
        env = carry_over(self.env, ended.env, fresh.env)
        memory = anew(self.reward.persist(ended.memory, fresh.memory), fresh.memory)
        return WithRewardState(env, fresh.observation, memory)

    def is_truncated(self, state: WithRewardState, params: WithRewardParams) -> Bool[Array, ""]:
        return self.env.is_truncated(state.env, params.env)

    def is_terminated(self, state: WithRewardState, params: WithRewardParams) -> Bool[Array, ""]:
        return self.env.is_terminated(state.env, params.env)

    @property
    def name(self) -> str:
        return self.env.name

    @property
    def num_actions(self) -> int:
        return self.env.num_actions

    def action_space(self, params: WithRewardParams | None = None) -> Any:
        return self.env.action_space(params.env if params is not None else self.env.default_params)

    def observation_space(self, params: WithRewardParams | None = None) -> Any:
        params = self.default_params if params is None else params
        return shown_space(self.env.observation_space(params.env), first_memory(self, params))

    def state_space(self, params: WithRewardParams | None = None) -> Any:
        return self.env.state_space(params.env if params is not None else self.env.default_params)


def with_reward(env: Environment, reward: Reward) -> WithReward:
    """The environment `env` whose reward is `reward`.

    Its params hold the environment's and the reward's (`params.env`, `params.reward`), so that an agent can be vmapped,
    searched or differentiated over either. The environment's own reward stays in `info["env_reward"]`, the named
    parts of the reward in `info["reward/NAME"]`. What the reward remembers as `jaxreward.observed.Observed` is shown
    beside what the environment shows.

    Raises:
        ValueError: If the environment or the reward is none, or the reward reads a field that is not there, or does not
            return a scalar or a vector.
    """
    if not (hasattr(env, "step_env") and hasattr(env, "reset_env")):
        raise ValueError(f"with_reward takes an environment, such as jaxreward.envs.make gives; not {env!r}")
    if not isinstance(reward, Reward):
        how = f"; make it one with markov({getattr(reward, '__name__', 'function')})" if callable(reward) else ""
        raise ValueError(f"with_reward takes a Reward, not {reward!r}{how}")
    wrapped = WithReward(env, reward)
    check_reward(wrapped)
    return wrapped


def world(env: Environment, params: PyTree) -> tuple[Environment, PyTree]:
    """The environment beneath all its rewards, and its params."""
    return world(env.env, params.env) if isinstance(env, WithReward) else (as_environment(env), params)


def stage(env: Environment, params: PyTree) -> tuple[Environment, PyTree]:
    """The environment in which episodes can be played before they are paid, and its params.

    That is the one beneath all rewards, or the outermost with a reward whose memory the policy sees.
    """
    return stage(env.env, params.env) if _is_unseen(env, params) else (as_environment(env), params)


def first_memory(env: WithReward, params: PyTree) -> PyTree:
    """The shapes of what the reward remembers at the start of an episode."""
    return jax.eval_shape(env.reward.reset, params.reward)


def _is_unseen(env: Environment, params: PyTree) -> bool:
    """Whether an environment's reward is one that no policy sees anything of."""
    return isinstance(env, WithReward) and not observed(first_memory(env, params))


def memories(env: Environment, params: PyTree, ended: tuple[PyTree, ...] | None = None) -> tuple[PyTree, ...]:
    """The memories that an episode's rewards start from, the innermost first; `ended` are those the last one left.

    Those beneath the `stage` are a part of its state.

    Raises:
        ValueError: If something outlives an episode of a reward that is a part of the stage, or of the environment's
            state: it would be forgotten.
    """
    if not _is_unseen(env, params):
        _refuse_hidden(as_environment(env), params)
        return ()
    fresh = env.reward.reset(params.reward)
    last = fresh if ended is None else env.reward.persist(ended[-1], fresh)
    return (*memories(env.env, params.env, ended and ended[:-1]), last)


def earn(
    env: Environment, params: PyTree, memories: tuple[PyTree, ...], episode: Transition, valid: Bool[Array, " T"]
) -> tuple[tuple[PyTree, ...], Transition]:
    """Rewards an episode after it was played, all its steps at once where a reward can do that.

    Rewards don't change what happens, so this gives what `step_env` gives step by step, but for the memories in its
    states: those are left out.

    Args:
        env: The environment.
        params: Its params.
        memories: Those of its rewards where the episode starts, see `memories`.
        episode: What happened on its `stage`, leaves `[T, ...]`.
        valid: Which steps belong to the episode: all up to its end.

    Returns:
        The memories where the episode ended, and the episode with the rewards of `env`.
    """
    if not _is_unseen(env, params):
        return (), episode
    ended, inner = earn(env.env, params.env, memories[:-1], episode, valid)
    memory, rewards, parts = episode_rewards(env.reward, params.reward, memories[-1], inner, valid)
    return (*ended, memory), inner._replace(
        reward=rewards,
        state=WithRewardState(inner.state, inner.observation, ()),
        next_state=WithRewardState(inner.next_state, inner.next_observation, ()),
        info=env.describe(inner.reward, inner.info, parts),
    )


def check_reward(env: WithReward) -> None:
    """Looks at one step abstractly, so that a wrong reward is an error here and not in the middle of a compilation.

    Raises:
        ValueError: If the reward reads what is not there, beyond an array too, or returns neither a scalar nor a
            vector.
    """
    params = env.init_params(jax.random.key(0))

    def earned(memory: PyTree, transition: Transition) -> Array:
        return as_number(env.reward.step(params.reward, memory, transition)[1])

    def moved(move: Moves) -> tuple[PyTree, Transition]:
        return move.state.memory, env.transition(*move, params)

    move = _first_move(env, params)
    try:
        seen = jax.eval_shape(moved, move)
        check_indices(earned, seen, lambda: jax.jit(jax.vmap(moved))(sample_moves(env, params)))
        shape = jax.eval_shape(earned, *seen).shape
    except (AttributeError, KeyError) as error:
        raise ValueError(_missing(error)) from error
    if len(shape) > 1:
        raise ValueError(
            f"the reward returned shape {shape}; expected a scalar (), or [K] for K objectives. "
            "A reward sees one environment's transition at a time: sum or index what should be a single number"
        )


def scalar_environment(env: Environment, params: PyTree) -> Environment:
    """The environment as an agent that maximises one number trains on it, looked at before anything compiles.

    Raises:
        ValueError: If it is a game, the reward is a vector, or the environment doesn't keep the contract: see
            `as_environment` and `jaxreward.contract.environments.check_environment`.
    """
    env = as_environment(env)
    refuse_game(env)
    shape = check_environment(env, params).reward.shape
    if shape:
        raise ValueError(f"this agent maximises a scalar reward, the environment's has shape {shape}; use `scalarise`")
    return env


def game_environment(env: Environment, params: PyTree) -> tuple[Environment, int]:
    """The game as agents that act in it together train on it, looked at before anything compiles, and how many act.

    Raises:
        ValueError: If it has one agent, or shows or pays another number of agents (see
            `jaxreward.contract.games.check_game`), or the environment doesn't keep the contract.
    """
    env = as_environment(env)
    step = check_environment(env, params)
    return env, check_game(env, step.start[0], step.reward)


def single_or_game(env: Environment, params: PyTree) -> tuple[Environment, tuple[int, ...]]:
    """The environment as an agent trains on it that acts for one or for all of a game, looked at before it compiles.

    Returns:
        It, and the axis of agents: `(n,)` of a game, `()` where there is one.

    Raises:
        ValueError: See `scalar_environment` and `game_environment`.
    """
    if num_agents(env) is None:
        return scalar_environment(env, params), ()
    env, agents = game_environment(env, params)
    return env, (agents,)


def reward_shape(env: Environment, params: PyTree) -> tuple[int, ...]:
    """The shape of one step's reward, found without computing anything."""
    return abstract_step(as_environment(env), params).reward.shape


def _first_move(env: WithReward, params: PyTree) -> Moves:
    """The shapes of a move."""

    def first(key: Key[Array, ""]) -> Moves:
        return Moves(key, env.reset_env(key, params)[1], sample_action(env, params, key))

    return jax.eval_shape(first, jax.random.key(0))


def _refuse_hidden(env: Environment, params: PyTree) -> None:
    """Refuses what outlives an episode: of a reward within wrappers or that the policy sees, or of an environment."""
    name = type(getattr(env, "wrapper", env)).__name__
    what = "shows what it remembers" if isinstance(env, WithReward) else f"is within {name}"
    if getattr(env, "remembers", False):
        raise ValueError(
            f"{name} has a state of which something outlives an episode, so it can't be played by whole episodes: take "
            "an agent on rollouts, such as ppo, or a limit that does not follow training"
        )
    while isinstance(env, AutoReset) and not isinstance(env, WithReward):
        env, params = env.env, params if isinstance(env, Wrapped) else params.env
    if not isinstance(env, WithReward):
        return
    if outlives(env.reward, first_memory(env, params)):
        raise ValueError(
            f"the reward of {env.name} {what}, and something of it outlives an episode, so it can't be played by whole "
            "episodes: put that reward outermost, with_reward(wrapper(env), reward), and let it show nothing"
        )
    _refuse_hidden(env.env, params.env)


def _missing(error: AttributeError | KeyError) -> str:
    if isinstance(error, KeyError):
        return f"the reward reads the key {error.args[0]!r}, which is not there (in `info`, or in a dict observation)"
    owner, name = error.obj, error.name
    if owner is None or name is None:
        return f"the reward failed: {error}"
    fields = [f for f in getattr(owner, "_fields", None) or getattr(owner, "__dict__", {}) if not f.startswith("_")]
    near = difflib.get_close_matches(name, fields, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"the reward reads {name!r} of a {type(owner).__name__}, which has {', '.join(fields) or 'no fields'}{hint}"
