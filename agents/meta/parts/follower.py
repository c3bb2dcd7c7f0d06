"""An agent that goes where a target objective says: its policy, its predictions, and one update of both.

`theta <- theta + rate grad mean[score log pi(a | s) - c KL(y(s) || y_hat)]` (Jackson et al., NeurIPS 2023,
arXiv:2310.02782, equation 2). What the objective reads of the agent has no gradient, what it says has one: an outer
loop may differentiate an update in the objective's params, or run many with those of many candidates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import Policy, strong
from jaxreward.agents.meta.parts.differentiable import adam_of_first_moments, bounded
from jaxreward.agents.meta.parts.follower_network import Network, network_for
from jaxreward.environment import select
from jaxreward.learning.evaluation import PREFIX, EvaluationConfig, evaluate_policy
from jaxreward.learning.networks import Head, head_for
from jaxreward.learning.objective import Lifetime, Objective, Targets
from jaxreward.learning.rollout import Act, EnvBatch, Trajectory, reset_batch, rollout

Metrics = dict[str, Float[Array, ""]]
Scalar = Float[Array, ""] | float


class Rates(Protocol):
    """The hyperparams that an update reads.

    Attributes:
        table_rate: Step size of a table's SGD.
        learning_rate: Of a network's Adam.
        prediction_scale: Step size of the predictions by that of the policy.
        prediction_weight: Weight of the predictions' divergence, `c`.
        max_grad_norm: A table's gradients are scaled down to this norm, those of policy and predictions each.
        discount: What the objective is told of it.
    """

    table_rate: Any
    learning_rate: Any
    prediction_scale: Any
    prediction_weight: Any
    max_grad_norm: Any
    discount: Any


class Params(NamedTuple):
    """Of the policy and of the predictions."""

    policy: PyTree
    prediction: PyTree


class Life(NamedTuple):
    """An agent between two updates: what it has learned, its optimisers, and where its environments stand."""

    params: Params
    optimisers: Params
    envs: EnvBatch


@dataclass(frozen=True)
class Follower:
    """How an agent lives under a target objective.

    Attributes:
        env: What it acts in.
        objective: What it follows.
        network: Of policy and predictions, each with params of its own.
        head: From the policy's outputs to actions.
        num_envs: Environments stepped in parallel, `N`.
        num_steps: Steps of each between two updates, `T`.
        predictions: Length of a prediction, `m`.
    """

    env: Environment
    objective: Objective
    network: Network
    head: Head
    num_envs: int
    num_steps: int
    predictions: int

    def init(self, key: Key[Array, ""], env_params: PyTree) -> Life:
        """A newborn agent."""
        key_policy, key_prediction, key_envs = jax.random.split(key, 3)
        sizes = (self.head.size, self.predictions)
        params = Params(*map(self.network.init, (key_policy, key_prediction), sizes))
        optimisers = Params(*map(self.scaling(1.0).init, params))
        return strong(Life(params, optimisers, reset_batch(self.env, env_params, self.num_envs, key_envs)))

    def update(
        self,
        life: Life,
        lifetime: Lifetime,
        objective_params: PyTree,
        env_params: PyTree,
        rates: Rates,
        key: Key[Array, ""],
    ) -> tuple[Life, Trajectory, Metrics]:
        """One update: a rollout, what the objective makes of it, a step; after the lifetime's end no step.

        Returns:
            The agent, the rollout and what to log.
        """
        envs, steps, episodes = self.collect(life, env_params, key)
        gradient, said = jax.grad(self.surrogate, has_aux=True)(life.params, steps, lifetime, objective_params, rates)
        params, optimisers = self.ascend(life, gradient, rates)
        alive = lifetime.step < lifetime.total
        kept = select(alive, (params, optimisers), (life.params, life.optimisers))
        moved = optax.tree.norm(jax.tree.map(jnp.subtract, kept[0].policy, life.params.policy))
        return Life(kept[0], kept[1], envs), steps, {**episodes, **said, "update/policy": moved}

    def live(
        self,
        life: Life,
        total: Int[Array, ""],
        objective_params: PyTree,
        env_params: PyTree,
        rates: Rates,
        key: Key[Array, ""],
    ) -> tuple[Life, Int[Array, ""]]:
        """A whole lifetime from its beginning, and how many updates it had; beside longer ones it stays as it ended."""

        def update(now: tuple[Life, Int[Array, ""]]) -> tuple[Life, Int[Array, ""]]:
            life, step = now
            lifetime, key_update = Lifetime(step, total), jax.random.fold_in(key, step)
            return self.update(life, lifetime, objective_params, env_params, rates, key_update)[0], step + 1

        return jax.lax.while_loop(lambda now: now[1] < total, update, (life, jnp.zeros((), jnp.int32)))

    def collect(self, life: Life, env_params: PyTree, key: Key[Array, ""]) -> tuple[EnvBatch, Trajectory, Metrics]:
        """`T` steps of `N` environments, through which nothing is differentiated."""
        key_noise, key_envs = jax.random.split(key)
        noise = self.head.noise(key_noise, (self.num_steps, self.num_envs))
        policy = jax.lax.stop_gradient(life.params.policy)
        envs, _, steps, metrics = rollout(self.env, env_params, self.acting(policy), (), life.envs, noise, key_envs)
        return envs, steps, metrics

    def acting(self, policy: PyTree) -> Act:
        """How a policy acts in many environments."""

        def act(carry: PyTree, observation: PyTree, noise: Array) -> tuple[PyTree, Array, tuple]:
            return carry, self.head.sample(self.network.apply(policy, observation, 1), noise), ()

        return act

    def surrogate(
        self, params: Params, steps: Trajectory, lifetime: Lifetime, objective_params: PyTree, rates: Rates
    ) -> tuple[Float[Array, ""], Metrics]:
        """What is ascended, `mean[score log pi - c KL(y || y_hat)]`, and what to log of it."""
        log_policy = self.log_policy(params.policy, steps.observation)
        log_prob = jnp.take_along_axis(log_policy, steps.action[..., None], -1)[..., 0]
        log_prediction = self.log_prediction(params.prediction, steps.observation)
        following = self.log_prediction(params.prediction, steps.next_observation)
        read = jax.lax.stop_gradient((jnp.exp(log_prob), jnp.exp(log_prediction), jnp.exp(following)))
        batch = Targets(steps.reward, steps.terminated, steps.truncated, *read, rates.discount)
        aims = self.objective.apply(objective_params, batch, lifetime)
        # An even prediction of a hand-made objective may hold an exact zero, whose logarithm would be no number.
        aim = jnp.log(jnp.maximum(aims.prediction, jnp.finfo(aims.prediction.dtype).tiny))
        divergence = (jnp.exp(log_prediction) * (log_prediction - aim)).sum(-1).mean()
        said = {
            "objective/score": jnp.abs(aims.score).mean(),
            "objective/squared_score": jnp.square(aims.score).mean(),
            "objective/squared_prediction": jnp.square(aims.prediction).sum(-1).mean(),
            "prediction/divergence": divergence,
            "prediction/entropy": entropy(log_prediction),
            "policy/entropy": entropy(log_policy),
        }
        return (log_prob * aims.score).mean() - rates.prediction_weight * divergence, said

    def log_policy(self, policy: PyTree, observation: PyTree) -> Float[Array, "T N A"]:
        """Log-probabilities of all actions."""
        return jax.nn.log_softmax(self.network.apply(policy, observation, 2))

    def log_prediction(self, prediction: PyTree, observation: PyTree) -> Float[Array, "T N m"]:
        """Logarithms of predictions."""
        return jax.nn.log_softmax(self.network.apply(prediction, observation, 2))

    def ascend(self, life: Life, gradient: Params, rates: Rates) -> tuple[Params, Params]:
        """Params and optimisers after a step."""
        rate = rates.table_rate if self.network.is_table else rates.learning_rate
        scaling = self.scaling(rates.max_grad_norm)
        parts = zip(gradient, life.optimisers, strict=True)
        changes, optimisers = zip(*(scaling.update(*part) for part in parts), strict=True)
        of_each = (rate, rate * rates.prediction_scale)
        moved = (
            jax.tree.map(lambda x, change, rate=rate: x + rate * change, *part)
            for part, rate in zip(zip(life.params, changes, strict=True), of_each, strict=True)
        )
        return Params(*moved), Params(*optimisers)

    def scaling(self, max_grad_norm: Scalar) -> optax.GradientTransformation:
        """How gradients are scaled: a table's bounded in norm, a network's by Adam."""
        return bounded(max_grad_norm) if self.network.is_table else adam_of_first_moments()

    def policy(self, policy: PyTree) -> Policy:
        """The policy of some params; its mode is the most likely action."""

        def act(carry: tuple, observation: PyTree, key: Key[Array, ""]) -> tuple[tuple, Array]:
            return carry, self.head.sample(self.network.apply(policy, observation, 0), self.head.noise(key, ()))

        def mode(carry: tuple, observation: PyTree, key: Key[Array, ""]) -> tuple[tuple, Array]:
            return carry, jnp.argmax(self.network.apply(policy, observation, 0)).astype(jnp.int32)

        return Policy(lambda: (), act, mode)

    def evaluate(
        self, policy: PyTree, env_params: PyTree, num_steps: int, episodes: int, key: Key[Array, ""]
    ) -> Metrics:
        """What fresh episodes of at most so many steps come to, as `episode/NAME`."""
        how = EvaluationConfig(episodes=episodes, steps=num_steps, sampled=True)
        told = evaluate_policy(self.env, env_params, self.policy(policy), key, how)
        means = {f"episode/{name.removeprefix(PREFIX)}": value for name, value in told.items()}
        return {"episode/count": jnp.asarray(episodes, float), **means}


def entropy(log_probs: Float[Array, "*batch K"]) -> Float[Array, ""]:
    """The mean entropy of distributions."""
    return -(jnp.exp(log_probs) * log_probs).sum(-1).mean()


def follower(
    env: Environment,
    env_params: PyTree,
    objective: Objective,
    network: str,
    layers: tuple[int, ...],
    sizes: tuple[int, int, int],
    agent: str,
) -> Follower:
    """A follower for an environment.

    Args:
        env: With a `Discrete` action space.
        env_params: Its params.
        objective: What is followed.
        network: See `network_for`.
        layers: See `network_for`.
        sizes: `num_envs`, `num_steps` and `predictions`.
        agent: Who asks, for the message.

    Raises:
        TypeError: If actions are not discrete.
        ValueError: If there is no such network.
    """
    space = env.action_space(env_params)
    if not isinstance(space, spaces.Discrete):
        raise TypeError(f"{agent} reads the probability of an action; {env.name} has a {type(space).__name__}")
    return Follower(env, objective, network_for(env, env_params, network, layers), head_for(space), *sizes)
