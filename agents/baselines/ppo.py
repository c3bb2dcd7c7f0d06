"""Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347) with generalised advantages.

One iteration is `collect` -> `advantages` -> `update`: `T` steps of `N` environments, advantage estimates that
bootstrap through truncation and not through termination, and several epochs of clipped minibatch updates. Policy and
value may share a GRU.
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
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.contract.sizes import Sized, size
from jaxreward.contract.wrappers import check_never_ends
from jaxreward.environment import scalar_environment
from jaxreward.learning.centring import Average, averaged, no_average
from jaxreward.learning.estimators import gae
from jaxreward.learning.minibatch import shuffles
from jaxreward.learning.networks import ACTIVATIONS, ActorCritic, Head, flatten, head_for, unroll
from jaxreward.learning.normaliser import Moments, merge, moments, normalise
from jaxreward.learning.rollout import EnvBatch, Trajectory, reset_batch, rollout
from jaxreward.reward import bind_discount

Metrics = dict[str, Float[Array, ""]]
Scalar = Float[Array, ""] | float


@dataclass(frozen=True)
class Config(Sized):
    """What shapes the program: sizes and architecture.

    Attributes:
        num_envs: Environments stepped in parallel, `N`.
        num_steps: Steps of each between two updates, `T`.
        num_epochs: Passes over the `T * N` transitions.
        num_minibatches: Parts of a pass; divides `T * N` (`N` for a recurrent policy, whose sequences stay whole).
        layers: Widths of the hidden layers of policy and value.
        activation: Between them, a name in `jaxreward.learning.networks.ACTIVATIONS`.
        memory: Units of a GRU that policy and value share; 0 for memoryless.
        normalise_observations: Whether to centre and scale observations by their running moments.
        centring: Whether to learn from rewards less their running mean, in an environment that never ends; with a
            discount of 1 it is the reward rate that is maximised.
    """

    num_envs: int = size(64)
    num_steps: int = size(64)
    num_epochs: int = size(4)
    num_minibatches: int = size(4)
    layers: tuple[int, ...] = size((64, 64))
    activation: str = "tanh"
    memory: int = size(0, least=0)
    normalise_observations: bool = False
    centring: bool = False


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        learning_rate: Adam's step size.
        discount: Per step; rewards with an `AgentDiscount` follow it.
        gae_lambda: Trace decay of the advantage estimates.
        clip: How far the probability ratio may move from 1.
        value_clip: How far a value may move from its last estimate; infinity to not clip.
        entropy_coefficient: Weight of the entropy bonus.
        value_coefficient: Weight of the value loss.
        max_grad_norm: Gradients are scaled down to this global norm.
        anneal_iterations: The learning rate falls linearly to zero over so many iterations; infinity to keep it.
        rate_step: With centring, how far an iteration moves the running means of rewards and values.
        value_bias: With centring, how much of the running mean of values is taken from what they are moved towards,
            which keeps them near 0 where no discount does (Ma et al., IJCAI 2021, arXiv:2106.03442).
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    learning_rate: Scalar = 3e-4
    discount: Scalar = 0.99
    gae_lambda: Scalar = 0.95
    clip: Scalar = 0.2
    value_clip: Scalar = 0.2
    entropy_coefficient: Scalar = 0.01
    value_coefficient: Scalar = 0.5
    max_grad_norm: Scalar = 0.5
    anneal_iterations: Scalar = math.inf
    rate_step: Scalar = 0.1
    value_bias: Scalar = 0.0
    env_params: PyTree = None


class Centre(NamedTuple):
    """The running means of rewards and of values, over iterations."""

    reward: Average
    value: Average


class State(NamedTuple):
    """Everything a run is made of; `centre` where rewards are centred."""

    params: PyTree
    optimiser: PyTree
    envs: EnvBatch
    memory: PyTree
    seen: Moments | None
    centre: Centre | None
    hyperparams: Hyperparams
    key: Key[Array, ""]
    iteration: Int[Array, ""]


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
    """

    features: Float[Array, "*batch F"]
    action: Array
    log_prob: Float[Array, "*batch"]
    value: Float[Array, "*batch"]
    advantage: Float[Array, "*batch"]
    start: Bool[Array, "*batch"]
    memory: PyTree


def ppo(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A PPO agent.

    Args:
        env: A gymnax `Environment` with a `Discrete` or a `Box` action space.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes and architecture.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If sizes do not divide, the activation is unknown, the reward is a vector, or it is to be centred
            and the environment has episodes.
    """
    check_config(config)
    if config.centring:  # elsewhere, what is taken from every step's reward changes which episode is best
        check_never_ends(env, "centring=True")
    env = scalar_environment(env, env_params)
    head = head_for(env.action_space(env_params))
    network = ActorCritic(head.size, head.free, config.layers, ACTIVATIONS[config.activation], config.memory)
    algorithm = PPO(env, env_params, config, head, network)
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


def check_config(config: Config) -> None:
    """Refuses sizes that do not divide or leave nothing to normalise, before anything is compiled."""
    steps = config.num_envs * config.num_steps
    whole, name = (config.num_envs, "num_envs") if config.memory else (steps, "num_envs * num_steps")
    if whole % config.num_minibatches:
        divisors = [d for d in range(1, whole + 1) if whole % d == 0]
        near = min(divisors, key=lambda d: abs(d - config.num_minibatches))
        raise ValueError(
            f"num_minibatches={config.num_minibatches} does not divide {name}={whole}; the nearest that does is {near}"
        )
    if steps < 2 * config.num_minibatches:
        raise ValueError(
            f"num_envs={config.num_envs}, num_steps={config.num_steps} and num_minibatches={config.num_minibatches} "
            "make minibatches of one step, whose advantage less its own mean is 0: nothing would be learned; give "
            "fewer minibatches or more steps"
        )
    if config.activation not in ACTIVATIONS:
        raise ValueError(f"unknown activation {config.activation!r}; expected one of {', '.join(ACTIVATIONS)}")


@dataclass(frozen=True)
class PPO:
    """The steps of the algorithm; a variant overrides one."""

    env: Environment
    env_params: PyTree
    config: Config
    head: Head
    network: ActorCritic

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> State:
        """Draws params and start states."""
        key, key_params, key_envs = jax.random.split(key, 3)
        hyperparams = strong(hyperparams)
        envs = reset_batch(self.env, self.params_of_env(hyperparams), self.config.num_envs, key_envs)
        features = flatten(envs.observation)
        memory = self.network.initial_carry(self.config.num_envs)
        params = self.network.init(key_params, memory, features)
        # The first rollout shows these observations again, so they only give it a scale and do not count.
        seen = moments(features)._replace(samples=jnp.zeros(())) if self.config.normalise_observations else None
        centre = Centre(no_average(), no_average()) if self.config.centring else None
        optimiser = self.optimiser(hyperparams).init(params)
        return strong(State(params, optimiser, envs, memory, seen, centre, hyperparams, key, jnp.zeros((), jnp.int32)))

    def step(self, state: State) -> tuple[State, Metrics]:
        """One iteration: collect, estimate advantages, update."""
        key, key_noise, key_envs, key_update = jax.random.split(state.key, 4)
        envs, memory, trajectory, episodes = self.collect(state, key_noise, key_envs)
        batch, centre = self.advantages(state, trajectory)
        params, optimiser, losses = self.update(state, batch, key_update)
        seen = state.seen and merge(state.seen, moments(flatten(trajectory.observation, 2)))
        steps = jnp.asarray(self.config.num_envs * self.config.num_steps, jnp.int32)
        metrics = {"env_steps": steps, **episodes, **losses, "value/explained_variance": explained_variance(batch)}
        if centre:
            metrics["rate"] = centre.reward.value
        after = State(params, optimiser, envs, memory, seen, centre, state.hyperparams, key, state.iteration + 1)
        return after, metrics

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
        return rollout(self.env, env_params, act, state.memory, state.envs, noise, key_envs)

    def advantages(self, state: State, trajectory: Trajectory) -> tuple[Batch, Centre | None]:
        """Values and advantages, in two batched passes of the critic after the rollout, and what centres them."""
        features = self.features(state, trajectory.observation, 2)
        final = self.features(state, trajectory.next_observation, 2)
        start = jnp.roll(trajectory.done, 1, 0).at[0].set(False)
        memories, _, value = unroll(self.forward, state.params, state.memory, features, start)
        next_value = self.forward(state.params, memories, final)[2]
        centre = state.centre and centre_with(state.centre, trajectory.reward, value, state.hyperparams.rate_step)
        advantage = gae(
            trajectory.reward - centre.reward.value if centre else trajectory.reward,
            value,
            next_value,
            trajectory.terminated,
            trajectory.truncated,
            state.hyperparams.discount,
            state.hyperparams.gae_lambda,
        )
        action, outputs = trajectory.extras
        log_prob = self.head.distribution(outputs).log_prob(action)
        memory = jax.tree.map(lambda x: x[None], state.memory)
        if centre:  # what values are moved towards, and clipped around, is the advantage and this
            value = value - state.hyperparams.value_bias * centre.value.value
        return Batch(features, action, log_prob, value, advantage, start, memory), centre

    def update(self, state: State, batch: Batch, key: Key[Array, ""]) -> tuple[PyTree, PyTree, Metrics]:
        """Several epochs of minibatch steps; a recurrent policy's minibatches are whole sequences."""
        axis = 1 if self.config.memory else 0
        batch = batch if self.config.memory else jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
        optimiser = self.optimiser(state.hyperparams, state.iteration)

        def minibatch_step(carry: tuple, indices: Int[Array, " B"]) -> tuple[tuple, Metrics]:
            params, optimiser_state = carry
            minibatch = jax.tree.map(lambda x: jnp.take(x, indices, axis), batch)
            grads, metrics = jax.grad(self.loss, has_aux=True)(params, minibatch, state.hyperparams)
            updates, optimiser_state = optimiser.update(grads, optimiser_state)
            return (optax.apply_updates(params, updates), optimiser_state), metrics

        indices = shuffles(key, self.config.num_epochs, batch.value.shape[axis])
        indices = indices.reshape(self.config.num_epochs * self.config.num_minibatches, -1)
        (params, optimiser_state), metrics = jax.lax.scan(minibatch_step, (state.params, state.optimiser), indices)
        return params, optimiser_state, jax.tree.map(jnp.mean, metrics)

    def loss(self, params: PyTree, batch: Batch, hyperparams: Hyperparams) -> tuple[Float[Array, ""], Metrics]:
        """The clipped surrogate (section 3, eq. 7) with value loss and entropy bonus (eq. 9), and what to log of it."""
        memory = jax.tree.map(lambda x: x[0], batch.memory)
        _, outputs, value = unroll(self.forward, params, memory, batch.features, batch.start)
        distribution = self.head.distribution(outputs)
        log_ratio = distribution.log_prob(batch.action) - batch.log_prob
        ratio = jnp.exp(log_ratio)
        advantage = (batch.advantage - batch.advantage.mean()) / (batch.advantage.std() + 1e-8)
        clipped = jnp.clip(ratio, 1 - hyperparams.clip, 1 + hyperparams.clip)
        policy_loss = -jnp.minimum(ratio * advantage, clipped * advantage).mean()
        value_loss = clipped_value_loss(value, batch, hyperparams.value_clip)
        entropy = distribution.entropy().mean()
        total = policy_loss + hyperparams.value_coefficient * value_loss - hyperparams.entropy_coefficient * entropy
        metrics = {
            "loss/policy": policy_loss,
            "loss/value": value_loss,
            "policy/entropy": entropy,
            "policy/kl": (ratio - 1 - log_ratio).mean(),
            "policy/clipped": (jnp.abs(ratio - 1) > hyperparams.clip).mean(),
        }
        return total, metrics

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

    def params_of_env(self, hyperparams: Hyperparams) -> PyTree:
        """The environment's params, any discount among its reward's following the agent's."""
        params = self.env_params if hyperparams.env_params is None else hyperparams.env_params
        return bind_discount(params, hyperparams.discount)

    def optimiser(self, hyperparams: Hyperparams, iteration: Int[Array, ""] | int = 0) -> optax.GradientTransformation:
        """Adam on gradients clipped by global norm, its learning rate as annealed at this iteration.

        It sees all params as one vector, which is a few operations in place of a few for each of them.
        """
        left = jnp.maximum(1 - iteration / hyperparams.anneal_iterations, 0)
        return optax.flatten(
            optax.chain(
                optax.clip_by_global_norm(hyperparams.max_grad_norm),
                optax.scale_by_adam(eps=1e-5),
                optax.scale(-hyperparams.learning_rate * left),
            )
        )


def centre_with(centre: Centre, reward: Array, value: Array, rate: Scalar) -> Centre:
    """The running means with those of another iteration."""
    return Centre(averaged(centre.reward, reward.mean(), rate), averaged(centre.value, value.mean(), rate))


def clipped_value_loss(value: Float[Array, "*batch"], batch: Batch, clip: Scalar) -> Float[Array, ""]:
    """Half the mean squared error to the return estimate, pessimistic about values that moved further than `clip`."""
    target = batch.advantage + batch.value
    near = batch.value + jnp.clip(value - batch.value, -clip, clip)
    return 0.5 * jnp.maximum(jnp.square(value - target), jnp.square(near - target)).mean()


def explained_variance(batch: Batch) -> Float[Array, ""]:
    """Which part of the return estimates' variance the values explained before the update; 1 is all."""
    return 1 - jnp.var(batch.advantage) / (jnp.var(batch.advantage + batch.value) + 1e-8)
