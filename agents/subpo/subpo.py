"""SubPO: policy gradients for submodular rewards (Prajapat et al., ICLR 2024, arXiv:2307.13372, algorithm 1).

The objective is `J(pi) = E[F(s_0 .. s_H)]`, `F` monotone and submodular. Its gradient is that of REINFORCE with the
marginal gains `Delta_{h+1} = F(s_{h+1} | s_0 .. s_h)` for rewards (theorem 2), so the environment's reward is to be
such a gain: `jaxreward.rewards.sets.marginal_gains`. One iteration plays `N` whole episodes, weighs the score of each
action by what it earned, and takes one step.

SubPO-M is `history="none"`, a policy of the state and the time; SubPO-NM is any other. ModPO is the same agent with the
reward "modular". The authors' tabular code differs from the paper: see `estimator`, and `log_prob_of`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxreward.agent import Agent, Policy, strong
from jaxreward.agents.subpo.parts.config import Config, Hyperparams, check_config
from jaxreward.agents.subpo.parts.estimators import ESTIMATORS, others_mean
from jaxreward.agents.subpo.parts.history_policy import HistoryPolicy
from jaxreward.agents.subpo.parts.table import scores, visits
from jaxreward.environment import scalar_environment, select, world
from jaxreward.learning.episodes import Episodes, play, start_memories
from jaxreward.learning.estimators import gae
from jaxreward.learning.networks import head_for
from jaxreward.reward import Transition

Metrics = dict[str, Float[Array, ""]]

_CACHED_STEPS = 2_000
"""Steps whose activations fit into a CPU core's cache: their gradients are computed twice as fast."""


class State(NamedTuple):
    """Everything a run is made of; `ended` is what the rewards remember of earlier episodes."""

    params: PyTree
    optimiser: PyTree
    ended: tuple[PyTree, ...]
    hyperparams: Hyperparams
    key: Key[Array, ""]
    iteration: Int[Array, ""]


class Batch(NamedTuple):
    """What the loss needs of episodes, leaves `[T, N, ...]`.

    Attributes:
        features: What the network reads.
        place: Where the environment is, where that counts; zeros otherwise.
        action: Raw actions.
        advantage: What weighs their scores.
        target: What the value is regressed on.
        valid: Which steps belong to an episode.
    """

    features: Float[Array, "T N F"]
    place: Int[Array, "T N"]
    action: Array
    advantage: Float[Array, "T N"]
    target: Float[Array, "T N"]
    valid: Bool[Array, "T N"]


def subpo(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A SubPO agent.

    Args:
        env: A gymnax `Environment` with a `Discrete` or a `Box` action space, whose rewards are marginal gains.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes and architecture.

    Raises:
        TypeError: If there is no policy head for the action space.
        ValueError: If an option is unknown or does not fit the environment, or the reward is a vector.
    """
    check_config(config, env, world(env, env_params)[0])
    env = scalar_environment(env, env_params)
    head = head_for(env.action_space(env_params))
    algorithm = SubPO(env, env_params, config, head)
    return Agent(algorithm.init, algorithm.step, algorithm.policy)


@dataclass(frozen=True)
class SubPO(HistoryPolicy):
    """The steps of the algorithm."""

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> State:
        """Draws params."""
        key, key_params = jax.random.split(key)
        hyperparams = strong(hyperparams)
        env_params = self.params_of_env(hyperparams)
        params = self.network.init(key_params, self.network.initial_carry(), *self.inputs(*self.example()))
        ended = start_memories(self.env, env_params, self.config.num_envs)
        optimiser = self.optimiser(hyperparams).init(params)
        return strong(State(params, optimiser, ended, hyperparams, key, jnp.zeros((), jnp.int32)))

    def step(self, state: State) -> tuple[State, Metrics]:
        """One iteration: play, weigh, take a step."""
        key, key_noise, key_envs = jax.random.split(state.key, 3)
        ended, episodes, metrics = self.play(state, key_noise, key_envs)
        batch = self.weigh(state, episodes)
        grads, losses = self.gradient(state, batch)
        updates, optimiser = self.optimiser(state.hyperparams).update(grads, state.optimiser)
        params = optax.apply_updates(state.params, updates)
        steps = jnp.asarray(self.config.num_envs * self.config.num_steps, jnp.int32)
        metrics = {"env_steps": steps, **metrics, **losses}
        return State(params, optimiser, ended, state.hyperparams, key, state.iteration + 1), metrics

    def policy(self, state: State) -> Policy:
        """The policy learned so far; its mode is the most likely action."""

        def outputs(carry: PyTree, observation: PyTree) -> tuple[PyTree, Array]:
            return self.forward(state.params, carry, *self.read(observation, 0))[:2]

        def act(carry: PyTree, observation: PyTree, key: Key[Array, ""]) -> tuple[PyTree, Array]:
            carry, out = outputs(carry, observation)
            return carry, self.head.to_env(self.head.sample(out, self.head.noise(key, ())))

        def mode(carry: PyTree, observation: PyTree, key: Key[Array, ""]) -> tuple[PyTree, Array]:
            carry, out = outputs(carry, observation)
            return carry, self.head.to_env(self.head.distribution(out).mode())

        return Policy(lambda: self.network.initial_carry(), act, mode)

    def play(
        self, state: State, key_noise: Key[Array, ""], key_envs: Key[Array, ""]
    ) -> tuple[tuple[PyTree, ...], Episodes, Metrics]:
        """`N` episodes, see `jaxreward.learning.episodes.play`; their extras are the raw actions."""
        size = self.config.num_envs
        noise = self.head.noise(key_noise, (self.config.num_steps, size))
        table = self.unroll(state.params, *self.read(self.base.observations()))[0] if self.is_tabular else ()

        def act(carry: PyTree, observation: PyTree, given: tuple[Array, PyTree]) -> tuple[PyTree, Array, Array]:
            noise, table = given
            if self.is_tabular:
                outputs = table[self.base.place(observation)]
            else:
                carry, outputs, _ = self.forward(state.params, carry, *self.read(observation, 1))
            action = self.head.sample(outputs, noise)
            return carry, self.head.to_env(action), action

        env_params = self.params_of_env(state.hyperparams)
        carry = self.network.initial_carry(size)
        return play(self.env, env_params, act, carry, (noise, table), state.ended, size, key_envs)

    def weigh(self, state: State, episodes: Episodes) -> Batch:
        """What the actions earned, less a baseline."""
        steps, valid = episodes.steps, episodes.valid
        action = episodes.extras if self.config.log_prob_of == "chosen" else self.executed(steps)
        features, place = self.read(steps.observation)
        if self.config.estimator == "gae":
            advantage, target = self.generalised_advantages(state, steps, valid)
        else:
            target = ESTIMATORS[self.config.estimator](steps.reward, state.hyperparams.discount)
            advantage = target - self.baseline(state, features, place, target, valid)
        return Batch(features, place, action, advantage, target, valid)

    def executed(self, steps: Transition) -> Array:
        """The actions that the environment executed.

        Raises:
            ValueError: If it doesn't say which they were.
        """
        if "executed_action" not in steps.info:
            raise ValueError(
                f"{self.env.name} doesn't say which action it executed, info['executed_action']; "
                "use log_prob_of='chosen'"
            )
        return steps.info["executed_action"]

    def baseline(
        self, state: State, features: Array, place: Array, weight: Float[Array, "T N"], valid: Bool[Array, "T N"]
    ) -> Float[Array, "T N"] | float:
        """What of the weights the action has no part in."""
        if self.config.baseline == "batch":
            return others_mean(weight, valid)
        return self.unroll(state.params, features, place)[1] if self.config.baseline == "value" else 0.0

    def generalised_advantages(
        self, state: State, steps: Transition, valid: Bool[Array, "T N"]
    ) -> tuple[Float[Array, "T N"], Float[Array, "T N"]]:
        """Advantages and the values' targets; behind the last of `T` steps is what the critic thinks is there.

        Episodes that ended before go on to show what they ended with; what is said to follow that may be anything.
        """
        last = select(valid[-1], *jax.tree.map(lambda x: x[-1], (steps.next_observation, steps.observation)))
        longer = jax.tree.map(lambda x, y: jnp.concatenate([x, y[None]]), steps.observation, last)
        value = self.unroll(state.params, *self.read(longer))[1]
        hyperparams, ends = state.hyperparams, (steps.terminated, steps.truncated)
        advantage = gae(steps.reward, value[:-1], value[1:], *ends, hyperparams.discount, hyperparams.gae_lambda)
        return advantage, advantage + value[:-1]

    def gradient(self, state: State, batch: Batch) -> tuple[PyTree, Metrics]:
        """The gradient of the loss."""
        return (self.gradient_of_table if self.is_tabular else self.gradient_of_visits)(state, batch)

    def gradient_of_table(self, state: State, batch: Batch) -> tuple[PyTree, Metrics]:
        """Over each pair of time and place once, see `jaxreward.agents.subpo.parts.table`."""
        seen = visits(batch.place, batch.action, batch.advantage, batch.valid, self.base.num_places, self.head.size)

        def loss(params: PyTree) -> tuple[Float[Array, ""], Metrics]:
            logits, _ = self.unroll(params, *self.read(self.base.observations()))
            objective, bonus = (x / self.config.num_envs for x in scores(logits, seen))
            total = -objective - state.hyperparams.entropy_coefficient * bonus
            return total, {"policy/entropy": bonus / self.config.num_steps}

        return jax.grad(loss, has_aux=True)(state.params)

    def gradient_of_visits(self, state: State, batch: Batch) -> tuple[PyTree, Metrics]:
        """Added up over parts of the episodes."""
        size = self.config.num_envs // parts(self.config)

        def add(total: PyTree, start: Int[Array, ""]) -> tuple[PyTree, None]:
            part = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, size, 1), batch)
            return jax.tree.map(
                jnp.add, total, jax.grad(self.loss, has_aux=True)(state.params, part, hyperparams)
            ), None

        hyperparams = state.hyperparams
        first = jax.tree.map(lambda x: x[:, :size], batch)
        shapes = jax.eval_shape(jax.grad(self.loss, has_aux=True), state.params, first, hyperparams)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return jax.lax.scan(add, zeros, jnp.arange(0, self.config.num_envs, size))[0]

    def loss(self, params: PyTree, batch: Batch, hyperparams: Hyperparams) -> tuple[Float[Array, ""], Metrics]:
        """The episodes' share of a loss whose gradient is the negative policy gradient, and what to log of it."""
        outputs, value = self.unroll(params, batch.features, batch.place)
        distribution = self.head.distribution(outputs)
        log_prob, entropy = distribution.log_prob(batch.action), distribution.entropy()
        mean = lambda x: jnp.where(batch.valid, x, 0.0).sum() / self.config.num_envs  # noqa: E731
        objective = mean(log_prob * batch.advantage)
        bonus = mean(entropy)
        metrics = {"policy/entropy": bonus / self.config.num_steps}
        total = -objective - hyperparams.entropy_coefficient * bonus
        if self.learns_value:
            value_loss = 0.5 * mean(jnp.square(value - batch.target))
            total = total + hyperparams.value_coefficient * value_loss
            metrics["loss/value"] = value_loss
        return total, metrics


def parts(config: Config) -> int:
    """How many parts of the episodes have their gradients computed one after the other: 1 unless on CPU."""
    if jax.default_backend() != "cpu":
        return 1
    fitting = [n for n in range(1, config.num_envs + 1) if config.num_envs % n == 0]
    return next((n for n in fitting if config.num_envs // n * config.num_steps <= _CACHED_STEPS), config.num_envs)
