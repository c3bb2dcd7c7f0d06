"""What a lifetime is drawn with: the world an agent is born into, and how long it lives."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.environment import Environment
from jaxtyping import Array, Int, Key, PyTree

from jaxreward.environment import WithReward
from jaxreward.envs.levels.distributions import log_uniform_integer
from jaxreward.names import check_name

HORIZONS = ("log_uniform", "list")

Draw = Callable[[Key[Array, ""], PyTree], PyTree]
"""`(key, env_params) -> env_params` of a world."""


def worlds(env: Environment) -> Draw:
    """How an environment's worlds are drawn: by its `sample_params`, under any rewards, or always the given one."""
    if isinstance(env, WithReward):
        inside = worlds(env.env)
        return lambda key, params: params.replace(env=inside(key, params.env))
    if hasattr(env, "sample_params"):
        return lambda key, params: env.sample_params(key)
    return lambda key, params: params


def check_drawn(env: Environment, env_params: PyTree, agent: str) -> None:
    """Refuses params of an environment that would be drawn over.

    Raises:
        ValueError: They are not the environment's own.
    """
    while isinstance(env, WithReward):
        env, env_params = env.env, env_params.env
    if not hasattr(env, "sample_params"):
        return
    own = dict(jax.tree_util.tree_leaves_with_path(env.default_params))
    for path, leaf in jax.tree_util.tree_leaves_with_path(env_params):
        if not isinstance(leaf, jax.core.Tracer) and not np.array_equal(leaf, own[path]):
            raise ValueError(
                f"{agent} draws the levels of {env.name}, so {jax.tree_util.keystr(path, simple=True)}={leaf} would be "
                "lost; leave it out, or draw it in a `sample_params` of your own environment"
            )


def horizons(kind: str, numbers: tuple[int, ...]) -> Callable[[Key[Array, ""]], Int[Array, ""]]:
    """How long lives are drawn to be, in updates.

    Args:
        kind: "log_uniform", between two numbers; "list", any of those given, one of them for a constant.
        numbers: They.

    Raises:
        ValueError: If there is no such kind, or the numbers don't fit it.
    """
    check_name("distribution of lifetimes", kind, HORIZONS)
    if kind == "list" and not numbers:
        raise ValueError(
            "lifetime_distribution=list draws one of the lifetimes, and there are none; give lifetimes=(250,)"
        )
    if kind == "list":
        return lambda key: jax.random.choice(key, jnp.asarray(numbers, jnp.int32))
    if len(numbers) != 2 or numbers[0] > numbers[1]:
        raise ValueError(
            f"lifetime_distribution=log_uniform draws between two lifetimes, the lesser first; got {numbers}; give "
            "lifetimes=(10,250), or lifetime_distribution=list for any of these"
        )
    return lambda key: log_uniform_integer(key, *numbers)


def mean_horizon(kind: str, numbers: tuple[int, ...]) -> float:
    """The mean of what `horizons` draws."""
    if kind == "list":
        return float(np.mean(numbers))
    low, high = numbers
    lengths = np.arange(low, high + 1)
    return float(lengths @ np.log1p(1 / lengths) / np.log((high + 1) / low))
