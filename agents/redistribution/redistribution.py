"""PPO on rewards of steps that are learned from what whole episodes paid, for rewards that come late.

An iteration is a rollout, some learning of a model from the episodes that have ended so far, and PPO's update on what
the model says each step is worth: the environment's reward is read at an episode's end alone, as its sum. The models
are those of RRD (Ren et al. 2022, arXiv:2111.13485), IRCR (Gangwani, Zhou and Peng 2020, arXiv:2010.12718), RUDDER
(Arjona-Medina et al. 2019, arXiv:1806.07857) and, of factors that are given, as LaRe's are, least squares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agent import Agent, strong
from jaxreward.agents.baselines import ppo
from jaxreward.agents.baselines.parts.demonstrated import raw_action
from jaxreward.agents.baselines.parts.on_policy import Metrics, Scalar, State, on_policy
from jaxreward.agents.baselines.ppo import PPO, drift_of
from jaxreward.agents.redistribution.parts.models import Fitted, Linear, Model, Prefix, Regression, Rollout
from jaxreward.agents.redistribution.parts.store import Store, empty_store, gathered
from jaxreward.contract.sizes import size
from jaxreward.environment import scalar_environment
from jaxreward.learning.episodes import time_limit
from jaxreward.learning.networks import Head, flatten, head_for
from jaxreward.learning.normaliser import Moments, merge, moments
from jaxreward.learning.rollout import Trajectory
from jaxreward.lookup import load_reference
from jaxreward.names import check_name

Method = Literal["rrd", "ircr", "rudder", "least_squares"]
Factors = Callable[[PyTree, PyTree, PyTree], Float[Array, " F"]]


@dataclass(frozen=True)
class Config(ppo.Config):
    """What shapes the program: that of PPO, and these.

    Attributes:
        method: How steps are paid. "rrd": rewards that sum up to returns. "ircr": what episodes with such a step paid,
            between the least, 0, and the most, 1, of those kept. "rudder": how the step changes a GRU's prediction of
            the return. "least_squares": as "rrd", of rewards that are linear in `factors`.
        factors: What is read of a step, your own `module:function` of `(observation, action, next_observation)`, which
            gives a vector; none for the observation, the action, one-hot if it is discrete, and the change of the
            observation. "least_squares" needs some.
        episode_steps: The most steps of an episode, 0 for the environment's own limit.
        kept_episodes: How many are kept, the last ones that ended, `num_envs` or more.
        model_layers: Widths of the hidden layers of "rrd" and "ircr", and of "rudder" of its GRU, one number.
        model_updates: Steps of the model's Adam in an iteration.
        model_batch: Episodes for each.
        sampled: Steps of each that "rrd" and "ircr" draw; as many as an episode has, or more, for all.
        corrected: Whether "rrd" takes off what drawing steps adds to its loss, see
            `jaxreward.agents.redistribution.parts.losses.decomposition_loss`.
    """

    needs_episodes: ClassVar[bool] = True

    method: Method = "rrd"
    factors: str = ""
    episode_steps: int = size(0, least=0)
    kept_episodes: int = size(256)
    model_layers: tuple[int, ...] = size((64,))
    model_updates: int = size(16)
    model_batch: int = size(32)
    sampled: int = size(32)
    corrected: bool = False


@struct.dataclass
class Hyperparams(ppo.Hyperparams):
    """Traced numbers: those of PPO, and these.

    Attributes:
        model_learning_rate: Of the model's Adam.
        prefix_weight: Of "rudder": of predictions before an episode's end, beside that at it.
        ridge: Of "least_squares": of the weights' squares, in units of the factors' own.
    """

    model_learning_rate: Scalar = 1e-3
    prefix_weight: Scalar = 0.5
    ridge: Scalar = 1e-3


class Redistribution(NamedTuple):
    """The model beside a policy: what it learned, its episodes, what it remembers of those running, and its key."""

    fitted: Fitted
    store: Store
    memory: PyTree
    key: Key[Array, ""]


def redistribution(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A PPO agent that learns from redistributed returns. Its metric `episode/return` is of the environment's reward.

    Args:
        env: A gymnax `Environment` with a `Discrete` or a `Box` action space, whose episodes end.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: How, sizes and architecture.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If an option is unknown or does not fit the environment, sizes do not divide, or the reward is a
            vector.
    """
    ppo.check_config(config)
    check_name("method of redistribution", config.method, get_args(Method))
    check_sizes(config)
    env = scalar_environment(env, env_params)
    steps = longest(env, env_params, config.episode_steps)
    read = reader(config.factors, head_for(env.action_space(env_params)))
    number = num_read(read, env, env_params, config.factors)
    kind = partial(
        Redistributes, drift=drift_of(config), model=model_of(config, steps), read=read, size=number, steps=steps
    )
    return on_policy(kind, env, env_params, config)


def check_sizes(config: Config) -> None:
    """Refuses sizes that do not go together."""
    if config.kept_episodes < config.num_envs:
        raise ValueError(
            f"kept_episodes={config.kept_episodes}, and {config.num_envs} may end in one step: set "
            f"kept_episodes={config.num_envs} or more"
        )
    if config.method == "least_squares" and not config.factors:
        raise ValueError(
            "method=least_squares is of rewards that are linear in factors, and there are none: give your own, "
            "factors=path/to/file.py:function of (observation, action, next_observation)"
        )
    if config.method == "rudder" and len(config.model_layers) != 1:
        raise ValueError(f"a GRU has one width; got model_layers={config.model_layers}: give one, such as (64,)")
    if config.corrected and config.method == "rrd" and config.sampled < 2:
        raise ValueError("one step has no variance to correct by; set sampled=2 or more, or corrected=false")
    if config.corrected and config.method != "rrd":
        raise ValueError(f"corrected=true is of method=rrd, and method={config.method}; leave it false")


def longest(env: Environment, env_params: PyTree, steps: int) -> int:
    """The most steps of an episode, those asked for or else the environment's own.

    Raises:
        ValueError: If nobody says, or the environment's are more than those asked for.
    """
    own = time_limit(env, env_params)
    if steps and own > steps:
        raise ValueError(
            f"an episode of {env.name} has up to {own} steps, episode_steps={steps}: set episode_steps={own}, or make "
            f"the environment with max_steps_in_episode={steps}"
        )
    if not steps and own < 1:
        raise ValueError(f"{env.name} has no time limit: give the most steps of an episode, episode_steps=1000")
    return steps or own


def model_of(config: Config, steps: int) -> Model:
    """The model that a config asks for, of episodes of so many steps."""
    trained = config.model_updates, config.model_batch
    if config.method == "least_squares":
        return Linear()
    if config.method == "rudder":
        return Prefix(*trained, config.model_layers[0])
    sampled = min(config.sampled, steps)
    return Regression(*trained, tuple(config.model_layers), sampled, config.corrected, config.method == "ircr")


def reader(factors: str, head: Head) -> Factors:
    """What a model reads of a step: a user's own factors, or what was seen, done and changed."""
    if factors:
        return load_reference(factors, "factors")

    def read(observation: PyTree, action: PyTree, following: PyTree) -> Float[Array, " F"]:
        before, after = flatten(observation, 0), flatten(following, 0)
        raw = raw_action(action, head)
        return jnp.concatenate([before, raw if head.free else jax.nn.one_hot(raw, head.size), after - before])

    return read


def num_read(read: Factors, env: Environment, env_params: PyTree, name: str) -> int:
    """How many numbers are read of a step, found without computing anything.

    Raises:
        ValueError: If it is no vector of numbers.
    """

    def of_step(key: Key[Array, ""]) -> Array:
        observation = env.reset_env(key, env_params)[0]
        return jnp.asarray(read(observation, env.action_space(env_params).sample(key), observation))

    try:
        made = jax.eval_shape(of_step, jax.random.key(0))
    except (TypeError, IndexError, KeyError, AttributeError) as error:
        raise ValueError(f"factors={name} fails on a step of {env.name}: {error}") from error
    if made.ndim != 1 or not jnp.issubdtype(made.dtype, jnp.floating):
        raise ValueError(
            f"factors={name} of a step are {made.dtype}{list(made.shape)}; expected a vector of floating-point numbers"
        )
    return made.shape[0]


@dataclass(frozen=True)
class Redistributes(PPO):
    """PPO that a model pays.

    Attributes:
        model: It.
        read: What it reads of a step.
        size: How many numbers that is.
        steps: The most steps of an episode.
    """

    config: Config
    model: Model
    read: Factors
    size: int
    steps: int

    def init(self, key: Key[Array, ""], hyperparams: Any) -> State:
        """As PPO, and the model."""
        key, key_model, key_draw = jax.random.split(key, 3)
        state = super().init(key, hyperparams)
        seen = Moments(jnp.zeros(()), jnp.zeros(self.size), jnp.ones(self.size))
        store = empty_store(self.config.num_envs, self.config.kept_episodes, self.steps, self.size)
        fitted = Fitted(*self.model.init(key_draw, self.size), seen)
        beside = Redistribution(fitted, store, self.model.start(self.config.num_envs), key_model)
        return state._replace(judge=strong(beside))

    def learn(self, state: State, trajectory: Trajectory, key: Key[Array, ""]) -> tuple[State, Metrics]:
        """The model learns of a rollout, then the policy of what the model pays for it."""
        beside, reward, told = self.redistributed(state.judge, trajectory, state.hyperparams)
        after, learned = super().learn(state, trajectory._replace(reward=reward), key)
        return after._replace(judge=beside), {**learned, **told}

    def redistributed(
        self, beside: Redistribution, trajectory: Trajectory, hyperparams: Any
    ) -> tuple[Redistribution, Float[Array, "T N"], Metrics]:
        """The model after a rollout, what it pays for each step, and what to log."""
        key, key_fit = jax.random.split(beside.key)
        read = jax.vmap(jax.vmap(self.read))
        inputs = read(trajectory.observation, trajectory.action, trajectory.next_observation)
        rollout = Rollout(inputs, trajectory.reward, trajectory.done)
        store = gathered(beside.store, *rollout)
        fitted = beside.fitted._replace(seen=merge(beside.fitted.seen, moments(inputs)))
        fitted, told = self.model.fit(fitted, store.ended, key_fit, hyperparams)
        memory, reward = self.model.pay(fitted, beside.memory, rollout)
        reward = jax.lax.stop_gradient(reward)
        kept = (store.ended.length > 0).sum(dtype=float)
        metrics = {**told, "redistribution/reward": reward.mean(), "redistribution/episodes": kept}
        return Redistribution(fitted, store, memory, key), reward, metrics
