"""Old transitions at today's reward.

A reward whose params change while an agent learns pays the same step differently later. What is kept of a step is what
the rewards read of it beside observations, action and ends; from that they are computed again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jax.extend.core import Literal
from jaxtyping import Array, Float, PyTree

from jaxreward.contract.wrappers import Wrapped
from jaxreward.environment import WithReward, WithRewardState, earn, memories, world
from jaxreward.learning.n_step import Steps
from jaxreward.reward import Transition


@dataclass(frozen=True)
class Relabelling:
    """How rewards are told again; see `relabelling`.

    Attributes:
        env: The environment with its reward.
        like: Shapes and types of what happens in a step of its world.
        kept: Which leaves of that are kept beside what is stored anyway.
    """

    env: WithReward
    like: Transition
    kept: tuple[bool, ...]

    def record(self, transition: Transition) -> list[Array]:
        """What to keep of one step of the environment."""
        leaves = jax.tree.leaves(_of_world(self.env, transition, self.like))
        return [leaf for leaf, keep in zip(leaves, self.kept, strict=True) if keep]

    def empty(self, number: int) -> list[Array]:
        """The same of `number` environments, zeros."""
        leaves = [leaf for leaf, keep in zip(jax.tree.leaves(self.like), self.kept, strict=True) if keep]
        return [jnp.zeros((number, *leaf.shape), leaf.dtype) for leaf in leaves]

    def rewards(self, env_params: PyTree) -> Callable[[Steps], Float[Array, "*batch"]]:
        """`(steps) -> rewards`, with the params that the rewards have in these."""

        def one(steps: Steps) -> Float[Array, ""]:
            happened = jax.tree.map(lambda leaf: leaf[None], self._happened(steps))
            earned = earn(self.env, env_params, memories(self.env, env_params), happened, jnp.ones(1, bool))
            return jnp.asarray(earned[1].reward[0], float)

        def every(steps: Steps) -> Float[Array, "*batch"]:
            batch = steps.terminated.shape
            flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(batch) :]), steps)
            return jax.vmap(one)(flat).reshape(batch)

        return every

    def _happened(self, steps: Steps) -> Transition:
        """What happened in the world in one step; what no reward reads of it is zero."""
        known = iter(steps.beside)
        leaves = [
            next(known) if keep else jnp.zeros(leaf.shape, leaf.dtype)
            for leaf, keep in zip(jax.tree.leaves(self.like), self.kept, strict=True)
        ]
        beside: Transition = jax.tree.unflatten(jax.tree.structure(self.like), leaves)
        return beside._replace(**{name: getattr(steps, name) for name in _STORED})


_STORED = ("observation", "action", "terminated", "truncated", "next_observation")
"""What a ring of `Steps` has of a transition."""


def relabelling(env: Environment, env_params: PyTree) -> Relabelling:
    """How the rewards of an environment are told of old steps.

    Args:
        env: An environment made by `with_reward`, of rewards that are a function of one transition.
        env_params: Its params.

    Raises:
        ValueError: It has only rewards of its own, a wrapper is around one of ours, or one has a memory.
    """
    _check_markov(env, env_params)
    assert isinstance(env, WithReward)
    like = _world_step(env, env_params)
    number = len(jax.tree.leaves(like))
    nothing: dict[str, Any] = dict.fromkeys(_STORED, ())
    plain = like._replace(**nothing)

    def paid(happened: Transition) -> Array:
        happened = jax.tree.map(lambda leaf: leaf[None], happened)
        return earn(env, env_params, memories(env, env_params), happened, jnp.ones(1, bool))[1].reward

    read = leaves_read(paid, like)
    assert len(read) == number
    by_place = jax.tree.unflatten(jax.tree.structure(like), read)
    kept = jax.tree.leaves(by_place._replace(**nothing))
    return Relabelling(env, plain, tuple(kept))


def leaves_read(fn: Callable[[PyTree], PyTree], argument: PyTree) -> list[bool]:
    """Which leaves of its argument, arrays or their shapes, the result of a function depends on."""
    jaxpr = jax.make_jaxpr(fn)(argument).jaxpr
    needed: set[Any] = {x for x in jaxpr.outvars if not isinstance(x, Literal)}
    for equation in reversed(jaxpr.eqns):
        if needed.intersection(equation.outvars):
            needed.update(x for x in equation.invars if not isinstance(x, Literal))
    return [x in needed for x in jaxpr.invars]


def _check_markov(env: Environment, env_params: PyTree) -> None:
    if not isinstance(env, WithReward):
        raise ValueError(
            f"relabel=True tells the reward of old transitions again, and {env.name} has its own, which is not known "
            "but where it is stepped: put a reward outermost, with_reward(env, reward), or leave relabel out"
        )
    inside, params = env, env_params
    while isinstance(inside, WithReward):
        if jax.tree.leaves(inside.reward.reset(params.reward)):
            raise ValueError(
                "relabel=True needs rewards of one transition, as `markov` makes; this one has a memory, which old "
                "transitions do not tell: leave relabel out"
            )
        inside, params = inside.env, params.env
    while isinstance(inside, Wrapped):
        inside = inside.env
        if isinstance(inside, WithReward):
            raise ValueError("relabel=True needs rewards to be outermost: with_reward(wrapper(env), reward)")


def _world_step(env: WithReward, env_params: PyTree) -> Transition:
    """Shapes of what happens in a step of the world."""
    base, params = world(env, env_params)

    def first(key: jax.Array) -> Transition:
        observation, state = base.reset_env(key, params)
        action = base.action_space(params).sample(key)
        following, after, reward, terminated, info = base.step_env(key, state, action, params)
        ends = jnp.asarray(terminated, bool), jnp.asarray(base.is_truncated(after, params), bool)
        return Transition(observation, action, jnp.asarray(reward, float), following, *ends, state, after, info)

    return jax.eval_shape(first, jax.random.key(0))


def _of_world(env: WithReward, transition: Transition, like: Transition) -> Transition:
    """What happened in the world of an environment, beside what is stored anyway, of its own transition."""
    before, after = transition.state, transition.next_state
    while isinstance(before, WithRewardState):
        before, after = before.env, after.env
    reward = jnp.asarray(transition.info["env_reward"], float)
    info = {name: transition.info[name] for name in like.info}
    return like._replace(reward=reward, state=before, next_state=after, info=info)
