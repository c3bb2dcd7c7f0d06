"""Agents of a game that share one policy and no critic: each is told how it did among the others, its group.

The steps are those of independent PPO with shared networks (`jaxreward.agents.baselines.ippo`), but for the advantages.
Where there is one agent the group are copies of its environment: see `jaxreward.agents.dispatch.parts.copies`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.baselines.ippo import IPPO
from jaxreward.agents.baselines.parts.on_policy import Batch, Metrics, Scalar, State, check_activation
from jaxreward.agents.baselines.ppo import PPO
from jaxreward.agents.dispatch.parts.actor import Actor
from jaxreward.agents.dispatch.parts.dealing import dealing_head
from jaxreward.contract.sizes import Sized, size
from jaxreward.environment import game_environment, reward_shape
from jaxreward.learning.minibatch import check_minibatches
from jaxreward.learning.networks import ACTIVATIONS, Head, head_for, unroll
from jaxreward.learning.rollout import Trajectory


@dataclass(frozen=True)
class Config(Sized):
    """What shapes the program.

    Attributes:
        num_envs: Games played in parallel, `N`.
        num_steps: Steps of each between two updates, `T`.
        num_epochs: Passes over the `T N n` steps of agents.
        num_minibatches: Parts of a pass; divides `T N`.
        layers: Widths of the policy's hidden layers.
        activation: Between them, a name in `jaxreward.learning.networks.ACTIVATIONS`.
        normalise_observations: Whether to centre and scale observations by their running moments.
        dispatch: Whether agents choose as a fleet does: what one sees has a row for each choice but the last, which is
            none; a network scores each row, and the choices of all agents are dealt such that no two have the same, as
            many as can have one, and scores sum to the most. Only agents that got one are compared, and learn; what
            whole episodes earned (`advantage="outcome"` of `grpo`) is compared among all, and told to those.
    """

    num_envs: int = size(64)
    num_steps: int = size(30)
    num_epochs: int = size(4)
    num_minibatches: int = size(4)
    layers: tuple[int, ...] = size((64, 64))
    activation: str = "tanh"
    normalise_observations: bool = False
    dispatch: bool = False
    memory: ClassVar[int] = 0
    centring: ClassVar[bool] = False
    shared: ClassVar[bool] = True
    one_hot: ClassVar[bool] = False


@struct.dataclass
class Hyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        learning_rate: Adam's step size.
        discount: Per step; rewards with an `AgentDiscount` follow it.
        clip: How far the probability ratio may fall from 1.
        clip_above: How far it may rise.
        entropy_coefficient: Weight of the entropy bonus.
        spread_coefficient: How much of the growth of the spread of the agents' returns, a standard deviation, is taken
            from all advantages of a step; 0 for none.
        max_grad_norm: Gradients are scaled down to this global norm.
        anneal_iterations: The learning rate falls linearly to zero over so many iterations; infinity to keep it.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    learning_rate: Scalar = 3e-4
    discount: Scalar = 0.99
    clip: Scalar = 0.2
    clip_above: Scalar = 0.28
    entropy_coefficient: Scalar = 0.0
    spread_coefficient: Scalar = 1.0
    max_grad_norm: Scalar = 1.0
    anneal_iterations: Scalar = math.inf
    env_params: PyTree = None


def standardised(x: Float[Array, "*batch n"], counted: Bool[Array, "*batch n"]) -> Float[Array, "*batch n"]:
    """How many standard deviations each is above the mean of those in its row that count; 0 of those that don't."""
    number = jnp.maximum(counted.sum(-1, keepdims=True), 1)
    off = jnp.where(counted, x - jnp.where(counted, x, 0).sum(-1, keepdims=True) / number, 0.0)
    spread = jnp.sqrt(jnp.square(off).sum(-1, keepdims=True) / number)
    # What rounding leaves of equal numbers would be as far apart as any others.
    rounding = 32 * jnp.finfo(spread.dtype).eps * jnp.abs(jnp.where(counted, x, 0)).max(-1, keepdims=True)
    return jnp.where(spread > rounding, off / (spread + 1e-8), 0.0)


def spread_growth(
    reward: Float[Array, "T N n"], done: Bool[Array, "T N"], before: Float[Array, "N n"]
) -> Float[Array, "T N"]:
    """By how much each step makes the standard deviation over agents of what they earned in the episode grow.

    Args:
        reward: What each was paid.
        done: Whether the episode ended there.
        before: What each had earned in the episode before the first step.
    """

    def step(earned: Array, x: tuple[Array, Array]) -> tuple[Array, Array]:
        reward, done = x
        now = earned + reward
        return jnp.where(done[:, None], 0.0, now), now.std(-1) - earned.std(-1)

    return jax.lax.scan(step, before, (reward, done))[1]


@dataclass(frozen=True)
class Group(PPO):
    """What the one learner of all agents does; an algorithm says what an agent is told of its group.

    Attributes:
        agents: How many there are, `n`.
    """

    config: Any
    agents: int

    @abstractmethod
    def relative(
        self,
        reward: Float[Array, "T N n"],
        done: Bool[Array, "T N n"],
        counted: Bool[Array, "T N n"],
        hyperparams: Hyperparams,
    ) -> Float[Array, "T N n"]:
        """How agents did in a step among those of their game that count in it."""

    def learn(self, state: State, trajectory: Trajectory, key: Key[Array, ""]) -> tuple[State, Metrics]:
        """What a rollout teaches, and what to log; nothing of values, as there are none."""
        after, metrics = super().learn(state, trajectory, key)
        del metrics["value/explained_variance"]
        return after, metrics

    def advantages(self, state: State, trajectory: Trajectory) -> tuple[Batch, None]:
        """How each agent did among the others of its game in the same step."""
        features = self.features(state, trajectory.observation, 2)
        by_group = lambda x: x.reshape(len(x), -1, self.agents)  # noqa: E731
        reward, done = by_group(trajectory.reward), by_group(trajectory.done)
        action, outputs = trajectory.extras
        counted = self.counted(by_group(action), done)
        found = self.relative(reward, done, counted, state.hyperparams) - self.held_against(state, reward, done)
        found = jnp.where(counted, found, 0.0)
        advantage, zeros = found.reshape(trajectory.reward.shape), jnp.zeros_like(trajectory.reward)
        log_prob = self.head.distribution(outputs).log_prob(action)
        counted = counted.reshape(advantage.shape)
        return Batch(features, action, log_prob, zeros, advantage, zeros > 0, (), counted), None

    def counted(self, action: Array, done: Bool[Array, "T N n"]) -> Bool[Array, "T N n"]:
        """Which agents are compared in a step: all, or where choices are dealt those that got one."""
        return action != self.head.size - 1 if self.config.dispatch else jnp.ones_like(done)

    def held_against(
        self, state: State, reward: Float[Array, "T N n"], done: Bool[Array, "T N n"]
    ) -> Float[Array, "T N 1"]:
        """What is taken from all advantages of a step, in which returns drift apart."""
        growth = spread_growth(reward, done[..., 0], self.earned(state))[..., None]
        return state.hyperparams.spread_coefficient * growth

    def earned(self, state: State) -> Float[Array, "N n"]:
        """What each agent earned in its episode before a rollout."""
        running = state.envs.running
        return jnp.stack([running[f"return/{agent}"] for agent in range(self.agents)], -1)

    def loss(
        self, params: PyTree, batch: Batch, hyperparams: Any, iteration: Int[Array, ""] | int = 0
    ) -> tuple[Float[Array, ""], Metrics]:
        """The surrogate with an entropy bonus, both of the steps that count, and what to log of them."""
        _, outputs, _ = unroll(self.forward, params, (), batch.features, batch.start)
        total, metrics = self.policy_loss(outputs, batch, batch.advantage, hyperparams, iteration)
        # The surrogate is a mean over all steps, 0 at those that don't count, and so is the bonus.
        share = jnp.mean(jnp.asarray(batch.counted, total.dtype))
        return total - hyperparams.entropy_coefficient * share * metrics["policy/entropy"], metrics

    def limits(self, hyperparams: Hyperparams) -> tuple[Scalar, Scalar]:
        """Another one above than below (DAPO's "clip higher")."""
        return hyperparams.clip, hyperparams.clip_above


def grouped(kind: Callable[..., Group], env: Environment, env_params: PyTree, config: Config, name: str) -> Agent:
    """The agent of an algorithm that compares the agents of a game.

    Args:
        kind: The algorithm, see `Group`.
        env: A game of two agents or more, each paid for itself.
        env_params: Its params.
        config: Sizes and architecture.
        name: What the algorithm is called.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If sizes do not divide, the activation is unknown, the environment has one agent or pays all alike,
            or what agents see has no rows for their choices where it is to have.
    """
    sizes: Any = config  # of IPPO's config it has what is read there
    env, agents = game_environment(env, env_params)
    if agents < 2 or not reward_shape(env, env_params):
        what = "has one agent" if agents < 2 else "pays all agents alike, one reward ()"
        raise ValueError(
            f"{env.name} {what}, and {name} learns from how agents of a game differ in what they are paid; expected a "
            "reward for each of 2 agents or more; use ippo"
        )
    head = head_for(env.action_space(env_params))
    if config.dispatch:
        check_rows(env, env_params, config, head)
        head = dealing_head(head.size)
    algorithm = IPPO(learner_for(kind, env, env_params, config, head, agents), sizes, agents)
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


def learner_for(
    kind: Callable[..., Group], env: Environment, env_params: PyTree, config: Config, head: Head, agents: int
) -> Group:
    """What learns, with a policy that has no critic, for groups of so many.

    Raises:
        ValueError: If sizes do not divide, or the activation is unknown.
    """
    check_minibatches(config.num_minibatches, config.num_envs * config.num_steps, "num_envs * num_steps")
    check_activation(config.activation)
    network = Actor(head.size, head.free, config.layers, ACTIVATIONS[config.activation], config.dispatch)
    return kind(env, env_params, config, head, network, None, agents)


def check_rows(env: Environment, env_params: PyTree, config: Config, head: Head) -> None:
    """Refuses to deal choices where they have no rows.

    Raises:
        ValueError: Actions are not discrete, what one agent sees is no array with a row for each choice but the last,
            or rows are to be normalised.
    """
    seen = jax.eval_shape(lambda: env.reset_env(jax.random.key(0), env_params)[0])
    shapes = [leaf.shape[1:] for leaf in jax.tree.leaves(seen)]
    if head.free or len(shapes) != 1 or len(shapes[0]) < 2 or shapes[0][0] != head.size - 1:
        what = "continuous actions" if head.free else f"{head.size} actions and shows {', '.join(map(str, shapes))}"
        raise ValueError(
            f"dispatch=True needs discrete actions and a row of what an agent sees for each but the last, and "
            f"{env.name} has {what}; leave it False, or take games/fleet"
        )
    if config.normalise_observations:
        raise ValueError(
            "normalise_observations=True would move the numbers that say what can be chosen with dispatch=True; "
            "leave it False"
        )
