"""LPO: an objective for PPO, evolved so that what PPO becomes by it earns the most (Lu et al., NeurIPS 2022).

"Discovered policy optimisation", arXiv:2210.05639; with an objective that knows how much of a lifetime has passed it is
TA-LPO (Jackson et al., ICLR 2024, arXiv:2402.05828). What is evolved is a drift function, see
`jaxreward.learning.drifts`; a candidate's fitness is what a whole lifetime of PPO comes to earn by it. Of the papers,
the settings could not be read: the outer loop's are those of the authors' code and of later code of the same group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
from gymnax.environments.environment import Environment
from jaxtyping import PyTree

from jaxreward.agent import Agent
from jaxreward.agents.baselines.ppo import drift_of, params_of
from jaxreward.agents.meta.parts import lifetimes as shared
from jaxreward.agents.meta.parts.lifetimes import Hyperparams, evolved_lifetimes, inner_hyperparams


@dataclass(frozen=True)
class Config(shared.Config):
    """What shapes the program: that of `jaxreward.agents.meta.parts.lifetimes.Config`, and this.

    Attributes:
        objective: What is evolved, a drift that has params: "lpo" or "ta_lpo", from nothing, "lpo_from_ppo" or
            "ta_lpo_from_ppo", from PPO's, or another, see `jaxreward.learning.drifts.get_drift`. Evolution begins where
            the objective does; a network says nothing at first.
    """

    objective: str = "lpo_from_ppo"


def lpo_es(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An agent that evolves PPO's objective; its `params` are the objective's, its policy that of the fittest PPO.

    Args:
        env: A gymnax `Environment` with a `Discrete` or a `Box` action space.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes of both loops.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If an option is unknown, sizes do not divide, the objective has no params, or the reward is a
            vector.
    """
    drift = drift_of(config)
    if drift is None or not jax.tree.leaves(params_of(drift)):
        raise ValueError(
            f"objective={config.objective} has no params to evolve; lpo, ta_lpo, lpo_from_ppo and ta_lpo_from_ppo have"
        )

    def inner(params: PyTree, hyperparams: Hyperparams) -> Any:
        return inner_hyperparams(hyperparams, config, hyperparams.env_params, params)

    return evolved_lifetimes(env, env_params, config, lambda key, hyperparams: drift.init(key), inner)
