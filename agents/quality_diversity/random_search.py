"""Random search: new random genomes in every generation, with which the other searches are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Key, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.quality_diversity.novelty_search import NoveltySearch
from jaxreward.agents.quality_diversity.parts.evaluation import make_evaluator
from jaxreward.agents.quality_diversity.parts.exploration import Explorer, Search, SearchConfig, check_search
from jaxreward.agents.quality_diversity.parts.space import given_space
from jaxreward.contract.sizes import size


@dataclass(frozen=True)
class Config(SearchConfig):
    """See `SearchConfig`; a generation is `population_size` times `children` new genomes."""

    children: int = size(1)


@struct.dataclass
class Hyperparams:
    """There is nothing to search for.

    Attributes:
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    env_params: PyTree = None


def random_search(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An agent that tries random genomes. Its policy is the one of all it keeps that earned most.

    Args:
        env: An environment with a descriptor of behaviours, such as the tasks qd/...
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes.

    Raises:
        ValueError: If an option is unknown or does not fit the environment.
    """
    check_search(config, learned=False)
    algorithm = RandomSearch(Explorer(make_evaluator(env, env_params, config), given_space(), config), env_params)
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


class RandomSearch(NoveltySearch):
    """Novelty search without a search."""

    def generation(self, search: Search, key: Key[Array, ""], hyperparams: Any) -> Search:
        """Random genomes are tried, and some stored."""
        key_breed, key_store = jax.random.split(key)
        goes_on = self.explorer.goes_on(search)
        search = self.explorer.breed(search, key_breed, None, self.params_of_env(hyperparams), goes_on)
        return self.explorer.store(search, key_store, goes_on)
