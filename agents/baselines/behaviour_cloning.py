"""Behaviour cloning: a policy of maximum likelihood for actions that somebody took (Pomerleau 1991).

It learns from a file and not from the environment, whose reward it never sees: it is played to be judged. An iteration
is some steps of Adam on the mean of `log pi(a | s)` over demonstrated steps, then a rollout of the policy. Of a game
every agent is cloned, each by a network of its own that reads what the agent sees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.baselines.parts import demonstrated
from jaxreward.agents.baselines.parts.demonstrated import Data, check_file, data_of, first_steps, moments_of
from jaxreward.agents.baselines.parts.on_policy import check_activation
from jaxreward.agents.baselines.parts.policy import PolicyNetwork
from jaxreward.contract.sizes import size
from jaxreward.environment import single_or_game
from jaxreward.learning.demonstrations import read_demonstrations
from jaxreward.learning.networks import ACTIVATIONS, Head, flatten, for_agents, head_for
from jaxreward.learning.normaliser import Moments, normalise
from jaxreward.learning.reading import ReadingConfig, reading_for
from jaxreward.learning.rollout import EnvBatch, reset_batch, rollout
from jaxreward.reward import bind_discount

Metrics = dict[str, Float[Array, ""]]
Scalar = Float[Array, ""] | float


@dataclass(frozen=True)
class Config(demonstrated.Config, ReadingConfig):
    """What shapes the program, with what `ReadingConfig` has, and where the demonstrations are.

    Attributes:
        num_updates: Steps of Adam in an iteration.
        batch_size: Demonstrated steps of each, drawn with replacement; 0 for all of them.
        num_envs: Environments that the policy is then played in, `N`.
        num_steps: Steps of each.
        layers: Widths of the hidden layers.
        activation: Between them, a name in `jaxreward.learning.networks.ACTIVATIONS`.
        normalise_observations: Whether to centre and scale observations by the moments of those demonstrated.
        dropout: Which share of hidden units is left out at random in an update.
    """

    num_updates: int = size(64)
    batch_size: int = size(256, least=0)
    num_envs: int = size(8)
    num_steps: int = size(64)
    layers: tuple[int, ...] = size((64, 64))
    activation: str = "tanh"
    normalise_observations: bool = False
    dropout: float = size(0.0, least=0, most=0.95)


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        learning_rate: Adam's step size.
        weight_decay: How much of the params a step takes away, as a multiple of the learning rate.
        least_deviation: Of continuous actions scaled to [-1, 1]; a learned deviation is never below. Where what was
            done is a function of what was seen, likelihood has no bound without it.
        anneal_iterations: The learning rate falls linearly to zero over so many iterations; infinity to keep it.
        num_demonstrations: How many steps are learned from, the first ones of the file; infinity for all.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    learning_rate: Scalar = 1e-3
    weight_decay: Scalar = 0.0
    least_deviation: Scalar = 1e-2
    anneal_iterations: Scalar = math.inf
    num_demonstrations: Scalar = math.inf
    env_params: PyTree = None


class State(NamedTuple):
    """Everything a run is made of."""

    params: PyTree
    optimiser: PyTree
    envs: EnvBatch
    hyperparams: Hyperparams
    key: Key[Array, ""]
    iteration: Int[Array, ""]


def behaviour_cloning(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An agent that does as was demonstrated.

    Args:
        env: A gymnax `Environment` with a `Discrete` or a `Box` action space; it may be a game.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: The demonstrations, sizes and architecture.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If there are no demonstrations or they are not of this environment, the activation is unknown, or
            the reward is a vector and the environment no game.
    """
    check_activation(config.activation)
    check_file(config, "behaviour_cloning")
    env, agents = single_or_game(env, env_params)
    head = head_for(env.action_space(env_params))
    given = read_demonstrations(config.demonstrations, env, env_params)
    activation, reading = ACTIVATIONS[config.activation], reading_for(env, env_params, config, agents)
    shape = head.size, config.layers, activation, head.free, config.dropout, reading
    network = for_agents(PolicyNetwork, agents)(*shape)
    data, seen = data_of(given, head, agents), moments_of(given, agents)
    algorithm = Cloning(env, env_params, config, head, network, data, seen, agents)
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


@dataclass(frozen=True)
class Cloning:
    """The steps of the algorithm.

    Attributes:
        env: The environment.
        env_params: Its params.
        config: Sizes.
        head: Of one agent's actions.
        network: The policy, `[*batch, *agents, F] -> [*batch, *agents, O]`.
        data: What was demonstrated.
        seen: Its moments.
        agents: `(n,)` of a game, `()` of one agent.
    """

    env: Environment
    env_params: PyTree
    config: Config
    head: Head
    network: PolicyNetwork
    data: Data
    seen: Moments
    agents: tuple[int, ...] = ()

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> State:
        """Draws params and start states."""
        key, key_params, key_envs = jax.random.split(key, 3)
        hyperparams = strong(hyperparams)
        envs = reset_batch(self.env, self.params_of_env(hyperparams), self.config.num_envs, key_envs)
        params = self.network.init(key_params, self.features(envs.observation))
        optimiser = self.optimiser(hyperparams).init(params)
        return strong(State(params, optimiser, envs, hyperparams, key, jnp.zeros((), jnp.int32)))

    def step(self, state: State) -> tuple[State, Metrics]:
        """One iteration: learn, and play to be judged."""
        key, key_learn, key_play = jax.random.split(state.key, 3)
        params, optimiser, losses = self.learn(state, key_learn)
        state = state._replace(params=params, optimiser=optimiser, key=key, iteration=state.iteration + 1)
        envs, episodes = self.play(state, key_play)
        steps = jnp.asarray(self.config.num_envs * self.config.num_steps, jnp.int32)
        return state._replace(envs=envs), {"env_steps": steps, **episodes, **losses}

    def learn(self, state: State, key: Key[Array, ""]) -> tuple[PyTree, PyTree, Metrics]:
        """Steps of Adam on batches of what was demonstrated."""
        optimiser = self.optimiser(state.hyperparams, state.iteration)
        there = len(self.data.features)
        number = first_steps(state.hyperparams.num_demonstrations, there)
        key_rows, key_units = jax.random.split(key)
        rows = jax.random.randint(key_rows, (self.config.num_updates, self.config.batch_size), 0, number)
        drawn = rows, jax.random.split(key_units, self.config.num_updates)
        every = self.data, (jnp.arange(there) < number).astype(float)

        def update(now: tuple[PyTree, PyTree], drawn: tuple) -> tuple[tuple[PyTree, PyTree], Metrics]:
            (params, optimiser_state), (rows, key) = now, drawn
            batch = jax.tree.map(lambda x: x[rows], every) if self.config.batch_size else every
            grads, metrics = jax.grad(self.loss, has_aux=True)(params, *batch, state.hyperparams, key)
            updates, optimiser_state = optimiser.update(grads, optimiser_state, params)
            return (optax.apply_updates(params, updates), optimiser_state), metrics

        (params, optimiser_state), metrics = jax.lax.scan(update, (state.params, state.optimiser), drawn)
        return params, optimiser_state, jax.tree.map(jnp.mean, metrics)

    def loss(
        self,
        params: PyTree,
        batch: Data,
        weight: Float[Array, " B"],
        hyperparams: Hyperparams,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, ""], Metrics]:
        """The mean negative log-likelihood of weighted steps, over agents too, and what to log of it."""
        distribution = self.head.distribution(self.outputs(params, batch.features, hyperparams, key))
        mean = lambda x: jnp.average(x.reshape(len(x), -1).mean(-1), weights=weight)  # noqa: E731
        loss = -mean(distribution.log_prob(batch.action))
        return loss, {"loss/policy": loss, "policy/entropy": mean(distribution.entropy())}

    def play(self, state: State, key: Key[Array, ""]) -> tuple[EnvBatch, Metrics]:
        """A rollout of the policy, and what came of it."""
        key_noise, key_envs = jax.random.split(key)
        noise = self.head.noise(key_noise, (self.config.num_steps, self.config.num_envs, *self.agents))

        def act(carry: tuple, observation: PyTree, noise: Array) -> tuple[tuple, Array, tuple]:
            outputs = self.outputs(state.params, self.features(observation), state.hyperparams)
            return carry, self.head.to_env(self.head.sample(outputs, noise)), ()

        params = self.params_of_env(state.hyperparams)
        envs, _, _, episodes = rollout(self.env, params, act, (), state.envs, noise, key_envs)
        return envs, episodes

    def policy(self, state: State) -> Policy:
        """The policy learned so far; its mode is the most likely action."""

        def outputs(observation: PyTree) -> Array:
            return self.outputs(state.params, self.features(observation, 0), state.hyperparams)

        def act(carry: tuple, observation: PyTree, key: Key[Array, ""]) -> tuple[tuple, Array]:
            return carry, self.head.to_env(self.head.sample(outputs(observation), self.head.noise(key, self.agents)))

        def mode(carry: tuple, observation: PyTree, key: Key[Array, ""]) -> tuple[tuple, Array]:
            return carry, self.head.to_env(self.head.distribution(outputs(observation)).mode())

        return Policy(lambda: (), act, mode)

    def features(self, observation: PyTree, batch_axes: int = 1) -> Float[Array, "*batch *n F"]:
        """What the network reads of observations."""
        return flatten(observation, batch_axes + len(self.agents))

    def outputs(
        self,
        params: PyTree,
        features: Float[Array, "*batch F"],
        hyperparams: Hyperparams,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "*batch O"]:
        """What the head makes a distribution of; deviations have their least value added in squares.

        By a key hidden units are left out; without one all are there.
        """
        features = normalise(features, self.seen) if self.config.normalise_observations else features
        outputs: Any = self.network.apply(params, features, rngs={} if key is None else {"dropout": key})
        if not self.head.free:
            return outputs
        mean, log_std = jnp.split(outputs, 2, -1)
        log_std = 0.5 * jnp.logaddexp(2 * log_std, 2 * jnp.log(hyperparams.least_deviation))
        return jnp.concatenate([mean, log_std], -1)

    def params_of_env(self, hyperparams: Hyperparams) -> PyTree:
        """The environment's params; a discount among its reward's is 1, as nothing is learned from it."""
        params = self.env_params if hyperparams.env_params is None else hyperparams.env_params
        return bind_discount(params, 1.0)

    def optimiser(self, hyperparams: Hyperparams, iteration: Int[Array, ""] | int = 0) -> optax.GradientTransformation:
        """Adam with decoupled weight decay, its learning rate as annealed at this iteration."""
        left = jnp.maximum(1 - iteration / hyperparams.anneal_iterations, 0)
        return optax.flatten(
            optax.chain(
                optax.scale_by_adam(),
                optax.add_decayed_weights(hyperparams.weight_decay),
                optax.scale(-hyperparams.learning_rate * left),
            )
        )
