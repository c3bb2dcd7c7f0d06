"""Walks with a policy: whole episodes, or so many steps where none ends."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.agent import Policy
from jaxreward.contract.games import num_agents
from jaxreward.contract.wrappers import as_environment

LONGEST = 10_000
"""Steps after which an episode counts as cut that has not ended."""


class Episodes(NamedTuple):
    """What `E` episodes came to, one number each.

    Attributes:
        returns: Sums of the reward the agent was trained on; in a game of several agents the mean over them.
        env_returns: Sums of the environment's own reward, likewise.
        lengths: Steps.
        ended: Whether the episode ended, rather than being cut.
        by_agent: Both sums of each agent of a game, `n` of them; without agents where there is but one.
    """

    returns: Float[Array, " E"]
    env_returns: Float[Array, " E"]
    lengths: Int[Array, " E"]
    ended: Bool[Array, " E"]
    by_agent: Float[Array, "E 2 n"] = np.zeros((0, 2, 0))  # type: ignore[assignment]


class _Walk(NamedTuple):
    """An episode under way; `lost` is what rounding has taken from its two sums."""

    carry: PyTree
    observation: PyTree
    state: PyTree
    key: Key[Array, ""]
    episode: Episodes
    lost: Float[Array, "2 n+1"]


PART = "reward/"
"""What the names of a reward's parts begin with in `info`."""
ENVIRONMENTS = "environment's own"
"""What its reward is called among the parts of another."""


class Facts(NamedTuple):
    """What was done and earned at each step of an episode, leaves `[T, ...]`.

    Attributes:
        action: As the environment took it.
        reward: What it earned, of a game the mean over its agents.
        parts: The named parts of that, and under `ENVIRONMENTS` the environment's own reward.
    """

    action: PyTree
    reward: Float[Array, " T"]
    parts: dict[str, Float[Array, " T"]]


class Walker:
    """Episodes of one policy in one environment.

    Args:
        env: The environment.
        params: Its params.
        policy: How to act.
        stochastic: Whether actions are sampled.
        longest: After how many steps an episode without an end is cut.
    """

    def __init__(
        self, env: Environment, params: PyTree, policy: Policy, stochastic: bool = False, longest: int = LONGEST
    ) -> None:
        self.env, self.params, self._policy, self._longest = as_environment(env), params, policy, longest
        self._act = policy.act if stochastic else policy.mode

    def run(self, keys: Key[Array, " E"]) -> Episodes:
        """One episode for each key, from its start to its end, all at once."""
        return jax.jit(self.episodes)(keys)

    def episodes(self, keys: Key[Array, " E"]) -> Episodes:
        """As `run`, within a larger program."""
        return jax.vmap(self._episode)(keys)

    def seen(self, key: Key[Array, ""], length: int) -> tuple[PyTree, PyTree, Facts]:
        """The first `length` steps of the episode that `run` walks with this key.

        Returns:
            States and observations, the last ones among them, leaves `[length + 1, ...]`, and what was done and earned
            in all but the last, leaves `[length, ...]`.
        """

        def step(walk: _Walk, _: None) -> tuple[_Walk, tuple[PyTree, PyTree, Facts]]:
            after, facts = self._moved(walk)
            return after, (walk.state, walk.observation, facts)

        whole = jax.jit(lambda key: jax.lax.scan(step, self._start(key), length=length + 1)[1])
        states, observations, facts = whole(key)
        return states, observations, jax.tree.map(lambda leaf: leaf[:length], facts)

    def _episode(self, key: Key[Array, ""]) -> Episodes:
        going = lambda walk: ~walk.episode.ended & (walk.episode.lengths < self._longest)  # noqa: E731
        return jax.lax.while_loop(going, self._step, self._start(key)).episode

    def _start(self, key: Key[Array, ""]) -> _Walk:
        key, key_reset = jax.random.split(key)
        observation, state = self.env.reset_env(key_reset, self.params)
        zero = jnp.zeros((), float)
        agents = num_agents(self.env) or 0
        none = jnp.zeros((2, agents))
        episode = Episodes(zero, zero, jnp.zeros((), jnp.int32), jnp.zeros((), bool), none)
        walk = _Walk(self._policy.reset(), observation, state, key, episode, jnp.zeros((2, agents + 1)))
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), walk)

    def _step(self, walk: _Walk) -> _Walk:
        return self._moved(walk)[0]

    def _moved(self, walk: _Walk) -> tuple[_Walk, Facts]:
        key, key_act, key_step = jax.random.split(walk.key, 3)
        carry, action = self._act(walk.carry, walk.observation, key_act)
        observation, state, reward, terminated, info = self.env.step_env(key_step, walk.state, action, self.params)
        ended = terminated | self.env.is_truncated(state, self.params)
        past = walk.episode
        rewards = jnp.stack([_told(each, self.env) for each in (reward, info.get("env_reward", reward))])
        means = jnp.stack([past.returns, past.env_returns])[:, None]
        sums, lost = _added(jnp.concatenate([means, past.by_agent], 1), walk.lost, rewards)
        episode = Episodes(sums[0, 0], sums[1, 0], past.lengths + 1, jnp.asarray(ended, bool), sums[:, 1:])
        now = _Walk(carry, observation, state, key, episode, lost)
        named = {name.removeprefix(PART): value for name, value in info.items() if name.startswith(PART)}
        parts = {name: jnp.asarray(value, float).mean() for name, value in named.items()}
        facts = Facts(
            action, rewards[0, 0], {**parts, **({ENVIRONMENTS: rewards[1, 0]} if "env_reward" in info else {})}
        )
        return jax.tree.map(_as_before, now, walk), facts


def _told(reward: Array, env: Environment) -> Float[Array, " n+1"]:
    """A step's reward as it is told: the mean over the agents of a game, then what each is paid; else itself."""
    reward, agents = jnp.asarray(reward, float), num_agents(env)
    return reward[None] if agents is None else jnp.append(reward.mean(), jnp.broadcast_to(reward, (agents,)))


def _added(
    sums: Float[Array, "2 n+1"], lost: Float[Array, "2 n+1"], more: Float[Array, "2 n+1"]
) -> tuple[Float[Array, "2 n+1"], Float[Array, "2 n+1"]]:
    """Sums with more added, and what rounding took, to be added next: small rewards count in long sums (Kahan 1965)."""
    more = more + lost
    following = sums + more
    return following, more - (following - sums)


def _as_before(new: Array, old: Array) -> Array:
    """A leaf in the type a loop began with; environments are not always strict about theirs."""
    return new if jnp.result_type(new) == old.dtype else jnp.asarray(new, old.dtype)
