"""MAP-Elites: the best of each cell of descriptor space (Mouret & Clune 2015), as SERENE and STAX are compared with it.

Each generation some elites, drawn uniformly, have a child each, and a child that is better than what its cell holds
replaces it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.quality_diversity.parts.genotypes import mutate, random_genomes
from jaxreward.agents.quality_diversity.parts.illumination import (
    CellsConfig,
    Elites,
    Illumination,
    best_elite,
    make_illumination,
)
from jaxreward.agents.quality_diversity.parts.policy import policy_of
from jaxreward.agents.quality_diversity.parts.statistics import since
from jaxreward.contract.sizes import size
from jaxreward.names import check_name
from jaxreward.quality_diversity import Grid, sample_elites

Variation = Literal["gaussian", "iso_line"]


@dataclass(frozen=True)
class Config(CellsConfig):
    """What shapes the program.

    Attributes:
        batch: Children of a generation, and how many random genomes come first.
        variation: "gaussian", noise on each gene of a parent; or "iso_line", noise on each gene and a step along the
            line to a second parent (Vassiliades & Mouret 2018).
    """

    batch: int = size(100)
    variation: Variation = "gaussian"

    @property
    def brood(self) -> int:
        """Evaluations of a generation."""
        return self.batch


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        mutation: The standard deviation of a gene's mutation, with "gaussian" variation.
        iso: The standard deviation on each gene, and
        line: that of the step to the second parent, in lengths of the way to it, with "iso_line".
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    mutation: Float[Array, ""] | float = 0.05
    iso: Float[Array, ""] | float = 0.01
    line: Float[Array, ""] | float = 0.2
    env_params: PyTree = None


class State(NamedTuple):
    """Everything a run is made of."""

    elites: Elites
    hyperparams: Hyperparams
    key: Key[Array, ""]
    iteration: Int[Array, ""]

    @property
    def params(self) -> PyTree:
        """What is learned."""
        return self.elites.grid.items


def map_elites(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A MAP-Elites agent. Its policy is the elite that earned most.

    Args:
        env: An environment with a descriptor of behaviours, such as the tasks qd/...
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes, cells and variation.

    Raises:
        ValueError: If an option is unknown or does not fit the environment.
    """
    check_name("variation", config.variation, get_args(Variation))
    algorithm = MapElites(make_illumination(env, env_params, config), config, env_params)
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


@dataclass(frozen=True)
class MapElites:
    """The steps of the algorithm."""

    illumination: Illumination
    config: Config
    env_params: PyTree

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> State:
        """Tries random genomes."""
        key, key_elites, key_genomes = jax.random.split(key, 3)
        hyperparams = strong(hyperparams)
        size = self.illumination.evaluator.controller.size
        genomes = random_genomes(key_genomes, self.config.batch, size, self.config)
        elites = self.enter(self.illumination.init(key_elites), genomes, self.params_of_env(hyperparams))
        return strong(State(elites, hyperparams, key, jnp.zeros((), jnp.int32)))

    def step(self, state: State) -> tuple[State, dict[str, Array]]:
        """One iteration: some generations."""
        key, key_generations = jax.random.split(state.key)
        env_params = self.params_of_env(state.hyperparams)

        def generation(elites: Elites, key: Key[Array, ""]) -> tuple[Elites, None]:
            genomes = self.children(elites.grid, key, state.hyperparams)
            return self.enter(elites, genomes, env_params), None

        keys = jax.random.split(key_generations, self.config.generations)
        elites, _ = jax.lax.scan(generation, state.elites, keys)
        told = self.illumination.metrics(elites)
        elites = elites._replace(statistics=since(elites.statistics))
        return State(elites, state.hyperparams, key, state.iteration + 1), told

    def enter(self, elites: Elites, genomes: Float[Array, "B D"], env_params: PyTree) -> Elites:
        """Tries genomes and keeps those that are better than what their cells hold."""
        elites, evaluated = self.illumination.evaluated(elites, genomes, env_params)
        return self.illumination.enter(elites, genomes, evaluated)

    def children(self, grid: Grid, key: Key[Array, ""], hyperparams: Hyperparams) -> Float[Array, "B D"]:
        """Variations of elites that are drawn uniformly, one call for all of a batch."""
        key_parents, key_noise = jax.random.split(key)
        config = self.config
        if config.variation == "gaussian":
            return mutate(key_noise, sample_elites(grid, key_parents, config.batch), hyperparams.mutation, config)
        one, other = jnp.split(sample_elites(grid, key_parents, 2 * config.batch), 2)
        key_iso, key_line = jax.random.split(key_noise)
        iso = jax.random.normal(key_iso, (one.size,)).reshape(one.shape)  # cheaper to draw than a table
        line = jax.random.normal(key_line, (config.batch,))[:, None]
        child = one + hyperparams.iso * iso + hyperparams.line * line * (other - one)
        return jnp.clip(child, config.genome_low, config.genome_high)

    def policy(self, state: State) -> Policy:
        """The elite that earned most."""
        return policy_of(self.illumination.evaluator.controller, best_elite(state.elites.grid))

    def params_of_env(self, hyperparams: Hyperparams) -> PyTree:
        """The environment's params."""
        return self.env_params if hyperparams.env_params is None else hyperparams.env_params
