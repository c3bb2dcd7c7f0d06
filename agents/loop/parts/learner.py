"""One stream of experience in a finite world, and an agent that plans when it must.

An algorithm is a `Method`: what it counts, when it plans, how, and how it acts. The loop here is the same for all, and
so is what is logged. Planning is behind `when`: seeds and hyperparams under `vmap` plan when one of them has to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.loop.parts.limits import check_spans
from jaxreward.agents.loop.parts.world import FiniteWorld, Truth, finite_world
from jaxreward.contract.sizes import Sized, size
from jaxreward.learning.lazy import when
from jaxreward.reward import bind_discount

Metrics = dict[str, Float[Array, ""]]


@dataclass(frozen=True)
class StreamConfig(Sized):
    """What shapes the program of every agent in a finite world.

    Attributes:
        num_steps: Environment steps of an iteration.
        steps_per_check: Environment steps between two looks at whether to plan; must divide `num_steps`. The theory
            looks at each step; a look at every tenth is two to four times as fast and plans a little later.
    """

    num_steps: int = size(1_000)
    steps_per_check: int = size(1)

    headline = ("average_reward", "regret")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_steps % self.steps_per_check:
            near = max(1, self.num_steps // self.steps_per_check) * self.steps_per_check
            raise ValueError(
                f"steps_per_check={self.steps_per_check} does not divide num_steps={self.num_steps}; try "
                f"num_steps={near}"
            )

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps of one iteration."""
        return self.num_steps

    def least_steps(self, env: Environment, env_params: PyTree) -> tuple[int, str]:
        """How many steps a run must have, and why: none can be about what was not tried."""
        inner = finite_world(env, env_params, "an agent for finite worlds")
        pairs = inner.num_states * inner.num_actions
        return pairs + 1, f"each of the {pairs} pairs of state and action has to be tried"

    def check_numbers(self, env: Environment, env_params: PyTree, hyperparams: Any) -> None:
        """Refuses a bound on the span below the true one, where the config has `check_span`."""
        if getattr(self, "check_span", False):
            check_spans(env, env_params, hyperparams)


class Visit(NamedTuple):
    """One step: where, what was done, what it paid, scaled to `[0, 1]`, and where it led."""

    state: Int[Array, ""]
    action: Int[Array, ""]
    reward: Float[Array, ""]
    next_state: Int[Array, ""]


class Memory(NamedTuple):
    """What an algorithm remembers.

    Attributes:
        counts: What planning reads and never changes, updated at every step.
        held: The plan, and what is kept since it was made.
    """

    counts: PyTree
    held: PyTree


class Method(NamedTuple):
    """An algorithm for finite worlds. Rewards are scaled to `[0, 1]`.

    Attributes:
        start: `(key, hyperparams) -> Memory` before anything was seen.
        act: `(memory, state, key, hyperparams) -> action`.
        observe: `(memory, visit, hyperparams) -> Memory`.
        due: `(memory, hyperparams) -> bool`, whether to plan before the next action; true at the start of a planner.
        plan: `(memory, key, hyperparams) -> held`.
        action_value: `(memory) -> [S, A]`, whose greedy action is the policy's mode.
        metrics: `(memory, truth, hyperparams) -> metrics`, what else is logged at the end of an iteration.
    """

    start: Callable[[Key[Array, ""], Any], Memory]
    act: Callable[[Memory, Int[Array, ""], Key[Array, ""], Any], Int[Array, ""]]
    observe: Callable[[Memory, Visit, Any], Memory]
    due: Callable[[Memory, Any], Bool[Array, ""]]
    plan: Callable[[Memory, Key[Array, ""], Any], PyTree]
    action_value: Callable[[Memory], Float[Array, "S A"]]
    metrics: Callable[[Memory, Truth, Any], Metrics]


class State(NamedTuple):
    """Everything a run is made of; `regret` and `gap_regret` are sums since the start."""

    memory: Memory
    env_state: PyTree
    truth: Truth
    regret: Float[Array, ""]
    gap_regret: Float[Array, ""]
    hyperparams: Any
    key: Key[Array, ""]
    iteration: Int[Array, ""]


def finite_learner(world: FiniteWorld, env_params: PyTree, config: StreamConfig, method: Method) -> Agent:
    """The agent of an algorithm for finite worlds.

    It logs `average_reward`, `regret` (`sum J* - r`, since the start), `gap_regret` (the sum of what the actions lose
    against the best ones: the same without the noise of rewards and transitions) and what its method adds.
    """
    learner = FiniteLearner(world, env_params, config, method)
    return Agent(learner.init, learner.step, learner.policy)


@dataclass(frozen=True)
class FiniteLearner:
    """The steps of the algorithm."""

    world: FiniteWorld
    env_params: PyTree
    config: StreamConfig
    method: Method

    def init(self, key: Key[Array, ""], hyperparams: Any) -> State:
        """Nothing was seen; the world is solved for the log."""
        key, key_method, key_env = jax.random.split(key, 3)
        hyperparams = strong(hyperparams)
        params = self.params_of_env(hyperparams)
        env_state = self.world.env.reset_env(key_env, params)[1]
        memory = self.method.start(key_method, hyperparams)
        zero, iteration = jnp.zeros(()), jnp.zeros((), jnp.int32)
        return strong(State(memory, env_state, self.world.truth(params), zero, zero, hyperparams, key, iteration))

    def step(self, state: State) -> tuple[State, Metrics]:
        """One iteration of `num_steps` steps."""
        checks = self.config.num_steps // self.config.steps_per_check
        key, key_plan, key_steps = jax.random.split(state.key, 3)
        keys = jax.random.split(key_plan, checks), jax.random.split(key_steps, (checks, self.config.steps_per_check, 2))
        advance = lambda now, keys: self.advance(state, now, *keys)  # noqa: E731
        (memory, env_state), (rewards, gaps) = jax.lax.scan(advance, (state.memory, state.env_state), keys)
        average = jnp.mean(rewards)
        regret = state.regret + self.config.num_steps * (state.truth.gain - average)
        gap_regret = state.gap_regret + jnp.sum(gaps)
        metrics = {
            "env_steps": jnp.float32(self.config.num_steps),
            "average_reward": average,
            "regret": regret,
            "gap_regret": gap_regret,
            "gain": state.truth.gain,
            **self.method.metrics(memory, state.truth, state.hyperparams),
        }
        return state._replace(
            memory=memory,
            env_state=env_state,
            regret=regret,
            gap_regret=gap_regret,
            key=key,
            iteration=state.iteration + 1,
        ), metrics

    def advance(
        self, state: State, now: tuple[Memory, PyTree], key_plan: Key[Array, ""], keys: Key[Array, "M 2"]
    ) -> tuple[tuple[Memory, PyTree], tuple[Float[Array, " M"], Float[Array, " M"]]]:
        """Plans if it is due, and takes the steps until the next look."""
        memory, env_state = now
        hyperparams, params = state.hyperparams, self.params_of_env(state.hyperparams)

        def replan(held: PyTree, counts: PyTree, key: Key[Array, ""]) -> PyTree:
            return self.method.plan(Memory(counts, held), key, hyperparams)

        due = self.method.due(memory, hyperparams)
        held = when(due, replan, memory.held, memory.counts, key_plan, group=planners())
        move = lambda now, keys: self.move(state.truth, params, hyperparams, now, *keys)  # noqa: E731
        return jax.lax.scan(move, (Memory(memory.counts, held), env_state), keys)

    def move(
        self,
        truth: Truth,
        params: PyTree,
        hyperparams: Any,
        now: tuple[Memory, PyTree],
        key_act: Key[Array, ""],
        key_env: Key[Array, ""],
    ) -> tuple[tuple[Memory, PyTree], tuple[Float[Array, ""], Float[Array, ""]]]:
        """One step of the environment."""
        memory, env_state = now
        here = self.world.place(env_state)
        action = self.method.act(memory, here, key_act, hyperparams)
        _, env_state, reward, _, _ = self.world.env.step_env(key_env, env_state, action, params)
        visit = Visit(here, action, (reward - truth.low) / truth.width, self.world.place(env_state))
        return (self.method.observe(memory, visit, hyperparams), env_state), (reward, truth.gap[here, action])

    def policy(self, state: State) -> Policy:
        """The policy that is held."""
        action_value = self.method.action_value(state.memory)
        number = self.world.number

        def act(carry: tuple, observation: Array, key: Key[Array, ""]) -> tuple[tuple, Array]:
            return carry, self.method.act(state.memory, number(observation), key, state.hyperparams)

        def mode(carry: tuple, observation: Array, key: Key[Array, ""]) -> tuple[tuple, Array]:
            return carry, jnp.argmax(action_value[number(observation)])

        return Policy(lambda: (), act, mode)

    def params_of_env(self, hyperparams: Any) -> PyTree:
        """The environment's params; a discount among its reward's is 1, as the reward rate has none."""
        params = self.env_params if hyperparams.env_params is None else hyperparams.env_params
        return bind_discount(params, 1.0)


def planners() -> int | None:
    """How many members of a batch plan at once, of those that must: one on a CPU, elsewhere all, see `when`.

    They hardly ever must together, and a CPU gains nothing by lanes whose results are thrown away.
    """
    return 1 if jax.default_backend() == "cpu" else None
