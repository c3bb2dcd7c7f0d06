"""LOOP with an ensemble of models, for continuous actions: likelihood, optimism and few switches.

In the likelihood version of LOOP (He, Zhong and Yang 2024, arXiv:2404.12648) hypotheses are models of the world, of
which those count that explain what was seen nearly as well as the best one; that with the highest gain is followed
until it explains what follows clearly worse. With networks that can't be solved, and the paper has no experiments. This
agent is a design of our own that keeps the three parts:

- *the confidence set*: all models within `sqrt(beta)` deviations between the members of an ensemble;
- *optimism*: the policy chooses, with an action, where in the set the model is (hallucinated actions: Curi et al.
  2020, arXiv:2006.08684), so that it is found with the model in which it has the highest reward rate;
- *low switching*: ensemble, model and policy stay as they are until what is held is refuted: what followed is less
  likely in the model, by `threshold`, than it expects, or less was earned, by `shortfall`, than was hoped for;
  or until there are twice as many data. Then the ensemble is fitted again and a policy found for it, from where they
  were.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.baselines.parts.critics import MLP
from jaxreward.agents.loop.loop_deep import Metrics, Scalar, check_buffer
from jaxreward.agents.loop.parts.ensemble import (
    Ensemble,
    Model,
    Steps,
    as_row,
    as_told,
    excess,
    in_units,
    no_moments,
    observed,
    units_of,
)
from jaxreward.agents.loop.parts.imagined import Imagine, Plan, Planner, bounds
from jaxreward.agents.loop.parts.learner import planners
from jaxreward.contract.sizes import Sized, size
from jaxreward.contract.wrappers import check_never_ends
from jaxreward.environment import scalar_environment
from jaxreward.learning.lazy import when
from jaxreward.learning.networks import flatten
from jaxreward.learning.normaliser import Moments, merge, moments, normalise
from jaxreward.learning.replay import Replay, empty_replay, write
from jaxreward.learning.rollout import EnvBatch, reset_batch, rollout
from jaxreward.learning.squashed import UnitBox, unit_box
from jaxreward.reward import bind_discount


@dataclass(frozen=True)
class Config(Sized):
    """What shapes the program.

    Attributes:
        num_envs: Environments that share the learner, `N`.
        num_steps: Steps of each between two looks at whether to fit again, `T`.
        members: Networks of the ensemble, `E`.
        layers: Widths of their hidden layers, and of those of policy and value.
        buffer_size: Transitions that are kept, the newest ones; a multiple of `N T`.
        fit_steps: Steps of Adam on the ensemble at a switch.
        fit_batch: Transitions of each, for each member.
        plan_steps: Steps of Adam on policy and value at a switch.
        plan_batch: Imagined steps of each.
    """

    num_envs: int = size(1)
    num_steps: int = size(16)
    members: int = size(5)
    layers: tuple[int, ...] = size((32, 32))
    buffer_size: int = size(65_536)
    fit_steps: int = size(300)
    fit_batch: int = size(64)
    plan_steps: int = size(2_000)
    plan_batch: int = size(128)

    headline = ("average_reward",)


@struct.dataclass
class Hyperparams:
    """Traced numbers.

    Attributes:
        beta: Of the confidence set, whose models are up to its square root deviations of the ensemble away.
        threshold: How much less likely than expected what followed must be until all is fitted again, in nats.
        shortfall: How much less than hoped for must have been earned until then, in units of the reward.
        reward_scale: How large rewards may be that were never seen.
        max_span: Bound on the span of the bias, if one is known.
        horizon: Mean length of what is imagined from a state that was seen.
        learning_rate: Of the ensemble.
        plan_learning_rate: Of policy and value.
        target_step: How far a step of the plan moves the value it bootstraps from.
        plan_discount: Of the value, whose gain is taken off first; below 1 it forgets what it was told wrongly.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    beta: Scalar = 1.0
    threshold: Scalar = 50.0
    shortfall: Scalar = 20.0
    reward_scale: Scalar = 1.0
    max_span: Scalar = math.inf
    horizon: Scalar = 40.0
    learning_rate: Scalar = 1e-3
    plan_learning_rate: Scalar = 1e-3
    target_step: Scalar = 0.05
    plan_discount: Scalar = 0.99
    env_params: PyTree = None


class Held(NamedTuple):
    """What is held between two switches.

    Attributes:
        model: The ensemble.
        plan: The policy, which chooses within the set, with its value and gain.
        excess: How much less likely than expected what followed was since.
        missed: How much less than hoped for was earned since.
        samples: Steps that it was fitted to.
        switches: How many there were.
    """

    model: Model
    plan: Plan
    excess: Float[Array, ""]
    missed: Float[Array, ""]
    samples: Float[Array, ""]
    switches: Int[Array, ""]


class State(NamedTuple):
    """Everything a run is made of; moments are those of all steps so far."""

    held: Held
    read: Moments
    told: Moments
    seen: Replay
    envs: EnvBatch
    hyperparams: Hyperparams
    key: Key[Array, ""]
    iteration: Int[Array, ""]


def loop_ensemble(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """An agent that maximises the reward rate optimistically, with an ensemble of models.

    Args:
        env: An `Environment` that never ends, whose actions are a `Box` with bounds.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes.

    Raises:
        TypeError: If actions are not continuous.
        ValueError: If the environment has episodes, a side of the action space has no bound, the reward is a vector, or
            the buffer does not hold whole iterations.
    """
    check_buffer(config)
    check_never_ends(env, "loop_ensemble")
    env = scalar_environment(env, env_params)
    space = env.action_space(env_params)
    if not isinstance(space, spaces.Box):
        raise TypeError(f"loop_ensemble has continuous actions; {env.name} has {type(space).__name__}. See `loop_deep`")
    box = unit_box(space, "loop_ensemble")
    shown = jax.eval_shape(lambda key: env.reset_env(key, env_params)[0], jax.random.key(0))
    told = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shown)) + 1
    network = lambda outputs, scale: MLP(outputs, config.layers, nn.swish, scale)  # noqa: E731
    planner = Planner(network(box.size + told, 0.01), network(1, 0.01), box.size, config.plan_steps, config.plan_batch)
    ensemble = Ensemble(config.members, network(2 * told, 1.0))
    algorithm = LoopEnsemble(env, env_params, config, box, ensemble, planner)
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


@dataclass(frozen=True)
class LoopEnsemble:
    """The steps of the algorithm."""

    env: Environment
    env_params: PyTree
    config: Config
    box: UnitBox
    ensemble: Ensemble
    planner: Planner

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> State:
        """Nothing was seen."""
        key, key_model, key_plan, key_envs = jax.random.split(key, 4)
        hyperparams = strong(hyperparams)
        envs = reset_batch(self.env, self.params_of_env(hyperparams), self.config.num_envs, key_envs)
        observation = flatten(envs.observation)
        row = Steps(observation, jnp.zeros((len(observation), self.box.size)), observation[:, 0], observation)
        read, told = (no_moments(each.shape[-1]) for each in (row.read(), row.told()))
        zero, none = jnp.zeros(()), jnp.zeros((), jnp.int32)
        model = Model(*self.ensemble.init(key_model, row.read()), read, told)
        held = Held(model, self.planner.init(key_plan, observation), zero, zero, zero, none)
        seen = empty_replay(row, self.config.buffer_size // self.config.num_envs)
        return strong(State(held, read, told, seen, envs, hyperparams, key, none))

    def step(self, state: State) -> tuple[State, Metrics]:
        """One iteration: act, and fit again if the model that is held does not explain what followed."""
        key, key_act, key_fit = jax.random.split(state.key, 3)
        envs, steps, metrics = self.collect(state, key_act)
        seen = write(state.seen, steps)
        read, told = merge(state.read, moments(steps.read())), merge(state.told, moments(steps.told()))
        held = self.doubted(state, steps)
        refuted = (held.excess >= state.hyperparams.threshold) | (held.missed >= state.hyperparams.shortfall)
        due = refuted | (read.samples >= 2 * held.samples)
        held = when(due, self.again, held, read, told, seen, key_fit, state.hyperparams, group=planners())
        metrics |= {
            "env_steps": jnp.asarray(self.config.num_envs * self.config.num_steps, jnp.int32),
            "optimistic_gain": held.plan.gain,
            "switches": held.switches.astype(float),
            "discrepancy": held.excess,
            "shortfall": held.missed,
        }
        return State(held, read, told, seen, envs, state.hyperparams, key, state.iteration + 1), metrics

    def policy(self, state: State) -> Policy:
        """The policy that is held, which is deterministic."""

        def act(carry: tuple, observation: PyTree, key: Key[Array, ""]) -> tuple[tuple, Array]:
            return carry, self.box.to_env(self.chosen(state.held, flatten(observation, 0))[0])

        return Policy(lambda: (), act, act)

    def collect(self, state: State, key: Key[Array, ""]) -> tuple[EnvBatch, Steps, Metrics]:
        """`T` steps of `N` environments by the held policy; the first ones are random."""
        key_envs, key_random = jax.random.split(key)
        shape = self.config.num_steps, self.config.num_envs, self.box.size
        random = jax.random.uniform(key_random, shape, minval=-1, maxval=1)

        def act(carry: tuple, observation: PyTree, random: Array) -> tuple[tuple, Array, Array]:
            action = self.chosen(state.held, flatten(observation))[0]
            action = jnp.where(state.held.switches == 0, random, action)
            return carry, self.box.to_env(action), action

        params = self.params_of_env(state.hyperparams)
        envs, _, steps, metrics = rollout(self.env, params, act, (), state.envs, random, key_envs)
        before, after = (flatten(x, 2) for x in (steps.observation, steps.next_observation))
        return envs, Steps(before, steps.extras, steps.reward, after), metrics

    def chosen(self, held: Held, observation: Float[Array, "*batch F"]) -> tuple[Array, Array]:
        """What the held policy does, and where in the set it takes the model to be."""
        return self.planner.chosen(held.plan.policy, normalise(observation, observed(held.model.read, observation)))

    def doubted(self, state: State, steps: Steps) -> Held:
        """What is held, with how unlikely steps are in its model and how little they paid, neither less than 0."""
        held = state.held
        forecast = self.ensemble.forecast(held.model, steps.read())
        choice = self.chosen(held, steps.observation)[1]
        mean = forecast.at(jnp.sqrt(state.hyperparams.beta), choice)
        unlikely = held.excess + excess(forecast, mean, in_units(steps.told(), held.model.told)).sum()
        missed = held.missed + jnp.sum(held.plan.gain - steps.reward)
        return held._replace(excess=jnp.maximum(unlikely, 0), missed=jnp.maximum(missed, 0))

    def again(
        self, held: Held, read: Moments, told: Moments, seen: Replay, key: Key[Array, ""], hyperparams: Hyperparams
    ) -> Held:
        """The ensemble fitted to all that was seen, and a plan for it."""
        key_fit, key_plan = jax.random.split(key)
        model = held.model._replace(read=read, told=units_of(told, hyperparams.reward_scale))
        sizes = self.config.fit_steps, self.config.fit_batch
        model = self.ensemble.fitted(model, seen, key_fit, hyperparams.learning_rate, *sizes)
        states = observed(read, seen.steps.observation)
        plan = self.planner.found(held.plan, self.imagined(model, hyperparams), states, seen, key_plan, hyperparams)
        return Held(model, plan, jnp.zeros(()), jnp.zeros(()), read.samples, held.switches + 1)

    def imagined(self, model: Model, hyperparams: Hyperparams) -> Imagine:
        """Steps in a model of the set."""
        radius = jnp.sqrt(hyperparams.beta)
        low, high = bounds(self.env.observation_space(self.env_params))

        def imagine(observation: Array, action: Array, choice: Array, noise: Array) -> tuple[Array, Array]:
            forecast = self.ensemble.forecast(model, jnp.concatenate([observation, action], -1))
            told = as_told(forecast.at(radius, choice) + forecast.noise * noise, model.told)
            after = observation + told[..., :-1]
            return jnp.clip(after, as_row(low, after), as_row(high, after)), told[..., -1]

        return imagine

    def params_of_env(self, hyperparams: Hyperparams) -> PyTree:
        """The environment's params; a discount among its reward's is 1, as the reward rate has none."""
        params = self.env_params if hyperparams.env_params is None else hyperparams.env_params
        return bind_discount(params, 1.0)
