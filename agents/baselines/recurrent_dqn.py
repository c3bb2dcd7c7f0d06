"""Deep Q-networks that remember: a GRU reads the observations, and whole sequences are learned from.

Hausknecht and Stone, "Deep Recurrent Q-Learning for Partially Observable MDPs", 2015, arXiv:1507.06527, with the
sequences of Kapturowski et al., "Recurrent Experience Replay in Distributed Reinforcement Learning" (R2D2), ICLR 2019:
each begins with the memory that was stored, and some rows burn it in. (Of theirs, priorities and rescaled values are
not here.) All else is as in `jaxreward.agents.baselines.dqn`.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Key, PyTree

from jaxreward.agent import Agent, Policy
from jaxreward.agents.baselines import dqn
from jaxreward.agents.baselines.dqn import DQN, Learner
from jaxreward.agents.baselines.dqn import Hyperparams as Hyperparams
from jaxreward.agents.baselines.parts.action_values import huber, network_for, value_of
from jaxreward.agents.baselines.parts.off_policy import OffPolicy, State, check_capacity, off_policy, stored
from jaxreward.contract.sizes import size
from jaxreward.contract.wrappers import check_never_ends
from jaxreward.learning.action_values import RecurrentActionValues
from jaxreward.learning.exploration import epsilon_greedy, linear
from jaxreward.learning.networks import unroll
from jaxreward.learning.reading import PLAIN
from jaxreward.learning.replay import Replay, starts
from jaxreward.learning.rollout import EnvBatch, Trajectory
from jaxreward.learning.sequences import Remembered, Sequences, rows_of, sequences


@dataclass(frozen=True)
class Config(dqn.Config):
    """What shapes the program: that of `jaxreward.agents.baselines.dqn.Config`, and these.

    Attributes:
        memory: Units of the GRU.
        length: Rows of a sequence that are learned from.
        burn_in: Rows before those, which make a memory.
        batch_size: Sequences of an update.
    """

    memory: int = size(64)
    length: int = size(16)
    burn_in: int = size(8, least=0)
    batch_size: int = size(32)

    @property
    def rows(self) -> int:
        """Of a sequence."""
        return rows_of(self.burn_in, self.length, self.n_step)


def recurrent_dqn(env: Environment, env_params: PyTree, config: Config = Config()) -> Agent:
    """A DQN agent with a memory.

    Args:
        env: A gymnax `Environment` with a `Discrete` action space.
        env_params: Its params, which `Hyperparams.env_params` may replace.
        config: Sizes and architecture.

    Raises:
        TypeError: If actions are not discrete.
        ValueError: As `jaxreward.agents.baselines.dqn.dqn`.
    """
    if config.centring:
        check_never_ends(env, "centring=True")
    check_capacity(config, config.rows, "burn_in + length + n_step - 1")

    def make(env: Environment, env_params: PyTree) -> RecurrentDQN:
        values = network_for(env, env_params, "recurrent_dqn", config, duelling=config.duelling)
        behind = values.clone(reading=PLAIN)
        return RecurrentDQN(config, RecurrentActionValues(config.memory, behind, values.reading))

    return off_policy(env, env_params, config, make, "recurrent_dqn", Loop)


@dataclass(frozen=True)
class Loop(OffPolicy):
    """The loop around it, which stores memories and samples sequences."""

    config: Config
    algorithm: RecurrentDQN

    def init(self, key: Key[Array, ""], hyperparams: Hyperparams) -> State:
        """As without a memory; it is empty."""
        state = super().init(key, hyperparams)
        return state._replace(memory=self.algorithm.network.initial_carry(self.config.num_envs))

    def behave(self, state: State, memory: PyTree, observation: PyTree, noise: PyTree) -> tuple[PyTree, Array, PyTree]:
        """An action by what is remembered; kept is the memory before."""
        seen, taken = self.shown(state, observation), self.taken(state)
        after, action = self.algorithm.act_in(state.learner, state.hyperparams, taken, memory, seen, noise)
        return after, action, memory

    def stored(self, trajectory: Trajectory) -> Remembered:
        """Steps and memories."""
        return Remembered(stored(trajectory), trajectory.extras)

    def example(self, envs: EnvBatch) -> Remembered:
        """The shapes of one row of what is stored."""
        memory = jax.eval_shape(lambda: self.algorithm.network.initial_carry(self.config.num_envs))
        return Remembered(super().example(envs), memory)

    def sample(self, state: State, replay: Replay, key: Key[Array, ""]) -> Sequences:
        """The batches of an iteration, leaves `[U, K, B, ...]`."""
        config, shape = self.config, (self.config.num_updates, self.config.batch_size)
        places = starts(replay, key, shape, config.rows)
        sizes = config.burn_in, config.length, config.n_step
        found = sequences(replay, places, *sizes, state.hyperparams.discount, self.earn(state))
        by_update = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), found._replace(memory=()))
        return by_update._replace(memory=found.memory)


@dataclass(frozen=True)
class RecurrentDQN(DQN):
    """The steps of the algorithm, on sequences `[K, B, ...]`."""

    config: Config
    network: RecurrentActionValues

    def start(self, key: Key[Array, ""], observation: PyTree, hyperparams: Hyperparams) -> Learner:
        """Draws params; the target's are the same."""
        seen = self.network.read(observation)
        return self.learner(self.network.init(key, self.network.initial_carry(len(seen)), seen), hyperparams)

    def act_in(
        self,
        learner: Learner,
        hyperparams: Hyperparams,
        taken: Float[Array, ""],
        memory: Float[Array, "N M"],
        observation: PyTree,
        noise: Float[Array, " N"],
    ) -> tuple[Float[Array, "N M"], Array]:
        """The memory behind what is seen, and the best action, or any."""
        after, values = self.remember(learner.params, memory, self.network.read(observation))
        schedule = hyperparams.epsilon_start, hyperparams.epsilon_end, hyperparams.epsilon_steps
        return after, epsilon_greedy(values, noise, linear(*schedule, taken))

    def goal(self, learner: Learner, batch: Sequences) -> Float[Array, "L B"]:
        """What values are moved towards, by the target network's own memory of the sequence."""
        following = self.following(learner.target, batch)
        chooser = self.following(learner.params, batch) if self.config.double else following
        worth = value_of(following, jnp.argmax(chooser, -1))
        length, ahead = self.config.length, self.config.burn_in + batch.last
        bootstrap = jnp.take_along_axis(worth, ahead + jnp.arange(length)[:, None], 0)
        reward = batch.reward - learner.rate.value * batch.weight if learner.rate else batch.reward
        return reward + batch.discount * bootstrap

    def following(self, params: PyTree, batch: Sequences) -> Float[Array, "K B A"]:
        """The values of what followed each row, by the memory of all up to it."""
        memories = self.unrolled(params, batch)[0]
        return self.remember(params, memories, self.network.read(batch.next_observation, 2))[1]

    def loss(
        self, params: PyTree, batch: Sequences, goal: Float[Array, "L B"], hyperparams: Hyperparams
    ) -> tuple[Float[Array, ""], Float[Array, "L B"]]:
        """The mean loss of the values' errors, and the values, in the rows that are learned from."""
        values = self.unrolled(params, batch)[1]
        learned = values[self.config.burn_in : self.config.burn_in + self.config.length]
        value = value_of(learned, batch.action)
        return huber(goal - value, hyperparams.huber_delta).mean(), value

    def unrolled(self, params: PyTree, batch: Sequences) -> tuple[Float[Array, "K B M"], Float[Array, "K B A"]]:
        """The memory behind each row, and the values there; what burns the memory in is not learned through."""
        seen, burn_in = self.network.read(batch.observation, 2), self.config.burn_in
        parts = (slice(0, burn_in), slice(burn_in, None)) if burn_in else (slice(None),)
        memory, found = batch.memory, []
        for part in parts:
            memory = jax.lax.stop_gradient(memory)
            found.append(unroll(self.whole, params, memory, seen[part], batch.start[part])[:2])
            memory = found[-1][0][-1]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *found)

    def whole(self, params: PyTree, memory: PyTree, seen: Array) -> tuple[PyTree, Array, tuple]:
        """One step, as `unroll` takes it."""
        return (*self.remember(params, memory, seen), ())

    def remember(
        self, params: PyTree, memory: Float[Array, "*batch M"], seen: Array
    ) -> tuple[Float[Array, "*batch M"], Float[Array, "*batch A"]]:
        """The memory behind what is seen, and the values of actions."""
        return self.network.apply(params, memory, seen)  # type: ignore[return-value]

    def policy(self, learner: Learner, hyperparams: Hyperparams) -> Policy:
        """The best action, or any as often as in the end of training."""

        def step(memory: PyTree, observation: PyTree) -> tuple[PyTree, Float[Array, " A"]]:
            return self.remember(learner.params, memory, self.network.read(observation, 0))

        def act(memory: PyTree, observation: PyTree, key: Key[Array, ""]) -> tuple[PyTree, Array]:
            memory, values = step(memory, observation)
            return memory, epsilon_greedy(values, jax.random.uniform(key), hyperparams.epsilon_end)

        def mode(memory: PyTree, observation: PyTree, key: Key[Array, ""]) -> tuple[PyTree, Array]:
            memory, values = step(memory, observation)
            return memory, jnp.argmax(values, -1).astype(jnp.int32)

        return Policy(self.network.initial_carry, act, mode)
