"""Novelty search and its relatives: behaviours for their own sake, or with reward as a second objective.

Lehman & Stanley 2011 (`selection="novelty"`, and "nslc" with local competition), and NSGA-II on novelty and reward
(Deb et al. 2002; "nsga2"), as SERENE and STAX are compared with them (arXiv:2102.03140, 2111.01919).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.quality_diversity.parts.evaluation import make_evaluator
from jaxreward.agents.quality_diversity.parts.exploration import (
    Explorer,
    Hyperparams,
    Search,
    SearchConfig,
    check_search,
)
from jaxreward.agents.quality_diversity.parts.policy import best_genome, policy_of
from jaxreward.agents.quality_diversity.parts.space import BehaviourConfig, given_space
from jaxreward.agents.quality_diversity.parts.statistics import empty_statistics, metrics, since

__all__ = ["Config", "Hyperparams", "State", "novelty_search"]


@dataclass(frozen=True)
class Config(SearchConfig, BehaviourConfig):
    """See `SearchConfig` and `BehaviourConfig`."""


class State(NamedTuple):
    """Everything a run is made of."""

    search: Search
    hyperparams: Hyperparams
    key: Key[Array, ""]
    iteration: Int[Array, ""]

    @property
    def params(self) -> PyTree:
        """What is learned."""
        return self.search.population.genome


def novelty_search(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An agent that looks for new behaviours. Its policy is the one of all it keeps that earned most.

    Args:
        env: An environment with a descriptor of behaviours, such as the tasks qd/...
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes, selection and behaviours.

    Raises:
        ValueError: If an option is unknown or does not fit the environment.
    """
    check_search(config, learned=False)
    space = given_space(config)
    evaluator = make_evaluator(env, env_params, config, space.watch, space.steps)
    algorithm = NoveltySearch(Explorer(evaluator, space, config), env_params)
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


@dataclass(frozen=True)
class NoveltySearch:
    """The steps of the algorithm."""

    explorer: Explorer
    env_params: PyTree

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> State:
        """Tries the first population."""
        key, key_search = jax.random.split(key)
        hyperparams = strong(hyperparams)
        statistics = empty_statistics(self.explorer.evaluator.env)
        search = self.explorer.init(key_search, self.params_of_env(hyperparams), statistics)
        return strong(State(search, hyperparams, key, jnp.zeros((), jnp.int32)))

    def step(self, state: State) -> tuple[State, dict[str, Array]]:
        """One iteration: some generations, as long as the budget lasts."""
        key, *keys = jax.random.split(state.key, 1 + self.explorer.config.generations)

        def generation(search: Search, key: Key[Array, ""]) -> tuple[Search, None]:
            return self.generation(search, key, state.hyperparams), None

        search, _ = jax.lax.scan(generation, state.search, jnp.stack(keys))
        told = metrics(search.statistics) | {"archive/size": search.archive.size.astype(float)}
        search = search._replace(statistics=since(search.statistics))
        return State(search, state.hyperparams, key, state.iteration + 1), told

    def generation(self, search: Search, key: Key[Array, ""], hyperparams: Any) -> Search:
        """Children are born and tried, some are stored, the best go on."""
        key_breed, key_store, key_select = jax.random.split(key, 3)
        goes_on, env_params = self.explorer.goes_on(search), self.params_of_env(hyperparams)
        search = self.explorer.breed(search, key_breed, hyperparams.mutation, env_params, goes_on)
        search = self.explorer.survive(search, key_select, goes_on)
        return self.explorer.store(search, key_store, goes_on)

    def policy(self, state: State) -> Policy:
        """The one kept that earned most."""
        kept = [state.search.population, state.search.offspring]
        return policy_of(self.explorer.evaluator.controller, best_genome(kept, [state.search.archive]))

    def params_of_env(self, hyperparams: Any) -> PyTree:
        """The environment's params."""
        return self.env_params if hyperparams.env_params is None else hyperparams.env_params
