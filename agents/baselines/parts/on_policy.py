"""What learns from short rollouts of many environments, and throws them away: PPO and advantage actor-critic.

One iteration is `collect` -> `advantages` -> `update`: `T` steps of `N` environments, advantage estimates that
bootstrap through truncation and not through termination, and what an algorithm makes of them. Policy and value may
share a GRU.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.contract.sizes import size
from jaxreward.contract.wrappers import check_never_ends
from jaxreward.environment import scalar_environment
from jaxreward.learning.centring import Average, averaged, no_average
from jaxreward.learning.estimators import gae
from jaxreward.learning.networks import ACTIVATIONS, ActorCritic, Head, flatten, head_for, unroll
from jaxreward.learning.normaliser import Moments, first_moments, merge, moments, normalise
from jaxreward.learning.reading import ReadingConfig, reading_for
from jaxreward.learning.rollout import EnvBatch, Trajectory, by_name, reset_batch, rollout
from jaxreward.reward import bind_discount

Metrics = dict[str, Float[Array, ""]]
Scalar = Float[Array, ""] | float


@dataclass(frozen=True)
class RolloutConfig(ReadingConfig):
    """What shapes the program of every algorithm on rollouts: sizes and architecture, with what `ReadingConfig` has.

    Attributes:
        num_envs: Environments stepped in parallel, `N`.
        num_steps: Steps of each between two updates, `T`.
        layers: Widths of the hidden layers of policy and value.
        activation: Between them, a name in `jaxreward.learning.networks.ACTIVATIONS`.
        memory: Units of a GRU that policy and value share; 0 for memoryless.
        normalise_observations: Whether to centre and scale observations by their running moments.
        centring: Whether to learn from rewards less their running mean, in an environment that never ends; with a
            discount of 1 it is the reward rate that is maximised.
    """

    num_envs: int = size(64)
    num_steps: int = size(64)
    layers: tuple[int, ...] = size((64, 64))
    activation: str = "tanh"
    memory: int = size(0, least=0)
    normalise_observations: bool = False
    centring: bool = False


class Centre(NamedTuple):
    """The running means of rewards and of values, over iterations."""

    reward: Average
    value: Average


class State(NamedTuple):
    """Everything a run is made of; `centre` where rewards are centred, `judge` where the reward is learned too."""

    params: PyTree
    optimiser: PyTree
    envs: EnvBatch
    memory: PyTree
    seen: Moments | None
    centre: Centre | None
    hyperparams: Any
    key: Key[Array, ""]
    iteration: Int[Array, ""]
    judge: PyTree = ()


class Batch(NamedTuple):
    """What a loss needs of some transitions: `[T, N, ...]` for sequences, `[B, ...]` for shuffled steps.

    Attributes:
        features: What the network reads.
        action: Raw actions, as the head sampled them.
        log_prob: Of those actions, under the policy that took them.
        value: As estimated before the update.
        advantage: Generalised advantage estimates.
        start: Whether a step is the first of an episode.
        memory: The network's memory before the first step, leaves `[1, N, ...]`; `()` when memoryless.
        counted: Which steps the policy's entropy and what is logged of it are means over; `()` for all.
    """

    features: Float[Array, "*batch F"]
    action: Array
    log_prob: Float[Array, "*batch"]
    value: Float[Array, "*batch"]
    advantage: Float[Array, "*batch"]
    start: Bool[Array, "*batch"]
    memory: PyTree
    counted: Bool[Array, "*batch"] | tuple[()] = ()


class Learner(Protocol):
    """What `iterated` needs: what collects a rollout and learns of it."""

    @property
    def config(self) -> Any:
        """Sizes, `num_envs` and `num_steps` among them."""

    def collect(
        self, state: State, key_noise: Key[Array, ""], key_envs: Key[Array, ""]
    ) -> tuple[EnvBatch, PyTree, Trajectory, Metrics]:
        """Where environments stand after a rollout, the policy's memory, the rollout and what came of it."""

    def learn(self, state: State, trajectory: Trajectory, key: Key[Array, ""]) -> tuple[State, Metrics]:
        """The state with what is learned of a rollout, and what to log."""


def iterated(learner: Learner, state: State) -> tuple[State, Metrics]:
    """One iteration: collect, and learn of it."""
    key, key_noise, key_envs, key_update = jax.random.split(state.key, 4)
    envs, memory, trajectory, episodes = learner.collect(state, key_noise, key_envs)
    after, learned = learner.learn(state, trajectory, key_update)
    steps = jnp.asarray(learner.config.num_envs * learner.config.num_steps, jnp.int32)
    after = after._replace(envs=envs, memory=memory, key=key, iteration=state.iteration + 1)
    return after, {"env_steps": steps, **episodes, **learned}


def on_policy(kind: Callable[..., OnPolicy], env: Environment, env_params: PyTree, config: RolloutConfig) -> Agent:
    """The agent of an algorithm on rollouts.

    Args:
        kind: The algorithm, `(env, env_params, config, head, network)`.
        env: A gymnax `Environment` with a `Discrete` or a `Box` action space.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes and architecture.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If the activation is unknown, the reward is a vector, or it is to be centred and the environment has
            episodes.
    """
    check_activation(config.activation)
    if config.centring:  # elsewhere, what is taken from every step's reward changes which episode is best
        check_never_ends(env, "centring=True")
    env = scalar_environment(env, env_params)
    head = head_for(env.action_space(env_params))
    algorithm = kind(env, env_params, config, head, actor_critic(env, env_params, config, head))
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


def actor_critic(
    env: Environment, env_params: PyTree, config: RolloutConfig, head: Head, agents: tuple[int, ...] = ()
) -> ActorCritic:
    """The network of a config for an environment, of a game that of one agent.

    Raises:
        ValueError: If convolutions or the user's network don't fit what is observed.
    """
    activation, reading = ACTIVATIONS[config.activation], reading_for(env, env_params, config, agents)
    return ActorCritic(head.size, head.free, config.layers, activation, config.memory, reading)


def check_activation(name: str) -> None:
    """Refuses an activation that there is not."""
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; expected one of {', '.join(ACTIVATIONS)}")


@dataclass(frozen=True)
class OnPolicy(ABC):
    """The steps of the algorithm; one of its own says how it updates, and how it scales gradients."""

    env: Environment
    env_params: PyTree
    config: RolloutConfig
    head: Head
    network: ActorCritic
    only_first: ClassVar[bool] = False
    """Whether metrics of episodes are of the first one of each environment in a rollout."""

    @abstractmethod
    def update(self, state: State, batch: Batch, key: Key[Array, ""]) -> tuple[PyTree, PyTree, Metrics]:
        """Params, the optimiser's state and what to log, after an update."""

    @abstractmethod
    def scaling(self, hyperparams: Any) -> optax.GradientTransformation:
        """How the optimiser scales gradients."""

    def optimiser(self, hyperparams: Any, iteration: Int[Array, ""] | int = 0) -> optax.GradientTransformation:
        """Steps along gradients clipped by global norm and scaled, the learning rate as annealed at this iteration.

        It sees all params as one vector, which is a few operations in place of a few for each of them.
        """
        left = jnp.maximum(1 - iteration / hyperparams.anneal_iterations, 0)
        return optax.flatten(
            optax.chain(
                optax.clip_by_global_norm(hyperparams.max_grad_norm),
                self.scaling(hyperparams),
                optax.scale(-hyperparams.learning_rate * left),
            )
        )

    def init(self, key: Key[Array, ""], hyperparams: Any) -> State:
        """Draws params and start states."""
        key, key_params, key_envs = jax.random.split(key, 3)
        hyperparams = strong(hyperparams)
        envs = reset_batch(self.env, self.params_of_env(hyperparams), self.config.num_envs, key_envs)
        return self.start(envs, flatten(envs.observation), hyperparams, key_params, key)

    def start(
        self,
        envs: EnvBatch,
        features: Float[Array, "N F"],
        hyperparams: Any,
        key_params: Key[Array, ""],
        key: Key[Array, ""],
    ) -> State:
        """The state before the first iteration, where the environments show these features; draws params."""
        memory = self.network.initial_carry(len(features))
        params = self.network.init(key_params, memory, features)
        seen = first_moments(features) if self.config.normalise_observations else None
        centre = Centre(no_average(), no_average()) if self.config.centring else None
        optimiser = self.optimiser(hyperparams).init(params)
        return strong(State(params, optimiser, envs, memory, seen, centre, hyperparams, key, jnp.zeros((), jnp.int32)))

    def step(self, state: State) -> tuple[State, Metrics]:
        """One iteration: collect, estimate advantages, update."""
        return iterated(self, state)

    def learn(self, state: State, trajectory: Trajectory, key: Key[Array, ""]) -> tuple[State, Metrics]:
        """What a rollout from `state` teaches: the state with what is learned of it, and what to log."""
        batch, centre = self.advantages(state, trajectory)
        params, optimiser, metrics = self.update(state, batch, key)
        seen = state.seen and merge(state.seen, moments(flatten(trajectory.observation, 2)))
        explained = explained_variance(batch).reshape(trajectory.reward.shape[2:])
        metrics = {**metrics, **by_name("value/explained_variance", explained)}
        if centre:
            metrics["rate"] = centre.reward.value
        return state._replace(params=params, optimiser=optimiser, seen=seen, centre=centre), metrics

    def policy(self, state: State) -> Policy:
        """The policy learned so far, on raw observations; its mode is the most likely action."""

        def outputs(memory: PyTree, observation: PyTree) -> tuple[PyTree, Array]:
            return self.forward(state.params, memory, self.features(state, observation, 0))[:2]

        def act(memory: PyTree, observation: PyTree, key: Key[Array, ""]) -> tuple[PyTree, Array]:
            memory, out = outputs(memory, observation)
            return memory, self.head.to_env(self.head.sample(out, self.head.noise(key, ())))

        def mode(memory: PyTree, observation: PyTree, key: Key[Array, ""]) -> tuple[PyTree, Array]:
            memory, out = outputs(memory, observation)
            return memory, self.head.to_env(self.head.distribution(out).mode())

        return Policy(lambda: self.network.initial_carry(), act, mode)

    def collect(
        self, state: State, key_noise: Key[Array, ""], key_envs: Key[Array, ""]
    ) -> tuple[EnvBatch, PyTree, Trajectory, Metrics]:
        """`T` steps of `N` environments; the trajectory's extras are the raw actions and the policy's outputs."""
        noise = self.head.noise(key_noise, (self.config.num_steps, self.config.num_envs))

        def act(memory: PyTree, observation: PyTree, noise: Array) -> tuple[PyTree, Array, tuple[Array, Array]]:
            memory, outputs, _ = self.forward(state.params, memory, self.features(state, observation))
            action = self.head.sample(outputs, noise)
            return memory, self.head.to_env(action), (action, outputs)

        env_params = self.params_of_env(state.hyperparams)
        start = state.memory, state.envs, noise, key_envs
        return rollout(self.env, env_params, act, *start, only_first=self.only_first)

    def advantages(self, state: State, trajectory: Trajectory) -> tuple[Batch, Centre | None]:
        """Values and advantages, in two batched passes of the critic after the rollout, and what centres them."""
        features = self.features(state, trajectory.observation, 2)
        final = self.features(state, trajectory.next_observation, 2)
        start = jnp.roll(trajectory.done, 1, 0).at[0].set(False)
        memories, _, value = unroll(self.forward, state.params, state.memory, features, start)
        next_value = self.forward(state.params, memories, final)[2]
        centre = state.centre and centre_with(state.centre, trajectory.reward, value, state.hyperparams.rate_step)
        if centre:
            trajectory = trajectory._replace(reward=trajectory.reward - centre.reward.value)
        advantage = self.estimated(trajectory, value, next_value, state.hyperparams)
        action, outputs = trajectory.extras
        log_prob = self.head.distribution(outputs).log_prob(action)
        memory = jax.tree.map(lambda x: x[None], state.memory)
        if centre:  # what values are moved towards, and clipped around, is the advantage and this
            value = value - state.hyperparams.value_bias * centre.value.value
        return Batch(features, action, log_prob, value, advantage, start, memory), centre

    def estimated(
        self,
        trajectory: Trajectory,
        value: Float[Array, "T N *K"],
        next_value: Float[Array, "T N *K"],
        hyperparams: Any,
    ) -> Float[Array, "T N *K"]:
        """Generalised advantages of what was paid."""
        ends = trajectory.terminated, trajectory.truncated
        return gae(trajectory.reward, value, next_value, *ends, hyperparams.discount, hyperparams.gae_lambda)

    def forward(
        self, params: PyTree, memory: PyTree, features: Float[Array, "*batch F"]
    ) -> tuple[PyTree, Float[Array, "*batch O"], Float[Array, "*batch"]]:
        """The network's memory after reading `features`, the policy's outputs and the value."""
        result: Any = self.network.apply(params, memory, features)
        return result

    def features(self, state: State, observation: PyTree, batch_axes: int = 1) -> Float[Array, "*batch F"]:
        """What the network reads: observations flattened and, if so configured, normalised."""
        features = flatten(observation, batch_axes)
        return normalise(features, state.seen) if state.seen else features

    def params_of_env(self, hyperparams: Any) -> PyTree:
        """The environment's params, any discount among its reward's following the agent's."""
        params = self.env_params if hyperparams.env_params is None else hyperparams.env_params
        return bind_discount(params, hyperparams.discount)


def centre_with(centre: Centre, reward: Array, value: Array, rate: Scalar) -> Centre:
    """The running means with those of another iteration."""
    return Centre(averaged(centre.reward, reward.mean(), rate), averaged(centre.value, value.mean(), rate))


def explained_variance(batch: Batch) -> Float[Array, "*K"]:
    """Which part of the return estimates' variance the values explained before the update; 1 is all.

    Of several rewards that of each: their values differ in size, and that they do explains nothing.
    """
    steps = tuple(range(batch.log_prob.ndim))
    return 1 - jnp.var(batch.advantage, steps) / (jnp.var(batch.advantage + batch.value, steps) + 1e-8)
