"""LPG's agent: it goes where a target objective says, one that was learned or one that is written by hand.

The objective reads a rollout backwards and says of each step how much more likely its action is to become, and what the
agent's prediction in that state should be (Oh et al., NeurIPS 2020, arXiv:2007.08794); it may know how much of the
agent's lifetime has passed (TA-LPG, Jackson et al., ICLR 2024, arXiv:2402.05828). `lpg_meta` and `lpg_es` learn one.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.meta.parts.follower import Follower, Life, Metrics, Params, Scalar, follower
from jaxreward.agents.meta.parts.objectives import ACTOR_CRITIC, get_targets
from jaxreward.contract.sizes import Sized, size
from jaxreward.environment import scalar_environment
from jaxreward.learning.learned_drifts import digest_of
from jaxreward.learning.lifetimes import Lived
from jaxreward.learning.objective import Lifetime, Objective, Targets
from jaxreward.learning.rollout import EnvBatch
from jaxreward.reward import bind_discount


@dataclass(frozen=True)
class Config(Lived, Sized):
    """What shapes the program; defaults are GROOVE's (arXiv:2310.02782, tables 2 and 3).

    Attributes:
        num_envs: Environments stepped in parallel, `N`.
        num_steps: Steps of each between two updates, `T`.
        objective: What is followed: "actor_critic", one that was learned, or a user's own, see
            `jaxreward.agents.meta.parts.objectives.get_targets`.
        predictions: Length of a prediction, `m`.
        network: Of policy and predictions, "table" or "mlp"; "auto" for what fits the environment.
        layers: Widths of the hidden layers of "mlp".
        objective_digest: Of its file, if it is in one, filled in when a run begins: it doesn't go on with another.
    """

    num_envs: int = size(64)
    num_steps: int = size(20)
    objective: str = ACTOR_CRITIC
    predictions: int = size(8, least=2)
    network: str = "auto"
    layers: tuple[int, ...] = size((32,))
    objective_digest: str = ""

    def for_env(self, env: Environment, env_params: PyTree) -> Self:
        """The config with the digest of its objective's file."""
        del env, env_params
        return dataclasses.replace(self, objective_digest=digest_of(self.objective))

    def targets(self) -> Objective:
        """The objective.

        Raises:
            ValueError: There is none of that name.
        """
        return get_targets(self.objective, self.predictions)

    def with_numbers(self, hyperparams: Any) -> Any:
        """The hyperparams with the objective's params in them, those that it has unless something else is said."""
        return dataclasses.replace(hyperparams, objective=self.targets().init(jax.random.key(0)))

    def followed(self) -> tuple[Objective, Targets]:
        """The objective, and a batch to trace it with."""
        return self.targets(), one_step(self.predictions)


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        table_rate: Step size of a table, by gradient ascent.
        learning_rate: Step size of a network, by Adam.
        prediction_scale: Step size of the predictions by that of the policy; 1 in the paper, 0.1 in GROOVE's code.
        prediction_weight: Weight of the divergence of predictions from what is asked for, `alpha_y`.
        max_grad_norm: A table's gradients are scaled down to this norm, those of policy and predictions each.
        discount: What the objective is told of it; rewards with an `AgentDiscount` follow it.
        lifetime: How many iterations there will be in all, `N`; after them the agent learns no more. Where it is
            infinite and the objective asks, a run that is begun by name knows its length, see
            `jaxreward.run.spec.resolve`.
        objective: Params of the objective; None for its own.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    table_rate: Scalar = 40.0
    learning_rate: Scalar = 1e-3
    prediction_scale: Scalar = 1.0
    prediction_weight: Scalar = 0.5
    max_grad_norm: Scalar = 0.5
    discount: Scalar = 0.99
    lifetime: Scalar = math.inf
    objective: PyTree = None
    env_params: PyTree = None


class State(NamedTuple):
    """Everything a run is made of."""

    params: Params
    optimisers: Params
    envs: EnvBatch
    hyperparams: Hyperparams
    key: Key[Array, ""]
    iteration: Int[Array, ""]


def lpg(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An agent that follows a target objective.

    It logs `objective/score`, the mean size of what is said of actions, `prediction/divergence`, how far predictions
    are from what is asked for, the entropies of both, and `update/policy`, how far an update moved the policy's params.

    Args:
        env: With a `Discrete` action space.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes, and what is followed.

    Raises:
        TypeError: If actions are not discrete.
        ValueError: If an option is unknown, the objective is of another length of predictions, or the reward is a
            vector.
    """
    env = scalar_environment(env, env_params)
    sizes = (config.num_envs, config.num_steps, config.predictions)
    lives = follower(env, env_params, config.targets(), config.network, config.layers, sizes, "lpg")
    algorithm = LPG(lives, env_params)
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


@dataclass(frozen=True)
class LPG:
    """The steps of the algorithm."""

    lives: Follower
    env_params: PyTree

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> State:
        """Draws params and start states."""
        key, key_life = jax.random.split(key)
        hyperparams = strong(hyperparams)
        life = self.lives.init(key_life, self.params_of_env(hyperparams))
        return strong(State(*life, hyperparams, key, jnp.zeros((), jnp.int32)))

    def step(self, state: State) -> tuple[State, Metrics]:
        """One update."""
        key, key_update = jax.random.split(state.key)
        hyperparams = state.hyperparams
        lifetime = Lifetime(state.iteration, jnp.asarray(hyperparams.lifetime))
        asked = self.lives.objective.init(jax.random.key(0)) if hyperparams.objective is None else hyperparams.objective
        life = Life(state.params, state.optimisers, state.envs)
        env_params = self.params_of_env(hyperparams)
        life, _, metrics = self.lives.update(life, lifetime, asked, env_params, hyperparams, key_update)
        steps = jnp.asarray(self.lives.num_envs * self.lives.num_steps, jnp.int32)
        return State(*life, hyperparams, key, state.iteration + 1), {"env_steps": steps, **metrics}

    def policy(self, state: State) -> Policy:
        """The policy learned so far; its mode is the most likely action."""
        return self.lives.policy(state.params.policy)

    def params_of_env(self, hyperparams: Hyperparams) -> PyTree:
        """The environment's params, any discount among its reward's following the agent's."""
        params = self.env_params if hyperparams.env_params is None else hyperparams.env_params
        return bind_discount(params, hyperparams.discount)


def one_step(predictions: int) -> Targets:
    """A batch to trace an objective with."""
    number, flag, even = jnp.ones((1, 1)), jnp.zeros((1, 1), bool), jnp.full((1, 1, predictions), 1 / predictions)
    return Targets(number, flag, flag, number, even, even, 0.99)
