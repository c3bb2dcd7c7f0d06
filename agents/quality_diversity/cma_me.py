"""CMA-ME: MAP-Elites whose genomes come from several CMA-ES (Fontaine, Togelius, Nikolaidis & Hoover 2020).

With the "optimizing" emitters of the authors' code of SERENE and STAX (arXiv:2102.03140, 2111.01919): each climbs the
reward, the one of which the fewest genomes were stored goes next, and one of which nothing was stored starts again.
Criteria to stop of CMA-ES itself are not asked, as in that code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.quality_diversity.parts.cma import CMA, CMAState
from jaxreward.agents.quality_diversity.parts.genotypes import random_genomes, take
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
from jaxreward.environment import select
from jaxreward.learning.lazy import when
from jaxreward.quality_diversity import accepted, sample_elites


@dataclass(frozen=True)
class Config(CellsConfig):
    """What shapes the program.

    Attributes:
        emitters: How many CMA-ES there are. Each keeps two matrices of `D x D` for genomes of size `D`.
        population_size: Genomes of a generation of one, at least 4.
    """

    emitters: int = size(100)
    population_size: int = size(6, least=4)

    @property
    def brood(self) -> int:
        """Evaluations of a generation."""
        return self.population_size


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        sigma: The step size an emitter starts with.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    sigma: Float[Array, ""] | float = 0.5
    env_params: PyTree = None


class Emitters(NamedTuple):
    """Those who make genomes.

    Attributes:
        strategies: Leaves `[E, ...]`.
        stored: How many genomes of each were stored since it started.
        restarts: How often one of them started again.
    """

    strategies: CMAState
    stored: Int[Array, " E"]
    restarts: Int[Array, ""]


class State(NamedTuple):
    """Everything a run is made of."""

    elites: Elites
    emitters: Emitters
    hyperparams: Hyperparams
    key: Key[Array, ""]
    iteration: Int[Array, ""]

    @property
    def params(self) -> PyTree:
        """What is learned."""
        return self.elites.grid.items


def cma_me(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A CMA-ME agent. Its policy is the elite that earned most.

    Args:
        env: An environment with a descriptor of behaviours, such as the tasks qd/...
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes and cells.

    Raises:
        ValueError: If an option is unknown or does not fit the environment.
    """
    illumination = make_illumination(env, env_params, config)
    size = illumination.evaluator.controller.size
    strategy = CMA(size, config.population_size, config.genome_low, config.genome_high)
    algorithm = CMAME(illumination, strategy, config, env_params)
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


@dataclass(frozen=True)
class CMAME:
    """The steps of the algorithm."""

    illumination: Illumination
    strategy: CMA
    config: Config
    env_params: PyTree

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> State:
        """Emitters about random genomes, which are not tried themselves."""
        key, key_elites, key_genomes = jax.random.split(key, 3)
        hyperparams = strong(hyperparams)
        means = random_genomes(key_genomes, self.config.emitters, self.strategy.size, self.config)
        strategies = jax.vmap(self.strategy.init, (0, None))(means, hyperparams.sigma)
        zero = jnp.zeros((), jnp.int32)
        emitters = Emitters(strategies, jnp.zeros(self.config.emitters, jnp.int32), zero)
        return strong(State(self.illumination.init(key_elites), emitters, hyperparams, key, zero))

    def step(self, state: State) -> tuple[State, dict[str, Array]]:
        """One iteration: some generations, each of one emitter."""
        key, key_generations = jax.random.split(state.key)

        def generation(carry: tuple[Elites, Emitters], key: Key[Array, ""]) -> tuple[tuple[Elites, Emitters], None]:
            return self.generation(*carry, key, state.hyperparams), None

        keys = jax.random.split(key_generations, self.config.generations)
        (elites, emitters), _ = jax.lax.scan(generation, (state.elites, state.emitters), keys)
        told = self.illumination.metrics(elites) | {"restarts": emitters.restarts.astype(float)}
        elites = elites._replace(statistics=since(elites.statistics))
        return State(elites, emitters, state.hyperparams, key, state.iteration + 1), told

    def generation(
        self, elites: Elites, emitters: Emitters, key: Key[Array, ""], hyperparams: Hyperparams
    ) -> tuple[Elites, Emitters]:
        """The emitter of which the fewest genomes were stored makes some; it learns from them or starts again."""
        key_ask, key_elite = jax.random.split(key)
        env_params = self.env_params if hyperparams.env_params is None else hyperparams.env_params
        index = jnp.argmin(emitters.stored)
        strategy = take(emitters.strategies, index)
        genomes = self.strategy.ask(strategy, key_ask)
        elites, evaluated = self.illumination.evaluated(elites, genomes, env_params)
        rewards = evaluated.outcome.reward
        enters = accepted(elites.grid, rewards, evaluated.cell, ties_replace=self.config.ties_replace)
        elites = self.illumination.enter(elites, genomes, evaluated)
        elite = sample_elites(elites.grid, key_elite, 1)[0]
        strategy = self.learned(strategy, genomes, rewards, enters, self.strategy.init(elite, hyperparams.sigma))
        return elites, replaced(emitters, index, strategy, enters)

    def learned(
        self,
        strategy: CMAState,
        genomes: Float[Array, "n D"],
        rewards: Float[Array, " n"],
        enters: Bool[Array, " n"],
        fresh: CMAState,
    ) -> CMAState:
        """The strategy after its generation, if one of it was stored, else a fresh one."""
        told = when(enters.any(), self.strategy.tell, strategy, genomes, rewards)
        return select(enters.any(), told, fresh)

    def policy(self, state: State) -> Policy:
        """The elite that earned most."""
        return policy_of(self.illumination.evaluator.controller, best_elite(state.elites.grid))


def replaced(emitters: Emitters, index: Int[Array, ""], strategy: CMAState, enters: Bool[Array, " n"]) -> Emitters:
    """The emitters with one of them changed, whose count goes on, or starts again where nothing was stored."""
    strategies = jax.tree.map(lambda every, one: every.at[index].set(one), emitters.strategies, strategy)
    number = jnp.where(enters.any(), emitters.stored[index] + enters.sum(dtype=jnp.int32), 0)
    return Emitters(strategies, emitters.stored.at[index].set(number), emitters.restarts + ~enters.any())
