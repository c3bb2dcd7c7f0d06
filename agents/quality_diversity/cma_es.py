"""CMA-ES on the reward alone, as SERENE and STAX are compared with it (arXiv:2102.03140, 2111.01919).

It starts again from the best genome so far whenever it stagnates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.quality_diversity.parts.cma import CMA, CMAState
from jaxreward.agents.quality_diversity.parts.evaluation import EvaluationConfig, Evaluator, make_evaluator
from jaxreward.agents.quality_diversity.parts.policy import policy_of
from jaxreward.agents.quality_diversity.parts.statistics import Statistics, count, empty_statistics, metrics, since
from jaxreward.contract.sizes import size
from jaxreward.environment import world
from jaxreward.learning.lazy import when

COMPARED = 20
"""How many rewards at either end of a window are compared."""
LONGEST_WINDOW = 20_000
"""The most rewards a window has; in the authors' code it grows without bounds."""


@dataclass(frozen=True)
class Config(EvaluationConfig):
    """What shapes the program.

    Attributes:
        population_size: Genomes of a generation, at least 4.
    """

    headline: ClassVar[tuple[str, ...]] = ()  # it climbs, and covers nothing but by accident

    population_size: int = size(6, least=4)

    @property
    def brood(self) -> int:
        """Evaluations of a generation."""
        return self.population_size


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        mean: Of every gene at first.
        sigma: The step size to start with.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    mean: Float[Array, ""] | float = 0.0
    sigma: Float[Array, ""] | float = 0.05
    env_params: PyTree = None


class Rewards(NamedTuple):
    """The last rewards since the strategy started, in a ring, and how many there were."""

    ring: Float[Array, " W"]
    number: Int[Array, ""]


class Ascent(NamedTuple):
    """A search under way.

    Attributes:
        strategy: Where it looks.
        rewards: What it has found there.
        genome: The best of all,
        reward: and what it earned.
        restarts: How often the strategy started again.
        statistics: What was found.
    """

    strategy: CMAState
    rewards: Rewards
    genome: Float[Array, " D"]
    reward: Float[Array, ""]
    restarts: Int[Array, ""]
    statistics: Statistics


class State(NamedTuple):
    """Everything a run is made of; `start` is the key of every evaluation."""

    ascent: Ascent
    start: Key[Array, ""]
    hyperparams: Hyperparams
    key: Key[Array, ""]
    iteration: Int[Array, ""]

    @property
    def params(self) -> PyTree:
        """What is learned."""
        return self.ascent.genome, self.ascent.strategy.mean


def cma_es(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A CMA-ES agent. Its policy is the genome that earned most.

    Args:
        env: An environment with a descriptor of behaviours, such as the tasks qd/...
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes.

    Raises:
        ValueError: If an option is unknown or does not fit the environment.
    """
    evaluator = make_evaluator(env, env_params, config)
    strategy = CMA(evaluator.controller.size, config.population_size, config.genome_low, config.genome_high)
    algorithm = CMAES(evaluator, world(env, env_params)[0], strategy, config, env_params)
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


@dataclass(frozen=True)
class CMAES:
    """The steps of the algorithm."""

    evaluator: Evaluator
    env: Environment
    strategy: CMA
    config: Config
    env_params: PyTree

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> State:
        """Nothing is tried yet."""
        key, key_start = jax.random.split(key)
        hyperparams = strong(hyperparams)
        mean = jnp.full(self.strategy.size, hyperparams.mean, float)
        zero = jnp.zeros((), jnp.int32)
        rewards = Rewards(jnp.zeros(LONGEST_WINDOW), zero)
        nothing = (mean, jnp.asarray(-jnp.inf), zero, empty_statistics(self.env))
        ascent = Ascent(self.strategy.init(mean, hyperparams.sigma), rewards, *nothing)
        return strong(State(ascent, key_start, hyperparams, key, zero))

    def step(self, state: State) -> tuple[State, dict[str, Array]]:
        """One iteration: some generations."""
        key, key_generations = jax.random.split(state.key)

        def generation(ascent: Ascent, key: Key[Array, ""]) -> tuple[Ascent, None]:
            return self.generation(ascent, key, state), None

        keys = jax.random.split(key_generations, self.config.generations)
        ascent, _ = jax.lax.scan(generation, state.ascent, keys)
        told = metrics(ascent.statistics) | {"restarts": ascent.restarts.astype(float)}
        ascent = ascent._replace(statistics=since(ascent.statistics))
        return state._replace(ascent=ascent, key=key, iteration=state.iteration + 1), told

    def generation(self, ascent: Ascent, key: Key[Array, ""], state: State) -> Ascent:
        """Genomes are drawn and tried, the strategy learns from them or starts again."""
        hyperparams = state.hyperparams
        env_params = self.env_params if hyperparams.env_params is None else hyperparams.env_params
        genomes = self.strategy.ask(ascent.strategy, key)
        outcome = self.evaluator.evaluate(genomes, env_params, state.start)
        statistics = count(ascent.statistics, self.env, outcome, visits=True)
        strategy = self.strategy.tell(ascent.strategy, genomes, outcome.reward)
        genome, reward = _better(ascent, genomes, outcome.reward)
        rewards = remembered(ascent.rewards, outcome.reward)
        stops = self.strategy.should_stop(strategy) | stagnates(
            rewards, self.strategy.size, self.config.population_size
        )
        restart = lambda _, genome: self.strategy.init(genome, hyperparams.sigma)  # noqa: E731
        strategy = when(stops, restart, strategy, genome)
        rewards = rewards._replace(number=jnp.where(stops, 0, rewards.number))
        return Ascent(strategy, rewards, genome, reward, ascent.restarts + stops, statistics)

    def policy(self, state: State) -> Policy:
        """The genome that earned most."""
        return policy_of(self.evaluator.controller, state.ascent.genome)


def remembered(rewards: Rewards, further: Float[Array, " n"]) -> Rewards:
    """With those of one more generation."""
    slots = (rewards.number + jnp.arange(further.size, dtype=jnp.int32)) % rewards.ring.size
    return Rewards(rewards.ring.at[slots].set(further), rewards.number + further.size)


def stagnates(rewards: Rewards, size: int, population: int) -> Bool[Array, ""]:
    """Whether a window of rewards ends no better than it begins, in its median or in its maximum.

    As in the authors' code of SERENE and STAX. The window is the last `20 size / population + 120` rewards and a fifth
    as many more as there were generations; before there were more generations than this nothing stagnates. (Hansen's
    criterion, arXiv:1604.00772, section B.3, is of generations instead of rewards, and of more of them.)
    """
    generations = rewards.number // population
    window = (100 * size + 600 * population + population * generations) // (5 * population)
    within = jnp.minimum(window, rewards.ring.size)
    offsets = jnp.arange(COMPARED, dtype=jnp.int32)
    begins, ends = (rewards.ring[(rewards.number - back + offsets) % rewards.ring.size] for back in (within, COMPARED))
    no_better = (jnp.median(begins) >= jnp.median(ends)) | (begins.max() >= ends.max())
    return (generations > window) & no_better


def _better(
    ascent: Ascent, genomes: Float[Array, "n D"], rewards: Float[Array, " n"]
) -> tuple[Float[Array, " D"], Float[Array, ""]]:
    """The best genome so far and what it earned, the first of several."""
    counted = jnp.where(jnp.isnan(rewards), -jnp.inf, rewards)
    best = jnp.argmax(counted)
    is_better = counted[best] > ascent.reward
    return jnp.where(is_better, genomes[best], ascent.genome), jnp.where(is_better, counted[best], ascent.reward)
