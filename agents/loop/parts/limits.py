"""Numbers that cannot be right in a world, found before anything is trained in it."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from gymnax.environments.environment import Environment
from jaxtyping import Float, PyTree

from jaxreward.agents.loop.parts.world import finite_world
from jaxreward.reward import bind_discount

_ROUNDING = 1e-5
"""Of the true span, relative."""


def check_bound(bound: float, true_span: float, name: str = "max_span") -> None:
    """Refuses a bound on the span of the bias that the optimal one exceeds.

    Raises:
        ValueError: It does.
    """
    if bound < true_span * (1 - _ROUNDING):
        raise ValueError(
            f"{name}={bound:g} is below the span of the optimal bias, {true_span:g}, which it has to bound"
        )


def check_spans(env: Environment, env_params: PyTree, hyperparams: Any) -> None:
    """Refuses bounds on the span below the true one, of rewards scaled to be between 0 and 1.

    Args:
        env: A finite world that never ends.
        env_params: Its params.
        hyperparams: Of a population, leaves `[population, ...]`; `env_params` among them or None.

    Raises:
        ValueError: One is.
    """
    bounds = np.atleast_1d(np.asarray(hyperparams.max_span))
    if not np.isfinite(bounds).any():
        return
    for bound, span in zip(bounds, np.broadcast_to(_spans(env, env_params, hyperparams), bounds.shape), strict=True):
        check_bound(float(bound), float(span))


def _spans(env: Environment, env_params: PyTree, hyperparams: Any) -> Float[np.ndarray, " population"]:
    """Of the optimal bias, of each member or the one of all."""
    world, own = finite_world(env, env_params, "a bound on the span"), hyperparams.env_params

    def scaled(params: PyTree) -> jax.Array:
        truth = world.truth(bind_discount(params, 1.0))
        return truth.span / truth.width

    found = jax.jit(scaled)(env_params) if own is None else jax.jit(jax.vmap(scaled))(own)
    return np.asarray(found)
