"""Evolution strategies on the params of a policy (Salimans et al. 2017, arXiv:1703.03864): no gradient, no value.

A generation is `P` policies around the present one, each with whole episodes of its own, all at once. What a policy is
worth is its return, undiscounted, so a reward may look at an episode as it likes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.baselines.parts.on_policy import check_activation
from jaxreward.agents.baselines.parts.policy import PolicyNetwork
from jaxreward.contract.sizes import size
from jaxreward.environment import scalar_environment
from jaxreward.learning.episodes import episode_limit, play, start_memories
from jaxreward.learning.evolution import Settings, Strategy, check_pairs, check_strategy, everyone, make_strategy
from jaxreward.learning.networks import ACTIVATIONS, Head, flatten, head_for
from jaxreward.learning.reading import ReadingConfig, reading_for
from jaxreward.reward import bind_discount

Metrics = dict[str, Float[Array, ""]]


@dataclass(frozen=True)
class Config(ReadingConfig):
    """What shapes the program, with what `ReadingConfig` has.

    Attributes:
        population_size: Policies of a generation, `P`, even.
        num_episodes: Episodes of each, `E`.
        num_steps: The most steps of one, `T`; 0 for the environment's own limit.
        layers: Widths of the hidden layers.
        activation: Between them, a name in `jaxreward.learning.networks.ACTIVATIONS`.
        strategy: "open_es", that of the paper, or one of evosax's, such as "evosax/CMA_ES", if it is installed.
    """

    needs_episodes: ClassVar[bool] = True

    population_size: int = size(64, least=2)
    num_episodes: int = size(1)
    num_steps: int = size(0, least=0)
    layers: tuple[int, ...] = size((16,))
    activation: str = "tanh"
    strategy: str = "open_es"

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps of an iteration, at most."""
        return self.population_size * self.num_episodes * self.num_steps

    @property
    def steps_note(self) -> str:
        """Why a run may take other steps than its iterations are counted with."""
        return "(steps are counted as if every episode were as long as it may be; there are fewer where some end early)"

    def for_env(self, env: Environment, env_params: PyTree) -> Self:
        """The config with the steps of an episode.

        Raises:
            ValueError: If neither the config nor the environment limits them.
        """
        return replace(self, num_steps=episode_limit(env, env_params, self.num_steps))


@struct.dataclass
class Hyperparams(Settings):
    """Traced numbers: those of `jaxreward.learning.evolution.Settings`, and this.

    Attributes:
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    env_params: PyTree = None


class State(NamedTuple):
    """Everything a run is made of; `ended` is what the rewards remember of earlier episodes."""

    params: PyTree
    search: PyTree
    ended: tuple[PyTree, ...]
    hyperparams: Hyperparams
    key: Key[Array, ""]
    iteration: Int[Array, ""]


def evolution_strategies(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An agent that evolves the params of a policy.

    Args:
        env: A gymnax `Environment` with a `Discrete` or a `Box` action space, whose episodes end.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes, architecture and strategy.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If the population is odd, the activation or the strategy is unknown, nothing limits an episode, or
            the reward is a vector.
        ImportError: If the strategy is evosax's, and that is not installed.
    """
    check_config(config)
    config = config.for_env(env, env_params)
    env = scalar_environment(env, env_params)
    head = head_for(env.action_space(env_params))
    reading = reading_for(env, env_params, config)
    network = PolicyNetwork(head.size, config.layers, ACTIVATIONS[config.activation], reading=reading)
    algorithm = Evolution(env, env_params, config, head, network, _strategy(env, env_params, config, network))
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


def check_config(config: Config) -> None:
    """Refuses what does not fit together, before anything is compiled."""
    check_pairs(config.population_size)
    check_activation(config.activation)
    check_strategy(config.strategy)


def _strategy(env: Environment, env_params: PyTree, config: Config, network: PolicyNetwork) -> Strategy:
    """The strategy over the network's params."""

    def params(key: Key[Array, ""]) -> PyTree:
        return network.init(key, flatten(env.reset_env(key, env_params)[0], 0))

    shapes = jax.eval_shape(params, jax.random.key(0))
    like = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return make_strategy(config.strategy, like, config.population_size)


@dataclass(frozen=True)
class Evolution:
    """The steps of the algorithm."""

    env: Environment
    env_params: PyTree
    config: Config
    head: Head
    network: PolicyNetwork
    strategy: Strategy

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> State:
        """A policy to begin with."""
        key, key_params, key_env, key_search = jax.random.split(key, 4)
        hyperparams = strong(hyperparams)
        env_params = self.params_of_env(hyperparams)
        params = self.network.init(key_params, flatten(self.env.reset_env(key_env, env_params)[0], 0))
        search = self.strategy.init(key_search, params, hyperparams)
        ended = start_memories(self.env, env_params, self.config.population_size * self.config.num_episodes)
        return strong(State(params, search, ended, hyperparams, key, jnp.zeros((), jnp.int32)))

    def step(self, state: State) -> tuple[State, Metrics]:
        """One generation: ask, play, tell."""
        key, key_ask, key_play = jax.random.split(state.key, 3)
        asked = self.strategy.ask(key_ask, state.search, state.hyperparams)
        population = everyone(self.strategy, key_ask, asked, state.hyperparams)
        fitness, ended, metrics = self.play(state, population, key_play)
        search = self.strategy.tell(key_ask, state.search, asked, fitness, state.hyperparams)
        metrics |= {"fitness/best": fitness.max(), "fitness/deviation": fitness.std()}
        after = State(self.strategy.mean(search), search, ended, state.hyperparams, key, state.iteration + 1)
        return after, metrics

    def play(
        self, state: State, population: PyTree, key: Key[Array, ""]
    ) -> tuple[Float[Array, " P"], tuple[PyTree, ...], Metrics]:
        """The mean return of each policy over its episodes, what rewards remember, and what to log."""
        members, each = self.config.population_size, self.config.num_episodes

        def act(carry: tuple, observation: PyTree, _: Array) -> tuple[tuple, Array, tuple]:
            features = flatten(observation).reshape(members, each, -1)
            outputs = jnp.asarray(jax.vmap(self.network.apply)(population, features))
            return carry, self.action(outputs.reshape(members * each, -1)), ()

        unused, number = jnp.zeros(self.config.num_steps), members * each
        env_params = self.params_of_env(state.hyperparams)
        ended, episodes, metrics = play(self.env, env_params, act, (), unused, state.ended, number, key)
        fitness = episodes.steps.reward.sum(0).reshape(members, each).mean(1)
        return fitness, ended, {"env_steps": episodes.valid.sum(dtype=jnp.int32), **metrics}

    def action(self, outputs: Float[Array, "*batch O"]) -> Array:
        """The most likely action; the noise is in the params."""
        free = jnp.zeros((*outputs.shape[:-1], self.head.free), outputs.dtype)
        return self.head.to_env(self.head.distribution(jnp.concatenate([outputs, free], -1)).mode())

    def policy(self, state: State) -> Policy:
        """The policy in the middle of the population; it does not act by chance."""

        def act(carry: tuple, observation: PyTree, key: Key[Array, ""]) -> tuple[tuple, Array]:
            return carry, self.action(jnp.asarray(self.network.apply(state.params, flatten(observation, 0))))

        return Policy(lambda: (), act, act)

    def params_of_env(self, hyperparams: Hyperparams) -> PyTree:
        """The environment's params; a discount among its reward's is 1, as returns have none."""
        params = self.env_params if hyperparams.env_params is None else hyperparams.env_params
        return bind_discount(params, 1.0)
