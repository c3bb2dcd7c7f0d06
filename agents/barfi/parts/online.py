"""A reward that is learned together with the policy, both moved once after each batch of fresh episodes.

The learned part is `z_phi(s, a)`, linear in features of the state for each action. The policy climbs the return under a
reward made with it, and `phi` the return under the environment's own, through what the policy's step made of `phi`.
What the reward is, and how that gradient is found, tells the agents apart: `jaxreward.agents.barfi.lirpg` and
`jaxreward.agents.barfi.bipars`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.baselines.parts.learner import (
    AUXILIARY,
    Average,
    Learner,
    Metrics,
    ascent,
    make_learner,
    returns_to_go,
)
from jaxreward.contract.sizes import Sized, size
from jaxreward.environment import scalar_environment
from jaxreward.learning.bilevel import unrolled_gradient
from jaxreward.learning.episodes import Episodes, start_memories
from jaxreward.names import check_name
from jaxreward.reward import bind_discount

Optimiser = Literal["sgd", "rmsprop"]
OPTIMISERS: dict[str, Callable[[], optax.GradientTransformation]] = {
    "sgd": optax.identity,
    # Its scale starts at 1 and has its constant inside the root, so that it has derivatives at gradients of zero.
    "rmsprop": lambda: optax.scale_by_rms(decay=0.99, eps=1e-5, initial_scale=1.0),
}
"""How the policy's step scales gradients, by name."""
Baseline = Literal["none", "mean"]


@dataclass(frozen=True)
class Config(Sized):
    """What shapes the program.

    Attributes:
        num_envs: Episodes of an iteration, `N`.
        num_steps: The most steps of one, `T`.
        features: What policy and learned reward see, see `jaxreward.agents.baselines.parts.learner.features_of`.
        layers: Widths of the policy's layers between features and outputs.
        average: Over which steps scores are averaged, see `Learner`.
        optimiser: Of the policy, through whose step `phi` is improved: "sgd", gradient ascent, as in the papers'
            formulas, or "rmsprop", as in the code of LIRPG's authors for Atari, all of whose derivatives are taken.
        baseline: What is subtracted from returns of either kind: the "mean" over the batch's steps, for the values that
            both papers' agents learn, or "none". `phi` is judged by the episodes that it was changed by, and without a
            baseline the grid world was not learned at the step sizes tried.
    """

    needs_episodes: ClassVar[bool] = True

    num_envs: int = size(3)
    num_steps: int = size(50)
    features: str = "auto"
    layers: tuple[int, ...] = size(())
    average: Average = "padded"
    optimiser: Optimiser = "sgd"
    baseline: Baseline = "mean"


class Batch(NamedTuple):
    """Fresh episodes.

    Attributes:
        features: What policy and learned reward see of the observations.
        action: Raw actions.
        primary: The environment's own reward, zero behind an episode's end.
        auxiliary: The auxiliary one, zero there and where the environment shows none.
        valid: Which steps belong to an episode.
        log_prob: Of the actions under the policy that played.
    """

    features: Float[Array, "T N F"]
    action: Array
    primary: Float[Array, "T N"]
    auxiliary: Float[Array, "T N"]
    valid: Bool[Array, "T N"]
    log_prob: Float[Array, "T N"]


class Actor(NamedTuple):
    """The policy's params and the state of their optimiser: what depends on `phi`."""

    params: PyTree
    optimiser: PyTree


class State(NamedTuple):
    """Everything a run is made of.

    Attributes:
        actor: The policy.
        phi: Params of the learned part of the reward.
        reward_optimiser: The state of their optimiser.
        jacobian: `d actor / d phi`, `[n_actor, n_phi]`, where it is carried along; `()` otherwise.
        ended: What the environment's rewards remember of earlier episodes.
        hyperparams: Those of the agent.
        key: For what comes.
        iteration: How many there were.
    """

    actor: Actor
    phi: PyTree
    reward_optimiser: PyTree
    jacobian: PyTree
    ended: tuple[PyTree, ...]
    hyperparams: Any
    key: Key[Array, ""]
    iteration: Int[Array, ""]

    @property
    def params(self) -> PyTree:
        """All that is learned."""
        return self.actor.params, self.phi


class Improvement(NamedTuple):
    """What a batch has taught: the gradient in `phi`, the policy after its step, and `State.jacobian` there."""

    phi_gradient: PyTree
    actor: Actor
    jacobian: PyTree = ()


Values = Float[Array, "T N"]
Combine = Callable[[Values, Batch, Any], Values]


@dataclass(frozen=True)
class Online:
    """The steps of the algorithm.

    Attributes:
        learner: The policy and its episodes.
        env_params: Params of the environment, unless the hyperparams have some.
        config: Its options.
        called: What `z` is called among the metrics.
        start: Where `z` starts, everywhere.
        combine: `(z, batch, hyperparams)` to the reward that the policy learns from.
        improve: `(online, state, batch)` to what the batch teaches.
        carries_jacobian: Whether `improve` carries one along.
        shows_values: Whether the policy sees `z` of all actions beside the features.
    """

    learner: Learner
    env_params: PyTree
    config: Config
    called: str
    start: float
    combine: Combine
    improve: Callable[[Online, State, Batch], Improvement]
    carries_jacobian: bool = False
    shows_values: bool = False

    def init(self, key: Key[Array, ""], hyperparams: Any) -> State:
        """Draws the policy's params; `z` is `start` everywhere."""
        key, key_params = jax.random.split(key)
        hyperparams = strong(hyperparams)
        env_params = self.params_of_env(hyperparams)
        phi = self.initial_phi(env_params)
        params = self.reader(phi).init(key_params, env_params)
        actor = Actor(params, self.step_scale.init(params))
        jacobian = jnp.zeros((_size(actor), _size(phi))) if self.carries_jacobian else ()
        reward_optimiser = self.reward_optimiser(hyperparams).init(phi)
        ended = start_memories(self.learner.env, env_params, self.learner.num_envs)
        zero = jnp.zeros((), jnp.int32)
        return strong(State(actor, phi, reward_optimiser, jacobian, ended, hyperparams, key, zero))

    def step(self, state: State) -> tuple[State, Metrics]:
        """One iteration: play, one step of the policy, one of the reward."""
        key, key_play = jax.random.split(state.key)
        env_params = self.params_of_env(state.hyperparams)
        ended, episodes, metrics = self.reader(state.phi).play(state.actor.params, env_params, state.ended, key_play)
        batch = self.batch(state, episodes)
        taught = self.improve(self, state, batch)
        optimiser = self.reward_optimiser(state.hyperparams)
        updates, reward_optimiser = optimiser.update(taught.phi_gradient, state.reward_optimiser)
        phi = optax.apply_updates(state.phi, updates)
        metrics |= self.metrics(state.phi, batch, taught)
        after = State(
            taught.actor, phi, reward_optimiser, taught.jacobian, ended, state.hyperparams, key, state.iteration + 1
        )
        return after, metrics

    def policy(self, state: State) -> Policy:
        """The policy learned so far; its mode is the most likely action."""
        return self.reader(state.phi).policy(state.actor.params)

    def batch(self, state: State, episodes: Episodes) -> Batch:
        """What is needed of episodes."""
        steps, valid = episodes.steps, episodes.valid
        features = self.learner.read(steps.observation, 2)
        auxiliary = jnp.where(valid, steps.info.get(AUXILIARY, 0.0), 0.0)
        seen = self.seen(state.phi, features)
        log_prob, _ = self.learner.scores(state.actor.params, seen, episodes.extras)
        return Batch(features, episodes.extras, steps.reward, auxiliary, valid, log_prob)

    def advance(self, actor: Actor, phi: PyTree, batch: Batch, hyperparams: Any) -> Actor:
        """The policy after a step up the return under the reward made with `phi`."""
        reward = self.combine(self.values(phi, batch), batch, hyperparams)
        weight = self.returns(reward, batch, hyperparams)
        seen = self.seen(phi, batch.features)
        surrogate = lambda params: self.learner.surrogate(  # noqa: E731
            params, seen, batch.action, weight, batch.valid, hyperparams.entropy_coefficient
        )
        scaled, optimiser = self.step_scale.update(jax.grad(surrogate)(actor.params), actor.optimiser)
        move = lambda x, direction: x + hyperparams.learning_rate * direction  # noqa: E731
        return Actor(jax.tree.map(move, actor.params, scaled), optimiser)

    def objective(self, params: PyTree, batch: Batch, hyperparams: Any) -> Float[Array, ""]:
        """What has the gradient of the environment's return at `params`, with ratios to the policy that played.

        That of the mean of `pi(a | s) / pi_played(a | s)` times the return; only its gradient means anything.
        """
        log_prob, _ = self.learner.scores(params, batch.features, batch.action)
        ratio = jax.lax.stop_gradient(jnp.where(batch.valid, jnp.exp(log_prob - batch.log_prob), 0.0))
        weight = ratio * self.returns(batch.primary, batch, hyperparams)
        return self.learner.surrogate(params, batch.features, batch.action, weight, batch.valid)

    def returns(self, reward: Float[Array, "T N"], batch: Batch, hyperparams: Any) -> Float[Array, "T N"]:
        """What followed each action, less the baseline."""
        returns = returns_to_go(jnp.where(batch.valid, reward, 0.0), hyperparams.discount)
        if self.config.baseline == "none":
            return returns
        return returns - jnp.where(batch.valid, returns, 0.0).sum() / jnp.maximum(batch.valid.sum(), 1)

    def all_values(self, phi: PyTree, features: Float[Array, "*batch F"]) -> Float[Array, "*batch A"]:
        """`z` of all actions; of continuous ones that of the middle of their range, `[..., 1]`."""
        values = features @ phi["kernel"]
        return values + jnp.broadcast_to(phi["bias"], values.shape)

    def values(self, phi: PyTree, batch: Batch) -> Values:
        """`z` of what was done."""
        values = self.all_values(phi, batch.features)
        if "action" in phi:
            return values[..., 0] + batch.action @ phi["action"]
        return jnp.take_along_axis(values, batch.action[..., None], -1)[..., 0]

    def seen(self, phi: PyTree, features: Float[Array, "*batch F"]) -> Float[Array, "*batch S"]:
        """What the policy sees."""
        if not self.shows_values:
            return features
        return jnp.concatenate([features, self.all_values(phi, features)], -1)

    def reader(self, phi: PyTree) -> Learner:
        """The learner whose policy sees what it is to."""
        features = lambda observation: self.seen(phi, self.learner.features(observation))  # noqa: E731
        return dataclasses.replace(self.learner, features=features)

    def initial_phi(self, env_params: PyTree) -> PyTree:
        """A weight of each feature for each action, or of features and actions where these are continuous."""
        head = self.learner.head
        size = self.learner.num_features(env_params)
        actions = 1 if head.free else head.size
        phi = {"kernel": jnp.zeros((size, actions)), "bias": jnp.full(actions, self.start)}
        return phi | ({"action": jnp.zeros(head.size)} if head.free else {})

    def metrics(self, phi: PyTree, batch: Batch, taught: Improvement) -> Metrics:
        """The mean of `z` over the steps of the batch, and the norm of the gradient in `phi`."""
        mean = jnp.where(batch.valid, self.values(phi, batch), 0.0).sum() / jnp.maximum(batch.valid.sum(), 1)
        return {
            f"outer/{self.called}": mean,
            "outer/gradient_norm": optax.tree.norm(taught.phi_gradient),
        }

    @property
    def step_scale(self) -> optax.GradientTransformation:
        """How the policy's step scales gradients."""
        return OPTIMISERS[self.config.optimiser]()

    def reward_optimiser(self, hyperparams: Any) -> optax.GradientTransformation:
        """RMSprop, as for BARFI's rewards."""
        return ascent("rmsprop", hyperparams.reward_learning_rate)

    def params_of_env(self, hyperparams: Any) -> PyTree:
        """The environment's params, any discount among its reward's following the agent's."""
        params = self.env_params if hyperparams.env_params is None else hyperparams.env_params
        return bind_discount(params, hyperparams.discount)


def through_one_step(online: Online, state: State, batch: Batch) -> Improvement:
    """The meta-gradient through the policy's step, on the batch it was made with.

    `dJ/dphi = (d theta' / d phi)^T dJ/d theta'`, where `theta` itself is taken not to depend on `phi`.
    """
    advance = lambda actor, phi, batch: online.advance(actor, phi, batch, state.hyperparams)  # noqa: E731
    objective = lambda actor: online.objective(actor.params, batch, state.hyperparams)  # noqa: E731
    inputs = jax.tree.map(lambda x: x[None], batch)
    return Improvement(*unrolled_gradient(advance, objective, state.actor, state.phi, inputs))


def make_agent(online: Online) -> Agent:
    """The agent of these steps."""
    return Agent(online.init, online.step, online.policy)


def learner_for(env: Environment, env_params: PyTree, config: Config) -> Learner:
    """The learner of a config.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If an option is unknown, an episode can be too long, or the reward is a vector.
    """
    check_name("optimiser", config.optimiser, get_args(Optimiser))
    check_name("baseline", config.baseline, get_args(Baseline))
    env = scalar_environment(env, env_params)
    sizes = (config.num_envs, config.num_steps, config.average)
    return make_learner(env, env_params, config.features, config.layers, *sizes)


def _size(tree: PyTree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
