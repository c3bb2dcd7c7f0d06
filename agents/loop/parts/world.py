"""A finite world that never ends, under any reward, and what is exactly true of it.

Agents see the numbers of states and actions and what happens; the truth is for the log alone: the regret is that of the
reward which is being maximised.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, PyTree

from jaxreward.contract.wrappers import check_never_ends
from jaxreward.environment import scalar_environment, world
from jaxreward.mdp import TabularEnv, TabularMDP, TabularState, average_policy_iteration, gap, reward_table, span


class Truth(NamedTuple):
    """What is known of a world to the log and not to the agent.

    Attributes:
        gain: The optimal reward rate, `J*`.
        gap: What an action loses against the best one of its state, `J* + V*(s) - r(s, a) - P V*(s)`, `[S, A]`.
        span: Of the optimal bias, `sp(V*)`.
        low: The least reward; agents learn from `(reward - low) / width`, which is in `[0, 1]`.
        width: The largest reward minus the least, or 1 if they are the same.
    """

    gain: Float[Array, ""]
    gap: Float[Array, "S A"]
    span: Float[Array, ""]
    low: Float[Array, ""]
    width: Float[Array, ""]


class FiniteWorld(NamedTuple):
    """A finite environment, perhaps under rewards.

    Attributes:
        env: The environment.
        num_states: `S`.
        num_actions: `A`.
    """

    env: Environment
    num_states: int
    num_actions: int

    def mdp(self, params: PyTree) -> TabularMDP:
        """Its MDP under the reward that these params give; pure."""
        return world(self.env, params)[1].mdp._replace(reward=reward_table(self.env, params))

    def truth(self, params: PyTree) -> Truth:
        """Solves it; pure, in the dtype of the MDP."""
        mdp = self.mdp(params)
        solution = average_policy_iteration(mdp)
        possible = mdp.transition > 0
        low = jnp.min(jnp.where(possible, mdp.reward, jnp.inf))
        width = jnp.max(jnp.where(possible, mdp.reward, -jnp.inf)) - low
        return Truth(solution.gain[0], gap(mdp, solution), span(solution.bias), low, jnp.where(width > 0, width, 1.0))

    def place(self, state: PyTree) -> Int[Array, ""]:
        """The number of the state."""
        return _tabular(state).index

    def number(self, observation: Array) -> Int[Array, ""]:
        """The number of the state that is observed."""
        return jnp.argmax(observation) if jnp.ndim(observation) else observation


def finite_world(env: Environment, env_params: PyTree, agent: str) -> FiniteWorld:
    """The environment as a finite world without an end.

    Args:
        env: The environment.
        env_params: Its params.
        agent: Who asks, for the message.

    Raises:
        ValueError: If it is not finite, or has episodes, or the reward is a vector or has a memory.
    """
    env = scalar_environment(env, env_params)
    inner, _ = world(env, env_params)
    if not isinstance(inner, TabularEnv):
        raise ValueError(
            f"{agent} learns in a finite world, an environment of which all states are listed, such as "
            f"average/river_swim; {env.name} is none. Of agents for the reward rate, loop_deep and apo need no list"
        )
    check_never_ends(env, agent)
    reward_table(env, env_params)  # refuses rewards that have a memory
    return FiniteWorld(env, inner.mdp.num_states, inner.num_actions)


def _tabular(state: Any) -> TabularState:
    """The state of the `TabularEnv` within those of what wraps it."""
    is_inner = lambda node: isinstance(node, TabularState)  # noqa: E731
    return next(node for node in jax.tree.leaves(state, is_leaf=is_inner) if is_inner(node))
