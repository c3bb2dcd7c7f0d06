"""LOOP with a network for its value function: optimism, a squared Bellman error and few switches.

The hypotheses of He, Zhong and Yang (ICLR 2024, arXiv:2404.12648) are pairs of a value function and a gain, and the one
with the highest gain is followed among those whose Bellman error on the data is nearly least. Networks leave no way to
solve that program, and the paper has no experiments. This agent is a design of our own that keeps its three parts:

- *optimism*: `sqrt(beta)` times the elliptical norm of fixed features is added to the network's value where it is
  acted on and bootstrapped from, not to what the network is fitted to;
- *the Bellman error of the reward rate*: the network is fitted to `r + V(s') - J`, and the gain `J` is the mean of `V`
  over a sample of states, as in relative value iteration;
- *low switching*: network, bonus and so the policy stay as they are until the determinant of the features' Gram matrix
  has grown by `switch_ratio`; then the network is fitted again, from where it was, to all that was seen.

Many environments may share one learner; the paper's bounds are for one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.loop.parts.elliptical import (
    FeatureMap,
    Features,
    empty_gram,
    feature_map,
    log_determinant,
    uncertainty,
    with_steps,
)
from jaxreward.agents.loop.parts.learner import planners
from jaxreward.agents.loop.parts.refit import Hypothesis, Transitions, ValueNetwork, refitted
from jaxreward.contract.sizes import Sized, size
from jaxreward.contract.wrappers import check_never_ends
from jaxreward.environment import scalar_environment
from jaxreward.learning.lazy import when
from jaxreward.learning.networks import flatten
from jaxreward.learning.replay import Replay, empty_replay, nearest, write
from jaxreward.learning.rollout import EnvBatch, reset_batch, rollout
from jaxreward.names import check_name
from jaxreward.reward import bind_discount

Metrics = dict[str, Float[Array, ""]]
Scalar = Float[Array, ""] | float


@dataclass(frozen=True)
class Config(Sized):
    """What shapes the program.

    Attributes:
        num_envs: Environments that share the learner, `N`.
        num_steps: Steps of each between two looks at whether to fit again, `T`.
        layers: Widths of the hidden layers.
        features: What uncertainty is measured by: "random" (rectified linear units of the observation, drawn once) or
            "observation" (the observation itself, exact where it is one-hot).
        num_features: How many random ones, `d`.
        buffer_size: Transitions that are kept, the newest ones; a multiple of `N T`.
        refit_steps: Steps of Adam at a switch.
        batch_size: Transitions of each.
    """

    num_envs: int = size(1)
    num_steps: int = size(16)
    layers: tuple[int, ...] = size((64, 64))
    features: Features = "random"
    num_features: int = size(64)
    buffer_size: int = size(65_536)
    refit_steps: int = size(600)
    batch_size: int = size(256)

    headline = ("average_reward",)


@struct.dataclass
class Hyperparams:
    """Traced numbers.

    Attributes:
        beta: Radius of the confidence set; the bonus is its square root times the uncertainty, in units of the reward.
        regularisation: What the Gram matrix begins with, `lambda`.
        switch_ratio: By how much its determinant must grow until the network is fitted again.
        max_span: Bound on the span of the bias, if one is known.
        learning_rate: Of Adam.
        target_step: How far a step of the fit moves the target network.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    beta: Scalar = 0.5
    regularisation: Scalar = 0.1
    switch_ratio: Scalar = 2.0
    max_span: Scalar = math.inf
    learning_rate: Scalar = 2e-3
    target_step: Scalar = 0.03
    env_params: PyTree = None


class State(NamedTuple):
    """Everything a run is made of; `gram` is that of all steps so far."""

    held: Hypothesis
    features: FeatureMap
    gram: Float[Array, "A d d"]
    seen: Replay
    envs: EnvBatch
    hyperparams: Hyperparams
    key: Key[Array, ""]
    iteration: Int[Array, ""]


def loop_deep(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An agent that maximises the reward rate optimistically, with a network.

    Args:
        env: An `Environment` that never ends, with discrete actions.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes.

    Raises:
        TypeError: If actions are not discrete.
        ValueError: If the environment has episodes, the reward is a vector, there are no such features, or the buffer
            does not hold whole iterations.
    """
    check_config(config)
    check_never_ends(env, "loop_deep")
    env = scalar_environment(env, env_params)
    space = env.action_space(env_params)
    if not isinstance(space, spaces.Discrete):
        raise TypeError(f"loop_deep chooses among discrete actions; {env.name} has {type(space).__name__}. See `apo`")
    algorithm = LoopDeep(env, env_params, config, ValueNetwork(int(space.n), config.layers))
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


def check_config(config: Config) -> None:
    """Refuses what does not fit together, before anything is compiled."""
    check_name("features", config.features, get_args(Features))
    check_buffer(config)


def check_buffer(config: Any) -> None:
    """Refuses a buffer that does not hold whole iterations."""
    steps = config.num_envs * config.num_steps
    if config.buffer_size % steps:
        raise ValueError(
            f"buffer_size={config.buffer_size} is no multiple of num_envs * num_steps = {steps}; "
            f"try {nearest(config.buffer_size, steps)}"
        )


@dataclass(frozen=True)
class LoopDeep:
    """The steps of the algorithm."""

    env: Environment
    env_params: PyTree
    config: Config
    network: ValueNetwork

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> State:
        """Nothing was seen: all actions are equally uncertain."""
        key, key_params, key_features, key_envs = jax.random.split(key, 4)
        hyperparams = strong(hyperparams)
        envs = reset_batch(self.env, self.params_of_env(hyperparams), self.config.num_envs, key_envs)
        observation = flatten(envs.observation)
        features = feature_map(self.config.features, key_features, observation.shape[-1], self.config.num_features)
        gram = empty_gram(self.network.num_actions, features(observation).shape[-1], hyperparams.regularisation)
        params, zero = self.network.init(key_params, observation), jnp.zeros(())
        first = Hypothesis(params, params, jnp.linalg.inv(gram), log_determinant(gram), zero, jnp.zeros((), jnp.int32))
        zeros = jnp.zeros(self.config.num_envs)
        row = Transitions(observation, zeros.astype(jnp.int32), zeros, observation)
        seen = empty_replay(row, self.config.buffer_size // self.config.num_envs)
        return strong(State(first, features, gram, seen, envs, hyperparams, key, jnp.zeros((), jnp.int32)))

    def step(self, state: State) -> tuple[State, Metrics]:
        """One iteration: act, and fit again if much was learned of what was uncertain."""
        key, key_envs, key_fit = jax.random.split(state.key, 3)
        envs, seen, gram, metrics = self.collect(state, key_envs)
        determinant = log_determinant(gram)
        due = determinant - state.held.log_determinant >= jnp.log(state.hyperparams.switch_ratio)

        def refit(held: Hypothesis, gram: Array, seen: Replay, determinant: Array, key: Key[Array, ""]) -> Any:
            held = held._replace(inverse=jnp.linalg.inv(gram), log_determinant=determinant, switches=held.switches + 1)
            return self.fit(state, held, seen, key)

        held = when(due, refit, state.held, gram, seen, determinant, key_fit, group=planners())
        metrics |= {
            "env_steps": jnp.asarray(self.config.num_envs * self.config.num_steps, jnp.int32),
            "optimistic_gain": held.gain,
            "switches": held.switches.astype(float),
            "log_determinant": determinant,
        }
        state = state._replace(held=held, gram=gram, seen=seen, envs=envs, key=key, iteration=state.iteration + 1)
        return state, metrics

    def policy(self, state: State) -> Policy:
        """The policy that is held, which is deterministic."""

        def act(carry: tuple, observation: PyTree, key: Key[Array, ""]) -> tuple[tuple, Array]:
            value = self.optimistic_value(state, state.held, state.held.params, flatten(observation, 0))
            return carry, jnp.argmax(value, -1)

        return Policy(lambda: (), act, act)

    def collect(self, state: State, key: Key[Array, ""]) -> tuple[EnvBatch, Replay, Array, Metrics]:
        """`T` steps of `N` environments by the held policy, kept and counted."""

        def act(carry: tuple, observation: PyTree, noise: Array) -> tuple[tuple, Array, tuple]:
            value = self.optimistic_value(state, state.held, state.held.params, flatten(observation))
            return carry, jnp.argmax(value, -1), ()

        params, nothing = self.params_of_env(state.hyperparams), jnp.zeros((self.config.num_steps, 0))
        envs, _, steps, metrics = rollout(self.env, params, act, (), state.envs, nothing, key)
        before, after = (flatten(x, 2) for x in (steps.observation, steps.next_observation))
        seen = write(state.seen, Transitions(before, steps.action, steps.reward, after))
        flat = lambda x: jnp.reshape(x, (-1, *x.shape[2:]))  # noqa: E731
        return envs, seen, with_steps(state.gram, state.features(flat(before)), flat(steps.action)), metrics

    def optimistic_value(
        self, state: State, held: Hypothesis, params: PyTree, observation: Float[Array, "*batch F"]
    ) -> Float[Array, "*batch A"]:
        """The network's value and the bonus."""
        bonus = jnp.sqrt(state.hyperparams.beta) * uncertainty(held.inverse, state.features(observation))
        return jnp.asarray(self.network.apply(params, observation)) + bonus

    def fit(self, state: State, held: Hypothesis, seen: Replay, key: Key[Array, ""]) -> Hypothesis:
        """The hypothesis with its network fitted to all that was seen."""

        def value(target: PyTree, observation: Array) -> Array:
            return jnp.max(self.optimistic_value(state, held, target, observation), -1)

        sizes = self.config.refit_steps, self.config.batch_size
        return refitted(self.network, value, held, seen, key, state.hyperparams, *sizes)

    def params_of_env(self, hyperparams: Hyperparams) -> PyTree:
        """The environment's params; a discount among its reward's is 1, as the reward rate has none."""
        params = self.env_params if hyperparams.env_params is None else hyperparams.env_params
        return bind_discount(params, 1.0)
