"""What agents that learn from old transitions have in common: act, store, sample, update.

One iteration is `T` steps of `N` environments by the behaviour policy, a write of them into a ring, and some updates on
batches out of it. What an algorithm adds is an `Algorithm`: parameters, an action, an update.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.contract.sizes import size
from jaxreward.environment import scalar_environment, select
from jaxreward.learning.exploration import check_explorable, random_actions
from jaxreward.learning.lazy import when
from jaxreward.learning.n_step import Batch, Steps, n_step
from jaxreward.learning.narrow import types_of_observations
from jaxreward.learning.networks import flatten
from jaxreward.learning.normaliser import Moments, first_moments, merge, moments, normalise
from jaxreward.learning.reading import ReadingConfig
from jaxreward.learning.relabel import Relabelling, relabelling
from jaxreward.learning.replay import Replay, empty_replay, nearest, starts, write
from jaxreward.learning.rollout import EnvBatch, Trajectory, reset_batch, rollout
from jaxreward.reward import bind_discount

Metrics = dict[str, Float[Array, ""]]
Scalar = Float[Array, ""] | float


@dataclass(frozen=True)
class Config(ReadingConfig):
    """What shapes the program, with what `ReadingConfig` has.

    Attributes:
        num_envs: Environments stepped in parallel, `N`.
        num_steps: Steps of each between two updates, `T`.
        num_updates: Updates of an iteration.
        batch_size: Transitions of each.
        capacity: Transitions that are kept, the newest ones; a multiple of `N T`.
        warm_up: Transitions that are stored before the first update, by uniformly random actions.
        n_step: Over how many steps an update looks ahead, at the most.
        relabel: Whether old transitions are worth what the reward says of them today, for rewards that change.
        normalise_observations: Whether networks read observations centred and scaled by the moments of all so far.
            They are stored as they come, so old ones are scaled as new ones are.
    """

    num_envs: int = size(16)
    num_steps: int = size(1)
    num_updates: int = size(4)
    batch_size: int = size(128)
    capacity: int = size(65_536)
    warm_up: int = size(1_024, least=0)
    n_step: int = size(1)
    relabel: bool = False
    normalise_observations: bool = False


class State(NamedTuple):
    """Everything a run is made of; `judge` where the reward is learned too, `memory` where the policy has one.

    `seen` has the moments of observations, where they are normalised.
    """

    learner: Any
    replay: Replay
    envs: EnvBatch
    hyperparams: Any
    key: Key[Array, ""]
    iteration: Int[Array, ""]
    judge: PyTree = ()
    memory: PyTree = ()
    seen: Moments | None = None

    @property
    def params(self) -> PyTree:
        """What the learner has learned, by which a run is known to be broken, and which is exported."""
        return self.learner.params


class Algorithm(Protocol):
    """What algorithms differ in. Hyperparams have `discount` and `env_params`; all else is the algorithm's own.

    Observations are as the environment shows them, or vectors where they are normalised.
    """

    def start(self, key: Key[Array, ""], observation: PyTree, hyperparams: Any) -> PyTree:
        """The learner at first: `params`, targets, optimisers, counters. Observations have leaves `[N, ...]`."""

    def noise(self, key: Key[Array, ""], shape: tuple[int, int]) -> PyTree:
        """What `act` needs of randomness in `T` steps of `N` environments, leaves `[T, N, ...]`."""

    def act(
        self, learner: PyTree, hyperparams: Any, taken: Float[Array, ""], observation: PyTree, noise: PyTree
    ) -> Array:
        """The behaviour policy's actions `[N, ...]`, as the environment takes them, after some steps in all."""

    def update(self, learner: PyTree, hyperparams: Any, batch: Batch, key: Key[Array, ""]) -> tuple[PyTree, Metrics]:
        """One update on transitions `[B, ...]`, and what to log of it."""

    def policy(self, learner: PyTree, hyperparams: Any) -> Policy:
        """The policy learned so far."""


def off_policy(
    env: Environment,
    env_params: PyTree,
    config: Config,
    make: Callable[[Environment, PyTree], Algorithm],
    name: str,
    kind: Callable[..., OffPolicy] | None = None,
) -> Agent:
    """An agent of an algorithm that learns from old transitions.

    Args:
        env: A gymnax `Environment`.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes.
        make: Gives the algorithm for the environment.
        name: What the agent is called.
        kind: The loop around it, `(env, env_params, config, algorithm, relabelling)`; `OffPolicy` by default.

    Raises:
        TypeError: If no actions can be drawn at first.
        ValueError: If sizes do not fit together, the reward is a vector, or it can't be told of old transitions.
    """
    check_config(config)
    env = scalar_environment(env, env_params)
    check_explorable(env.action_space(env_params), name)
    again = relabelling(env, env_params) if config.relabel else None
    learner = (kind or OffPolicy)(env, env_params, config, make(env, env_params), again)
    return Agent(learner.init, learner.step, learner.policy)


def check_config(config: Config) -> None:
    """Refuses sizes that do not fit together, before anything is compiled."""
    block = config.num_envs * config.num_steps
    if config.capacity % block:
        raise ValueError(
            f"capacity={config.capacity} is no multiple of num_envs * num_steps = {block}; "
            f"try {nearest(config.capacity, block)}"
        )
    if config.batch_size > max(config.warm_up, block):
        raise ValueError(
            f"batch_size={config.batch_size} is more than the warm_up={config.warm_up} transitions there are at the "
            f"first update: set warm_up={config.batch_size} or more"
        )
    check_capacity(config, config.n_step, "n_step")


def check_capacity(config: Config, rows: int, name: str) -> None:
    """Refuses a ring, or a warm-up, that is too short for sequences of so many steps."""
    least, block = rows * config.num_envs, config.num_envs * config.num_steps
    if config.capacity < least:
        raise ValueError(f"a sequence of {name}={rows} steps does not fit into capacity={config.capacity}")
    if max(config.warm_up, block) < least:
        raise ValueError(
            f"after warm_up={config.warm_up} transitions of num_envs={config.num_envs} there is no sequence of "
            f"{name}={rows} steps: set warm_up={least} or more"
        )


@dataclass(frozen=True)
class OffPolicy:
    """The loop around an algorithm."""

    env: Environment
    env_params: PyTree
    config: Config
    algorithm: Algorithm
    relabelling: Relabelling | None

    def init(self, key: Key[Array, ""], hyperparams: Any) -> State:
        """Start states and parameters; nothing is stored."""
        key, key_envs, key_learner = jax.random.split(key, 3)
        hyperparams = strong(hyperparams)
        envs = reset_batch(self.env, self.params_of_env(hyperparams), self.config.num_envs, key_envs)
        learner = self.algorithm.start(key_learner, envs.observation, hyperparams)
        replay = empty_replay(self.example(envs), self.config.capacity // self.config.num_envs)
        seen = first_moments(flatten(envs.observation)) if self.config.normalise_observations else None
        return strong(State(learner, replay, envs, hyperparams, key, jnp.zeros((), jnp.int32), seen=seen))

    def step(self, state: State) -> tuple[State, Metrics]:
        """One iteration: act, store, sample, update."""
        key, key_act, key_envs, key_sample, key_update = jax.random.split(state.key, 5)
        envs, memory, trajectory, metrics = self.collect(state, key_act, key_envs)
        replay = write(state.replay, self.stored(trajectory))
        state, judged = self.judged(state, replay)
        state = state._replace(seen=state.seen and merge(state.seen, moments(flatten(trajectory.observation, 2))))
        batches = self.shown_batches(state, self.sample(state, replay, key_sample))
        learner, losses = self.learn(state, batches, key_update)
        steps = jnp.asarray(self.config.num_envs * self.config.num_steps, jnp.int32)
        after = state._replace(
            learner=learner, replay=replay, envs=envs, key=key, iteration=state.iteration + 1, memory=memory
        )
        return after, {"env_steps": steps, **metrics, **losses, **judged}

    def policy(self, state: State) -> Policy:
        """The policy learned so far, on raw observations."""
        learned = self.algorithm.policy(state.learner, state.hyperparams)
        if not state.seen:
            return learned
        shows = lambda act: lambda carry, observation, key: act(carry, self.shown(state, observation, 0), key)  # noqa: E731
        return learned._replace(act=shows(learned.act), mode=shows(learned.mode))

    def shown(self, state: State, observation: PyTree, batch_dims: int = 1) -> PyTree:
        """An observation as the networks are given it."""
        return normalise(flatten(observation, batch_dims), state.seen) if state.seen else observation

    def shown_batches(self, state: State, batches: PyTree) -> PyTree:
        """Batches as an algorithm is given them."""
        shown = partial(self.shown, state, batch_dims=batches.reward.ndim)
        batches = as_seen(batches, state.envs.observation)
        return batches._replace(
            observation=shown(batches.observation), next_observation=shown(batches.next_observation)
        )

    def collect(
        self, state: State, key_act: Key[Array, ""], key_envs: Key[Array, ""]
    ) -> tuple[EnvBatch, PyTree, Trajectory, Metrics]:
        """`T` steps of `N` environments by the behaviour policy, or by random actions at first; its memory behind."""
        key_noise, key_random = jax.random.split(key_act)
        shape, taken = (self.config.num_steps, self.config.num_envs), self.taken(state)
        space = self.env.action_space(self.env_params)
        drawn = self.algorithm.noise(key_noise, shape), random_actions(space, key_random, shape)

        def act(memory: PyTree, observation: PyTree, drawn: tuple[PyTree, Array]) -> tuple[PyTree, Array, PyTree]:
            noise, random = drawn
            after, action, extras = self.behave(state, memory, observation, noise)
            return after, select(taken < self.config.warm_up, random, action), extras

        params = self.params_of_env(state.hyperparams)
        record = self.relabelling.record if self.relabelling else None
        return rollout(self.env, params, act, state.memory, state.envs, drawn, key_envs, record)

    def behave(self, state: State, memory: PyTree, observation: PyTree, noise: PyTree) -> tuple[PyTree, Array, PyTree]:
        """The behaviour policy's memory behind a step, its actions, and what is kept of it, as of all steps."""
        seen, taken = self.shown(state, observation), self.taken(state)
        return memory, self.algorithm.act(state.learner, state.hyperparams, taken, seen, noise), ()

    def stored(self, trajectory: Trajectory) -> PyTree:
        """What the ring keeps of a trajectory."""
        return stored(trajectory)

    def judged(self, state: State, replay: Replay) -> tuple[State, Metrics]:
        """What the reward is before something is learned by it: another one where an algorithm learns it."""
        return state, {}

    def earn(self, state: State) -> Callable[[Steps], Float[Array, "*batch"]] | None:
        """What stored steps are worth; what they paid, if None."""
        if not self.relabelling:
            return None
        rewards = self.relabelling.rewards(self.params_of_env(state.hyperparams))
        return lambda steps: rewards(as_seen(steps, state.envs.observation))

    def sample(self, state: State, replay: Replay, key: Key[Array, ""]) -> PyTree:
        """The batches of an iteration, leaves `[U, B, ...]`: all at once, and outside of any branch."""
        shape, n = (self.config.num_updates, self.config.batch_size), self.config.n_step
        return n_step(replay, starts(replay, key, shape, n), n, state.hyperparams.discount, self.earn(state))

    def learn(self, state: State, batches: Batch, key: Key[Array, ""]) -> tuple[PyTree, Metrics]:
        """The updates of an iteration, and the means of what they log; none and 0 until enough is stored."""

        def update(learner: PyTree, x: tuple[Batch, Key[Array, ""]]) -> tuple[PyTree, Metrics]:
            return self.algorithm.update(learner, state.hyperparams, *x)

        def update_all(learner: PyTree, *x: PyTree) -> tuple[PyTree, Metrics]:
            learner, metrics = jax.lax.scan(update, learner, x)
            return learner, jax.tree.map(jnp.mean, metrics)

        keys = jax.random.split(key, self.config.num_updates)
        return self.once_stored(state, update_all, state.learner, batches, keys)

    def once_stored(
        self, state: State, update: Callable[..., tuple[PyTree, Metrics]], carry: PyTree, *operands: PyTree
    ) -> tuple[PyTree, Metrics]:
        """`update(carry, *operands)`, what is learned and to log, once enough is stored; zeros are logged before."""
        told = jax.eval_shape(update, carry, *operands)[1]
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), told)
        stored = self.taken(state) + self.config.num_envs * self.config.num_steps
        due = stored >= self.config.warm_up
        return when(due, lambda now, *x: update(now[0], *x), (carry, nothing), *operands)

    def example(self, envs: EnvBatch) -> PyTree:
        """The shapes of one row of what is stored; observations in the narrowest types that hold them."""
        space = self.env.action_space(self.env_params)
        num_envs, types = self.config.num_envs, types_of_observations(self.env, self.env_params, envs.observation)

        def row(observation: PyTree) -> Steps:
            action = random_actions(space, jax.random.key(0), (num_envs,))
            reward, over = jnp.zeros(num_envs), jnp.zeros(num_envs, bool)
            observation = jax.tree.map(jnp.astype, observation, types)
            beside = self.relabelling.empty(num_envs) if self.relabelling else ()
            return Steps(observation, action, reward, over, over, observation, beside)

        return jax.eval_shape(row, envs.observation)

    def taken(self, state: State) -> Float[Array, ""]:
        """The environment steps of all iterations so far."""
        return state.iteration * jnp.asarray(self.config.num_envs * self.config.num_steps, float)

    def params_of_env(self, hyperparams: Any) -> PyTree:
        """The environment's params, any discount among its reward's following the agent's."""
        params = self.env_params if hyperparams.env_params is None else hyperparams.env_params
        return bind_discount(params, hyperparams.discount)


def stored(trajectory: Trajectory) -> Steps:
    """What is kept of a trajectory."""
    return Steps(
        trajectory.observation,
        trajectory.action,
        trajectory.reward,
        trajectory.terminated,
        trajectory.truncated,
        trajectory.next_observation,
        trajectory.recorded,
    )


def as_seen(kept: Any, seen: PyTree) -> Any:
    """What was kept of steps, its observations in the types in which the environment shows them."""
    typed = partial(jax.tree.map, lambda leaf, like: leaf.astype(like.dtype))
    return kept._replace(observation=typed(kept.observation, seen), next_observation=typed(kept.next_observation, seen))
