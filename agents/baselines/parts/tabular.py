"""One-step temporal differences in a table of action values (Sutton & Barto 2018, chapter 6), for many environments.

What differs between the algorithms is a `Rule`: how they act, and what they take the next state to be worth. At each
step every environment tells one error. Those that are of the same pair of state and action are averaged, and change it
as one visit, so that many environments are as good as one that is less noisy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.baselines.parts.finite import Numbered, numbered
from jaxreward.contract.sizes import Sized, size
from jaxreward.environment import scalar_environment
from jaxreward.learning.exploration import linear
from jaxreward.learning.rollout import EnvBatch, reset_batch, rollout
from jaxreward.reward import bind_discount

Metrics = dict[str, Float[Array, ""]]
Scalar = Float[Array, ""] | float


@dataclass(frozen=True)
class TableConfig(Sized):
    """What shapes the program of every algorithm with a table.

    Attributes:
        num_envs: Environments that share the table, `N`.
        num_steps: Steps of each in an iteration; the table is changed at every one.
    """

    num_envs: int = size(8)
    num_steps: int = size(64)


@struct.dataclass
class TableHyperparams:
    """Traced numbers: each may be vmapped over or searched.

    Attributes:
        step_size: Of the first change of a pair of state and action.
        step_decay: Power of a pair's changes by which its step size is divided: 0 for constant steps, 1 for means.
        discount: Per step; rewards with an `AgentDiscount` follow it.
        epsilon_start: How often any action is taken instead of the best, at first.
        epsilon_end: How often in the end.
        epsilon_steps: Environment steps that it takes to get there.
        initial_value: Of every action at first. What is higher than can be earned makes them all be tried.
        env_params: Params of the environment and its reward; None for those the agent was made with.
    """

    step_size: Scalar = 0.1
    step_decay: Scalar = 0.0
    discount: Scalar = 0.99
    epsilon_start: Scalar = 0.1
    epsilon_end: Scalar = 0.1
    epsilon_steps: Scalar = 20_000.0
    initial_value: Scalar = 0.0
    env_params: PyTree = None


class Rule(NamedTuple):
    """What an algorithm adds.

    Attributes:
        probabilities: `(values [*batch, A], epsilon, hyperparams) -> [*batch, A]`, of the actions it takes.
        worth: `(values [*batch, A], probabilities [*batch, A], action [*batch], hyperparams) -> [*batch]`, what a state
            is worth where that action comes next.
    """

    probabilities: Callable[[Array, Array, Any], Array]
    worth: Callable[[Array, Array, Array, Any], Array]


class Table(NamedTuple):
    """What is learned: the values of actions and how often each was changed, `[S, A]` both."""

    action_value: Float[Array, "S A"]
    visits: Float[Array, "S A"]


class State(NamedTuple):
    """Everything a run is made of; `action` is what each environment does next, `[N]`."""

    params: Table
    envs: EnvBatch
    action: Int[Array, " N"]
    hyperparams: Any
    key: Key[Array, ""]
    iteration: Int[Array, ""]


def tabular(env: Environment, env_params: PyTree, config: TableConfig, rule: Rule, name: str) -> Agent:
    """The agent of an algorithm with a table.

    It logs `td_error`, the mean size of the errors, and `policy/epsilon` beside what episodes come to.

    Args:
        env: An environment whose states are numbered, see `jaxreward.agents.baselines.parts.finite.numbered`.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes.
        rule: What the algorithm adds.
        name: What it is called.

    Raises:
        TypeError: If actions are not discrete.
        ValueError: If states have no numbers, or the reward is a vector.
    """
    env = scalar_environment(env, env_params)
    algorithm = Tabular(env, env_params, config, rule, numbered(env, env_params, name))
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


@dataclass(frozen=True)
class Tabular:
    """The steps of the algorithm."""

    env: Environment
    env_params: PyTree
    config: TableConfig
    rule: Rule
    numbered: Numbered

    def init(self, key: Key[Array, ""], hyperparams: Any) -> State:
        """An even table and start states."""
        key, key_envs, key_act = jax.random.split(key, 3)
        hyperparams, zero = strong(hyperparams), jnp.zeros((), jnp.int32)
        shape = self.numbered.num_states, self.numbered.num_actions
        table = Table(jnp.full(shape, hyperparams.initial_value, float), jnp.zeros(shape))
        envs = reset_batch(self.env, self.params_of_env(hyperparams), self.config.num_envs, key_envs)
        noise = jax.random.uniform(key_act, (self.config.num_envs,))
        action = self.choose(table, envs.observation, noise, self.epsilon(hyperparams, zero), hyperparams)
        return strong(State(table, envs, action, hyperparams, key, zero))

    def step(self, state: State) -> tuple[State, Metrics]:
        """One iteration of `num_steps` steps."""
        key, key_steps = jax.random.split(state.key)
        epsilon = self.epsilon(state.hyperparams, state.iteration)

        def move(now: tuple, key: Key[Array, ""]) -> tuple[tuple, Metrics]:
            table, envs, action = now
            return self.move(table, envs, action, epsilon, state.hyperparams, key)

        now, metrics = jax.lax.scan(
            move, (state.params, state.envs, state.action), jax.random.split(key_steps, self.config.num_steps)
        )
        steps = jnp.asarray(self.config.num_envs * self.config.num_steps, jnp.int32)
        metrics = {"env_steps": steps, "policy/epsilon": epsilon, **together(metrics)}
        return State(*now, state.hyperparams, key, state.iteration + 1), metrics

    def move(
        self,
        table: Table,
        envs: EnvBatch,
        action: Int[Array, " N"],
        epsilon: Float[Array, ""],
        hyperparams: Any,
        key: Key[Array, ""],
    ) -> tuple[tuple[Table, EnvBatch, Int[Array, " N"]], Metrics]:
        """One step of every environment, and what it changes."""
        key_envs, key_act = jax.random.split(key)
        act = lambda carry, observation, noise: (carry, action, ())  # noqa: E731
        params, number = self.params_of_env(hyperparams), self.numbered.number
        envs, _, steps, metrics = rollout(self.env, params, act, (), envs, jnp.zeros(1), key_envs)
        steps = jax.tree.map(lambda leaf: leaf[0], steps)
        here, there = number(steps.observation), number(steps.next_observation)
        noise = jax.random.uniform(key_act, (self.config.num_envs,))
        values = table.action_value[there]
        probabilities = self.rule.probabilities(values, epsilon, hyperparams)
        worth = self.rule.worth(values, probabilities, drawn(probabilities, noise), hyperparams)
        target = steps.reward + hyperparams.discount * jnp.where(steps.terminated, 0.0, worth)
        error = target - table.action_value[here, action]
        # The same noise and table: where the episode goes on, this is the action whose worth was told.
        following = self.choose(table, envs.observation, noise, epsilon, hyperparams)
        table = changed(table, here, action, error, hyperparams)
        return (table, envs, following), {**metrics, "td_error": jnp.abs(error).mean()}

    def choose(
        self, table: Table, observation: Array, noise: Array, epsilon: Array, hyperparams: Any
    ) -> Int[Array, "*batch"]:
        """Actions for what is observed, `[*batch, ...]`, by uniform noise `[*batch]`."""
        values = table.action_value[self.numbered.number(observation)]
        return drawn(self.rule.probabilities(values, epsilon, hyperparams), noise)

    def policy(self, state: State) -> Policy:
        """The policy learned so far, exploring as it does now; its mode is the action of the highest value."""
        epsilon = self.epsilon(state.hyperparams, state.iteration)

        def act(carry: tuple, observation: Array, key: Key[Array, ""]) -> tuple[tuple, Array]:
            noise = jax.random.uniform(key)
            return carry, self.choose(state.params, observation, noise, epsilon, state.hyperparams)

        def mode(carry: tuple, observation: Array, key: Key[Array, ""]) -> tuple[tuple, Array]:
            return carry, jnp.argmax(state.params.action_value[self.numbered.number(observation)])

        return Policy(lambda: (), act, mode)

    def epsilon(self, hyperparams: Any, iteration: Int[Array, ""]) -> Float[Array, ""]:
        """How much is explored in an iteration."""
        taken = iteration * float(self.config.num_envs * self.config.num_steps)
        return linear(hyperparams.epsilon_start, hyperparams.epsilon_end, hyperparams.epsilon_steps, taken)

    def params_of_env(self, hyperparams: Any) -> PyTree:
        """The environment's params, any discount among its reward's following the agent's."""
        params = self.env_params if hyperparams.env_params is None else hyperparams.env_params
        return bind_discount(params, hyperparams.discount)


def epsilon_greedy_policy(values: Float[Array, "*batch A"], epsilon: Scalar) -> Float[Array, "*batch A"]:
    """Probabilities of the best actions, all that are tied alike, and of any with probability `epsilon`."""
    best = (values == values.max(-1, keepdims=True)).astype(values.dtype)
    return (1 - epsilon) * best / best.sum(-1, keepdims=True) + epsilon / values.shape[-1]


def drawn(probabilities: Float[Array, "*batch A"], noise: Float[Array, "*batch"]) -> Int[Array, "*batch"]:
    """An action for each uniform number, by inverting the distribution function."""
    reached = jnp.cumsum(probabilities, -1)[..., :-1]
    return (noise[..., None] >= reached).sum(-1, dtype=jnp.int32)


def changed(
    table: Table, state: Int[Array, " N"], action: Int[Array, " N"], error: Float[Array, " N"], hyperparams: Any
) -> Table:
    """The table after each environment's error; those of the same pair are averaged, and are one visit."""
    zeros = jnp.zeros_like(table.visits)
    number = zeros.at[state, action].add(1.0)
    mean = zeros.at[state, action].add(error) / jnp.maximum(number, 1.0)
    visits = table.visits + (number > 0)
    rate = hyperparams.step_size / jnp.maximum(visits, 1.0) ** hyperparams.step_decay
    return Table(table.action_value + rate * mean, visits)


def together(metrics: dict[str, Float[Array, " T"]]) -> Metrics:
    """The metrics of several steps as those of one rollout: episodes are counted, their means weighed by how many."""
    number = metrics["episode/count"]
    total = number.sum()

    def whole(name: str, values: Float[Array, " T"]) -> Float[Array, ""]:
        if name == "episode/count":
            return total
        if name.startswith("episode/"):
            return jnp.where(number > 0, number * values, 0.0).sum() / total
        return values.mean()

    return {name: whole(name, values) for name, values in metrics.items()}
