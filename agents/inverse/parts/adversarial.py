"""Adversarial imitation on rollouts: a discriminator learns, and PPO learns from what it says in place of the reward.

Of a game each agent has a policy of its own, as in independent PPO, and is judged by itself, by a judge of its own that
sees all agents, or all together by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agent import Agent
from jaxreward.agents.baselines import ippo
from jaxreward.agents.baselines.ippo import IPPO, independent
from jaxreward.agents.baselines.parts.demonstrated import (
    check_file,
    features_of,
    first_steps,
    moments_of,
    raw_action,
)
from jaxreward.agents.baselines.parts.on_policy import Metrics, State, on_policy
from jaxreward.agents.baselines.ppo import PPO, drift_of
from jaxreward.agents.inverse.parts import judge
from jaxreward.agents.inverse.parts.judge import Judge, JudgeState, Pairs
from jaxreward.contract.sizes import size
from jaxreward.environment import single_or_game
from jaxreward.learning.demonstrations import Demonstrations, read_demonstrations, transitions_of
from jaxreward.learning.networks import Head, flatten, head_for
from jaxreward.learning.normaliser import Moments, normalise
from jaxreward.learning.rollout import Trajectory
from jaxreward.names import check_name

Discriminators = Literal["decentralised", "decentralised_all", "centralised"]
"""Who judges in a game: each agent's own judge by what it saw and did, each its own by what all did, or one all."""
DISCRIMINATORS: tuple[str, ...] = get_args(Discriminators)


@dataclass(frozen=True)
class Config(judge.Config, ippo.Config):
    """What shapes the program: that of PPO, of a game that of independent PPO, and these.

    Attributes:
        discriminator_updates: Steps of the discriminator's Adam in an iteration.
        discriminator_batch: Steps of the policy, and as many of the demonstrations, for each.
        discriminators: Of a game, who judges: `decentralised`, each agent's own by what it saw and did;
            `decentralised_all`, each agent's own by what all saw and did; `centralised`, one for all.
    """

    discriminator_updates: int = size(8)
    discriminator_batch: int = size(256)
    discriminators: Discriminators = "decentralised"


class Steps(NamedTuple):
    """Steps of a policy or a demonstrator, `B` of them; of a game with what all agents saw and did.

    Attributes:
        features: What was seen.
        action: Raw actions, as a head has them.
        following: What followed; `()` where it isn't read, as what comes behind.
        terminated: Whether the episode ended there.
    """

    features: Float[Array, "*batch *n F"]
    action: Array
    following: PyTree = ()
    terminated: PyTree = ()


@dataclass(frozen=True)
class Reader:
    """How a judge reads steps.

    Attributes:
        head: Of one agent's actions.
        config: Sizes, and in a game who judges.
        agents: `(n,)` of a game, `()` of one agent.
        seen: Moments of what was demonstrated, by which what is seen is normalised; None to leave it.
        reads_on: Whether it reads what followed and how likely an action was, too.
    """

    head: Head
    config: Any
    agents: tuple[int, ...] = ()
    seen: Moments | None = None
    reads_on: bool = False

    def taken(self, trajectory: Trajectory) -> Steps:
        """The steps of a rollout, `B = T N`."""
        flat = lambda tree: jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), tree)  # noqa: E731
        features = lambda seen: flatten(flat(seen), 1 + len(self.agents))  # noqa: E731
        steps = Steps(features(trajectory.observation), raw_action(flat(trajectory.action), self.head))
        if not self.reads_on:
            return steps
        return steps._replace(
            following=features(trajectory.next_observation), terminated=trajectory.terminated.reshape(-1)
        )

    def pairs(self, steps: Steps, log_prob: Float[Array, "*batch *n"]) -> Pairs:
        """Steps as the judge reads them.

        Args:
            steps: With any axes of a batch.
            log_prob: Of what was done under the policy, of each agent.
        """
        pairs = Pairs(self.read(steps.features), self.arranged(self.as_numbers(steps.action)))
        if not self.reads_on:
            return pairs
        terminated = steps.terminated
        if self.agents and self.config.discriminators == "centralised":
            log_prob = log_prob.sum(-1)
        elif self.agents:
            terminated = jnp.broadcast_to(terminated[..., None], log_prob.shape)
        return pairs._replace(following=self.read(steps.following), terminated=terminated, log_prob=log_prob)

    def read(self, features: Float[Array, "*batch *n F"]) -> Float[Array, "*batch G"]:
        """What was seen, normalised if so configured."""
        return self.arranged(normalise(features, self.seen) if self.seen else features)

    def as_numbers(self, action: Array) -> Float[Array, "*batch *n A"]:
        """Raw actions as vectors, discrete ones one-hot."""
        return action if self.head.free else jax.nn.one_hot(action, self.head.size)

    def arranged(self, x: Float[Array, "*batch *n F"]) -> Float[Array, "*batch G"]:
        """Of a game what a judge sees: what is the agent's own, or what is all agents', once or for each."""
        if not self.agents or self.config.discriminators == "decentralised":
            return x
        joint = x.reshape(*x.shape[:-2], -1)
        if self.config.discriminators == "centralised":
            return joint
        return jnp.broadcast_to(joint[..., None, :], (*x.shape[:-1], joint.shape[-1]))

    def drawn(self, key: Key[Array, ""], steps: Steps, number: Any) -> Steps:
        """Some of the first so many steps, leaves `[U, B, ...]`, with replacement."""
        shape = self.config.discriminator_updates, self.config.discriminator_batch
        rows = jax.random.randint(key, shape, 0, number)
        return jax.tree.map(lambda leaf: leaf[rows], steps)


@dataclass(frozen=True)
class Adversary(Reader):
    """What judges steps, and the demonstrations that it learns from.

    Attributes:
        judge: It, or what is `n` of them.
        expert: The demonstrations, leaves `[N, *n, ...]`.
    """

    judge: Judge = field(kw_only=True)
    expert: Steps = field(kw_only=True)

    def init(self, key: Key[Array, ""]) -> JudgeState:
        """Draws params."""
        one = jax.tree.map(lambda leaf: leaf[:1], self.expert)
        return self.judge.init(key, self.pairs(one, jnp.zeros((1, *self.agents))))

    def train(
        self, state: JudgeState, taken: Steps, told: Callable[[Steps], Array], hyperparams: Any
    ) -> tuple[JudgeState, Metrics]:
        """Some updates of the judge.

        Args:
            state: Of the judge, whose own key draws.
            taken: What the policy did.
            told: The log-probability of what was done in such steps under the policy.
            hyperparams: Of both.
        """
        key, key_expert, key_policy = jax.random.split(state.key, 3)
        number = first_steps(hyperparams.num_demonstrations, len(self.expert.features))
        both = self.drawn(key_expert, self.expert, number), self.drawn(key_policy, taken, len(taken.features))
        expert, policy = (self.pairs(steps, told(steps)) for steps in both)
        return self.judge.train(state._replace(key=key), expert, policy, hyperparams)


class Imitates:
    """Before PPO, or independent PPO: it learns from what a judge says in place of the environment's reward."""

    adversary: Adversary

    def init(self, key: Key[Array, ""], hyperparams: Any) -> State:
        """As without a judge, and the judge."""
        key, key_judge = jax.random.split(key)
        state: State = super().init(key, hyperparams)  # type: ignore[misc]
        return state._replace(judge=self.adversary.init(key_judge))

    def learn(self, state: State, trajectory: Trajectory, key: Key[Array, ""]) -> tuple[State, Metrics]:
        """The judge learns from a rollout, then the policy from what the judge says of it."""
        adversary, taken = self.adversary, self.adversary.taken(trajectory)
        told = lambda steps: self.told(state, steps)  # noqa: E731
        judged, losses = adversary.train(state.judge, taken, told, state.hyperparams)
        reward = adversary.judge.reward(judged, adversary.pairs(taken, told(taken)), state.hyperparams)
        rewarded = trajectory._replace(reward=reward.reshape(*trajectory.done.shape, *reward.shape[1:]))
        after, learned = super().learn(state, rewarded, key)  # type: ignore[misc]
        return after._replace(judge=judged), {**learned, **losses, "discriminator/reward": reward.mean()}

    def told(self, state: State, steps: Steps) -> Float[Array, "*batch *n"]:
        """The log-probability of what was done under the policy; zeros where nobody reads it."""
        adversary = self.adversary
        batch = steps.features.shape[: steps.features.ndim - 1]
        if not adversary.reads_on:
            return jnp.zeros(batch)
        features = steps.features.reshape(-1, *steps.features.shape[-1 - len(adversary.agents) :])
        outputs = self.outputs(state, features)
        return adversary.head.distribution(outputs.reshape(*batch, -1)).log_prob(steps.action)

    def outputs(self, state: State, features: Float[Array, "B *n F"]) -> Float[Array, "B *n O"]:
        """The policy's, without a memory."""
        raise NotImplementedError


@dataclass(frozen=True)
class One(Imitates, PPO):
    """Of one agent."""

    adversary: Adversary

    def outputs(self, state: State, features: Float[Array, "B F"]) -> Float[Array, "B O"]:
        """The policy's, without a memory."""
        return self.forward(state.params, (), self.features(state, features))[1]


@dataclass(frozen=True)
class Several(Imitates, IPPO):
    """Of the agents of a game."""

    adversary: Adversary

    def outputs(self, state: State, features: Float[Array, "B n F"]) -> Float[Array, "B n O"]:
        """The policies', without a memory."""
        return self.forward(state, (), features)[1]


def adversarial(adversary: Adversary, env: Environment, env_params: PyTree, config: Config) -> Agent:
    """The agent of an algorithm that imitates.

    Args:
        adversary: What judges it, see `adversary_for`.
        env: A gymnax `Environment` with a `Discrete` or a `Box` action space; it may be a game.
        env_params: Its params.
        config: Sizes and architecture.
    """
    if adversary.agents:
        return independent(partial(Several, adversary=adversary), env, env_params, config)
    return on_policy(partial(One, drift=drift_of(config), adversary=adversary), env, env_params, config)


def adversary_for(
    env: Environment,
    env_params: PyTree,
    config: Config,
    make: Callable[[tuple[int, ...]], Judge],
    name: str,
    reads_on: bool = False,
) -> Adversary:
    """The judge and its demonstrations.

    Args:
        env: The environment.
        env_params: Its params.
        config: The demonstrations, sizes and architecture.
        make: Gives the judge, for an axis of agents.
        name: What the algorithm is called.
        reads_on: Whether the judge reads what followed and how likely an action was, too.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If there are no demonstrations or they are not of this environment, an option is unknown or of a
            game and the environment none, sizes do not divide, or the reward is a vector and the environment no game.
    """
    ippo.check_config(config)
    check_file(config, name)
    check_name("discriminators", config.discriminators, DISCRIMINATORS)
    env, agents = single_or_game(env, env_params)
    check_alone(env, config, agents)
    head = head_for(env.action_space(env_params))
    given = read_demonstrations(config.demonstrations, env, env_params)
    seen = moments_of(given, agents) if config.normalise_observations else None
    judge = make(() if config.discriminators == "centralised" else agents)
    expert = expert_of(given, head, agents, reads_on)
    return Adversary(head, config, agents, seen, reads_on, judge=judge, expert=expert)


def check_alone(env: Environment, config: Config, agents: tuple[int, ...]) -> None:
    """Refuses options of games where there is none."""
    for name in ("shared", "one_hot", "discriminators"):
        default, given = getattr(Config(), name), getattr(config, name)
        if not agents and given != default:
            raise ValueError(f"{name}={given} is for games, and {env.name} has one agent; leave it {default}")


def expert_of(given: Demonstrations, head: Head, agents: tuple[int, ...], reads_on: bool) -> Steps:
    """Demonstrations as an adversary has them; where it reads on, those steps of which is known what followed."""
    if not reads_on:
        return Steps(features(given.observation, agents), raw_action(jnp.asarray(given.action), head))
    steps = transitions_of(given)
    return Steps(
        features(steps.observation, agents),
        raw_action(jnp.asarray(steps.action), head),
        features(steps.next_observation, agents),
        jnp.asarray(steps.terminated),
    )


def features(observation: Any, agents: tuple[int, ...]) -> Float[Array, "N *n F"]:
    """What was seen, as a network reads it."""
    return jnp.asarray(features_of(observation, agents), float)
