"""Deep Q-networks (Mnih et al. 2015, "Human-level control through deep reinforcement learning").

With what came later as options: double targets (van Hasselt et al. 2016, arXiv:1509.06461), a value and advantages
(duelling, Wang et al. 2016, arXiv:1511.06581), several steps (Hessel et al. 2018, arXiv:1710.02298), and rewards less
their rate where no episode ends (Naik et al. 2024). Many environments may fill one ring of transitions.
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

from jaxreward.agent import Agent, Policy
from jaxreward.agents.baselines.parts import off_policy
from jaxreward.agents.baselines.parts.action_values import adam, greedy_policy, huber, network_for, value_of
from jaxreward.agents.baselines.parts.off_policy import Metrics, Scalar
from jaxreward.contract.sizes import size
from jaxreward.contract.wrappers import check_never_ends
from jaxreward.learning.centring import Average, averaged, no_average
from jaxreward.learning.exploration import epsilon_greedy, linear
from jaxreward.learning.n_step import Batch
from jaxreward.learning.targets import periodic_update


@dataclass(frozen=True)
class Config(off_policy.Config):
    """What shapes the program; sizes of the loop are in `jaxreward.agents.baselines.parts.off_policy.Config`.

    Attributes:
        layers: Widths of the hidden layers.
        activation: Between them, a name in `jaxreward.learning.networks.ACTIVATIONS`.
        duelling: Whether the network has a value and an advantage of each action.
        double: Whether the action that is bootstrapped from is the learned network's choice, not the target's.
        centring: Whether to learn from rewards less their rate, in an environment that never ends; with a discount of
            1 it is the reward rate that is maximised.
    """

    layers: tuple[int, ...] = size((64, 64))
    activation: str = "relu"
    duelling: bool = False
    double: bool = True
    centring: bool = False


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        learning_rate: Adam's step size.
        discount: Per step; rewards with an `AgentDiscount` follow it.
        epsilon_start: How often an action is random at first, behind the warm-up.
        epsilon_end: How often in the end.
        epsilon_steps: Environment steps that it takes to get there.
        target_period: Every how many updates the target network is moved.
        target_step: How far: 1 makes it the learned one, a small part at each update follows it softly.
        huber_delta: Errors beyond this count linearly; infinity for their square.
        max_grad_norm: Gradients are scaled down to this global norm.
        rate_step: With centring, how far an update moves the reward rate.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    learning_rate: Scalar = 1e-3
    discount: Scalar = 0.99
    epsilon_start: Scalar = 1.0
    epsilon_end: Scalar = 0.05
    epsilon_steps: Scalar = 10_000.0
    target_period: Scalar = 1.0
    target_step: Scalar = 0.05
    huber_delta: Scalar = math.inf
    max_grad_norm: Scalar = 10.0
    rate_step: Scalar = 0.01
    env_params: PyTree = None


class Learner(NamedTuple):
    """What is learned; `rate` where rewards are centred."""

    params: PyTree
    target: PyTree
    optimiser: PyTree
    rate: Average | None
    updates: Int[Array, ""]


def dqn(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A DQN agent.

    Args:
        env: A gymnax `Environment` with a `Discrete` action space.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes and architecture.

    Raises:
        TypeError: If actions are not discrete.
        ValueError: If sizes do not fit together, the activation is unknown, convolutions do not fit what is observed,
            the reward is a vector, or it is to be centred and the environment has episodes.
    """
    if config.centring:
        check_never_ends(env, "centring=True")

    def make(env: Environment, env_params: PyTree) -> DQN:
        return DQN(config, network_for(env, env_params, "dqn", config, duelling=config.duelling))

    return off_policy.off_policy(env, env_params, config, make, "dqn")


@dataclass(frozen=True)
class DQN:
    """The steps of the algorithm; a variant overrides one.

    Attributes:
        config: Sizes and architecture.
        network: `ActionValues`, or what a variant reads with.
    """

    config: Config
    network: Any

    def start(self, key: Key[Array, ""], observation: PyTree, hyperparams: Hyperparams) -> Learner:
        """Draws params; the target's are the same."""
        return self.learner(self.network.init(key, self.network.read(observation)), hyperparams)

    def learner(self, params: PyTree, hyperparams: Hyperparams) -> Learner:
        """With these params, before the first update."""
        rate = no_average() if self.config.centring else None
        return Learner(params, params, self.optimiser(hyperparams).init(params), rate, jnp.zeros((), jnp.int32))

    def noise(self, key: Key[Array, ""], shape: tuple[int, int]) -> Float[Array, "T N"]:
        """What decides whether to explore, and how."""
        return jax.random.uniform(key, shape)

    def act(
        self, learner: Learner, hyperparams: Hyperparams, taken: Scalar, observation: PyTree, noise: Float[Array, " N"]
    ) -> Int[Array, " N"]:
        """The best action, or any."""
        schedule = hyperparams.epsilon_start, hyperparams.epsilon_end, hyperparams.epsilon_steps
        return epsilon_greedy(self.values(learner.params, observation), noise, linear(*schedule, taken))

    def update(
        self, learner: Learner, hyperparams: Hyperparams, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Learner, Metrics]:
        """A step of Adam towards what the target network makes of the transitions, and of the target after it."""
        del key
        goal = self.goal(learner, batch)
        (loss, value), grads = jax.value_and_grad(self.loss, has_aux=True)(learner.params, batch, goal, hyperparams)
        updates, optimiser = self.optimiser(hyperparams).update(grads, learner.optimiser)
        params = optax.apply_updates(learner.params, updates)
        number = learner.updates + 1
        moved = number, hyperparams.target_period, hyperparams.target_step
        target = periodic_update(params, learner.target, *moved)
        metrics = {"loss/value": loss, "value/mean": value.mean()}
        rate = learner.rate
        if rate is not None:
            error = (goal - value).sum() / batch.weight.sum()
            rate = averaged(rate, rate.value + error, hyperparams.rate_step)
            metrics["rate"] = rate.value
        return Learner(params, target, optimiser, rate, number), metrics

    def goal(self, learner: Learner, batch: PyTree) -> Float[Array, "*batch"]:
        """What values are moved towards: what was paid, and what the target network makes of what followed."""
        following = self.values(learner.target, batch.next_observation)
        chooser = self.values(learner.params, batch.next_observation) if self.config.double else following
        bootstrap = value_of(following, jnp.argmax(chooser, -1))
        reward = batch.reward - learner.rate.value * batch.weight if learner.rate else batch.reward
        return reward + batch.discount * bootstrap

    def loss(
        self, params: PyTree, batch: PyTree, goal: Float[Array, "*batch"], hyperparams: Hyperparams
    ) -> tuple[Float[Array, ""], Float[Array, "*batch"]]:
        """The mean loss of the values' errors, and the values."""
        value = value_of(self.values(params, batch.observation), batch.action)
        return huber(goal - value, hyperparams.huber_delta).mean(), value

    def values(self, params: PyTree, observation: PyTree) -> Float[Array, "B A"]:
        """Of each action."""
        return jnp.asarray(self.network.apply(params, self.network.read(observation)))

    def policy(self, learner: Learner, hyperparams: Hyperparams) -> Policy:
        """The best action, or any as often as in the end of training."""
        return greedy_policy(self.network, learner.params, hyperparams.epsilon_end)

    def optimiser(self, hyperparams: Hyperparams) -> optax.GradientTransformation:
        """Adam with gradients clipped."""
        return adam(hyperparams.learning_rate, hyperparams.max_grad_norm)
