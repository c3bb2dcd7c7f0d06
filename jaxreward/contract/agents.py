"""What is asked of an agent, looked at without computing anything: a state that stays alike, metrics, a policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from gymnax.environments.environment import Environment
from jaxtyping import PyTree

from jaxreward.contract.environments import check_same
from jaxreward.contract.games import sample_action
from jaxreward.contract.wrappers import never_ends

RETURNS = ("episode/return", "episode/env_return")
"""Metrics of which an agent has one at least: what a run is judged by."""
RATES = ("average_reward", "average_env_reward")
"""The same where the environment never ends: rewards a step, means over those of an iteration."""
_POLICY = ("reset", "act", "mode")


def check_agent(name: str, agent: Any, hyperparams: PyTree, env: Environment, env_params: PyTree) -> None:
    """Refuses what could not be trained, judged or evaluated.

    Args:
        name: What it is called.
        agent: The single agent.
        hyperparams: One configuration.
        env: Its environment.
        env_params: Its params.

    Raises:
        ValueError: The state is another thing after a step, metrics are no scalars or lack what is needed, or the
            policy is none or gives no action of the environment.
    """
    missing = [part for part in ("init", "step", "policy") if not callable(getattr(agent, part, None))]
    if missing:
        raise ValueError(f"{name} made a {type(agent).__name__}, which has no {missing[0]}; expected a jaxreward.Agent")
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(agent.init, key, hyperparams)
    result = jax.eval_shape(agent.step, state)
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping)):
        raise ValueError(f"{name}.step returned a {type(result).__name__}; expected (state, metrics), metrics a dict")
    check_same(name, "the state", state, result[0], ("init", "step"))
    _check_metrics(name, result[1], never_ends(env))
    jax.eval_shape(lambda state, key: _check_policy(name, agent.policy(state), env, env_params, key), state, key)


def _check_metrics(name: str, metrics: Mapping[str, Any], endless: bool) -> None:
    shaped = {metric: getattr(value, "shape", None) for metric, value in metrics.items() if getattr(value, "shape", 1)}
    if shaped:
        raise ValueError(f"{name}: metrics are scalars; these have other shapes: {shaped}")
    for needed in ("env_steps",) if endless else ("env_steps", "episode/count"):
        if needed not in metrics:
            raise ValueError(f"{name}: its metrics lack {needed!r}; they are {sorted(metrics)}")
    judged = RATES if endless else RETURNS
    if not any(metric in metrics for metric in judged):
        where = " where the environment never ends" if endless else ""
        raise ValueError(
            f"{name}: its metrics lack {judged[0]!r}, by which a run is judged{where}; they are {sorted(metrics)}"
        )


def _check_policy(name: str, policy: Any, env: Environment, env_params: PyTree, key: jax.Array) -> None:
    missing = [part for part in _POLICY if not callable(getattr(policy, part, None))]
    if missing:
        raise ValueError(
            f"{name}.policy returned a {type(policy).__name__}, which has no {missing[0]}; expected a "
            "jaxreward.agent.Policy of reset, act and mode"
        )
    carry, observation = policy.reset(), env.reset_env(key, env_params)[0]
    expected = jax.eval_shape(lambda key: sample_action(env, env_params, key), key)
    for part in ("act", "mode"):
        result = getattr(policy, part)(carry, observation, key)
        if not (isinstance(result, tuple) and len(result) == 2):
            raise ValueError(
                f"{name}: its policy's {part} returned a {type(result).__name__}; expected (carry, action)"
            )
        check_same(name, f"the memory of its policy's {part}", carry, result[0], ("reset", part))
        _check_action(name, part, expected, result[1])


def _check_action(name: str, part: str, expected: PyTree, action: PyTree) -> None:
    shapes = [jax.tree.map(lambda leaf: getattr(leaf, "shape", ()), tree) for tree in (expected, action)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"{name}: its policy's {part} gives actions of shape {shapes[1]}; the environment's {shapes[0]}"
        )
