"""The tasks that never end by name, `average/NAME`.

Those with few states are a `ContinuingEnv`: their params hold the `TabularMDP` that they are, so
`jaxreward.mdp.relative_value_iteration` of `params.mdp` says how good the best policy is.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
from gymnax.environments.environment import Environment

from jaxreward.envs.average.brax import ContinuingBrax
from jaxreward.envs.average.catch import ContinuingCatch
from jaxreward.envs.average.never_ending import ContinuingEnv
from jaxreward.envs.average.pendulum import ContinuingPendulum
from jaxreward.envs.average.puck_world import PuckWorld
from jaxreward.mdp import (
    TabularMDP,
    access_control,
    garnet,
    hard_two_state,
    jump_river_swim,
    random_mdp,
    river_swim_loop,
    river_swim_variant,
    six_arms,
    two_choice,
)


def seeded_garnet(seed: int = 0, num_states: int = 10, num_actions: int = 3, branching: int = 3) -> TabularMDP:
    """`jaxreward.mdp.garnet` by its seed."""
    return garnet(jax.random.key(seed), num_states, num_actions, branching)


def _tabular(name: str, make: Callable[..., TabularMDP]) -> Callable[..., Environment]:
    """What makes the environment of an MDP: it takes what `make` takes, and `one_hot`, see `ContinuingEnv`."""

    @functools.wraps(make)
    def made(*, one_hot: bool = True, **arguments: Any) -> Environment:
        return ContinuingEnv(make(**arguments), one_hot=one_hot, name=f"average/{name}")

    own = [each for each in inspect.signature(make).parameters.values() if each.name != "dtype"]
    one_hot = inspect.Parameter("one_hot", inspect.Parameter.KEYWORD_ONLY, default=True)
    made.__signature__ = inspect.Signature([*own, one_hot])  # type: ignore[attr-defined]
    return made


_MDPS: dict[str, Callable[..., TabularMDP]] = {
    "river_swim": river_swim_variant,
    "jump_river_swim": jump_river_swim,
    "river_swim_loop": river_swim_loop,
    "six_arms": six_arms,
    "access_control": access_control,
    "two_choice": two_choice,
    "random_mdp": random_mdp,
    "garnet": seeded_garnet,
    "hard_two_state": hard_two_state,
}

TASKS: dict[str, Callable[..., Environment]] = {
    **{name: _tabular(name, make) for name, make in _MDPS.items()},
    "pendulum": ContinuingPendulum,
    "puck_world": PuckWorld,
    "catch": ContinuingCatch,
    "brax": ContinuingBrax,
}
