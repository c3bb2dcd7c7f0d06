"""SERENE: novelty search that, where it meets a reward, sends out emitters to climb it.

Paolo, Coninx, Doncieux & Laflaquiere, Sparse Reward Exploration via Novelty Search and Emitters, GECCO 2021
(arXiv:2102.03140). What the abstract leaves open is as in the authors' code. With `emitter="cma_es"` it is CMA-NS, with
which that paper compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.quality_diversity.parts.bootstrap import bootstrap
from jaxreward.agents.quality_diversity.parts.emitter_set import (
    EmitterConfig,
    EmitterRunner,
    Emitters,
    World,
    make_runner,
)
from jaxreward.agents.quality_diversity.parts.emitter_step import run_emitters
from jaxreward.agents.quality_diversity.parts.evaluation import make_evaluator
from jaxreward.agents.quality_diversity.parts.exploration import Explorer, Hyperparams, Search, check_search
from jaxreward.agents.quality_diversity.parts.policy import best_genome, policy_of
from jaxreward.agents.quality_diversity.parts.retraining import Training, advanced, new_training
from jaxreward.agents.quality_diversity.parts.rewards import recruit, reference
from jaxreward.agents.quality_diversity.parts.scheduler import Kind, Scheduler, credited, decide, new_scheduler
from jaxreward.agents.quality_diversity.parts.space import BehaviourConfig, Space, given_space
from jaxreward.agents.quality_diversity.parts.statistics import empty_statistics, metrics, since
from jaxreward.learning.lazy import when
from jaxreward.names import check_name
from jaxreward.quality_diversity import Archive

__all__ = ["Config", "Hyperparams", "State", "serene"]


@dataclass(frozen=True)
class ScheduledConfig(EmitterConfig):
    """See `EmitterConfig`.

    Attributes:
        scheduler: When to explore and when to exploit, see `jaxreward.agents.quality_diversity.parts.scheduler.decide`.
            An iteration is a chunk of each with "alternating", one chunk with the others.
    """

    scheduler: Kind = "alternating"

    @property
    def steps_note(self) -> str:
        if self.scheduler != "alternating":
            return super().steps_note
        return (
            "(those are the steps of exploration, at most; where it meets rewards, emitters take about as many "
            f"besides, and the first population takes {self.population_size * self.num_steps:,})"
        )


@dataclass(frozen=True)
class Config(ScheduledConfig, BehaviourConfig):
    """See `ScheduledConfig` and `BehaviourConfig`."""


class State(NamedTuple):
    """Everything a run is made of."""

    search: Search
    emitters: Emitters
    scheduler: Scheduler
    training: Training
    hyperparams: Hyperparams
    key: Key[Array, ""]
    iteration: Int[Array, ""]

    @property
    def params(self) -> PyTree:
        """What is learned."""
        return self.search.population.genome, self.search.space


def serene(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A SERENE agent. Its policy is the one of all it keeps that earned most.

    Args:
        env: An environment with a descriptor of behaviours, such as the tasks qd/...
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes, emitters and behaviours.

    Raises:
        ValueError: If an option is unknown or does not fit the environment.
    """
    return with_emitters(env, env_params, config, given_space(config))


def with_emitters(env: Environment, env_params: PyTree, config: ScheduledConfig, space: Space) -> Agent:
    """An agent that explores a space of behaviours, and exploits what it finds by emitters.

    Raises:
        ValueError: If an option is unknown or does not fit the environment.
    """
    check_name("scheduler", config.scheduler, get_args(Kind))
    check_search(config, learned=space.learn is not None)
    explorer = Explorer(make_evaluator(env, env_params, config, space.watch, space.steps), space, config)
    algorithm = Serene(explorer, make_runner(explorer, config), config, env_params)
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


@dataclass(frozen=True)
class Serene:
    """The steps of the algorithm."""

    explorer: Explorer
    runner: EmitterRunner
    config: ScheduledConfig
    env_params: PyTree

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> State:
        """Tries the first population."""
        key, key_search = jax.random.split(key)
        hyperparams = strong(hyperparams)
        statistics = empty_statistics(self.explorer.evaluator.env)
        search = self.explorer.init(key_search, self.params_of_env(hyperparams), statistics)
        state = (search, self.runner.init(search), new_scheduler(), new_training())
        return strong(State(*state, hyperparams, key, jnp.zeros((), jnp.int32)))

    def step(self, state: State) -> tuple[State, dict[str, Array]]:
        """One iteration: a chunk of exploration, of exploitation, or one after the other."""
        key, *keys = jax.random.split(state.key, 5)
        used = state.search.statistics.evaluations / self.config.budget
        before = number_of(state.emitters)
        explores, exploits = decide(self.config.scheduler, state.scheduler, keys[0], used, before > 0)
        state = self.explored(state, keys[1], explores)
        state = self.learned(state, keys[2], explores)
        state = self.exploited(state, keys[3], exploits)
        scheduler = credited(state.scheduler, exploits, before, number_of(state.emitters))
        told = metrics(state.search.statistics) | sizes(state.search, state.emitters)
        search = state.search._replace(statistics=since(state.search.statistics))
        iteration = state.iteration + 1
        return state._replace(search=search, scheduler=scheduler, key=key, iteration=iteration), told

    def explored(self, state: State, key: Key[Array, ""], wanted: Bool[Array, ""]) -> State:
        """A chunk of exploration, if it is wanted and the budget lasts."""
        hyperparams = state.hyperparams
        env_params = self.params_of_env(hyperparams)

        def generation(carry: tuple[Search, Archive], key: Key[Array, ""]) -> tuple[tuple[Search, Archive], None]:
            search, rewards = carry
            key_breed, key_store, key_select = jax.random.split(key, 3)
            goes_on = wanted & self.explorer.goes_on(search)
            search = self.explorer.breed(search, key_breed, hyperparams.mutation, env_params, goes_on)
            if self.has_emitters:
                search, rewards = recruit(search, rewards, hyperparams.mutation)
            search = self.explorer.survive(search, key_select, goes_on, reference(rewards))
            return (self.explorer.store(search, key_store, goes_on), rewards), None

        begun = state.search, state.emitters.rewards
        keys = jax.random.split(key, self.config.generations)
        (search, rewards), _ = jax.lax.scan(generation, begun, keys)
        return state._replace(search=search, emitters=state.emitters._replace(rewards=rewards))

    def learned(self, state: State, key: Key[Array, ""], explored: Bool[Array, ""]) -> State:
        """Learns the space of behaviours, if it is one that is learned and its time has come."""
        if self.explorer.space.learn is None:
            return state
        training, due = advanced(state.training, explored)
        env_params = self.params_of_env(state.hyperparams)

        def learn(begun: tuple[Search, Emitters], key: Key[Array, ""]) -> tuple[Search, Emitters]:
            search, emitters = begun
            known = emitters.rewards._replace(items=emitters.rewards.items.genotype)
            if not self.has_emitters:
                return self.explorer.learn(search, key, env_params, known)[0], emitters
            search, moved = self.explorer.learn(search, key, env_params, known, self.runner.everybody(emitters))
            return search, self.runner.moved(emitters, moved, search)

        search, emitters = when(due, learn, (state.search, state.emitters), key)
        return state._replace(search=search, emitters=emitters, training=training)

    def exploited(self, state: State, key: Key[Array, ""], wanted: Bool[Array, ""]) -> State:
        """A chunk of exploitation, if it is wanted and the budget lasts: none where there is no emitter."""
        if not self.has_emitters:
            return state
        # Nothing here chooses between two pools or archives, which would copy both: they are written to by masks.
        key_try, key_climb = jax.random.split(key)
        search, emitters = state.search, state.emitters
        world = World(search.space, self.params_of_env(state.hyperparams), search.start)
        left = jnp.where(wanted, self.config.chunk_size, 0)
        search, emitters, left = bootstrap(self.runner, search, emitters, left, key_try, world)
        search, emitters = run_emitters(self.runner, search, emitters, left, key_climb, world)
        return state._replace(search=search, emitters=emitters)

    @property
    def has_emitters(self) -> bool:
        """Whether there are emitters at all."""
        return self.config.scheduler != "exploring"

    def policy(self, state: State) -> Policy:
        """The one kept that earned most."""
        rewards = state.emitters.rewards
        archives = [state.search.archive, rewards._replace(items=rewards.items.genotype)]
        genome = best_genome([state.search.population, state.search.offspring], archives)
        return policy_of(self.explorer.evaluator.controller, genome)

    def params_of_env(self, hyperparams: Hyperparams) -> PyTree:
        """The environment's params."""
        return self.env_params if hyperparams.env_params is None else hyperparams.env_params


def number_of(emitters: Emitters) -> Int[Array, ""]:
    """How many emitters there are, active or waiting."""
    return emitters.active.sum(dtype=jnp.int32) + emitters.rewards.items.waits.sum(dtype=jnp.int32)


def sizes(search: Search, emitters: Emitters) -> dict[str, Array]:
    """How much is stored, how much had no room, and what emitters spent on each area, as metrics."""
    spent = {f"spent/area_{area}": emitters.spent[area] for area in range(emitters.spent.size - 1)}
    counts = {
        "archive/size": search.archive.size,
        "archive/refused": search.archive.refused,
        "rewards/size": emitters.rewards.size,
        "rewards/refused": emitters.rewards.refused,
        "emitters/active": emitters.active.sum(),
        "emitters/waiting": emitters.rewards.items.waits.sum(),
        "emitters/refused": emitters.refused,
        **spent,
        "spent/exploration": search.statistics.evaluations - emitters.spent.sum(),
    }
    return {name: value.astype(float) for name, value in counts.items()}
