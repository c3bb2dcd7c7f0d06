"""REINFORCE and one-step actor-critic on whole episodes: what BARFI is compared with.

Williams 1992; Sutton & Barto 2018, sections 13.3 and 13.5. As in the code of Gupta et al., NeurIPS 2023
(arXiv:2310.19007), neither weighs step `t` by `discount^t`, unless `discounted_scores` says so, and a policy linear in
features takes one step for some episodes. Which of that paper's baselines it is, is a matter of its reward: the
environment's own for the primary reward only, "auxiliary" for the naive sum, "auxiliary_potential" for potential
shaping ("auxiliary_potential_kept" with `weight="td_error"`, which bootstraps where an episode was cut).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.baselines.parts.learner import (
    Average,
    Learner,
    Metrics,
    Network,
    Optimiser,
    Scalar,
    ascent,
    make_learner,
    returns_to_go,
)
from jaxreward.contract.sizes import Sized, size
from jaxreward.environment import scalar_environment
from jaxreward.learning.episodes import Episodes, start_memories
from jaxreward.names import check_name
from jaxreward.reward import bind_discount

Weight = Literal["return", "td_error"]


@dataclass(frozen=True)
class Config(Sized):
    """What shapes the program.

    Attributes:
        num_envs: Episodes of an iteration.
        num_steps: The most steps of one, `T`.
        weight: What weighs the score of an action: "return", what followed it (REINFORCE), or "td_error", what its
            step was worth by a learned value (actor-critic).
        discounted_scores: Whether the score of step `t` is weighed by `discount^t`. The gradient is then that of the
            discounted return from the start (Sutton & Barto 2018, sections 13.3 and 13.5). Without, as most code has
            it, late steps count as much as early ones.
        used: How many of the episodes are learned from; 0 for all. The authors' REINFORCE uses 1 of 3.
        features: What policy and value see, see `jaxreward.agents.baselines.parts.learner.features_of`.
        layers: Widths of rectified linear layers between features and outputs.
        optimiser: Of policy and value, "rmsprop" or "adam" with PyTorch's defaults.
        average: See `Learner`.
    """

    needs_episodes: ClassVar[bool] = True

    num_envs: int = size(3)
    num_steps: int = size(50)
    weight: Weight = "return"
    discounted_scores: bool = False
    used: int = size(0, least=0)
    features: str = "auto"
    layers: tuple[int, ...] = size(())
    optimiser: Optimiser = "rmsprop"
    average: Average = "padded"


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        learning_rate: Of the policy.
        value_learning_rate: Of the value.
        discount: Per step.
        entropy_coefficient: Weight of the entropy bonus (the authors' actor-critic has none).
        max_grad_norm: Gradients are scaled down to this norm, those of policy and value each.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    learning_rate: Scalar = 5e-3
    value_learning_rate: Scalar = 5e-3
    discount: Scalar = 0.99
    entropy_coefficient: Scalar = 0.25
    max_grad_norm: Scalar = math.inf
    env_params: PyTree = None


class Params(NamedTuple):
    """Of the policy and of the value, `()` where there is none."""

    policy: PyTree
    value: PyTree


class State(NamedTuple):
    """Everything a run is made of; `ended` is what the rewards remember of earlier episodes."""

    params: Params
    optimisers: tuple[PyTree, PyTree]
    ended: tuple[PyTree, ...]
    hyperparams: Hyperparams
    key: Key[Array, ""]
    iteration: Int[Array, ""]


def reinforce(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A REINFORCE or actor-critic agent.

    Args:
        env: A gymnax `Environment` with a `Discrete` or a `Box` action space.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes, and what weighs scores.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If an option is unknown or does not fit the environment, or the reward is a vector.
    """
    check_name("weight", config.weight, get_args(Weight))
    check_name("optimiser", config.optimiser, get_args(Optimiser))
    if config.used > config.num_envs:
        raise ValueError(
            f"used={config.used} of num_envs={config.num_envs} episodes; give 0 (all) to {config.num_envs}"
        )
    env = scalar_environment(env, env_params)
    sizes = (config.num_envs, config.num_steps, config.average)
    learner = make_learner(env, env_params, config.features, config.layers, *sizes)
    algorithm = Reinforce(learner, env_params, config, Network(1, config.layers))
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


@dataclass(frozen=True)
class Reinforce:
    """The steps of the algorithm."""

    learner: Learner
    env_params: PyTree
    config: Config
    critic: Network

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> State:
        """Draws params."""
        key, key_policy, key_value = jax.random.split(key, 3)
        hyperparams = strong(hyperparams)
        env_params = self.params_of_env(hyperparams)
        value: PyTree = ()
        if self.config.weight == "td_error":
            value = self.critic.init(key_value, jnp.zeros(self.learner.num_features(env_params)))
        params = Params(self.learner.init(key_policy, env_params), value)
        optimisers = tuple(step.init(part) for step, part in zip(self.ascents(hyperparams), params, strict=True))
        ended = start_memories(self.learner.env, env_params, self.config.num_envs)
        return strong(State(params, optimisers, ended, hyperparams, key, jnp.zeros((), jnp.int32)))

    def step(self, state: State) -> tuple[State, Metrics]:
        """One iteration: play, weigh, take a step."""
        key, key_play = jax.random.split(state.key)
        env_params = self.params_of_env(state.hyperparams)
        ended, episodes, metrics = self.learner.play(state.params.policy, env_params, state.ended, key_play)
        gradient = jax.grad(self.objective)(state.params, self.used(episodes), state.hyperparams)
        parts = zip(self.ascents(state.hyperparams), gradient, state.optimisers, strict=True)
        changes, optimisers = zip(*(step.update(of, optimiser) for step, of, optimiser in parts), strict=True)
        params = optax.apply_updates(state.params, Params(*changes))
        return State(params, optimisers, ended, state.hyperparams, key, state.iteration + 1), metrics

    def policy(self, state: State) -> Policy:
        """The policy learned so far; its mode is the most likely action."""
        return self.learner.policy(state.params.policy)

    def used(self, episodes: Episodes) -> Episodes:
        """The last ones."""
        return jax.tree.map(lambda x: x[:, -self.config.used :], episodes)

    def objective(self, params: Params, episodes: Episodes, hyperparams: Hyperparams) -> Float[Array, ""]:
        """What the gradient ascends: the policy's surrogate, less the value's mean squared error."""
        steps, valid = episodes.steps, episodes.valid
        features = self.learner.read(steps.observation, 2)
        if self.config.weight == "return":
            weight, error = returns_to_go(steps.reward, hyperparams.discount), jnp.zeros(())
        else:
            weight = self.td_errors(params.value, features, episodes, hyperparams.discount)
            error = jnp.where(valid, weight**2, 0.0).sum() / jnp.maximum(valid.sum(), 1)
        if self.config.discounted_scores:
            weight = weight * (hyperparams.discount ** jnp.arange(len(weight)))[:, None]
        scores = (params.policy, features, episodes.extras, jax.lax.stop_gradient(weight), valid)
        return self.learner.surrogate(*scores, hyperparams.entropy_coefficient) - error

    def td_errors(
        self, value: PyTree, features: Float[Array, "T N F"], episodes: Episodes, discount: Scalar
    ) -> Float[Array, "T N"]:
        """`r + discount V(s') - V(s)`; what the value is moved towards has no gradient.

        What terminated is worth nothing from there on, what was truncated goes on. (The authors' code takes the time
        limit for a termination.)
        """
        steps = episodes.steps
        following = self.value(value, self.learner.read(steps.next_observation, 2))
        bootstrap = jnp.where(steps.terminated, 0.0, jax.lax.stop_gradient(following))
        return steps.reward + discount * bootstrap - self.value(value, features)

    def value(self, params: PyTree, features: Float[Array, "*batch F"]) -> Float[Array, "*batch"]:
        """The learned value."""
        return jnp.asarray(self.critic.apply(params, jnp.moveaxis(features, -1, 0)))[0]

    def params_of_env(self, hyperparams: Hyperparams) -> PyTree:
        """The environment's params, any discount among its reward's following the agent's."""
        params = self.env_params if hyperparams.env_params is None else hyperparams.env_params
        return bind_discount(params, hyperparams.discount)

    def ascents(self, hyperparams: Hyperparams) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
        """The optimisers of policy and value."""
        rates = (hyperparams.learning_rate, hyperparams.value_learning_rate)
        of_policy, of_value = (ascent(self.config.optimiser, rate, hyperparams.max_grad_norm) for rate in rates)
        return of_policy, of_value
