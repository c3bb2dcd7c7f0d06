"""Parallelised Q-networks (Gallici et al. 2024, "Simplifying deep temporal difference learning", arXiv:2407.04811).

Q-learning without a memory of old transitions and without a target network: layer normalisation keeps the values from
diverging, many environments make up for the memory. One iteration is `T` steps of `N` environments, returns `Q(lambda)`
of them, and several passes over all in minibatches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.baselines.parts.action_values import Optimiser, adam, greedy_policy, network_for, value_of
from jaxreward.contract.sizes import size
from jaxreward.environment import scalar_environment
from jaxreward.learning.action_values import ActionValues
from jaxreward.learning.estimators import lambda_returns
from jaxreward.learning.exploration import epsilon_greedy, linear
from jaxreward.learning.minibatch import check_minibatches, epochs
from jaxreward.learning.reading import ReadingConfig
from jaxreward.learning.rollout import EnvBatch, Trajectory, reset_batch, rollout
from jaxreward.names import check_name
from jaxreward.reward import bind_discount

Metrics = dict[str, Float[Array, ""]]
Scalar = Float[Array, ""] | float


@dataclass(frozen=True)
class Config(ReadingConfig):
    """What shapes the program: sizes and architecture, and what `ReadingConfig` has.

    Attributes:
        num_envs: Environments stepped in parallel, `N`.
        num_steps: Steps of each between two updates, `T`.
        num_epochs: Passes over the `T N` transitions.
        num_minibatches: Parts of a pass; divides `T N`.
        layers: Widths of the hidden layers.
        activation: Between them, a name in `jaxreward.learning.networks.ACTIVATIONS`.
        layer_norm: Whether they are normalised.
        duelling: Whether the network has a value and an advantage of each action.
        optimiser: "radam", as in the authors' code, or "adam".
    """

    num_envs: int = size(32)
    num_steps: int = size(64)
    num_epochs: int = size(4)
    num_minibatches: int = size(16)
    layers: tuple[int, ...] = size((64, 64))
    activation: str = "relu"
    layer_norm: bool = True
    duelling: bool = False
    optimiser: Optimiser = "radam"


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        learning_rate: The optimiser's step size.
        discount: Per step; rewards with an `AgentDiscount` follow it.
        trace_lambda: How much of a return is what was earned, and how much what the next value says, from 1 to 0.
        epsilon_start: How often an action is random at first.
        epsilon_end: How often in the end.
        epsilon_steps: Environment steps that it takes to get there.
        max_grad_norm: Gradients are scaled down to this global norm.
        anneal_iterations: The learning rate falls linearly to zero over so many iterations; infinity to keep it.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    learning_rate: Scalar = 1e-3
    discount: Scalar = 0.99
    trace_lambda: Scalar = 0.9
    epsilon_start: Scalar = 1.0
    epsilon_end: Scalar = 0.05
    epsilon_steps: Scalar = 50_000.0
    max_grad_norm: Scalar = 10.0
    anneal_iterations: Scalar = math.inf
    env_params: PyTree = None


class State(NamedTuple):
    """Everything a run is made of."""

    params: PyTree
    optimiser: PyTree
    envs: EnvBatch
    hyperparams: Hyperparams
    key: Key[Array, ""]
    iteration: Int[Array, ""]


class Batch(NamedTuple):
    """Transitions, leaves `[B, ...]`: what was seen, what was done, and what that came to."""

    observation: PyTree
    action: Int[Array, " B"]
    target: Float[Array, " B"]


def pqn(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A PQN agent.

    Args:
        env: A gymnax `Environment` with a `Discrete` action space.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes and architecture.

    Raises:
        TypeError: If actions are not discrete.
        ValueError: If minibatches do not divide an iteration's steps, an option is unknown, convolutions do not
            fit what is observed, or the reward is a vector.
    """
    check_name("optimiser", config.optimiser, get_args(Optimiser))
    check_minibatches(config.num_minibatches, config.num_envs * config.num_steps, "num_envs * num_steps")
    env = scalar_environment(env, env_params)
    network = network_for(env, env_params, "pqn", config, duelling=config.duelling, layer_norm=config.layer_norm)
    algorithm = PQN(env, env_params, config, network)
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


@dataclass(frozen=True)
class PQN:
    """The steps of the algorithm; a variant overrides one."""

    env: Environment
    env_params: PyTree
    config: Config
    network: ActionValues

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> State:
        """Draws params and start states."""
        key, key_params, key_envs = jax.random.split(key, 3)
        hyperparams = strong(hyperparams)
        envs = reset_batch(self.env, self.params_of_env(hyperparams), self.config.num_envs, key_envs)
        params = self.network.init(key_params, self.network.read(envs.observation))
        optimiser = self.optimiser(hyperparams, 0).init(params)
        return strong(State(params, optimiser, envs, hyperparams, key, jnp.zeros((), jnp.int32)))

    def step(self, state: State) -> tuple[State, Metrics]:
        """One iteration: collect, estimate returns, update."""
        key, key_noise, key_envs, key_update = jax.random.split(state.key, 4)
        envs, trajectory, episodes = self.collect(state, key_noise, key_envs)
        params, optimiser, losses = self.update(state, self.batch(state, trajectory), key_update)
        steps = jnp.asarray(self.config.num_envs * self.config.num_steps, jnp.int32)
        after = State(params, optimiser, envs, state.hyperparams, key, state.iteration + 1)
        return after, {"env_steps": steps, **episodes, **losses}

    def policy(self, state: State) -> Policy:
        """The best action, or any as often as in the end of training."""
        return greedy_policy(self.network, state.params, state.hyperparams.epsilon_end)

    def collect(
        self, state: State, key_noise: Key[Array, ""], key_envs: Key[Array, ""]
    ) -> tuple[EnvBatch, Trajectory, Metrics]:
        """`T` steps of `N` environments by the best actions, or any."""
        config, hyperparams = self.config, state.hyperparams
        taken = state.iteration * jnp.asarray(config.num_envs * config.num_steps, float)
        epsilon = linear(hyperparams.epsilon_start, hyperparams.epsilon_end, hyperparams.epsilon_steps, taken)
        noise = jax.random.uniform(key_noise, (config.num_steps, config.num_envs))

        def act(carry: tuple, observation: PyTree, noise: Float[Array, " N"]) -> tuple[tuple, Array, tuple]:
            return carry, epsilon_greedy(self.values(state.params, observation), noise, epsilon), ()

        stepped = rollout(self.env, self.params_of_env(hyperparams), act, (), state.envs, noise, key_envs)
        envs, _, trajectory, metrics = stepped
        return envs, trajectory, metrics

    def batch(self, state: State, trajectory: Trajectory) -> Batch:
        """All steps, with their returns `Q(lambda)` (section 3, algorithm 1), by the values before the update.

        Of what followed a step the best action's value counts, whatever was done there: nothing is cut where an action
        was random.
        """
        following = self.values(state.params, trajectory.next_observation, 2).max(-1)
        ends, hyperparams = (trajectory.terminated, trajectory.truncated), state.hyperparams
        how = hyperparams.discount, hyperparams.trace_lambda
        target = lambda_returns(trajectory.reward, following, *ends, *how)
        whole = Batch(trajectory.observation, trajectory.action, target)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), whole)

    def update(self, state: State, batch: Batch, key: Key[Array, ""]) -> tuple[PyTree, PyTree, Metrics]:
        """Several passes of minibatch steps."""
        optimiser = self.optimiser(state.hyperparams, state.iteration)

        def step(carry: tuple, minibatch: Batch) -> tuple[tuple, Metrics]:
            params, optimiser_state = carry
            grads, metrics = jax.grad(self.loss, has_aux=True)(params, minibatch)
            updates, optimiser_state = optimiser.update(grads, optimiser_state)
            return (optax.apply_updates(params, updates), optimiser_state), metrics

        sizes = self.config.num_epochs, self.config.num_minibatches
        (params, optimiser_state), metrics = epochs(step, (state.params, state.optimiser), batch, key, *sizes)
        return params, optimiser_state, metrics

    def loss(self, params: PyTree, batch: Batch) -> tuple[Float[Array, ""], Metrics]:
        """Half the mean squared error of the values, and what to log of it."""
        value = value_of(self.values(params, batch.observation), batch.action)
        loss = 0.5 * jnp.square(batch.target - value).mean()
        return loss, {"loss/value": loss, "value/mean": value.mean()}

    def values(self, params: PyTree, observation: PyTree, batch_axes: int = 1) -> Float[Array, "*batch A"]:
        """Of each action."""
        return jnp.asarray(self.network.apply(params, self.network.read(observation, batch_axes)))

    def params_of_env(self, hyperparams: Hyperparams) -> PyTree:
        """The environment's params, any discount among its reward's following the agent's."""
        params = self.env_params if hyperparams.env_params is None else hyperparams.env_params
        return bind_discount(params, hyperparams.discount)

    def optimiser(self, hyperparams: Hyperparams, iteration: Int[Array, ""] | int) -> optax.GradientTransformation:
        """The optimiser, its learning rate as annealed at this iteration."""
        left = jnp.maximum(1 - iteration / hyperparams.anneal_iterations, 0)
        return adam(hyperparams.learning_rate * left, hyperparams.max_grad_norm, self.config.optimiser)
