"""AURORA: quality-diversity in a space of behaviours that is learned from pictures.

Grillotti & Cully 2022, Unsupervised Behaviour Discovery with Quality-Diversity Optimisation (arXiv:2106.05648). The
container, the control of its size, the intervals between trainings and their numbers are those of the authors' code
with uniform selection. Different from it are the autoencoder and its training, which are those of STAX; Gaussian
mutation; that codes are not rescaled; and that the distance changes once in a generation, also where the container is
rebuilt.
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
from jaxreward.agents.quality_diversity.parts.evaluation import EvaluationConfig, Evaluator, Outcome, make_evaluator
from jaxreward.agents.quality_diversity.parts.genotypes import mutate, random_genomes, take
from jaxreward.agents.quality_diversity.parts.learned_space import PicturesConfig, space_of_pictures
from jaxreward.agents.quality_diversity.parts.policy import policy_of
from jaxreward.agents.quality_diversity.parts.space import Space
from jaxreward.agents.quality_diversity.parts.statistics import Statistics, count, empty_statistics, metrics, since
from jaxreward.contract.sizes import size
from jaxreward.learning.lazy import when
from jaxreward.quality_diversity.repertoire import Repertoire, Rules, add, empty_repertoire, is_held, rebuilt, sample


@dataclass(frozen=True)
class Config(EvaluationConfig, PicturesConfig):
    """What shapes the program.

    Attributes:
        batch: Children of a generation, and how many random genomes come first.
        target_size: How many behaviours the repertoire is to hold (10,000 in the authors' maze).
        capacity: Room in it; 0 for twice the target. What finds none is refused, and counted in `archive/refused`.
        tolerance: See `jaxreward.quality_diversity.repertoire.Rules`.
        neighbours: See there.
        rebuild: After so many generations the repertoire is rebuilt with the distance there is then.
        interval: Trainings are after generation 1, `2 interval` later, `3 interval` after that, and so on.
    """

    batch: int = size(128)
    target_size: int = size(2_000)
    capacity: int = size(0, least=0)
    tolerance: float = size(0.1, least=0)
    neighbours: int = size(15)
    rebuild: int = size(10)
    interval: int = size(10)

    @property
    def brood(self) -> int:
        """Evaluations of a generation."""
        return self.batch


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        mutation: The standard deviation of a gene's mutation.
        gain: How fast the distance follows the repertoire's size, see `controlled`.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    mutation: Float[Array, ""] | float = 0.05
    gain: Float[Array, ""] | float = 5e-6
    env_params: PyTree = None


class Evaluated(NamedTuple):
    """Genomes with what came of them."""

    genome: Float[Array, "n D"]
    outcome: Outcome


class Search(NamedTuple):
    """A search under way.

    Attributes:
        repertoire: Of `Evaluated`.
        distance: How far behaviours in it keep from each other.
        statistics: What was found.
        space: Params of the space of behaviours.
        start: The key of every evaluation.
        generation: How many there were.
        training: The generation of the next training,
        pause: and how many there were between the last two.
    """

    repertoire: Repertoire
    distance: Float[Array, ""]
    statistics: Statistics
    space: PyTree
    start: Key[Array, ""]
    generation: Int[Array, ""]
    training: Int[Array, ""]
    pause: Int[Array, ""]


class State(NamedTuple):
    """Everything a run is made of."""

    search: Search
    hyperparams: Hyperparams
    key: Key[Array, ""]
    iteration: Int[Array, ""]

    @property
    def params(self) -> PyTree:
        """What is learned."""
        return self.search.repertoire.items.genome, self.search.space


def first_distance(behaviour: Float[Array, "n b"], exists: Bool[Array, " n"], target: int) -> Float[Array, ""]:
    """Half the side of a cube of which `target` fill the box around behaviours, along their principal axes."""
    mean = jnp.where(exists[:, None], behaviour, 0).sum(0) / jnp.maximum(exists.sum(), 1)
    centred = jnp.where(exists[:, None], behaviour - mean[None], 0)
    projected = centred @ jnp.linalg.eigh(centred.T @ centred)[1]  # who does not exist is in the middle
    sides = projected.max(0) - projected.min(0)
    # A product of many sides would underflow.
    return jnp.exp((jnp.log(sides).sum() - jnp.log(target)) / sides.size) / 2


def controlled(
    distance: Float[Array, ""], size: Int[Array, ""], target: int, gain: Float[Array, ""] | float
) -> Float[Array, ""]:
    """The distance after it grew by `gain` for each item above the target, or shrank for each below."""
    return distance * (1 - gain * (target - size))


def aurora(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An AURORA agent. Its policy is the one it holds that earned most.

    Args:
        env: An environment that draws itself and has a descriptor of behaviours, which is for metrics alone, such as
            the tasks qd/...
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes and pictures.

    Raises:
        ValueError: If an option is unknown or does not fit the environment.
    """
    if config.capacity and config.capacity < max(config.target_size, config.batch):
        raise ValueError(
            f"capacity={config.capacity} is too small for target_size={config.target_size} and batch={config.batch}; "
            f"give 0 (twice the target) or at least {max(config.target_size, config.batch)}"
        )
    space = space_of_pictures(env, config)
    evaluator = make_evaluator(env, env_params, config, space.watch, space.steps)
    algorithm = Aurora(evaluator, space, config, env_params)
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


@dataclass(frozen=True)
class Aurora:
    """The steps of the algorithm."""

    evaluator: Evaluator
    space: Space
    config: Config
    env_params: PyTree

    @property
    def capacity(self) -> int:
        """Room in the repertoire: at least for the first random genomes, which all enter."""
        return self.config.capacity or max(2 * self.config.target_size, self.config.batch)

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> State:
        """Tries random genomes, which all enter."""
        key, key_start, key_space, key_genomes = jax.random.split(key, 4)
        hyperparams, zero = strong(hyperparams), jnp.zeros((), jnp.int32)
        env_params, space = self.params_of_env(hyperparams), self.space.init(key_space)
        genomes = random_genomes(key_genomes, self.config.batch, self.evaluator.controller.size, self.config)
        evaluated = Evaluated(genomes, self.evaluator.evaluate(genomes, env_params, key_start))
        behaviour, _ = self.space.place(space, evaluated.outcome, env_params)
        repertoire = empty_repertoire(take(evaluated, zero), behaviour.shape[1], self.capacity)
        repertoire = add(repertoire, evaluated, behaviour, evaluated.outcome.reward, self.rules(jnp.asarray(-1.0)))
        statistics = count(empty_statistics(self.evaluator.env), self.evaluator.env, evaluated.outcome, visits=True)
        pause = jnp.asarray(self.config.interval, jnp.int32)
        search = Search(repertoire, jnp.zeros(()), statistics, space, key_start, zero, zero + 1, pause)
        return strong(State(search, hyperparams, key, zero))

    def step(self, state: State) -> tuple[State, dict[str, Array]]:
        """One iteration: some generations."""
        key, key_generations = jax.random.split(state.key)

        def generation(search: Search, key: Key[Array, ""]) -> tuple[Search, None]:
            return self.generation(search, key, state.hyperparams), None

        keys = jax.random.split(key_generations, self.config.generations)
        search, _ = jax.lax.scan(generation, state.search, keys)
        held = {
            "archive/size": search.repertoire.size.astype(float),
            "archive/refused": search.repertoire.refused.astype(float),
            "archive/distance": search.distance,
        }
        told = metrics(search.statistics) | held
        search = search._replace(statistics=since(search.statistics))
        return State(search, state.hyperparams, key, state.iteration + 1), told

    def generation(self, search: Search, key: Key[Array, ""], hyperparams: Hyperparams) -> Search:
        """Children are tried; the space is learned and the repertoire rebuilt if it is time; the children enter."""
        key_parents, key_mutate, key_learn = jax.random.split(key, 3)
        env_params = self.params_of_env(hyperparams)
        parents = sample(search.repertoire, key_parents, self.config.batch).genome
        genomes = mutate(key_mutate, parents, hyperparams.mutation, self.config)
        outcome = self.evaluator.evaluate(genomes, env_params, search.start)
        search = search._replace(
            statistics=count(search.statistics, self.evaluator.env, outcome, visits=True),
            generation=search.generation + 1,
        )
        search = self.learned(search, key_learn, env_params)
        search = self.spaced(search, hyperparams.gain)
        behaviour, _ = self.space.place(search.space, outcome, env_params)
        came = Evaluated(genomes, outcome), behaviour, outcome.reward
        return search._replace(repertoire=add(search.repertoire, *came, self.rules(search.distance)))

    def learned(self, search: Search, key: Key[Array, ""], env_params: PyTree) -> Search:
        """Learns the space from what is held, if it is time, and gives that its place in it."""
        learn = self.space.learn
        due = search.generation == search.training
        pause = search.pause + due * self.config.interval
        search = search._replace(training=search.training + due * pause, pause=pause)
        if learn is None:
            return search

        def update(begun: tuple[PyTree, Array], repertoire: Repertoire) -> tuple[PyTree, Array]:
            outcome = repertoire.items.outcome
            space = learn(begun[0], key, outcome, is_held(repertoire), env_params)
            return space, self.space.place(space, outcome, env_params)[0]

        space, behaviour = when(due, update, (search.space, search.repertoire.behaviour), search.repertoire)
        return search._replace(space=space, repertoire=search.repertoire._replace(behaviour=behaviour))

    def spaced(self, search: Search, gain: Float[Array, ""] | float) -> Search:
        """Sets the distance, and rebuilds the repertoire if it is time or behaviours have moved."""
        moved = search.training - search.pause == search.generation
        due = moved | (search.generation % self.config.rebuild == 0)
        target = self.config.target_size
        later = controlled(search.distance, search.repertoire.size, target, gain)
        first = first_distance(search.repertoire.behaviour, is_held(search.repertoire), target)
        distance = jnp.where(search.generation == 1, first, later)

        def rebuild(repertoire: Repertoire, distance: Array) -> Repertoire:
            return rebuilt(repertoire, repertoire.behaviour, self.rules((1 - self.config.tolerance) * distance))

        return search._replace(repertoire=when(due, rebuild, search.repertoire, distance), distance=distance)

    def rules(self, distance: Float[Array, ""]) -> Rules:
        """Who may enter the repertoire."""
        return Rules(distance, self.config.tolerance, self.config.neighbours)

    def policy(self, state: State) -> Policy:
        """The one held that earned most."""
        held = state.search.repertoire
        best = jnp.argmax(jnp.where(is_held(held), held.fitness, -jnp.inf))
        return policy_of(self.evaluator.controller, held.items.genome[best])

    def params_of_env(self, hyperparams: Hyperparams) -> PyTree:
        """The environment's params."""
        return self.env_params if hyperparams.env_params is None else hyperparams.env_params
