"""Independent PPO: each agent of a game learns by itself, as if the others were part of the environment.

De Witt et al., "Is Independent Learning All You Need in the StarCraft Multi-Agent Challenge?", 2020, arXiv:2011.09533.
Agents have networks of their own, or share one. A learner is `jaxreward.agents.baselines.ppo.PPO` as it is, with as
many columns of steps as there are environments times agents that it learns for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.baselines import ppo
from jaxreward.agents.baselines.parts.on_policy import Metrics, State, actor_critic, iterated
from jaxreward.agents.baselines.ppo import PPO, Hyperparams, check_config, drift_of
from jaxreward.contract.wrappers import check_never_ends
from jaxreward.environment import game_environment
from jaxreward.learning.networks import flatten, head_for
from jaxreward.learning.rollout import EnvBatch, Trajectory, reset_batch, rollout

_SHARED: dict[str, Any] = dict.fromkeys(("envs", "hyperparams", "key", "iteration", "judge"))
_BY_LEARNER = State(**{name: 0 for name in State._fields} | _SHARED)
"""What of a state has a leading axis of learners, 0, or is the same for all, None."""


@dataclass(frozen=True)
class Config(ppo.Config):
    """What shapes the program: that of PPO, and how agents share.

    Attributes:
        shared: Whether all agents share one network, which learns from the steps of all.
        one_hot: Whether an agent's number is appended to what it sees, one-hot: without it, agents that share a network
            and see the same act alike.
    """

    shared: bool = False
    one_hot: bool = True


def ippo(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An agent that plays all sides of a game.

    Its policy takes the observations of all agents, leaves `[n, ...]`, and gives the joint action `[n, ...]`. A reward
    that is a scalar is paid to each agent.

    Args:
        env: A game, see `jaxreward.contract.games`, whose action space, that of one agent, is `Discrete` or a `Box`.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes and architecture.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If sizes do not divide, the activation is unknown, the environment has one agent, or shows or pays
            another number of agents than it has, or rewards are to be centred and it has episodes.
    """
    return independent(IPPO, env, env_params, config)


def independent(kind: Callable[..., IPPO], env: Environment, env_params: PyTree, config: Config) -> Agent:
    """The agent of an algorithm by which each agent of a game learns by itself; see `ippo`.

    Args:
        kind: The algorithm, `(learner, config, agents)`.
        env: A game.
        env_params: Its params.
        config: Sizes and architecture.
    """
    check_config(config)
    if config.centring:
        check_never_ends(env, "centring=True")
    env, agents = game_environment(env, env_params)
    head = head_for(env.action_space(env_params))
    network = actor_critic(env, env_params, config, head, (agents,))
    algorithm = kind(PPO(env, env_params, config, head, network, drift_of(config)), config, agents)
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


@dataclass(frozen=True)
class IPPO:
    """The steps of the algorithm.

    Attributes:
        learner: What one learner does; what it holds gets a leading axis of learners, `L`: `n`, or 1 if shared.
        config: Sizes, and how agents share.
        agents: How many there are, `n`.
    """

    learner: PPO
    config: Config
    agents: int

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> State:
        """Draws params and start states."""
        key, key_params, key_envs = jax.random.split(key, 3)
        hyperparams = strong(hyperparams)
        env_params = self.learner.params_of_env(hyperparams)
        envs = reset_batch(self.learner.env, env_params, self.config.num_envs, key_envs)
        start = jax.vmap(self.learner.start, (None, 0, None, 0, None), _BY_LEARNER)
        keys = jax.random.split(key_params, self.learners)
        return strong(start(envs, self.by_learner(self.seen(envs.observation, 1), 0), hyperparams, keys, key))

    def step(self, state: State) -> tuple[State, Metrics]:
        """One iteration: all play together, each learns from what it saw, did and was paid."""
        return iterated(self, state)

    def learn(self, state: State, trajectory: Trajectory, key: Key[Array, ""]) -> tuple[State, Metrics]:
        """What a rollout teaches each learner; what to log of them is their mean.

        They shuffle their steps alike, from one draw.
        """
        learn = jax.vmap(self.learner.learn, (_BY_LEARNER, 0, None), (_BY_LEARNER, 0))
        after, learned = learn(state, self.shares(trajectory), key)
        return after, {name: value.mean() for name, value in learned.items()}

    def policy(self, state: State) -> Policy:
        """The joint policy learned so far, on raw observations of all agents; its mode is what is likeliest of each."""
        head = self.learner.head

        def outputs(memory: PyTree, observation: PyTree) -> tuple[PyTree, Float[Array, "n O"]]:
            one = lambda tree: jax.tree.map(lambda leaf: leaf[None], tree)  # noqa: E731
            return jax.tree.map(lambda leaf: leaf[0], self.forward(state, one(memory), one(observation)))

        def act(memory: PyTree, observation: PyTree, key: Key[Array, ""]) -> tuple[PyTree, Array]:
            memory, out = outputs(memory, observation)
            return memory, head.to_env(head.sample(out, head.noise(key, (self.agents,))))

        def mode(memory: PyTree, observation: PyTree, key: Key[Array, ""]) -> tuple[PyTree, Array]:
            memory, out = outputs(memory, observation)
            return memory, head.to_env(head.distribution(out).mode())

        return Policy(lambda: self.learner.network.initial_carry(self.agents), act, mode)

    @property
    def learners(self) -> int:
        """How many there are, `L`."""
        return 1 if self.config.shared else self.agents

    def collect(
        self, state: State, key_noise: Key[Array, ""], key_envs: Key[Array, ""]
    ) -> tuple[EnvBatch, PyTree, Trajectory, Metrics]:
        """`T` steps of `N` games, leaves `[T, N, n, ...]`; see `PPO.collect`."""
        head, config = self.learner.head, self.config
        noise = head.noise(key_noise, (config.num_steps, config.num_envs, self.agents))

        def act(memory: PyTree, observation: PyTree, noise: Array) -> tuple[PyTree, Array, tuple[Array, Array]]:
            memory, outputs = self.forward(state, memory, observation)
            action = head.sample(outputs, noise)
            return memory, head.to_env(action), (action, outputs)

        env_params = self.learner.params_of_env(state.hyperparams)
        start = self.by_agent(state.memory, 0)
        envs, memory, *rest = rollout(self.learner.env, env_params, act, start, state.envs, noise, key_envs)
        return envs, self.by_learner(memory, 0), *rest

    def forward(self, state: State, memory: PyTree, observation: PyTree) -> tuple[PyTree, Float[Array, "N n O"]]:
        """The memory after reading an observation of each agent, leaves `[N, n, ...]`, and the policies' outputs."""

        def one(state: State, memory: PyTree, seen: Float[Array, "M F"]) -> tuple[PyTree, Float[Array, "M O"]]:
            return self.learner.forward(state.params, memory, self.learner.features(state, seen))[:2]

        inputs = self.by_learner((memory, self.seen(observation, 1)), 0)
        return self.by_agent(jax.vmap(one, (_BY_LEARNER, 0, 0))(state, *inputs), 0)

    def shares(self, trajectory: Trajectory) -> Trajectory:
        """What each learner learns from, leaves `[L, T, M, ...]`: its agents' rewards, the game's ends."""
        all_agents = lambda x: jnp.broadcast_to(x[..., None] if x.ndim == 2 else x, (*x.shape[:2], self.agents))  # noqa: E731
        everyone = trajectory._replace(
            observation=self.seen(trajectory.observation, 2),
            next_observation=self.seen(trajectory.next_observation, 2),
            reward=all_agents(trajectory.reward),
            terminated=all_agents(trajectory.terminated),
            truncated=all_agents(trajectory.truncated),
        )
        return self.by_learner(everyone, 1)

    def seen(self, observation: PyTree, batch_axes: int) -> Float[Array, "*batch n F"]:
        """What each agent sees as one vector, its number appended if so configured."""
        features = flatten(observation, batch_axes + 1)
        if not self.config.one_hot:
            return features
        number = jnp.eye(self.agents, dtype=features.dtype)
        return jnp.concatenate([features, jnp.broadcast_to(number, (*features.shape[:-1], self.agents))], -1)

    def by_learner(self, tree: PyTree, axis: int) -> PyTree:
        """Leaves `[..., N, n, ...]`, `N` at `axis`, as `[L, ..., M, ...]`, with `M = N n / L`."""

        def split(leaf: Array) -> Array:
            parted = leaf.reshape(*leaf.shape[: axis + 1], self.learners, -1, *leaf.shape[axis + 2 :])
            moved = jnp.moveaxis(parted, axis + 1, 0)
            return moved.reshape(*moved.shape[: axis + 1], -1, *moved.shape[axis + 3 :])

        return jax.tree.map(split, tree)

    def by_agent(self, tree: PyTree, axis: int) -> PyTree:
        """The inverse of `by_learner`."""

        def join(leaf: Array) -> Array:
            parted = leaf.reshape(*leaf.shape[: axis + 1], -1, self.agents // self.learners, *leaf.shape[axis + 2 :])
            moved = jnp.moveaxis(parted, 0, axis + 1)
            return moved.reshape(*moved.shape[: axis + 1], self.agents, *moved.shape[axis + 3 :])

        return jax.tree.map(join, tree)
