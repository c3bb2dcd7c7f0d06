"""How well an agent does while it trains: whole fresh episodes of its policy, from which it learns nothing."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agent import Policy
from jaxreward.contract.sizes import Sized, size
from jaxreward.contract.wrappers import never_ends
from jaxreward.learning.walker import LONGEST, Episodes, Walker
from jaxreward.reward import bind_discount

PREFIX = "evaluation/"
"""What the names of its metrics begin with."""
EVALUATED_RETURNS = (PREFIX + "return", PREFIX + "env_return")
"""What it comes to."""
EVALUATED_RATES = (PREFIX + "average_reward", PREFIX + "average_env_reward")
"""The same where the environment never ends."""
_STREAM = 0x6576616C
"""Folded into a run's key, so that no number that is drawn here is drawn by training too."""


@dataclass(frozen=True)
class EvaluationConfig(Sized):
    """When a run is evaluated, and by what.

    Attributes:
        every: Iterations from one evaluation to the next, 0 for none; it is made where rows of the metrics end, at the
            first at or after each multiple, and at the end of the run.
        episodes: Episodes of each, `E`.
        steps: After how many steps an episode that has not ended is cut; where none ends, how long each walk is.
        sampled: Whether actions are sampled as in training; the most likely ones otherwise.
        stop_when: A condition on a metric, such as `evaluation/env_return>=475`: a run rests from the first row on
            where it holds, and all end when each run rests or is broken.
    """

    every: int = size(0, least=0)
    episodes: int = size(16)
    steps: int = size(LONGEST)
    sampled: bool = False
    stop_when: str = ""

    namespace: ClassVar[str] = "evaluation."

    def due(self, before: int, after: int, last: int) -> bool:
        """Whether one is to be made where a chunk of iterations has ended."""
        return bool(self.every) and (after // self.every > before // self.every or after == last)


def evaluate_policy(
    env: Environment, env_params: PyTree, policy: Policy, key: Key[Array, ""], evaluation: EvaluationConfig
) -> dict[str, Float[Array, ""]]:
    """Means over whole episodes.

    Args:
        env: The environment, with the reward that is trained for.
        env_params: Their params.
        policy: How to act.
        key: For the episodes.
        evaluation: How many, and how long.

    Returns:
        `evaluation/return` by the reward, `evaluation/env_return` by the environment's own, `evaluation/length`, and
        `evaluation/cut`, the share of episodes that had not ended; where none ends, `evaluation/average_reward` and
        `evaluation/average_env_reward` a step. Of a game, behind the means what each agent has: `evaluation/return/0`.
    """
    walker = Walker(env, env_params, policy, evaluation.sampled, evaluation.steps)
    done = walker.episodes(jax.random.split(key, evaluation.episodes))
    numbers = _rates(done) if never_ends(env) else _returns(done)
    return {PREFIX + name: value for name, value in numbers.items()}


def evaluation_key(key: Key[Array, ""], iteration: Array | int) -> Key[Array, ""]:
    """The key of an evaluation of the run that began with `key`, after so many iterations."""
    return jax.random.fold_in(jax.random.fold_in(key, _STREAM), iteration)


def env_params_of(hyperparams: PyTree, env_params: PyTree) -> PyTree:
    """The environment's params as a configuration has them, its discount bound where its reward follows it.

    Args:
        hyperparams: Of one configuration.
        env_params: Those of the agent, where a configuration has none of its own.
    """
    own = getattr(hyperparams, "env_params", None)
    params, discount = env_params if own is None else own, getattr(hyperparams, "discount", None)
    return params if discount is None else bind_discount(params, discount)


def evaluation_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Those of some settings that are the evaluation's, by the names of its fields."""
    namespace = EvaluationConfig.namespace
    return {name.removeprefix(namespace): value for name, value in settings.items() if name.startswith(namespace)}


def evaluation_names() -> list[str]:
    """What its settings are called."""
    return [EvaluationConfig.namespace + field.name for field in fields(EvaluationConfig)]


def _returns(done: Episodes) -> dict[str, Array]:
    named = {"return": done.returns, "env_return": done.env_returns}
    whole = {name: values.mean() for name, values in named.items()}
    ends = {"length": done.lengths.mean(), "cut": 1 - done.ended.mean()}
    return {**whole, **_each(list(named), done.by_agent.mean(0)), **ends}


def _rates(done: Episodes) -> dict[str, Array]:
    named = {"average_reward": done.returns, "average_env_reward": done.env_returns}
    each = jnp.mean(done.by_agent / done.lengths[:, None, None], 0)
    return {**{name: (sums / done.lengths).mean() for name, sums in named.items()}, **_each(list(named), each)}


def _each(names: list[str], means: Float[Array, "2 n"]) -> dict[str, Array]:
    """What each agent of a game has; nothing where there is but one."""
    return {f"{name}/{k}": value for name, row in zip(names, means, strict=True) for k, value in enumerate(row)}
