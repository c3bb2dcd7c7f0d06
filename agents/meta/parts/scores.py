"""What a level is worth living in again, by what is known when a life in it is over (GROOVE).

Jackson et al., NeurIPS 2023 (arXiv:2310.02782), section 3: algorithmic regret, and what it is compared with there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agents.meta.parts.citizens import Citizen, Citizens
from jaxreward.agents.meta.parts.citizens import Rates as ValueRates
from jaxreward.agents.meta.parts.follower import Rates as AgentRates
from jaxreward.agents.meta.parts.objectives import actor_critic
from jaxreward.environment import WithReward
from jaxreward.envs.levels.grid_world import GridWorld
from jaxreward.envs.levels.optimal import optimal_return
from jaxreward.names import check_name

OF_VALUES = {"l1_value_loss": jnp.abs, "positive_value_loss": jax.nn.relu}
"""What is averaged of advantages (Jiang et al., ICML 2021, arXiv:2010.03934; NeurIPS 2021, arXiv:2110.02439)."""
SCORES = ("regret", "optimal_regret", *OF_VALUES)


class Rates(AgentRates, ValueRates, Protocol):
    """The hyperparams that agents and their values read."""

    learning_rate: Any
    discount: Any


@dataclass(frozen=True)
class Scores:
    """How levels are scored.

    Attributes:
        kind: "regret", what an actor-critic earns after as long a life in the same level, more than the agent;
            "optimal_regret", what the best policy of the level does; "l1_value_loss" and "positive_value_loss", the
            mean size, or positive part, of the advantages in a last rollout of the agent, by its value.
        citizens: How agents live, and their values learn.
        judged_steps: The most steps of the episodes that say what is earned.
    """

    kind: str
    citizens: Citizens
    judged_steps: int

    def __call__(self, citizen: Citizen, hyperparams: Rates, key: Key[Array, ""]) -> Float[Array, ""]:
        """The score of the level in which an agent has lived."""
        if self.kind in OF_VALUES:
            return self.value_loss(citizen, hyperparams, key)
        key_best, key_judged = jax.random.split(key)
        earned = self.earned(citizen.life.params.policy, citizen.world, key_judged)
        if self.kind == "optimal_regret":
            return optimal_return(self.citizens.lives.env, citizen.world) - earned
        return self.earned(self.antagonist(citizen, hyperparams, key_best), citizen.world, key_judged) - earned

    def value_loss(self, citizen: Citizen, hyperparams: Rates, key: Key[Array, ""]) -> Float[Array, ""]:
        """The mean over a rollout of what is made of generalised advantages."""
        steps = self.citizens.lives.collect(citizen.life, citizen.world, key)[1]
        return OF_VALUES[self.kind](self.citizens.valued(citizen, steps, hyperparams)[1]).mean()

    def antagonist(self, citizen: Citizen, hyperparams: Rates, key: Key[Array, ""]) -> PyTree:
        """The policy of an actor-critic after as long a life in the same level."""
        key_asked, key_born, key_life = jax.random.split(key, 3)
        lives = self.citizens.lives
        other = replace(lives, objective=actor_critic(lives.predictions))
        asked, newborn = other.objective.init(key_asked), other.init(key_born, citizen.world)
        return other.live(newborn, citizen.total, asked, citizen.world, hyperparams, key_life)[0].params.policy

    def earned(self, policy: PyTree, world: PyTree, key: Key[Array, ""]) -> Float[Array, ""]:
        """The mean return of fresh episodes."""
        lives = self.citizens.lives
        return lives.evaluate(policy, world, self.judged_steps, lives.num_envs, key)["episode/return"]


def check_score(kind: str, env: Environment) -> None:
    """Refuses a score that there isn't, or that can't be had of an environment.

    Raises:
        ValueError: It is one.
    """
    check_name("score of levels", kind, SCORES)
    if kind != "optimal_regret":
        return
    hint = "use curation_score=regret, which compares with an actor-critic"
    if isinstance(env, WithReward):
        raise ValueError(f"the best returns of {env.name} are known of its own reward, and it has another; {hint}")
    if not isinstance(env, GridWorld) or env.random_objects:
        raise ValueError(f"the best return of {env.name} is not known, as that of levels whose objects stay is; {hint}")
